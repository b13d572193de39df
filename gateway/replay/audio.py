"""Audio in files: the utterances of a bundle, and the recordings that are played as a caller."""

from __future__ import annotations

import hashlib
import io
import wave


def wav(pcm: bytes, sample_rate: int, *, channels: int = 1) -> bytes:
    """A WAV file of 16-bit little-endian samples."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(pcm)
    return out.getvalue()


def speech_name(pcm: bytes, sample_rate: int) -> str:
    """The file name of these samples in a bundle: equal audio is stored once."""
    return hashlib.sha256(sample_rate.to_bytes(4, "little") + pcm).hexdigest()[:20] + ".wav"
