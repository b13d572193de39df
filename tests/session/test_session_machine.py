"""The conversation under any interleaving of inputs: whatever comes, in whatever order, its promises hold."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core import events as e
from gateway.core.speech import Expectation, Transcript, Word
from gateway.session import commands as c
from gateway.session.conversation import Conversation, ConversationOptions
from gateway.session.memory import fold
from gateway.session.ports import Context, Expect, Finish, Opened, Remember, Say
from gateway.session.states import NEXT

WORD_S = 0.3
TEXTS = st.sampled_from(
    ["", "yes", "no", "uh-huh", "thursday", "stop", "I want to book", "ok ok", "one two three four", "mm yeah"]
)
PROMPTS = st.sampled_from(["", "Hello.", "One two three. Four five six seven.", "Which day would suit you best, then?"])
EXPECTATIONS = st.sampled_from(
    [
        Expectation(),
        Expectation(phrases=("yes", "no", "thursday")),
        Expectation(digits_max=1),
        Expectation(digits_max=4, digits_gap_s=1.0, timeout_s=3.0),
    ]
)
BARGE_IN = st.sampled_from(["off", "digits", "on"])
CATEGORIES = st.sampled_from(["network", "timeout", "auth"])
OPTIONS = ConversationOptions(preempt="if_same", filler="Just a moment.", away_prompt="Hello?", turn_max_s=8.0)


class Clip:
    """Some of its words are queued; `closed` once no more come."""

    def __init__(self, number: int, text: str) -> None:
        self.number, self.words = number, text.split()
        self.queued = 0
        self.closed = self.started = False
        self.played_s = 0.0

    @property
    def queued_s(self) -> float:
        return self.queued * WORD_S

    @property
    def timing(self) -> tuple[Word, ...]:
        return tuple(Word(w, n * WORD_S, (n + 1) * WORD_S) for n, w in enumerate(self.words[: self.queued]))

    @property
    def heard(self) -> list[str]:
        return self.words[: int((self.played_s + 0.02) / WORD_S + 1e-9)]


class ConversationMachine(RuleBasedStateMachine):
    """Plays everybody else: the caller, the providers, the playout. It answers what it was asked, fails, or waits."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 50.0
        self.context = Context("call", "alice", "bot")
        self.conversation = Conversation("call", OPTIONS, self.context)
        self.events: list[e.AnyEvent] = []
        self.state = "initial"
        self.stopped = False
        self.exchange: str | None = None
        self.speaking_since: float | None = None
        self.open_turns: list[int] = []
        self.closed_turns: list[int] = []
        self.agent: int | None = None
        self.making: Clip | None = None
        self.over: list[int] = []
        self.queue: list[Clip] = []
        self.flushed: list[Clip] = []
        self.held = False
        self.vague = self.on_hold = self.line_is_silent = False
        self.late: list[c.AnyInput] = []
        self.really_heard: list[str] = []

    # What the conversation wants

    def do(self, commands: list[c.AnyCommand]) -> None:
        assert not (self.stopped and commands), "a command after the end"
        for number, command in enumerate(commands):
            match command:
                case c.Log(event=event):
                    self.note(event)
                case c.StartRecognition(turn=turn):
                    assert turn not in self.open_turns
                    self.open_turns.append(turn)
                case c.FinishRecognition(turn=turn):
                    self.open_turns.remove(turn)
                    self.closed_turns.append(turn)
                case c.CancelRecognition(turn=turn):
                    (self.open_turns if turn in self.open_turns else self.closed_turns).remove(turn)
                case c.AskAgent(turn=turn):
                    assert self.agent is None, "two agents at once"
                    self.agent = turn
                case c.CancelAgent(turn=turn):
                    assert self.agent == turn
                    self.agent = None
                case c.Speak():
                    assert self.making is None, "clips would be queued out of order"
                    self.making = Clip(command.clip, command.text)
                case c.CancelSpeech(clip=clip):
                    assert self.making is not None
                    assert self.making.number == clip
                    self.late.append(c.SpeechReady(clip, self.making.queued_s, self.making.timing))
                    self.making.closed, self.making = True, None
                case c.PausePlayout():
                    assert not self.held
                    self.held = True
                case c.ResumePlayout():
                    assert self.held
                    self.held = False
                case c.FlushPlayout():
                    self.flushed += self.queue
                    self.really_heard += [word for clip in self.queue for word in clip.heard]
                    self.queue, self.held = [], False
                case c.SaidAll() | c.Answered() | c.Completed():
                    assert type(command).__name__ == self.exchange, "an outcome nobody asked for"
                    assert number == len(commands) - 1, "an outcome is the last word"
                    self.exchange = None

    def note(self, event: e.AnyEvent) -> None:
        self.events.append(event)
        if isinstance(event, e.StateChanged):
            assert event.previous == self.state
            assert event.state in {to for (state, _), to in NEXT.items() if state == event.previous}
            self.state = event.state

    def tell(self, told: c.AnyInput | e.AnyEvent) -> None:
        self.react(self.conversation.handle(told, self.now))

    def react(self, commands: list[c.AnyCommand]) -> None:
        """Do as told, and answer at once where that is owed."""
        self.do(commands)
        while self.late:
            self.do(self.conversation.handle(self.late.pop(0), self.now))

    # The bot is told what to do

    @precondition(lambda self: self.exchange is None and not self.stopped)
    @rule(text=PROMPTS, barge_in=BARGE_IN)
    def say(self, text: str, barge_in: str) -> None:
        self.exchange = "SaidAll"
        self.react(self.conversation.say(text, None, barge_in, self.now))  # type: ignore[arg-type]

    @precondition(lambda self: self.exchange is None and not self.stopped)
    @rule(text=PROMPTS, expectation=EXPECTATIONS, barge_in=BARGE_IN)
    def ask(self, text: str, expectation: Expectation, barge_in: str) -> None:
        self.exchange = "Answered"
        self.react(self.conversation.ask(text, None, expectation, barge_in, self.now))  # type: ignore[arg-type]

    @precondition(lambda self: self.exchange is None and not self.stopped)
    @rule(barge_in=BARGE_IN)
    def converse(self, barge_in: str) -> None:
        self.exchange = "Completed"
        self.react(self.conversation.converse(Opened(), barge_in, self.now))  # type: ignore[arg-type]

    # The caller

    @precondition(lambda self: self.speaking_since is None)
    @rule()
    def begins_to_speak(self) -> None:
        self.speaking_since = self.now
        self.tell(e.SpeechBegan(self.now, "call", self.now - 0.064))

    @precondition(lambda self: self.speaking_since is not None)
    @rule(ago=st.sampled_from([0.0, 0.2]))
    def ceases_to_speak(self, ago: float) -> None:
        assert self.speaking_since is not None
        ended_at = max(self.speaking_since, self.now - ago)
        self.speaking_since = None
        self.tell(e.SpeechEnded(self.now, "call", ended_at))

    @rule(digit=st.sampled_from("12#"))
    def presses(self, digit: str) -> None:
        self.tell(e.DigitPressed(self.now, "call", digit, 100))

    @rule(text=st.sampled_from(["tuesday", "no", "yes please"]))
    def writes(self, text: str) -> None:
        self.tell(e.TextReceived(self.now, "call", text))

    @rule(on=st.booleans())
    def is_put_on_hold_or_back(self, on: bool) -> None:
        self.on_hold = on and not self.stopped
        self.tell(e.CallHeld(self.now, "call") if on else e.CallRetrieved(self.now, "call"))

    @rule(on=st.booleans())
    def line_falls_silent_or_recovers(self, on: bool) -> None:
        self.line_is_silent = on
        self.tell(e.LineFellSilent(self.now, "call", 2.0) if on else e.LineRecovered(self.now, "call"))

    # The providers

    @precondition(lambda self: self.open_turns)
    @rule(text=TEXTS)
    def hears_partly(self, text: str) -> None:
        self.tell(c.RecognitionProgressed(self.open_turns[-1], Transcript(text, False)))

    @precondition(lambda self: self.closed_turns)
    @rule(text=TEXTS)
    def hears(self, text: str) -> None:
        self.tell(c.RecognitionFinished(self.closed_turns.pop(0), Transcript(text, True)))

    @precondition(lambda self: self.open_turns or self.closed_turns)
    @rule(category=CATEGORIES)
    def hearing_fails(self, category: str) -> None:
        turn = (self.closed_turns or self.open_turns).pop(0)
        self.tell(c.RecognitionFailed(turn, "stt.x", category, ""))

    @precondition(lambda self: self.agent is not None)
    @rule(
        act=st.one_of(
            PROMPTS.map(Say),
            st.just(Say("Stored words.", "stored")),
            EXPECTATIONS.map(Expect),
            st.integers(0, 3).map(lambda n: Remember({"n": n})),
        )
    )
    def agent_acts(self, act: c.AgentAct) -> None:
        assert self.agent is not None
        self.tell(c.AgentActed(self.agent, act))

    @precondition(lambda self: self.agent is not None)
    @rule(finishes=st.booleans())
    def agent_is_done(self, finishes: bool) -> None:
        assert self.agent is not None
        if finishes:
            self.tell(c.AgentActed(self.agent, Finish("done")))
        turn, self.agent = self.agent, None
        assert turn is not None
        self.tell(c.AgentDone(turn))

    @precondition(lambda self: self.agent is not None)
    @rule(category=CATEGORIES)
    def agent_fails(self, category: str) -> None:
        turn, self.agent = self.agent, None
        assert turn is not None
        self.tell(c.AgentFailed(turn, "agent.x", category, ""))

    @precondition(lambda self: self.making is not None)
    @rule(words=st.integers(1, 4))
    def voice_goes_on(self, words: int) -> None:
        assert self.making is not None
        if self.making.queued == 0:
            self.queue.append(self.making)
        self.making.queued = min(len(self.making.words), self.making.queued + words)

    @precondition(lambda self: self.making is not None)
    @rule()
    def voice_is_ready(self) -> None:
        self.voice_goes_on(99)
        made, self.making = self.making, None
        assert made is not None
        made.closed = True
        self.tell(c.SpeechReady(made.number, made.queued_s, made.timing))

    @precondition(lambda self: self.making is not None)
    @rule(category=CATEGORIES)
    def voice_fails(self, category: str) -> None:
        made, self.making = self.making, None
        assert made is not None
        made.closed = True
        self.tell(c.SpeechFailed(made.number, "tts.x", category, "", made.queued_s, made.timing))

    @precondition(lambda self: self.flushed)
    @rule()
    def flush_is_told(self) -> None:
        clip = self.flushed.pop(0)
        self.over.append(clip.number)
        self.tell(c.PlayoutFinished(clip.number, clip.played_s, False))

    # Stale news

    @rule(turn=st.integers(0, 3), clip=st.integers(0, 3))
    def stale_news(self, turn: int, clip: int) -> None:
        """Of turns and clips that are over or never were: nobody is misled."""
        if turn not in (*self.open_turns, *self.closed_turns):
            self.tell(c.RecognitionFinished(turn, Transcript("nonsense", True)))
            self.tell(c.RecognitionFailed(turn, "stt.x", "network", ""))
        if turn != self.agent:
            self.tell(c.AgentActed(turn, Say("Nonsense. ")))
            self.tell(c.AgentDone(turn))
        if clip in (0, *self.over):
            self.tell(c.SpeechReady(clip, 1.0))
            self.tell(c.SpeechFailed(clip, "tts.x", "network", ""))
            self.tell(c.PlayoutStarted(clip))
            self.tell(c.PlayoutFinished(clip, 1.0, True))

    # Time

    @rule(seconds=st.sampled_from([0.05, 0.2, 0.7, 1.5, 4.0]))
    def time_passes(self, seconds: float) -> None:
        until = self.now + seconds
        for _ in range(1000):
            moments = [m for m in (self.conversation.next_deadline(), self._next_mark()) if m is not None]
            nearest = max(self.now, min(moments, default=until))
            if nearest > until:
                break
            self._play(nearest)
            deadline = self.conversation.next_deadline()
            if deadline is not None and deadline <= self.now:
                self.react(self.conversation.on_deadline(self.now))
            if not moments:
                break
        else:
            raise AssertionError("it never comes to rest")
        self._play(until)

    def _feed_the_playout(self) -> None:
        """Voices are faster than speech; what would happen if not is not the conversation's business."""
        if self.making is not None and self.making.started and self.making.queued_s - self.making.played_s < 5.0:
            self.making.queued = len(self.making.words)

    def _next_mark(self) -> float | None:
        self._feed_the_playout()
        if self.held or not self.queue:
            return None
        clip = self.queue[0]
        if clip.started and not clip.closed and clip.played_s >= clip.queued_s - 1e-9:
            return None
        return self.now + (max(0.0, clip.queued_s - clip.played_s) if clip.started else 0.0)

    def _play(self, until: float) -> None:
        elapsed, self.now = until - self.now, until
        if not self.held and self.queue and self.queue[0].started:
            clip = self.queue[0]
            clip.played_s = min(clip.queued_s, clip.played_s + elapsed)
        while self.queue and not self.held:
            clip = self.queue[0]
            if not clip.started:
                clip.started = True
                self.tell(c.PlayoutStarted(clip.number))
            elif clip.closed and clip.played_s >= clip.queued_s - 1e-9:
                self.queue.pop(0)
                self.really_heard += clip.words[: clip.queued]
                self.over.append(clip.number)
                self.tell(c.PlayoutFinished(clip.number, clip.played_s, True))
            else:
                return

    @precondition(lambda self: not self.stopped)
    @rule(now_or_never=st.integers(0, 15))
    def stop(self, now_or_never: int) -> None:
        if now_or_never == 0:
            self.end()

    def end(self) -> None:
        self.vague = self.making is not None and self.making.started
        self.do(self.conversation.stop(self.now))
        self.stopped = True
        self.on_hold = False
        self.flushed = []

    # What always holds

    @invariant()
    def history_holds_nothing_unheard(self) -> None:
        """The bot's lines are the words that were played, in order, and those alone.

        At the very end some may be missing, of a clip that was still being made: its timing is not known by then.
        """
        told = " ".join(m.text for m in self.context.history if m.role == "agent").split()
        if self.vague:
            assert told == self.really_heard[: len(told)]
        elif not self.flushed:
            assert told == self.really_heard

    @invariant()
    def the_log_gives_the_same_history(self) -> None:
        remembered = fold(self.events)
        if self.stopped:
            assert remembered.history == self.context.history
        assert remembered.agent_state == self.context.state

    @invariant()
    def nobody_waits_for_ever(self) -> None:
        """As long as something is asked of the conversation, the next moment is known or somebody owes it news."""
        if self.on_hold or self.line_is_silent:
            return
        owed = self.agent is not None or self.making or self.queue or self.flushed or self.speaking_since is not None
        if self.exchange is not None and not self.stopped:
            assert self.conversation.next_deadline() is not None or owed

    @invariant()
    def a_pause_has_an_end(self) -> None:
        """The playout is held only on hold, and while a turn will be decided, by a deadline if by nothing else."""
        if self.held and not self.on_hold:
            assert self.open_turns or self.closed_turns
            assert self.conversation.next_deadline() is not None

    @invariant()
    def the_bot_is_never_silent_for_long(self) -> None:
        """Nothing audible, nothing heard, no wait for the caller: then a deadline is near."""
        deadline = self.conversation.next_deadline()
        waiting = self.agent is not None and not self.queue and self.speaking_since is None
        if waiting and not self.stopped and not self.on_hold:
            assert deadline is not None
            assert deadline <= self.now + OPTIONS.reply_within_s + 1e-6

    def teardown(self) -> None:
        if not self.stopped:
            self.end()
        assert self.agent is None
        assert self.making is None
        assert not self.open_turns
        assert not self.closed_turns


TestConversation = ConversationMachine.TestCase
TestConversation.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
