"""Telephone lines that return what they are sent, many at once: what the echo guard is measured and tested on.

Each line delays the bot's voice, sends it through a hybrid (a short random impulse response), attenuates it, adds a
caller and noise, codes the sum and puts it on a network that may jitter. The plane is the real one, under a clock
moved by hand; nothing here is random but by its seed.
"""

from __future__ import annotations

import wave
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.core.events import SpeechBegan
from gateway.core.ids import SeededIds
from gateway.media import g711, rtp
from gateway.media.commands import ConnectLeg, OpenLeg, QueueAudio
from gateway.media.datagrams import Received, ToSend
from gateway.media.history import FRAME
from gateway.media.options import PlaneOptions
from gateway.media.plane import TICK_S, MediaPlane
from gateway.media.ports import NoiseSuppressor, Said
from gateway.media.vad import SileroVad
from gateway.providers.tts.flite_library import VOICES, Voice
from gateway.session.resample import to_8k

Floats: TypeAlias = npt.NDArray[np.float64]
Int16s: TypeAlias = npt.NDArray[np.int16]

_PEER = ("198.51.100.7", 4000)
_FULL = 32768.0
_EARLY = 0.05
"""Speech may be a little audible before it counts as such."""


@dataclass(frozen=True)
class Line:
    """How one line behaves. Levels in dBFS of active speech (of all samples for noise), `erl_db` below the bot's."""

    bot: Int16s
    delay_ms: float = 60.0
    erl_db: float | None = 12.0
    """Echo return loss; None: the line returns nothing."""

    noise_dbfs: float = -60.0
    law: int = 0
    disperses: bool = True
    """A hybrid of 3 to 8 ms; else one sharp reflection."""

    drift_ppm: float = 0.0
    """By how much the far clock is faster than ours."""

    jitter_ms: float = 0.0
    lost: float = 0.0
    """Share of the line's packets that never come."""

    caller: Int16s = field(default_factory=lambda: np.zeros(0, np.int16))
    """At its level already, from the beginning of the call on."""


class Lines:
    """A plane with one leg for each line. `run` plays them all; `began` holds when speech began on each, in s."""

    def __init__(
        self,
        lines: Sequence[Line],
        options: PlaneOptions,
        *,
        seed: int = 1,
        suppressor: NoiseSuppressor | None = None,
    ) -> None:
        self.lines, self._rng = lines, np.random.default_rng(seed)
        self.plane = MediaPlane(options, SeededIds(seed), SileroVad(options.slots), suppressor=suppressor)
        self.names = [f"line-{k}" for k in range(len(lines))]
        self._index = {name: k for k, name in enumerate(self.names)}
        self._hybrids = [self._hybrid(line) for line in lines]
        self._returned = np.zeros((len(lines), 0))  # what the far end got to hear, half a second of silence before it
        self._arriving: dict[int, list[Received]] = {}
        self.said: list[Said] = []
        self.tick = 0
        for line, name in zip(lines, self.names, strict=True):
            kind = 8 * line.law
            codec = g711.LAWS[line.law]
            self.plane.command(OpenLeg(name), 0.0, port=20000)
            self.plane.command(ConnectLeg(name, *_PEER, codec=codec, payload_type=kind), 0.0)
            self.plane.command(QueueAudio(name, 1, line.bot.tobytes(), last=True), 0.0)

    @property
    def began(self) -> list[list[float]]:
        found: list[list[float]] = [[] for _ in self.lines]
        for one in self.said:
            if isinstance(one, SpeechBegan):
                found[self._index[one.call]].append(one.at)
        return found

    def delays(self, onsets: Sequence[float]) -> Floats:
        """Seconds from each caller's first sound to `SpeechBegan`; infinite where it never came."""
        firsts = [
            min((at for at in began if at > onset - _EARLY), default=np.inf)
            for began, onset in zip(self.began, onsets, strict=True)
        ]
        late: Floats = np.array(firsts) - np.array(onsets)
        return late

    def run(self, seconds: float) -> Lines:
        missing = int(8000 * (seconds + 1)) - self._returned.shape[1]
        self._returned = np.pad(self._returned, ((0, 0), (0, max(0, missing))))
        while self.tick * TICK_S < seconds:
            self.step()
        return self

    def step(self) -> None:
        now = self.tick * TICK_S
        done = self.plane.tick(now, self._arriving.pop(self.tick, []))
        self.said += done.said
        self._hear(done.to_send)
        self._answer()
        self.tick += 1

    def _hybrid(self, line: Line) -> Floats:
        if line.erl_db is None:
            return np.zeros(1)
        length = int(self._rng.integers(24, 64)) if line.disperses else 1
        taps = self._rng.standard_normal(length) * np.exp(-4 * np.arange(length) / length)
        scaled: Floats = taps * 10 ** (-line.erl_db / 20) / np.sqrt(np.square(taps).sum())
        return scaled

    def _hear(self, packets: Sequence[ToSend]) -> None:
        here = 4000 + self.tick * FRAME
        for packet in packets:
            k = self._index[packet.leg]
            if not rtp.is_rtcp(packet.data):
                codes = np.frombuffer(packet.data[rtp.HEADER :], np.uint8)
                self._returned[k, here : here + FRAME] = g711.decode(codes, self.lines[k].law)

    def _answer(self) -> None:
        at = self.tick * FRAME
        noise = self._rng.standard_normal((len(self.lines), FRAME))
        for k, line in enumerate(self.lines):
            sound = self._echo(k, at) + noise[k] * _FULL * 10 ** (line.noise_dbfs / 20)
            said = line.caller[at : at + FRAME]
            sound[: len(said)] += said
            pcm = np.clip(np.rint(sound), -_FULL, _FULL - 1).astype(np.int16)
            header = rtp.RtpPacket(
                8 * line.law, self.tick & 0xFFFF, at, 77, g711.encode(pcm, line.law).tobytes(), self.tick == 0
            )
            later = 1 + int(self._rng.uniform(0, line.jitter_ms) / 20 + 0.5)
            if self._rng.random() >= line.lost:
                arrived = (self.tick + later) * TICK_S - 0.005
                received = Received(self.names[k], rtp.build(header), _PEER, arrived)
                self._arriving.setdefault(self.tick + later, []).append(received)

    def _echo(self, k: int, at: int) -> Floats:
        line, taps = self.lines[k], self._hybrids[k]
        begin = 4000 + at * (1 + line.drift_ppm * 1e-6) - line.delay_ms * 8
        whole, part = divmod(begin, 1)
        needed = self._returned[k, int(whole) - len(taps) + 1 : int(whole) + FRAME + 1]
        between = needed[:-1] * (1 - part) + needed[1:] * part
        echoed: Floats = np.convolve(between, taps, mode="valid")
        return echoed


SENTENCES = (
    "Which service would you like, a haircut, a beard trim, or hair color?",
    "I would like to move my appointment from Tuesday morning to Friday afternoon.",
    "Please hold the line while I look for the next opening in our calendar.",
    "No, wait a moment, that is not what I wanted to say.",
    "You can also press one for Monday, two for Tuesday, and so on.",
    "Could you tell me how much it costs, and whether I have to pay in advance?",
)


def flite(voice: str) -> list[Int16s]:
    """The sentences by one of flite's voices. Raises `ProviderError` where it is not installed."""
    speaker, rate = Voice(voice), VOICES[voice]
    spoken = [speaker.synthesise(text)[0] for text in SENTENCES]
    return [np.frombuffer(to_8k(pcm, rate), "<i2") for pcm in spoken]


def recorded(folder: Path) -> list[Int16s]:
    """Human prompts of one to five seconds, 16-bit mono at 8 kHz."""
    found = []
    for path in sorted(folder.rglob("*.wav")):
        if 16_000 < path.stat().st_size < 80_000:
            with wave.open(str(path)) as file:
                found.append(np.frombuffer(file.readframes(file.getnframes()), "<i2"))
    return found


def at_level(pcm: Int16s, dbfs: float) -> Int16s:
    """Scaled so that its active frames (all within 30 dB of the loudest) have this mean power."""
    frames = pcm[: len(pcm) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float64)
    power = np.square(frames).mean(axis=1)
    active = power[power >= np.max(power) * 1e-3].mean()
    scaled = pcm * (_FULL * 10 ** (dbfs / 20) / np.sqrt(active))
    clipped: Int16s = np.clip(np.rint(scaled), -_FULL, _FULL - 1).astype(np.int16)
    return clipped


def onset(pcm: Int16s) -> float:
    """Seconds until it is really audible: the first 10 ms within 20 dB of its loudest."""
    cells = pcm[: len(pcm) // 80 * 80].reshape(-1, 80).astype(np.float64)
    power = np.square(cells).mean(axis=1)
    return float(np.argmax(power >= np.max(power) * 1e-2)) / 100


def echoes(bots: Sequence[Sequence[Int16s]], seconds: float, *, seed: int = 5, every: int = 1) -> list[Line]:
    """Echo and nobody else: all delays, losses, noises and laws crossed (each `every`-th of them), with hybrids, clock
    drift, jitter and lost packets strewn in."""
    rng = np.random.default_rng(seed)
    grid = list(product((0, 20, 60, 120, 180, 250), (6, 12, 20, 30), (-50, -40), (0, 1), bots))
    return [
        Line(
            monologue(rng, bot, seconds, -20),
            delay_ms=delay + rng.uniform(0, 3),
            erl_db=erl,
            noise_dbfs=noise,
            law=law,
            disperses=bool(rng.random() < 0.7),
            drift_ppm=float(rng.choice([0, -80, 100, 200])),
            jitter_ms=float(rng.choice([0, 0, 30, 60])),
            lost=float(rng.choice([0, 0, 0.01])),
        )
        for delay, erl, noise, law, bot in grid[seed % every :: every]
    ]


def interruptions(
    pairs: Sequence[tuple[Sequence[Int16s], Sequence[Int16s]]],
    relative_db: float,
    *,
    seconds: float = 7,
    each: int = 1,
    seed: int = 6,
    echo: bool = True,
) -> tuple[list[Line], list[float]]:
    """Callers (second of each pair) who speak over the bot (first) and its echo, so much louder than that. The lines,
    and when each caller is first heard, in s. Noise is 30 dB below the weaker of the two."""
    rng = np.random.default_rng(seed)
    lines, onsets = [], []
    for erl, delay, (bot, caller), _ in product((6, 12, 18), (20, 150, 250), pairs, range(each)):
        start, level = rng.uniform(1.5, 3), -20 - erl + relative_db
        said = at_level(caller[int(rng.integers(len(caller)))], level)
        onsets.append(start + onset(said))
        line = Line(
            monologue(rng, bot, seconds, -20),
            delay_ms=delay,
            erl_db=erl if echo else None,
            noise_dbfs=min(level, -20 - erl) - 30,
            law=int(rng.integers(2)),
            drift_ppm=float(rng.choice([0, 100])),
            jitter_ms=float(rng.choice([0, 30])),
            caller=np.concatenate([np.zeros(int(8000 * start), np.int16), said]),
        )
        lines.append(line)
    return lines, onsets


def monologue(rng: np.random.Generator, voices: Sequence[Int16s], seconds: float, dbfs: float) -> Int16s:
    """Sentences with pauses of 0.2 to 0.6 s."""
    parts: list[Int16s] = []
    while sum(map(len, parts)) < 8000 * seconds:
        parts += [
            at_level(voices[int(rng.integers(len(voices)))], dbfs),
            np.zeros(int(8000 * rng.uniform(0.2, 0.6)), np.int16),
        ]
    return np.concatenate(parts)[: int(8000 * seconds)]
