"""WAV files of every kind that people have become 16-bit samples; everything else is refused with its reason."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import ConfigError
from gateway.media import g711
from gateway.replay.audio import mulaw_wav, parse_wav, prompt_loader, read_wav, wav

RAMP = np.arange(-20000, 20000, 400, dtype=np.int16)


def riff(kind: int, bits: int, data: bytes, *, channels: int = 1, rate: int = 8000, extra: bytes = b"") -> bytes:
    size = channels * bits // 8
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * size, size, bits) + extra
    chunks = struct.pack("<4sI", b"fmt ", len(form)) + form + b"LIST\3\0\0\0abc\0"
    chunks += struct.pack("<4sI", b"data", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


@pytest.mark.parametrize(
    ("kind", "bits", "data", "off_by"),
    [
        (1, 8, ((RAMP >> 8) + 128).astype(np.uint8).tobytes(), 255),
        (1, 16, RAMP.tobytes(), 0),
        (1, 24, b"".join((int(value) * 256).to_bytes(3, "little", signed=True) for value in RAMP), 0),
        (1, 32, (RAMP.astype(np.int32) << 16).tobytes(), 0),
        (3, 32, (RAMP / 32768).astype("<f4").tobytes(), 0),
        (7, 8, g711.encode(RAMP, 0).tobytes(), 512),
        (6, 8, g711.encode(RAMP, 1).tobytes(), 512),
    ],
)
def test_every_usual_format_gives_the_same_samples(kind: int, bits: int, data: bytes, off_by: int) -> None:
    """Exactly where the format can hold them, within its steps elsewhere; unknown chunks are passed over."""
    read = parse_wav(riff(kind, bits, data))
    assert read.sample_rate == 8000
    assert np.abs(read.samples[:, 0].astype(int) - RAMP).max() <= off_by


def test_the_extensible_header_names_its_format_elsewhere() -> None:
    """Many tools write WAVE_FORMAT_EXTENSIBLE for plain PCM."""
    guid = struct.pack("<HHIH", 22, 16, 0, 1) + bytes(14)
    assert (parse_wav(riff(0xFFFE, 16, RAMP.tobytes(), extra=guid)).samples[:, 0] == RAMP).all()


def test_stereo_keeps_its_channels_apart() -> None:
    """The caller is the left one."""
    both = np.stack([RAMP, -RAMP], axis=1)
    read = parse_wav(riff(1, 16, both.tobytes(), channels=2))
    assert (read.at_8k(0), read.at_8k(1)) == (RAMP.tobytes(), (-RAMP).tobytes())


def test_other_rates_come_down_to_the_lines() -> None:
    """A second stays a second."""
    for rate in (8000, 16000, 44100, 48000):
        assert len(parse_wav(wav(bytes(2 * rate), rate)).at_8k()) == 16000


def test_a_recording_whose_header_was_never_finished_is_read_to_its_end() -> None:
    """kill -9 leaves a WAV of size 0 by its header."""
    whole = bytearray(wav(RAMP.tobytes(), 8000))
    whole[40:44] = bytes(4)
    assert (parse_wav(bytes(whole)).samples[:, 0] == RAMP).all()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a WAV file"),
        (b"RIFF\0\0\0\0AVI xxxxxxxx", "not a WAV file"),
        (riff(85, 16, b"mp3."), "WAV format 85"),
        (riff(1, 16, b""), "no audio"),
        (riff(1, 16, b"\0\0", rate=4000), "4000 Hz"),
        (riff(1, 16, b"\0\0", channels=99), "99 channels"),
        (b"RIFF\0\0\0\0WAVEdata\2\0\0\0\0\0", "data before its format"),
        (b"RIFF\0\0\0\0WAVEfmt \2\0\0\0\1\0data\2\0\0\0\0\0", "cut off"),
    ],
)
def test_what_cannot_be_played_is_refused_with_its_reason(tmp_path: Path, data: bytes, message: str) -> None:
    """As a configuration error that names the file."""
    path = tmp_path / "caller.wav"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=message) as caught:
        read_wav(path)
    assert caught.value.path == path


@given(st.binary(max_size=200), st.integers(0, 60))
def test_damaged_files_raise_nothing_else(noise: bytes, at: int) -> None:
    """Whatever is in the file: samples, or ValueError."""
    good = wav(RAMP.tobytes(), 8000)
    for data in (noise, good[:at] + noise, good[:at] + noise + good[at:]):
        with contextlib.suppress(ValueError):
            parse_wav(data)


@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=50))
def test_mu_law_files_sound_on_a_pcmu_line_as_the_samples_would(values: list[int]) -> None:
    """Kept speech is stored as the line quantises it: coding it again gives the same octets."""
    pcm = np.array(values, np.int16)
    kept = parse_wav(mulaw_wav(pcm.tobytes())).samples[:, 0]
    assert (g711.encode(kept, 0) == g711.encode(pcm, 0)).all()


def test_a_prompt_is_found_as_the_gateway_finds_it(tmp_path: Path) -> None:
    """Beside the dialplan or in `prompts/`, by its name or its file; what cannot be read is not there, and then the
    voice speaks its text."""
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "good.wav").write_bytes(wav(RAMP.tobytes(), 8000))
    (tmp_path / "bad.wav").write_bytes(b"noise")
    load = prompt_loader(tmp_path)
    assert load("good.wav") == load("good") == load("prompts/good.wav") == RAMP.tobytes()
    assert load("bad") is load("none") is prompt_loader(None)("good") is None
