"""How loud the pieces of audio are that go to a recogniser, in any of its formats."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gateway.session.ports import AudioFormat

FRAME_S = 0.01
FRAME_BYTES: dict[AudioFormat, int] = {"ulaw_8k": 80, "pcm_8k": 160, "pcm_16k": 320}
SILENT_DB = -96.0

Floats = npt.NDArray[np.float64]


def bytes_per_second(audio_format: AudioFormat) -> int:
    return round(FRAME_BYTES[audio_format] / FRAME_S)


def levels_db(audio: bytes, audio_format: AudioFormat) -> list[float]:
    """RMS level of each whole 10 ms frame, in dB below full scale (0 dB is a full square wave)."""
    samples = _ULAW[np.frombuffer(audio, np.uint8)] if audio_format == "ulaw_8k" else _pcm(audio)
    frames = samples[: len(samples) // (per := FRAME_BYTES[audio_format] // _width(audio_format)) * per]
    power = np.square(frames.reshape(-1, per) / 32768.0).mean(axis=1)
    loud: list[float] = np.maximum(10 * np.log10(np.maximum(power, 1e-12)), SILENT_DB).tolist()
    return loud


def _pcm(audio: bytes) -> Floats:
    return np.frombuffer(audio[: len(audio) & ~1], "<i2").astype(np.float64)


def _width(audio_format: AudioFormat) -> int:
    return 1 if audio_format == "ulaw_8k" else 2


def _ulaw_table() -> Floats:
    """ITU-T G.711 mu-law expansion, close enough to measure loudness by."""
    code = ~np.arange(256) & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << ((code >> 4) & 7)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.float64)


_ULAW = _ulaw_table()
