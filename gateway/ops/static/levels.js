// How loud a stream is, as 0..1 on a scale of decibels.

const FLOOR_DB = -60;
const CEILING_DB = -8;
const FLOWING_S = 0.1;
const FLOWS_WITHIN_MS = 4000;

/**
 * Resolves when the sound devices run, or will not in time. A browser may take seconds to start them (Firefox, when the
 * microphone joins the loudspeaker), and then plays all that came meanwhile, late by as much.
 */
export async function flowing(context) {
  const [began, until] = [context.currentTime, performance.now() + FLOWS_WITHIN_MS];
  while (context.currentTime < began + FLOWING_S && performance.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export class LevelMeter {
  /** @param {AudioContext} context @param {MediaStream} stream */
  constructor(context, stream) {
    this.analyser = context.createAnalyser();
    this.analyser.fftSize = 1024;
    this.samples = new Float32Array(this.analyser.fftSize);
    this.source = context.createMediaStreamSource(stream);
    this.source.connect(this.analyser);
    this.shown = 0;
  }

  /** Rises at once and falls slowly, as a needle does. */
  level() {
    this.analyser.getFloatTimeDomainData(this.samples);
    let power = 0;
    for (const sample of this.samples) power += sample * sample;
    const db = 10 * Math.log10(power / this.samples.length + 1e-12);
    const now = Math.min(1, Math.max(0, (db - FLOOR_DB) / (CEILING_DB - FLOOR_DB)));
    this.shown = Math.max(now, this.shown * 0.9);
    return this.shown;
  }

  close() {
    this.source.disconnect();
  }
}

const ROWS = [697, 770, 852, 941];
const COLUMNS = [1209, 1336, 1477];
export const KEYS = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "*", "0", "#"];

/** The key's two tones, softly, for the finger's sake: the gateway is told by message. */
export function beep(context, key) {
  const place = KEYS.indexOf(key);
  const volume = context.createGain();
  volume.gain.setValueAtTime(0.04, context.currentTime);
  volume.gain.setTargetAtTime(0, context.currentTime + 0.09, 0.015);
  volume.connect(context.destination);
  for (const hz of [ROWS[Math.floor(place / 3)], COLUMNS[place % 3]]) {
    const tone = context.createOscillator();
    tone.frequency.value = hz;
    tone.connect(volume);
    tone.start();
    tone.stop(context.currentTime + 0.18);
  }
}
