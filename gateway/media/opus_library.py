"""libopus, called directly: at 16 kHz and without FFmpeg's frames, packets and resamplers around it.

It is the one that PyAV brings along, or the system's. States lie in memory of ours, and go with it.
"""

from __future__ import annotations

import ctypes
from ctypes import PyDLL, c_char_p, c_int, c_void_p
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.core.errors import ConfigError, PeerError

Int16s: TypeAlias = npt.NDArray[np.int16]

RATE = 16000
_LONGEST = RATE * 120 // 1000
"""Samples of the longest packet there is, RFC 6716 3.1."""

_MOST_OCTETS = 1276
_VOIP = 2048
_SET_BITRATE, _SET_COMPLEXITY, _SET_COPIES, _SET_LOSS = 4002, 4010, 4012, 4014

BITS_PER_S = 28_000
EFFORT = 0
"""Of 10. By wideband PESQ this effort and rate are worth what effort 2 is at 24 kbit/s, at half the processor time
(`python -m benchmarks.media_wideband`)."""

COPIES_BITS_PER_S = 16_000
"""What copies are given beside that, or they would cost the sound as much as they save."""

LOST_AT_LEAST = 10
"""Per cent of loss that is reckoned with when there is any: copies made for less are too coarse to be of use."""


def _places() -> list[str]:
    spec = find_spec("av")
    beside = Path(spec.origin).parents[1] / "av.libs" if spec is not None and spec.origin else None
    return [*(map(str, sorted(beside.glob("libopus*.so*"))) if beside else ()), "libopus.so.0"]


@cache
def _library() -> PyDLL | None:
    for place in _places():
        try:
            library = PyDLL(place)  # not CDLL: letting other threads run for so short a call would make the tick wait
        except OSError:
            continue
        library.opus_encode.argtypes = (c_void_p, c_char_p, c_int, c_void_p, c_int)
        library.opus_decode.argtypes = (c_void_p, c_char_p, c_int, c_void_p, c_int, c_int)
        return library
    return None


def is_there() -> bool:
    return _library() is not None


def _loaded() -> PyDLL:
    library = _library()
    if library is None:
        raise ConfigError("libopus is not there; remedy: pip install av, or apt-get install libopus0")
    return library


class OpusDecoder:
    def __init__(self) -> None:
        library = _loaded()
        self._state = ctypes.create_string_buffer(library.opus_decoder_get_size(1))
        library.opus_decoder_init(self._state, RATE, 1)
        self._decode, self._pcm = library.opus_decode, np.zeros(_LONGEST, np.int16)
        self._place = self._pcm.ctypes.data

    def decode(self, payload: bytes) -> Int16s:
        """All of a packet. Raises `PeerError`."""
        return self._made(payload, _LONGEST, lost_before=False)

    def recover(self, payload: bytes, samples: int) -> Int16s:
        """What was lost before the packet, which is still to be decoded: `samples` in multiples of 2.5 ms, 120 ms at
        the most. The last of them come of the copy that this packet may hold (RFC 6716 2.1.7); the others, or all,
        go on as it sounded before. Raises `PeerError` as `decode` does."""
        return self._made(payload, samples, lost_before=True)

    @property
    def state(self) -> bytes:
        """All that it remembers; may be set, so that what was decoded since has not been."""
        return self._state.raw

    @state.setter
    def state(self, state: bytes) -> None:
        self._state.raw = state

    def _made(self, payload: bytes, most: int, *, lost_before: bool) -> Int16s:
        count = self._decode(self._state, payload, len(payload), self._place, most, lost_before)
        if count < 0:
            raise PeerError("an Opus packet that cannot be decoded")
        return self._pcm[:count].copy()


class OpusEncoder:
    def __init__(self, bits_per_s: int = BITS_PER_S, effort: int = EFFORT, *, loss_percent: int = 0) -> None:
        library = _loaded()
        self._state = ctypes.create_string_buffer(library.opus_encoder_get_size(1))
        library.opus_encoder_init(self._state, RATE, 1, _VOIP)
        self._control, self._bits_per_s, self._loss_percent = library.opus_encoder_ctl, bits_per_s, 0
        self._control(self._state, _SET_COMPLEXITY, c_int(effort))
        self.expect_loss(loss_percent)
        self._encode, self._packet = library.opus_encode, ctypes.create_string_buffer(_MOST_OCTETS)

    def expect_loss(self, percent: int) -> None:
        """Where packets get lost, each holds from now on the one before a second time, in fewer bits, for who can make
        use of it (RFC 6716 2.1.7)."""
        copies = percent > 0
        bits_per_s = self._bits_per_s + copies * COPIES_BITS_PER_S
        loss = max(percent, LOST_AT_LEAST) if copies else 0
        for setting, value in ((_SET_BITRATE, bits_per_s), (_SET_COPIES, copies), (_SET_LOSS, loss)):
            self._control(self._state, setting, c_int(value))

    def note_loss(self, percent: int) -> None:
        """What the peer's latest report says. Losses come in spells: one that is over is remembered for a while, by a
        per cent less each time."""
        expected = max(percent, self._loss_percent - 1, 0)
        if expected != self._loss_percent:
            self.expect_loss(expected)
        self._loss_percent = expected

    def encode(self, pcm: Int16s) -> bytes:
        """One packet of 10, 20, 40 or 60 ms."""
        count = self._encode(self._state, pcm.tobytes(), len(pcm), self._packet, _MOST_OCTETS)
        if count <= 0:  # its arguments are ours
            raise AssertionError(f"libopus gave {count}")
        return ctypes.string_at(self._packet, count)
