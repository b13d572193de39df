"""Sound for callers, and the ears to judge what came of it: levels, pitch, and likeness. Mono, 16 bit, one rate."""

from __future__ import annotations

import wave
from functools import cache
from math import gcd
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter1d
from scipy.signal import resample_poly

from gateway.providers.tts.flite_library import VOICES, Voice

RATE = 8000
GREETING = Path(__file__).parents[2] / "dialplans" / "prompts" / "hello-this-is-the-appointment-desk-d60eb5.wav"
"""What the appointment desk says first, at 16 kHz."""
MILLIWATT_RMS = {"ulaw": 16017.0, "alaw": 16140.0}
"""0 dBm0 in 16-bit units: what G.711's own sequences for it (tables 5 and 6) decode to."""

Samples = npt.NDArray[np.float64]


class Sound(NamedTuple):
    """`samples` in 16-bit units; two-dimensional when there are several channels."""

    samples: Samples
    rate: int = RATE

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    def cut(self, start_s: float, end_s: float) -> Sound:
        return Sound(self.samples[max(0, round(start_s * self.rate)) : max(0, round(end_s * self.rate))], self.rate)

    def channels(self) -> tuple[Sound, ...]:
        return tuple(Sound(channel, self.rate) for channel in self.samples.T)

    def then(self, *others: Sound) -> Sound:
        return Sound(np.concatenate([self.samples, *(other.samples for other in others)]), self.rate)

    def at(self, rate: int) -> Sound:
        """The same at another rate."""
        if rate == self.rate:
            return self
        samples = np.mean(self.samples, axis=1) if self.samples.ndim > 1 else self.samples
        common = gcd(rate, self.rate)
        return Sound(resample_poly(samples, rate // common, self.rate // common), rate)

    def rms(self) -> float:
        return float(np.sqrt(np.mean(self.samples**2))) if len(self.samples) else 0.0

    def dbm0(self, law: str = "ulaw") -> float:
        """By the power of the whole, on a line with this coding."""
        return 20 * float(np.log10(max(self.rms(), 1e-9) / MILLIWATT_RMS[law]))

    def loud(self, *, over: float = 300.0, window_s: float = 0.02) -> npt.NDArray[np.bool_]:
        """Window by window: does it sound?"""
        size = round(window_s * self.rate)
        whole = self.samples[: len(self.samples) // size * size].reshape(-1, size)
        return np.sqrt(np.mean(whole**2, axis=1)) > over

    def hz(self) -> float:
        """The frequency of its one sine, by the peak of its spectrum, interpolated: within 0.01 Hz over a second."""
        spectrum = np.abs(np.fft.rfft(self.samples * np.blackman(len(self.samples)), 8 * len(self.samples)))
        peak = int(np.argmax(spectrum))
        before, at, after = np.log(spectrum[peak - 1 : peak + 2])
        offset = 0.5 * (before - after) / (before - 2 * at + after)
        return float((peak + offset) * self.rate / (8 * len(self.samples)))

    def above_4_khz_db(self) -> float:
        """Power from 4.3 to 7 kHz, in dB of the power below 3.7."""
        power = np.abs(np.fft.rfft(self.samples)) ** 2
        hz = np.fft.rfftfreq(len(self.samples), 1 / self.rate)
        return 10 * float(np.log10(power[(hz > 4300) & (hz < 7000)].sum() / power[hz < 3700].sum()))

    def write(self, path: Path) -> Path:
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, self.rate, 0, "NONE", ""))
            file.writeframes(np.clip(np.rint(self.samples), -32768, 32767).astype("<i2").tobytes())
        return path

    def pcm(self) -> bytes:
        return np.clip(np.rint(self.samples), -32768, 32767).astype("<i2").tobytes()


def read_wav(path: Path) -> Sound:
    """16-bit PCM. Also a file whose writer was killed before it knew the length."""
    with wave.open(str(path), "rb") as file:
        assert file.getsampwidth() == 2, f"{path} is not 16 bit"
        channels, rate = file.getnchannels(), file.getframerate()
        samples = np.frombuffer(file.readframes(1 << 28), "<i2").astype(np.float64)
    if channels > 1:
        samples = samples[: len(samples) // channels * channels].reshape(-1, channels)
    return Sound(samples, rate)


def silence(seconds: float, rate: int = RATE) -> Sound:
    return Sound(np.zeros(round(seconds * rate)), rate)


def tone(hz: float, seconds: float, dbm0: float = -10.0, rate: int = RATE) -> Sound:
    amplitude = np.sqrt(2) * MILLIWATT_RMS["ulaw"] * 10 ** (dbm0 / 20)
    return Sound(amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate), rate)


@cache
def speech(text: str, voice: str = "rms", rate: int = RATE) -> Sound:
    """A caller's voice, another than the bot's (`slt`). At 8000 Hz or a multiple of it."""

    pcm, _ = Voice(voice, 1.0).synthesise(text)
    samples = np.frombuffer(pcm, "<i2").astype(np.float64)
    return Sound(_resampled(samples, VOICES[voice], rate), rate)


def _resampled(samples: Samples, rate: int, to: int) -> Samples:
    """Through the spectrum, which is exact enough for a whole utterance."""
    if rate == to:
        return samples
    size = round(len(samples) * to / rate)
    spectrum = np.fft.rfft(samples)[: size // 2 + 1]
    return np.fft.irfft(spectrum, size) * (to / rate)


def at_rate(sound: Sound, rate: int) -> Sound:
    return Sound(_resampled(sound.samples, sound.rate, rate), rate)


class Match(NamedTuple):
    likeness: float
    """Normalised correlation at the best offset, 1 for the same sound at whatever level."""
    at_s: float
    """Where in the searched sound the wanted one begins."""


def find(wanted: Sound, within: Sound) -> Match:
    """Where `wanted` is best heard in `within`. Both at the same rate, `within` the longer one."""
    assert wanted.rate == within.rate
    a, b = wanted.samples, within.samples
    assert 0 < len(a) <= len(b), "nothing to search in"
    size = 1 << (len(a) + len(b) - 1).bit_length()
    product = np.fft.irfft(np.fft.rfft(b, size) * np.conj(np.fft.rfft(a, size)), size)[: len(b) - len(a) + 1]
    energy = np.concatenate([[0.0], np.cumsum(b**2)])
    power = np.sqrt((energy[len(a) :] - energy[: len(b) - len(a) + 1]) * np.sum(a**2))
    likeness = product / np.maximum(power, 1e3)
    best = int(np.argmax(likeness))
    return Match(float(likeness[best]), best / wanted.rate)


LONGEST_PIECE_S, SHORTEST_PIECE_S = 0.25, 0.06
SLIP_COSTS = 0.5
"""How much likeness a slip has to gain, counted in pieces: slips without end would make any words alike."""


def likeness_in_pieces(wanted: Sound, within: Sound, *, slip_s: float = 0.5) -> float:
    """How well `wanted` is heard in `within`: the median over its pieces that sound, an eighth of it or 0.25 s each.

    A phone whose sound clock runs in a thread of a busy machine drops or doubles a frame now and then. Such a slip
    spoils the likeness of the whole, however well everything else came; here it spoils the piece it falls into. From
    there on, pieces are looked for up to `slip_s` beside where they were before, if enough of them is alike there.
    Other words, or another order, stay unlike.
    """
    piece_s = min(max(wanted.seconds / 8, SHORTEST_PIECE_S), LONGEST_PIECE_S)
    size, slip = round(piece_s * wanted.rate), round(slip_s * wanted.rate)
    starts = [at for at in range(0, len(wanted.samples) - size + 1, size) if _part(wanted, at, size).rms() > 300]
    assert len(starts) > 2, f"{len(starts)} pieces sound, of which the median is as bad as the worst"
    tracks = _likeness_everywhere(wanted, starts, size, Sound(np.pad(within.samples, slip), within.rate))
    return float(np.median(_followed(tracks, slip)))


def _likeness_everywhere(wanted: Sound, starts: list[int], size: int, within: Sound) -> Samples:
    """Piece by piece, how well it is heard at its place, with `wanted` beginning at every sample in turn."""
    searched = within.samples
    length = 1 << (len(searched) + size - 1).bit_length()
    spectrum = np.fft.rfft(searched, length)
    energy = np.concatenate([[0.0], np.cumsum(searched**2)])
    power = np.sqrt(np.maximum(energy[size:] - energy[:-size], 0.0))
    places = len(searched) - len(wanted.samples) + 1
    assert places > 0, "nothing to search in"
    tracks = []
    for at in starts:
        piece = _part(wanted, at, size)
        product = np.fft.irfft(spectrum * np.conj(np.fft.rfft(piece.samples, length)), length)[: len(power)]
        track = product / np.maximum(power * piece.rms() * size**0.5, 1e3)
        tracks.append(track[at : at + places])
    return np.array(tracks)


def _followed(tracks: Samples, slip: int) -> list[float]:
    """The likeness of each piece along the best way through all, on which changing places costs."""
    sums = [tracks[0]]
    for track in tracks[1:]:
        slipped = maximum_filter1d(sums[-1], 2 * slip + 1, mode="constant", cval=-np.inf) - SLIP_COSTS
        sums.append(np.maximum(sums[-1], slipped) + track)
    place = int(np.argmax(sums[-1]))
    found = [tracks[-1][place]]
    for before, track in zip(sums[-2::-1], tracks[-2::-1], strict=True):
        first = max(0, place - slip)
        best = first + int(np.argmax(before[first : place + slip + 1]))
        place = best if before[best] - SLIP_COSTS > before[place] else place
        found.append(track[place])
    return found


def _part(sound: Sound, at: int, size: int) -> Sound:
    return Sound(sound.samples[at : at + size], sound.rate)
