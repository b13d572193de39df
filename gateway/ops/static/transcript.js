// The conversation as it happens: who said what, what was really heard, and what came between.

const ENDINGS = {
  hangup: { caller: "You hung up.", bot: "The bot said goodbye.", gateway: "The gateway ended the call." },
  cancelled: "The call was cancelled.",
  rejected: "The call was refused.",
  line_lost: "The line was lost. Call again to go on where you stopped.",
  timeout: "The call timed out.",
  limit: "The call reached its longest duration.",
  shutdown: "The gateway is shutting down.",
  error: "Something went wrong in the gateway.",
};

export class Transcript {
  /** @param {HTMLElement} list */
  constructor(list) {
    this.list = list;
    this.clear();
  }

  clear() {
    this.list.replaceChildren();
    this.turns = new Map();
    this.clips = new Map();
    this.hearing = null;
    this.voice = null;
    this.keys = null;
    this.began = null;
    this.turnEnded = null;
  }

  show(event) {
    this.began ??= event.at;
    this[event.type]?.(event);
  }

  // The caller

  SpeechBegan({ at }) {
    this.hearing ??= this.bubble("you", at, "listening");
    if (!this.hearing.text.textContent) this.hearing.text.textContent = "…";
  }

  TranscriptHeard({ at, turn, text, final }) {
    const bubble = this.turn(turn, at);
    if (text) bubble.text.textContent = text;
    bubble.item.classList.toggle("interim", !final);
  }

  UserTurnEnded({ at, turn, text, digits }) {
    this.turnEnded = at;
    this.keys = null;
    const bubble = this.turns.get(turn) ?? (text ? this.turn(turn, at) : this.hearing);
    this.hearing = null;
    if (!bubble) return;
    bubble.item.classList.remove("interim", "listening");
    if (text) bubble.text.textContent = text;
    else if (bubble.text.textContent === "…") {
      if (digits) bubble.item.remove();
      else this.unclear(bubble);
    }
  }

  FalseAlarm() {
    if (this.hearing && this.hearing.text.textContent === "…") this.hearing.item.remove();
    this.hearing = null;
  }

  DigitPressed({ at, digit }) {
    this.keys ??= this.line(at, "You pressed ");
    const key = document.createElement("kbd");
    key.textContent = digit;
    this.keys.append(key);
    this.scroll();
  }

  SilenceNoticed({ at }) {
    this.line(at, "Silence.");
  }

  // The bot: its clips are sentences; those that follow one another share a bubble

  UtteranceSynthesised({ clip, text }) {
    const known = this.clip(clip);
    known.said = text;
    if (known.text && !known.over) known.text.textContent = text;
  }

  UtteranceStarted({ at, clip }) {
    const known = this.clip(clip);
    if (this.voice?.item !== this.list.lastElementChild) this.voice = this.bubble("bot", at, "speaking");
    this.voice.item.classList.add("speaking");
    known.bubble = this.voice;
    known.text = sentence(this.voice.text, known.said ?? "…");
    if (this.turnEnded !== null) this.voice.note.textContent = `answered in ${(at - this.turnEnded).toFixed(1)} s`;
    this.turnEnded = null;
    this.keys = null;
    this.scroll();
  }

  UtterancePlayed({ clip, heard, complete }) {
    const known = this.clip(clip);
    known.over = true;
    known.bubble?.item.classList.remove("speaking", "paused");
    if (complete && known.text) known.text.textContent = heard || known.said || "";
    else if (!complete) this.cutOff(known, heard);
  }

  BargedIn({ clip }) {
    this.clip(clip).barged = true;
  }

  PlaybackPaused({ clip }) {
    this.clip(clip).bubble?.item.classList.add("paused");
  }

  PlaybackResumed({ clip }) {
    this.clip(clip).bubble?.item.classList.remove("paused");
  }

  // The call

  SessionResumed({ at, away_s }) {
    this.line(at, `Welcome back: the conversation goes on where it stopped ${ago(away_s)}.`);
  }

  DialogueCompleted({ at, outcome }) {
    this.line(at, outcome ? `Completed: ${outcome.replaceAll("_", " ")}.` : "Completed.");
  }

  ErrorOccurred({ at }) {
    this.line(at, "The gateway had a problem; the call goes on.");
  }

  CallEnded({ at, reason, by }) {
    for (const { bubble } of this.clips.values()) bubble?.item.classList.remove("speaking", "paused");
    if (this.hearing?.text.textContent === "…") this.hearing.item.remove();
    const ending = ENDINGS[reason] ?? "The call ended.";
    this.line(at, typeof ending === "string" ? ending : ending[by]);
  }

  // Building blocks

  turn(number, at) {
    if (!this.turns.has(number)) {
      this.turns.set(number, this.hearing ?? this.bubble("you", at, "listening"));
      this.hearing = this.turns.get(number);
    }
    return this.turns.get(number);
  }

  clip(number) {
    if (!this.clips.has(number)) this.clips.set(number, {});
    return this.clips.get(number);
  }

  /**
   * Strike out what was not heard, whole sentences too that never began.
   * `heard` may be punctuated otherwise than `said`, so the place of the cut is found by counting words.
   */
  cutOff(known, heard) {
    const bubble = known.bubble ?? this.voice;
    if (!bubble) return;
    const text = known.text ?? sentence(bubble.text, "");
    const words = known.said?.match(/\S+/g) ?? [];
    const count = heard.match(/\S+/g)?.length ?? 0;
    text.textContent = heard ? `${heard} ` : "";
    if (count < words.length) part(text, "s", "").textContent = words.slice(count).join(" ");
    if (!known.bubble) return;
    bubble.item.classList.add("cut");
    bubble.note.textContent = known.barged ? "you interrupted; the rest was not heard" : "not heard to the end";
  }

  unclear(bubble) {
    bubble.item.classList.add("unclear");
    bubble.text.textContent = "not understood";
  }

  bubble(side, at, mark) {
    const item = document.createElement("div");
    item.className = `bubble ${side} ${mark}`;
    const who = part(item, "span", "name");
    who.textContent = side === "you" ? "You" : "Bot";
    const text = part(item, "p", "text");
    const foot = part(item, "span", "foot");
    const note = part(foot, "span", "note");
    part(foot, "time", "").textContent = this.clock(at);
    this.list.append(item);
    this.scroll();
    return { item, text, note };
  }

  line(at, text) {
    const item = document.createElement("div");
    item.className = "line";
    const words = part(item, "span", "");
    words.textContent = text;
    item.title = this.clock(at);
    this.list.append(item);
    this.scroll();
    return words;
  }

  clock(at) {
    return clock(at - (this.began ?? at));
  }

  scroll() {
    this.list.scrollTop = this.list.scrollHeight;
  }
}

export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

function ago(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} seconds ago`;
  return `${Math.round(seconds / 60)} minutes ago`;
}

function sentence(paragraph, text) {
  if (paragraph.childNodes.length) paragraph.append(" ");
  const element = part(paragraph, "span", "");
  element.textContent = text;
  return element;
}

function part(parent, tag, className) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  parent.append(element);
  return element;
}
