"""WAV files as the operator has them, to and from 16-bit mono PCM.

Reads PCM of 8, 16, 24 and 32 bit, 32-bit floats, and both G.711 laws; any number of channels (averaged) and any rate.
"""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from gateway.core.errors import ConfigError
from gateway.media import g711
from gateway.session.resample import Resampler

TELEPHONE_HZ: Final = 8000
MAX_BYTES: Final = 200_000_000
"""An hour of 16-bit stereo at 16 kHz; larger files are a mistake that would fill the memory."""

Samples = npt.NDArray[np.float64]
_FORMAT: Final = Struct("<HHIIHH")  # format, channels, rate, bytes a second, bytes a frame, bits
_CHUNK: Final = Struct("<4sI")
_EXTENSIBLE: Final = 0xFFFE
_PCM, _FLOAT, _ALAW, _ULAW = 1, 3, 6, 7


class _Sound(NamedTuple):
    format: int
    bits: int
    channels: int
    rate: int
    data: bytes


def read_wav(path: Path | str, rate: int = TELEPHONE_HZ) -> bytes:
    """The file as 16-bit little-endian mono at `rate` Hz. Raises `ConfigError` with the path and the remedy."""
    sound = _open(Path(path))
    samples = _samples(sound, path).reshape(-1, sound.channels).mean(axis=1)
    pcm = bytes(np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2").data)
    return pcm if sound.rate == rate else _resampled(pcm, sound.rate, rate)


def _resampled(pcm: bytes, rate: int, to: int) -> bytes:
    """A second at a time: the filter's windows on an hour at once would need gigabytes."""
    resampler, second = Resampler(rate, to), 2 * rate
    pieces = [resampler.feed(pcm[at : at + second]) for at in range(0, len(pcm), second)]
    return b"".join((*pieces, resampler.finish()))


def write_wav(path: Path | str, pcm: bytes, rate: int) -> None:
    """16-bit mono."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm)


def _open(path: Path) -> _Sound:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"larger than {MAX_BYTES // 1_000_000} MB; is it the right file?", path=path)
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=path) from error
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise ConfigError("is not a WAV file; remedy: sox INPUT -c 1 -b 16 -r 8000 OUTPUT.wav", path=path)
    chunks = dict(reversed(list(_chunks(content))))
    if len(chunks.get(b"fmt ", b"")) < _FORMAT.size or b"data" not in chunks:
        raise ConfigError("the WAV file is damaged: it has no format or no samples", path=path)
    return _sound(chunks[b"fmt "], chunks[b"data"], path)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + _CHUNK.size <= len(content):
        name, length = _CHUNK.unpack_from(content, at)
        at += _CHUNK.size
        yield name, content[at : at + length]  # a recording that was cut off promises more than it has
        at += length + length % 2


def _sound(header: bytes, data: bytes, path: Path) -> _Sound:
    code, channels, rate, _, _, bits = _FORMAT.unpack_from(header)
    if code == _EXTENSIBLE and len(header) >= 26:
        code = int.from_bytes(header[24:26], "little")
    if not 1 <= channels <= 32 or not 1000 <= rate <= 192_000:
        raise ConfigError(f"the WAV file is damaged: {channels} channels at {rate} Hz", path=path)
    return _Sound(code, bits, channels, rate, data)


def _samples(sound: _Sound, path: Path | str) -> Samples:
    """All channels' samples as they stand in the file, in -1..1."""
    decoder = _DECODERS.get((sound.format, sound.bits))
    if decoder is None:
        remedy = "remedy: sox INPUT -b 16 -e signed OUTPUT.wav"
        raise ConfigError(f"WAV format {sound.format} with {sound.bits} bit is not supported; {remedy}", path=path)
    frame = sound.channels * sound.bits // 8
    return decoder(sound.data[: len(sound.data) // frame * frame])


def _integers(dtype: str, full_scale: float, middle: int = 0) -> Callable[[bytes], Samples]:
    return lambda data: (np.frombuffer(data, dtype).astype(np.float64) - middle) / full_scale


def _pcm24(data: bytes) -> Samples:
    wide: npt.NDArray[np.uint8] = np.zeros((len(data) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    samples: Samples = wide.view("<i4")[:, 0] / 2.0**31
    return samples


def _floats(data: bytes) -> Samples:
    return np.nan_to_num(np.frombuffer(data, "<f4").astype(np.float64), posinf=1.0, neginf=-1.0)


def _g711(law: int) -> Callable[[bytes], Samples]:
    return lambda data: g711.decode(np.frombuffer(data, np.uint8), law) / 32768.0


_DECODERS: dict[tuple[int, int], Callable[[bytes], Samples]] = {
    (_PCM, 8): _integers("u1", 128.0, middle=128),
    (_PCM, 16): _integers("<i2", 32768.0),
    (_PCM, 24): _pcm24,
    (_PCM, 32): _integers("<i4", 2.0**31),
    (_FLOAT, 32): _floats,
    (_ULAW, 8): _g711(0),
    (_ALAW, 8): _g711(1),
}
