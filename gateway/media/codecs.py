"""Codecs with a memory: G.722 (64 kbit/s) and Opus. One coder or decoder serves one stream, and in its order.

Here all of them speak 16 kHz. G.711, which needs no memory, is `g711`'s, for all legs at once.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.core.errors import PeerError
from gateway.media import opus_library
from gateway.media.opus_library import OpusDecoder, OpusEncoder

Int16s: TypeAlias = npt.NDArray[np.int16]
Wide = Literal["G722", "opus"]

Heard: TypeAlias = Wide | Literal["L16"]
"""What may come. L16 is no codec: samples of 16 kHz as they are, little-endian, of legs without packets."""

WIDE: tuple[Wide, ...] = ("G722", "opus")
RATE = 16000
CLOCK_RATIO: dict[str, int] = {"opus": 6}
"""RTP clock over 8000 Hz; RFC 7587 4.1 and RFC 3551 4.5.2 (G.722 counts 8000 a second though it samples 16000)."""

_OCTETS_A_MS: dict[str, int] = {"G722": 8, "L16": 32}
_OPUS_FRAME_MS = (10, 20, 40, 60)
_OPUS_LONGEST_MS = 120
_MISFIT = "an Opus packet of another length than it says"


def available(codec: str) -> bool:
    """Whether what is behind it is installed."""
    if codec == "opus":
        return opus_library.is_there()
    return codec != "G722" or find_spec("G722") is not None


class Decoder(Protocol):
    def decode(self, payload: bytes) -> Int16s:
        """16 kHz, as long as `duration_ms` said. Raises `PeerError` for what cannot be decoded."""
        ...


class Encoder(Protocol):
    def encode(self, pcm: Int16s) -> bytes:
        """One packet of 16 kHz audio, as long as `packet_ms` said."""
        ...


def duration_ms(codec: Heard, payload: bytes) -> int:
    """How much audio a packet holds; whole 10 ms from 10 to 60, of Opus to 120, else `PeerError`."""
    octets = _OCTETS_A_MS.get(codec)
    length = len(payload) / octets if octets is not None else _opus_duration_ms(payload)
    if length % 10 or not 10 <= length <= (60 if octets is not None else _OPUS_LONGEST_MS):
        raise PeerError("audio is not 10 to 60 ms, or 120")
    return int(length)


def _opus_duration_ms(payload: bytes) -> float:
    """By the table of contents of the packet's first octet, RFC 6716 3.1."""
    frame_ms, code = opus_frame_ms(payload), payload[0] & 3
    if code == 3:
        if len(payload) < 2:
            raise PeerError("an Opus packet is cut off")
        return frame_ms * (payload[1] & 0x3F)
    return frame_ms * (1 if code == 0 else 2)


def opus_frame_ms(payload: bytes) -> float:
    """Of each of the frames in a packet: what a copy in it is of (RFC 6716 2.1.7)."""
    if not payload:
        raise PeerError("an empty Opus packet")
    configuration = payload[0] >> 3
    if configuration < 12:
        return (10, 20, 40, 60)[configuration % 4]
    if configuration < 16:
        return (10, 20)[configuration % 2]
    return (2.5, 5, 10, 20)[configuration % 4]


def holds_copy(payload: bytes) -> bool:
    """Whether an Opus packet has the one before it a second time (RFC 6716 4.2.4): said of the first of its frames."""
    if len(payload) < 2 or payload[0] >> 3 >= 16:  # of CELT alone, which has no copies
        return False
    stereo = payload[0] >> 2 & 1
    try:
        first = opus_frames(payload)[0]
    except PeerError:
        return False
    if len(first) < 2:
        return False
    # The frame begins with a bit for each 20 ms of it, whether there is a voice, then the one for a copy; of a second
    # channel the same behind that.
    parts = max(1, int(opus_frame_ms(payload)) // 20)
    bits = first[1]
    return bool(bits >> 7 - parts & 1 or (stereo and bits >> 6 - 2 * parts & 1))


def opus_frames(payload: bytes) -> list[bytes]:
    """The frames of an Opus packet, each as a packet of its own (RFC 6716 3.2). Raises `PeerError` where their lengths
    do not add up."""
    code = payload[0] & 3
    if code < 2:
        frames = _of_one_size(payload[1:], 1 + code)
    elif code == 2:
        frames = _after_sizes(payload[1:], 2)
    else:
        frames = _of_any_number(payload)
    kind = bytes([payload[0] & 0xFC])
    return [kind + frame for frame in frames]


def _of_any_number(payload: bytes) -> list[bytes]:
    duration_ms, count = _opus_duration_ms(payload), payload[1] & 0x3F
    at, end = _after_padding_size(payload) if payload[1] & 0x40 else 2, len(payload)
    end -= sum(min(octet, 254) for octet in payload[2:at])
    if at > end or not 0 < duration_ms <= _OPUS_LONGEST_MS:
        raise PeerError(_MISFIT)
    return (_after_sizes if payload[1] & 0x80 else _of_one_size)(payload[at:end], count)


def _after_padding_size(payload: bytes) -> int:
    """Octets of 255 and one that is not; behind the end where that is lacking."""
    return next((at + 1 for at in range(2, len(payload)) if payload[at] < 255), len(payload) + 1)


def _of_one_size(octets: bytes, count: int) -> list[bytes]:
    size, over = divmod(len(octets), count)
    if over:
        raise PeerError(_MISFIT)
    return [octets[k * size : k * size + size] for k in range(count)]


def _after_sizes(octets: bytes, count: int) -> list[bytes]:
    """Of all frames but the last, which has the rest."""
    at, sizes = 0, list[int]()
    for _ in range(count - 1):
        long = octets[at : at + 1] >= b"\xfc"
        if at + 1 + long > len(octets):
            raise PeerError(_MISFIT)
        sizes.append(octets[at] + (4 * octets[at + 1] if long else 0))
        at += 1 + long
    if at + sum(sizes) > len(octets):
        raise PeerError(_MISFIT)
    frames = []
    for size in sizes:
        frames.append(octets[at : at + size])
        at += size
    return [*frames, octets[at:]]


def packet_ms(codec: Wide, ptime_ms: int) -> int:
    """The longest packet of a codec that is no longer than the peer wants."""
    return ptime_ms if codec == "G722" else max(length for length in _OPUS_FRAME_MS if length <= ptime_ms)


def decoder(codec: Heard) -> Decoder:
    if codec == "L16":
        return _L16Decoder()
    return _G722Decoder() if codec == "G722" else _OpusDecoder()


def encoder(codec: Wide, opus_bits_per_s: int | None = None) -> Encoder:
    return _G722Encoder() if codec == "G722" else OpusEncoder(opus_bits_per_s or opus_library.BITS_PER_S)


def _g722() -> Any:
    from G722 import G722

    return G722(RATE, 64000)


class _G722Decoder:
    def __init__(self) -> None:
        self._decode = _g722().decode

    def decode(self, payload: bytes) -> Int16s:
        return np.frombuffer(self._decode(payload), np.int16)


class _G722Encoder:
    def __init__(self) -> None:
        self._encode = _g722().encode

    def encode(self, pcm: Int16s) -> bytes:
        coded: bytes = self._encode(np.ascontiguousarray(pcm))
        return coded


class _L16Decoder:
    def decode(self, payload: bytes) -> Int16s:
        return np.frombuffer(payload, "<i2")


class _OpusDecoder(OpusDecoder):
    def decode(self, payload: bytes) -> Int16s:
        pcm = super().decode(payload)
        if len(pcm) != 16 * _opus_duration_ms(payload):
            raise PeerError("an Opus packet of another length than it says")
        return pcm
