"""G.711, both laws, exactly as ITU-T G.191 defines them on 16-bit samples.

Everything is a table: 256 entries to decode, 65,536 to encode. A batch with mixed laws is one lookup, because the
tables of both laws stand behind each other and a row's law is an offset.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Law = Literal["PCMU", "PCMA"]
Int16s: TypeAlias = npt.NDArray[np.int16]
Bytes: TypeAlias = npt.NDArray[np.uint8]

LAWS: tuple[Law, ...] = ("PCMU", "PCMA")
"""The order of the laws in the joined tables; a law's number is its index here."""

LAW_OF_CODEC: dict[str, int] = {law: number for number, law in enumerate(LAWS)}


def _bit_length(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.frexp(values.astype(np.float64))[1].astype(np.int64)


def _encode_ulaw(samples: npt.NDArray[np.int64]) -> Bytes:
    # One's complement for negative samples: G.191 codes -1 like 0, which is where many tables differ from it.
    magnitude = np.minimum((np.where(samples < 0, ~samples, samples) >> 2) + 33, 0x1FFF)
    segment = _bit_length(magnitude) - 6
    code = (segment << 4) | ((magnitude >> (segment + 1)) & 0x0F)
    signed: Bytes = ((~code & 0x7F) | np.where(samples < 0, 0, 0x80)).astype(np.uint8)
    return signed


def _encode_alaw(samples: npt.NDArray[np.int64]) -> Bytes:
    magnitude = np.where(samples < 0, ~samples, samples) >> 4
    segment = np.maximum(_bit_length(magnitude) - 4, 0)
    code = np.where(segment > 0, (segment << 4) + (magnitude >> np.maximum(segment - 1, 0)) - 16, magnitude)
    return ((code | np.where(samples < 0, 0, 0x80)) ^ 0x55).astype(np.uint8)


def _decode_ulaw(codes: npt.NDArray[np.int64]) -> Int16s:
    segment, step = (~codes >> 4) & 7, ~codes & 0x0F
    magnitude = ((2 * step + 33) << (segment + 2)) - 132
    return np.where(codes < 0x80, -magnitude, magnitude).astype(np.int16)


def _decode_alaw(codes: npt.NDArray[np.int64]) -> Int16s:
    segment, step = ((codes ^ 0x55) >> 4) & 7, (codes ^ 0x55) & 0x0F
    magnitude = np.where(segment > 0, (2 * step + 33) << (np.maximum(segment, 1) + 2), (2 * step + 1) << 3)
    return np.where(codes < 0x80, -magnitude, magnitude).astype(np.int16)


_CODES = np.arange(256, dtype=np.int64)
_SAMPLES = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int64)  # in the order of their bit patterns

_DECODED: Int16s = np.concatenate([_decode_ulaw(_CODES), _decode_alaw(_CODES)])
_ENCODED: Bytes = np.concatenate([_encode_ulaw(_SAMPLES), _encode_alaw(_SAMPLES)])


def decode(codes: Bytes, laws: npt.NDArray[np.int64] | int = 0) -> Int16s:
    """Linear samples of the shape of `codes`; `laws` is one law for all, or one for each row."""
    if isinstance(laws, int):
        return _DECODED[256 * laws : 256 * laws + 256].take(codes)
    return _DECODED.take(codes + 256 * laws[:, None])


def encode(samples: Int16s, laws: npt.NDArray[np.int64] | int = 0) -> Bytes:
    """Codes of the shape of `samples`; `laws` is one law for all, or one for each row."""
    if isinstance(laws, int):
        return _ENCODED[65536 * laws : 65536 * laws + 65536].take(samples.view(np.uint16))
    return _ENCODED.take(samples.view(np.uint16) + 65536 * laws[:, None])
