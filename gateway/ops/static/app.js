// The page: puts the call, the transcript and the meters together.

import { BrowserCall, Problem } from "./call.js";
import { KEYS, LevelMeter, beep, flowing } from "./levels.js";
import { Transcript, clock } from "./transcript.js";

const STATES = {
  initial: "Connected",
  listening: "Listening",
  processing: "Thinking",
  speaking: "Speaking",
  away: "Are you there?",
  ended: "Call ended",
};

const $ = (id) => document.getElementById(id);
const page = document.body;
const transcript = new Transcript($("log"));
let call = null;
let context = null;
let meters = {};
let answeredAt = null;

// What this browser remembers

function caller() {
  let name = localStorage.getItem("gateway.caller");
  if (!name) {
    name = Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
    localStorage.setItem("gateway.caller", name);
  }
  return name;
}

function cutOffRoute() {
  return sessionStorage.getItem("gateway.calling");
}

// Showing

function phase(name, text) {
  page.dataset.phase = name;
  $("state").textContent = text;
}

function problem(text) {
  $("problem").hidden = !text;
  $("problem-text").textContent = text ?? "";
}

function showState(state) {
  page.dataset.state = state;
  if (state !== "ended") $("state").textContent = STATES[state];
}

/** None where the browser cannot: Firefox, of a stream at another rate than the context's. A call does without. */
function meter(stream) {
  try {
    return new LevelMeter(context, stream);
  } catch {
    return null;
  }
}

function draw() {
  if (!call) return;
  const [mic, bot] = [meters.mic?.level() ?? 0, meters.bot?.level() ?? 0];
  $("level-mic").ariaValueNow = String(Math.round(100 * mic));
  $("level-bot").ariaValueNow = String(Math.round(100 * bot));
  page.style.setProperty("--mic", mic.toFixed(3));
  page.style.setProperty("--bot", bot.toFixed(3));
  if (answeredAt) $("timer").textContent = clock((performance.now() - answeredAt) / 1000);
  requestAnimationFrame(draw);
}

// What the call tells

const listener = {
  onMicrophone(stream) {
    meters.mic = meter(stream);
    return flowing(context);
  },
  onConnected() {
    answeredAt = performance.now();
    phase("connected", "Ringing…");
  },
  onShaky(shaky) {
    page.classList.toggle("shaky", shaky);
    if (shaky) $("state").textContent = "The connection stutters…";
    else if (page.dataset.phase === "connected") showState(page.dataset.state);
  },
  onTrouble: problem,
  onRemote(stream) {
    $("speaker").srcObject = stream;
    meters.bot = meter(stream);
  },
  onEvent(event) {
    if (event.type === "StateChanged") showState(event.state);
    else if (event.type === "CallAnswered") showState(page.dataset.state);
    transcript.show(event);
  },
  onOver(text) {
    stop();
    problem(text);
  },
};

function stop() {
  for (const one of Object.values(meters)) one?.close();
  meters = {};
  call = null;
  sessionStorage.removeItem("gateway.calling");
  page.classList.remove("shaky");
  page.dataset.state = "initial";
  phase("idle", "");
  $("call-label").textContent = "Call";
  $("call").focus({ preventScroll: true });
}

// What the user does

async function start(route, title) {
  problem(null);
  transcript.clear();
  $("who").textContent = title;
  $("timer").textContent = clock(0);
  answeredAt = null;
  context ??= new AudioContext();
  context.resume();
  const placed = (call = new BrowserCall(listener));
  sessionStorage.setItem("gateway.calling", route);
  setMuted(false);
  phase("connecting", "Connecting…");
  requestAnimationFrame(draw);
  $("hangup").focus({ preventScroll: true });
  try {
    await placed.start(route, caller());
  } catch (error) {
    stop();
    problem(error instanceof Problem ? error.message : String(error));
  }
}

function press(key) {
  if (page.dataset.phase !== "connected") return;
  call.press(key);
  beep(context, key);
  const button = $("pad").children[KEYS.indexOf(key)];
  button.classList.add("down");
  setTimeout(() => button.classList.remove("down"), 150);
}

function setMuted(muted) {
  $("mute").setAttribute("aria-pressed", String(muted));
  call?.mute(muted);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (KEYS.includes(event.key)) press(event.key);
}

// Setting up

async function showRoutes() {
  try {
    const response = await fetch("/api/routes");
    if (!response.ok) throw new Error(`status ${response.status}`);
    const routes = (await response.json()).sort((a, b) => Number(b.default) - Number(a.default));
    const before = cutOffRoute() ?? localStorage.getItem("gateway.route");
    const chosen = routes.find((r) => r.name === before) ?? routes.find((r) => r.default) ?? routes[0];
    $("routes").replaceChildren(...routes.map((route) => choice(route, route === chosen)));
    $("call").disabled = routes.length === 0;
    if (routes.length === 0) problem("The dialplan has no route that a browser may call.");
  } catch {
    problem("The gateway cannot be reached. Reload the page to try again.");
  }
}

function choice(route, chosen) {
  const label = document.createElement("label");
  label.className = "route";
  const radio = Object.assign(document.createElement("input"), {
    type: "radio", name: "route", value: route.name, checked: chosen,
  });
  const title = document.createElement("strong");
  title.textContent = route.title || route.name;
  const description = document.createElement("span");
  description.textContent = route.description;
  label.append(radio, title, description);
  return label;
}

function offerToGoOn() {
  if (!cutOffRoute()) return;
  sessionStorage.removeItem("gateway.calling");
  $("call-label").textContent = "Pick up where we stopped";
}

for (const key of KEYS) {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: key });
  button.setAttribute("aria-label", { "*": "star", "#": "hash" }[key] ?? key);
  button.addEventListener("click", () => press(key));
  $("pad").append(button);
}

$("dialler").addEventListener("submit", (event) => {
  event.preventDefault();
  if (call) return; // whoever presses by script may do so while the form is hidden
  const radio = $("dialler").elements.namedItem("route");
  const route = radio.value;
  localStorage.setItem("gateway.route", route);
  const title = $("routes").querySelector("input:checked + strong").textContent;
  start(route, title);
});
$("routes").addEventListener("change", () => ($("call-label").textContent = "Call"));
$("hangup").addEventListener("click", () => {
  $("state").textContent = "Hanging up…";
  call?.hangUp();
});
$("mute").addEventListener("click", () => setMuted($("mute").getAttribute("aria-pressed") !== "true"));
$("problem-close").addEventListener("click", () => problem(null));
$("forget").addEventListener("click", () => {
  localStorage.removeItem("gateway.caller");
  $("call-label").textContent = "Call";
  $("forget").textContent = "Done: the next call starts afresh";
  setTimeout(() => ($("forget").textContent = "Start afresh"), 4000);
});
$("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("gateway.theme", root.dataset.theme);
});
addEventListener("keydown", onKey);
addEventListener("pagehide", () => call?.goodbye());

await showRoutes();
offerToGoOn();
