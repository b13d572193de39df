"""Codecs with a memory: G.722 (64 kbit/s) and Opus. One coder or decoder serves one stream, and in its order.

Here all of them speak 16 kHz. G.711, which needs no memory, is `g711`'s, for all legs at once.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.core.errors import PeerError
from gateway.media.decimate import Decimator

Int16s: TypeAlias = npt.NDArray[np.int16]
Wide = Literal["G722", "opus"]

WIDE: tuple[Wide, ...] = ("G722", "opus")
RATE = 16000
CLOCK_RATIO: dict[str, int] = {"opus": 6}
"""RTP clock over 8000 Hz; RFC 7587 4.1 and RFC 3551 4.5.2 (G.722 counts 8000 a second though it samples 16000)."""

_MODULES = {"G722": "G722", "opus": "av"}
_OPUS_FRAME_MS = (10, 20, 40, 60)
_OPUS_BITS_PER_S = 24_000
"""RFC 7587 3.1.1: 16 to 20 kbit/s is the sweet spot for wideband speech; a little more costs nobody much."""

_OPUS_EFFORT = "2"
"""Of 10: half the processor time of the most, and 0.15 less by wideband PESQ."""


def available(codec: str) -> bool:
    """Whether the package behind it is installed."""
    module = _MODULES.get(codec)
    return module is None or find_spec(module) is not None


class Decoder(Protocol):
    def decode(self, payload: bytes) -> Int16s:
        """16 kHz, as long as `duration_ms` said. Raises `PeerError` for what cannot be decoded."""
        ...


class Encoder(Protocol):
    def encode(self, pcm: Int16s) -> bytes:
        """One packet of 16 kHz audio, as long as the coder was made for."""
        ...


def duration_ms(codec: Wide, payload: bytes) -> int:
    """How much audio a packet holds; whole 10 ms from 10 to 60, else `PeerError`."""
    length = len(payload) / 8 if codec == "G722" else _opus_duration_ms(payload)
    if length % 10 or not 10 <= length <= 60:
        raise PeerError("audio is not 10 to 60 ms")
    return int(length)


def _opus_duration_ms(payload: bytes) -> float:
    """By the table of contents of the packet's first octet, RFC 6716 3.1."""
    if not payload:
        raise PeerError("an empty Opus packet")
    configuration, code = payload[0] >> 3, payload[0] & 3
    frame_ms: float
    if configuration < 12:
        frame_ms = (10, 20, 40, 60)[configuration % 4]
    elif configuration < 16:
        frame_ms = (10, 20)[configuration % 2]
    else:
        frame_ms = (2.5, 5, 10, 20)[configuration % 4]
    if code == 3:
        if len(payload) < 2:
            raise PeerError("an Opus packet is cut off")
        return frame_ms * (payload[1] & 0x3F)
    return frame_ms * (1 if code == 0 else 2)


def packet_ms(codec: Wide, ptime_ms: int) -> int:
    """The longest packet of a codec that is no longer than the peer wants."""
    return ptime_ms if codec == "G722" else max(length for length in _OPUS_FRAME_MS if length <= ptime_ms)


def decoder(codec: Wide) -> Decoder:
    return _G722Decoder() if codec == "G722" else _OpusDecoder()


def encoder(codec: Wide, ptime_ms: int) -> Encoder:
    """For packets of `packet_ms`."""
    return _G722Encoder() if codec == "G722" else _OpusEncoder(ptime_ms)


def _g722() -> Any:
    from G722 import G722

    return G722(RATE, 64000)


class _G722Decoder:
    def __init__(self) -> None:
        self._state = _g722()

    def decode(self, payload: bytes) -> Int16s:
        return np.array(self._state.decode(payload), np.int16)


class _G722Encoder:
    def __init__(self) -> None:
        self._state = _g722()

    def encode(self, pcm: Int16s) -> bytes:
        coded: bytes = self._state.encode(np.ascontiguousarray(pcm))
        return coded


class _OpusDecoder:
    """Opus decodes at 48 kHz here, whatever the packets hold; what is above 8 kHz is taken off."""

    def __init__(self) -> None:
        import av

        self._av = av
        self._state = av.CodecContext.create("libopus", "r")
        self._state.format, self._state.layout, self._state.sample_rate = "s16", "mono", 48000
        self._decimator = Decimator(3, 48000)

    def decode(self, payload: bytes) -> Int16s:
        wanted = round(48 * _opus_duration_ms(payload))
        try:
            frames = self._state.decode(self._av.Packet(payload))
        except self._av.error.FFmpegError as error:
            raise PeerError("an Opus packet that cannot be decoded") from error
        pcm = np.concatenate([np.zeros(0, np.int16), *(_first_channel(frame) for frame in frames)])
        if len(pcm) != wanted:
            raise PeerError("an Opus packet of another length than it says")
        return self._decimator.feed(pcm)[0]


def _first_channel(frame: Any) -> Int16s:
    channel: Int16s = frame.to_ndarray().reshape(-1)[:: len(frame.layout.channels)].astype(np.int16)
    return channel


class _OpusEncoder:
    def __init__(self, ptime_ms: int) -> None:
        import av

        self._av = av
        self._samples = 16 * packet_ms("opus", ptime_ms)
        self._state = av.CodecContext.create("libopus", "w")
        self._state.format, self._state.layout, self._state.sample_rate = "s16", "mono", RATE
        self._state.bit_rate = _OPUS_BITS_PER_S
        self._state.options = {"application": "voip", "frame_duration": str(self._samples // 16)}
        self._state.options |= {"compression_level": _OPUS_EFFORT}

    def encode(self, pcm: Int16s) -> bytes:
        frame = self._av.AudioFrame(format="s16", layout="mono", samples=self._samples)
        frame.planes[0].update(pcm.astype("<i2").tobytes())
        frame.sample_rate = RATE
        return b"".join(bytes(packet) for packet in self._state.encode(frame))
