// One call: microphone, peer connection, offer and answer over HTTP, events over the data channel.
//
// Tells its listener, in order:
//   onMicrophone(stream) it is open; resolves when sound flows, which the call waits for
//   onConnected()        audio flows both ways
//   onShaky(bool)        the network stutters, or has recovered
//   onTrouble(problem)   what the user should know of while the call goes on, as a sentence
//   onRemote(stream)     the bot's voice
//   onEvent(event)       one event of the gateway's log
//   onOver(problem)      the end, once; `problem` is null after a proper goodbye, else a sentence for the user

const GATHER_WITHIN_MS = 2000;
const CHANNEL_WITHIN_MS = 4000;
const SHAKY_FOR_MS = 8000;
const GOODBYE_WITHIN_MS = 1500;

/** An error whose message is meant for the user. */
export class Problem extends Error {}

export class BrowserCall {
  constructor(listener) {
    this.listener = listener;
    this.over = false;
    this.timers = [];
  }

  /**
   * Ask for the microphone and call `route`. Throws `Problem`; then the call is over.
   * The user may hang up at any `await`: what was opened by then is closed again.
   */
  async start(route, caller) {
    try {
      this.microphone = await openMicrophone();
      if (this.over) return this.close();
      const flowing = this.listener.onMicrophone(this.microphone);
      const connection = this.connect();
      await connection.setLocalDescription();
      await Promise.all([gathered(connection), flowing]);
      if (this.over) return;
      const answer = await this.offer(route, caller, connection.localDescription.sdp);
      if (this.over) return this.goodbye();
      await connection.setRemoteDescription({ type: "answer", sdp: answer });
    } catch (error) {
      if (this.over) return;
      this.goodbye();
      this.close();
      throw error instanceof Problem ? error : new Problem(`The call could not be set up: ${error.message}`);
    }
  }

  connect() {
    const connection = (this.connection = new RTCPeerConnection());
    for (const track of this.microphone.getTracks()) {
      connection.addTrack(track, this.microphone);
      track.onended = () => this.over || this.listener.onTrouble(UNHEARD);
    }
    this.channel = connection.createDataChannel("gateway");
    this.channel.onmessage = ({ data }) => this.onEvent(JSON.parse(data));
    this.channel.onclose = () => this.finish("The gateway ended the call.");
    connection.ontrack = ({ track, streams }) => this.listener.onRemote(streams[0] ?? new MediaStream([track]));
    connection.onconnectionstatechange = () => this.onConnectionState(connection.connectionState);
    return connection;
  }

  async offer(route, caller, sdp) {
    let response;
    try {
      response = await fetch(`/whip/${encodeURIComponent(route)}`, {
        method: "POST",
        headers: { "Content-Type": "application/sdp", "X-Caller": caller },
        body: sdp,
      });
    } catch {
      throw new Problem("The gateway cannot be reached. Is it running, and are you online?");
    }
    if (response.status !== 201) throw await refused(response);
    this.url = response.headers.get("Location");
    return response.text();
  }

  onConnectionState(state) {
    if (this.over) return;
    clearTimeout(this.giveUp);
    this.listener.onShaky(state === "disconnected");
    if (state === "connected" && !this.connected) {
      this.connected = true;
      this.listener.onConnected();
      this.after(CHANNEL_WITHIN_MS, () => this.channel.readyState !== "open" && this.listenByHttp());
    } else if (state === "disconnected") {
      this.giveUp = this.after(SHAKY_FOR_MS, () => this.lost());
    } else if (state === "failed") {
      this.lost();
    }
  }

  lost() {
    this.finish(
      this.connected
        ? "The connection was lost. Call again: the conversation goes on where it stopped."
        : unreached(this.connection.remoteDescription.sdp),
    );
  }

  /** Some networks let audio through but not the data channel. */
  listenByHttp() {
    this.channel.onmessage = null;
    this.events = new EventSource(this.url.replace("/whip/sessions/", "/calls/") + "/events");
    this.events.onmessage = ({ data }) => this.onEvent(JSON.parse(data));
    this.events.addEventListener("end", () => this.events.close());
  }

  onEvent(event) {
    this.listener.onEvent(event);
    if (event.type === "CallEnded") this.finish(null);
  }

  press(digit) {
    if (this.channel?.readyState === "open") this.channel.send(JSON.stringify({ type: "digit", digit }));
  }

  mute(muted) {
    for (const track of this.microphone?.getTracks() ?? []) track.enabled = !muted;
  }

  /** The user's goodbye. The gateway's last events are still shown. */
  hangUp() {
    if (!this.url || !this.connected) return this.finish(null);
    this.goodbye();
    this.after(GOODBYE_WITHIN_MS, () => this.finish(null));
  }

  /** Sent even while the page is being closed. */
  goodbye() {
    if (this.url) fetch(this.url, { method: "DELETE", keepalive: true }).catch(() => {});
    this.url = null;
  }

  finish(problem) {
    if (this.over) return;
    this.goodbye();
    this.close();
    this.listener.onOver(problem);
  }

  close() {
    this.over = true;
    this.timers.forEach(clearTimeout);
    this.events?.close();
    this.connection?.close();
    for (const track of this.microphone?.getTracks() ?? []) track.stop();
  }

  after(ms, work) {
    const timer = setTimeout(work, ms);
    this.timers.push(timer);
    return timer;
  }
}

const MICROPHONE_PROBLEMS = {
  NotAllowedError: "This page may not use the microphone. Allow it beside the address bar, then call again.",
  NotFoundError: "No microphone was found. Plug one in, then call again.",
  NotReadableError: "The microphone is busy: another program may be using it.",
};

const UNHEARD =
  "The microphone is gone: you are not heard any more. Hang up, and call again: the conversation goes on where it stopped.";

async function openMicrophone() {
  if (!navigator.mediaDevices) {
    throw new Problem("Browsers give the microphone only to pages on https or on localhost. Open this page that way.");
  }
  try {
    return await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
    });
  } catch (error) {
    throw new Problem(MICROPHONE_PROBLEMS[error.name] ?? `The microphone cannot be opened: ${error.message}`);
  }
}

/** All candidates, or those that came in time: the offer is sent once, whole. */
function gathered(connection) {
  return new Promise((resolve) => {
    if (connection.iceGatheringState === "complete") return resolve();
    connection.addEventListener("icegatheringstatechange", () => {
      if (connection.iceGatheringState === "complete") resolve();
    });
    setTimeout(resolve, GATHER_WITHIN_MS);
  });
}

/** Why no audio came through to the gateway that gave this answer. */
function unreached(answer) {
  const addresses = Array.from(answer.matchAll(/^a=candidate:(?:\S+ ){4}(\S+)/gm), ([, address]) => address);
  if (addresses.length && addresses.every((address) => address.startsWith("127.") || address === "::1")) {
    return (
      "The gateway listens on 127.0.0.1 only, and this browser sends no audio there. Start the gateway with another " +
      "--bind, or call with another browser. (Firefox: set media.peerconnection.ice.loopback in about:config.)"
    );
  }
  return "The gateway answered, but no audio gets through. A firewall may block UDP between you and it.";
}

async function refused(response) {
  const why = await response.json().then((body) => body.error, () => "");
  const again = response.headers.get("Retry-After");
  switch (response.status) {
    case 404:
      return new Problem("Nobody answers there any more. Reload the page for the current list.");
    case 406:
      return new Problem(`Your browser and the gateway have no common way to talk: ${why}.`);
    case 503:
      return new Problem(`The gateway is busy${why && ` (${why})`}. Try again${again ? ` in ${again} seconds` : " later"}.`);
    default:
      return new Problem(`The gateway refused the call: ${why || `status ${response.status}`}.`);
  }
}
