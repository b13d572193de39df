"""Audio in files: the utterances of a bundle, and the recordings that are played as a caller."""

from __future__ import annotations

import hashlib
import io
import struct
import wave
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.core.errors import ConfigError
from gateway.media import g711
from gateway.session.resample import to_8k

Samples: TypeAlias = npt.NDArray[np.int16]

_EXTENSIBLE = 0xFFFE
"""The real format stands in the first two octets of the sub-format's GUID."""


class Wav(msgspec.Struct, frozen=True):
    """`samples` are (frames, channels), 16 bit whatever the file held."""

    sample_rate: int
    samples: Samples

    def at_8k(self, channel: int = 0) -> bytes:
        """One channel as 16-bit little-endian mono."""
        return to_8k(self.samples[:, channel].astype("<i2").tobytes(), self.sample_rate)


def wav(pcm: bytes, sample_rate: int, *, channels: int = 1) -> bytes:
    """A WAV file of 16-bit little-endian samples."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(pcm)
    return out.getvalue()


def mulaw_wav(pcm: bytes) -> bytes:
    """8 kHz PCM as a WAV file of mu-law: half the size, and on a PCMU line the same bytes."""
    data = g711.encode(np.frombuffer(pcm, "<i2").astype(np.int16), 0).tobytes()
    form = struct.pack("<4sIHHIIHHH", b"fmt ", 18, 7, 1, 8000, 8000, 1, 8, 0)
    body = b"WAVE" + form + struct.pack("<4sI", b"data", len(data)) + data + bytes(len(data) % 2)
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def speech_name(pcm: bytes, sample_rate: int) -> str:
    """The file name of these samples in a bundle: equal audio is stored once."""
    return hashlib.sha256(sample_rate.to_bytes(4, "little") + pcm).hexdigest()[:20] + ".wav"


def read_wav(path: Path) -> Wav:
    """PCM of 8 to 32 bits, 32-bit float, mu-law or A-law; any rate from 8 kHz, any channels. Raises `ConfigError`.

    A file whose header was never finished (its gateway was killed) is read to its end.
    """
    try:
        return parse_wav(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=path) from error
    except ValueError as error:
        raise ConfigError(str(error), path=path) from error


def parse_wav(data: bytes) -> Wav:
    """Raises `ValueError`."""
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise ValueError("not a WAV file")
    form: bytes | None = None
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        body = data[at + 8 : at + 8 + size]
        if name == b"fmt ":
            form = body
        elif name == b"data":
            if form is None:
                raise ValueError("the WAV file has its data before its format")
            return _decoded(form, body if size else data[at + 8 :])
        at += 8 + size + size % 2
    raise ValueError("the WAV file holds no audio")


def _decoded(form: bytes, data: bytes) -> Wav:
    if len(form) < 16:
        raise ValueError("the WAV file's format is cut off")
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", form)
    if kind == _EXTENSIBLE and len(form) >= 26:
        kind = struct.unpack_from("<H", form, 24)[0]
    decode = _DECODERS.get((kind, bits))
    if decode is None:
        raise ValueError(f"WAV format {kind} with {bits} bits is not supported; 16-bit PCM is")
    if not 1 <= channels <= 8 or not 8000 <= rate <= 192000:
        raise ValueError(f"{channels} channels at {rate} Hz are not supported; 8000 Hz and more are")
    whole = len(data) - len(data) % (channels * bits // 8)
    if not whole:
        raise ValueError("the WAV file holds no audio")
    return Wav(rate, decode(data[:whole]).reshape(-1, channels))


def _pcm_24(data: bytes) -> Samples:
    upper = np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(-1, 3)[:, 1:])
    return np.frombuffer(upper.tobytes(), "<i2").astype(np.int16)


def _floats(data: bytes) -> Samples:
    scaled = np.nan_to_num(np.frombuffer(data, "<f4")) * 32768
    samples: Samples = np.clip(np.rint(scaled), -32768, 32767).astype(np.int16)
    return samples


_DECODERS: dict[tuple[int, int], Callable[[bytes], Samples]] = {
    (1, 8): lambda data: (np.frombuffer(data, np.uint8).astype(np.int16) - 128) << 8,
    (1, 16): lambda data: np.frombuffer(data, "<i2").astype(np.int16),
    (1, 24): _pcm_24,
    (1, 32): lambda data: (np.frombuffer(data, "<i4") >> 16).astype(np.int16),
    (3, 32): _floats,
    (6, 8): lambda data: g711.decode(np.frombuffer(data, np.uint8), 1),
    (7, 8): lambda data: g711.decode(np.frombuffer(data, np.uint8), 0),
}


def prompt_loader(folder: Path | None) -> Callable[[str], bytes | None]:
    """Stored prompts, looked for as the gateway does: in `folder` and its `prompts/`, with or without `.wav`.

    What cannot be read is not there.
    """
    folders = (folder, folder / "prompts") if folder is not None else ()

    def load(name: str) -> bytes | None:
        for path in (inside / form for inside in folders for form in (name, f"{name}.wav")):
            if path.is_file():
                try:
                    return read_wav(path).at_8k()
                except ConfigError:
                    continue
        return None

    return load
