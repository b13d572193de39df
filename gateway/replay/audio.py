"""Audio in files: the utterances of a bundle, and the recordings that are played as a caller."""

from __future__ import annotations

import hashlib
import io
import struct
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gateway.core.errors import ConfigError
from gateway.media import g711
from gateway.providers.wav import read_wav
from gateway.session.ports import AudioFormat
from gateway.session.resample import LINE_RATE, WIDE_RATE, Resampler, to_8k

_RECORDING_HEAD = 44
"""Octets before the samples of a stereo recording that the media plane wrote."""

_RATE_AT = 24
"""Where in them its rate stands."""


def wav(pcm: bytes, sample_rate: int) -> bytes:
    """A WAV file of 16-bit little-endian mono samples."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(pcm)
    return out.getvalue()


def mulaw_wav(pcm: bytes) -> bytes:
    """8 kHz PCM as a WAV file of mu-law: half the size, and on a PCMU line the same sound."""
    data = g711.encode(np.frombuffer(pcm, "<i2").astype(np.int16), 0).tobytes()
    form = struct.pack("<4sIHHIIHHH", b"fmt ", 18, 7, 1, 8000, 8000, 1, 8, 0)
    body = b"WAVE" + form + struct.pack("<4sI", b"data", len(data)) + data + bytes(len(data) % 2)
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def speech_name(pcm: bytes, sample_rate: int) -> str:
    """The file name of these samples in a bundle: equal audio is stored once."""
    return hashlib.sha256(sample_rate.to_bytes(4, "little") + pcm).hexdigest()[:20] + ".wav"


def caller_of(path: Path) -> bytes:
    """A WAV to be played as a caller, as 8 kHz PCM. Of a stereo file the left channel, where recordings of calls have
    the caller. Raises `ConfigError`."""
    try:
        with wave.open(str(path), "rb") as file:
            if (file.getnchannels(), file.getsampwidth()) == (2, 2):
                return to_8k(_left(file.readframes(file.getnframes())), file.getframerate())
    except (OSError, EOFError, wave.Error):
        pass  # not plain PCM, or no WAV at all: the general reader knows more, and has the words for it
    return read_wav(path)


def caller_in_recording(path: Path) -> tuple[bytes, int]:
    """The left channel of the media plane's own recording, and its rate. One whose header was never finished (its
    gateway was killed) is read to its end. Raises `ConfigError`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=path) from error
    rate = int.from_bytes(content[_RATE_AT : _RATE_AT + 4], "little")
    return _left(content[_RECORDING_HEAD:]), rate if rate == WIDE_RATE else LINE_RATE


def _left(stereo: bytes) -> bytes:
    return np.frombuffer(stereo[: len(stereo) // 4 * 4], "<i2")[::2].tobytes()


def converted(audio: bytes, have: AudioFormat, want: AudioFormat) -> bytes:
    """A whole turn from one recogniser's format into another's."""
    if have == want:
        return audio
    if have == "ulaw_8k":
        audio = g711.decode(np.frombuffer(audio, np.uint8), 0).astype("<i2").tobytes()
    have_rate, want_rate = (16000 if form == "pcm_16k" else 8000 for form in (have, want))
    resampler = Resampler(have_rate, want_rate)
    pcm = resampler.feed(audio) + resampler.finish()
    return pcm if want != "ulaw_8k" else g711.encode(np.frombuffer(pcm, "<i2").astype(np.int16), 0).tobytes()


def prompt_loader(folder: Path | None) -> Callable[[str], bytes | None]:
    """Stored prompts, looked for as the gateway does: in `folder` and its `prompts/`, with or without `.wav`.

    What cannot be read is not there.
    """
    folders = (folder, folder / "prompts") if folder is not None else ()

    def load(name: str) -> bytes | None:
        for path in (inside / form for inside in folders for form in (name, f"{name}.wav")):
            if path.is_file():
                try:
                    return read_wav(path)
                except ConfigError:
                    continue
        return None

    return load
