"""Phones that speak G.722 and Opus, and a plane to call with them: what the scenarios of wideband share."""

from __future__ import annotations

import wave
from io import BytesIO
from typing import NamedTuple

import av
import numpy as np
import pytest
from media_world import FRAME, Phone, World, speech

from gateway.media import codecs
from gateway.media.commands import CloseLeg, QueueAudio
from gateway.media.files import NoFiles
from gateway.media.ports import BatchVad, Float32s, Int64s

CODECS = pytest.mark.parametrize("codec", ["G722", "opus"])
NUMBER = {"G722": 9, "opus": 107}
RATE = {"G722": 16000, "opus": 48000}
"""Of an independent decoder."""
CLOCK = {"G722": 1, "opus": 6}
WIDE_FRAME = 2 * FRAME
SUITE = "AES_CM_128_HMAC_SHA1_80"


class Ffmpeg:
    """An independent coder and decoder of the same codecs: FFmpeg's own G.722, and libopus."""

    def __init__(self, codec: str, ptime_ms: int = 20, *, copies: bool = False) -> None:
        """With `copies` an Opus packet holds its predecessor a second time, coarser (in-band FEC)."""
        name = "g722" if codec == "G722" else "libopus"
        self._coder, self._decoder = av.CodecContext.create(name, "w"), av.CodecContext.create(name, "r")
        for context in (self._coder, self._decoder):
            context.format, context.layout = "s16", "mono"
            context.sample_rate = codecs.RATE
        if codec == "opus":
            self._decoder.sample_rate = 48000
            self._coder.bit_rate = 32000
            self._coder.options = {"frame_duration": str(ptime_ms), "fec": str(int(copies)), "packet_loss": "20"}

    def code(self, pcm: np.ndarray) -> bytes:
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(pcm))
        frame.planes[0].update(pcm.astype("<i2").tobytes())
        frame.sample_rate = codecs.RATE
        return b"".join(bytes(packet) for packet in self._coder.encode(frame))

    def decode(self, payload: bytes) -> np.ndarray:
        return np.concatenate([f.to_ndarray().reshape(-1) for f in self._decoder.decode(av.Packet(payload))])


class WidePhone(Phone):
    """Codes 16 kHz audio; its packets are as long as the pieces it is given."""

    def __init__(self, codec: str, ptime_ms: int = 20, *, copies: bool = False, **options: int) -> None:
        super().__init__(**options)
        self.codec, self.coder = codec, Ffmpeg(codec, ptime_ms, copies=copies)

    def packet(self, pcm: np.ndarray, *, payload_type: int | None = None, marker: bool = False) -> bytes:
        made = self.build(NUMBER[self.codec] if payload_type is None else payload_type, self.coder.code(pcm), marker)
        self.timestamp += len(pcm) // 2 * CLOCK[self.codec]
        return made


def wide_speech() -> np.ndarray:
    """Speech with a tone at 5 kHz above it, which no narrowband path could carry; 16 kHz."""
    low = np.repeat(speech(), 2).astype(float)
    tone = 2000 * np.sin(2 * np.pi * 5000 * np.arange(len(low)) / 16000)
    smooth = np.convolve(low, np.hanning(5) / np.hanning(5).sum(), "same")
    return np.clip(np.rint(0.7 * smooth + tone), -32768, 32767).astype(np.int16)


class Talkative:
    """A detector that takes everything for speech, so that everything is sent to who listens."""

    window = 256

    def probabilities(self, rows: Int64s, audio: Float32s) -> Float32s:
        return np.ones(len(rows), np.float32)

    def reset(self, rows: Int64s) -> None:
        pass


class MemoryFiles(NoFiles):
    """Recordings as octets."""

    def __init__(self) -> None:
        super().__init__()
        self.written: dict[int, bytearray] = {}
        self.numbers: dict[str, int] = {}
        """Of the files, by path; where one was written again, of the latest."""

    def open(self, file: int, path: str, at: int = 0) -> None:
        self.numbers[path] = file

    def write(self, file: int, data: bytes, head: bytes = b"") -> None:
        self.written.setdefault(file, bytearray()).extend(data)
        self.written[file][: len(head)] = head

    def close(self, file: int, head: bytes = b"") -> None:
        self.written[file][: len(head)] = head
        super().close(file, head)


class Recorded(NamedTuple):
    rate: int
    pcm: np.ndarray


class WideWorld(World):
    def __init__(self, vad: BatchVad | None = None) -> None:
        self.files = MemoryFiles()
        super().__init__(vad=vad or Talkative(), files=self.files)

    def browser(self, leg: str = "call", *, wide: bool = True) -> WideWorld:
        """Open a leg without a socket, as a browser's call has that is played again, and record it."""
        self.open(leg, port=0, kind="pcm", wide=wide, record=f"{leg}.wav")
        return self

    def said_by(self, leg: str = "call") -> Recorded:
        """All that a leg said, from its recording (`<leg>.wav`), sample by sample; ends it."""
        self.do(CloseLeg(leg)).ticks(2)
        with wave.open(BytesIO(self.files.written[self.files.numbers[f"{leg}.wav"]])) as file:
            both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
            return Recorded(file.getframerate(), both[:, 1])

    def speaks_wide(self, leg: str = "call") -> bool:
        """Whether what it said last was at 16 kHz, which a recording would bring to its own rate."""
        row = self.plane.table.row_of[leg]
        return bool(self.plane._transmitter.said(np.array([row])).there.all())

    def heard(self, leg: str = "call") -> np.ndarray:
        """What the house heard of a leg, 8 kHz; ends it."""
        self.do(CloseLeg(leg)).ticks(2)
        return np.frombuffer(bytes(self.files.written[max(self.files.written)][44:]), "<i2")[::2]


def world(codec: str, *, clock_hz: int | None = None, **options: object) -> WideWorld:
    """With a leg of this codec that was one of G.711 for a moment: its recording is of 8 kHz, what the house hears."""
    made, clock = WideWorld(), clock_hz or 8000 * CLOCK[codec]
    made.open(record="call.wav").connect()
    made.connect(codec=codec, payload_type=NUMBER[codec], dtmf_clock_hz=clock, **options)
    return made


def level_at(pcm: np.ndarray, hz: float, rate: int) -> float:
    """Amplitude of one frequency."""
    turns = np.exp(-2j * np.pi * hz * np.arange(len(pcm)) / rate)
    return float(2 * abs(np.mean(pcm * turns)))


def tone_at_16_khz(hz: float, seconds: float, amplitude: float = 6000) -> np.ndarray:
    t = np.arange(int(16000 * seconds)) / 16000
    return np.rint(amplitude * np.sin(2 * np.pi * hz * t)).astype(np.int16)


def voice(seconds: float, low: float = 1000, high: float = 6000, *, last: bool = True) -> QueueAudio:
    """A tone at both rates, and one above it that only 16 kHz can hold."""
    narrow = tone_at_16_khz(low, seconds)[::2]
    wide = tone_at_16_khz(low, seconds) + tone_at_16_khz(high, seconds, 3000)
    return QueueAudio("call", 1, narrow.tobytes(), last, wide.tobytes())


def sounded(w: World, codec: str, leg: str = "call") -> np.ndarray:
    """All that was sent, as another implementation decodes it."""
    decoder = Ffmpeg(codec)
    return np.concatenate([decoder.decode(p.payload) for p in w.packets(leg) if p.payload_type == NUMBER[codec]])


def middle(pcm: np.ndarray, rate: int, second: float = 0.5) -> np.ndarray:
    return pcm[int(rate * second) : int(rate * second) + rate // 2]
