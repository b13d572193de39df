"""WAV files as operators have them."""

from __future__ import annotations

import struct
import wave
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.errors import ConfigError
from gateway.media import g711
from gateway.providers.wav import read_wav, write_wav

TONE = 0.5 * np.sin(2 * np.pi * 440 * np.arange(4000) / 8000)


def riff(code: int, bits: int, data: bytes, *, rate: int = 8000, channels: int = 1, extra: bytes = b"") -> bytes:
    frame = channels * bits // 8
    form = struct.pack("<HHIIHH", code, channels, rate, rate * frame, frame, bits) + extra
    chunks = b"".join(
        name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
        for name, body in ((b"fmt ", form), (b"LIST", b"odd"), (b"data", data))
    )
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def read(tmp_path: Path, content: bytes, rate: int = 8000) -> np.ndarray:
    path = tmp_path / "sound.wav"
    path.write_bytes(content)
    return np.frombuffer(read_wav(path, rate), "<i2")


INT16 = (TONE * 32767).astype("<i2")
ENCODINGS = {
    "8 bit": (1, 8, (TONE * 127 + 128).astype("u1").tobytes(), b""),
    "16 bit": (1, 16, INT16.tobytes(), b""),
    "24 bit": (1, 24, (TONE * 8388607).astype("<i4").view("u1").reshape(-1, 4)[:, :3].tobytes(), b""),
    "32 bit": (1, 32, (TONE * 2147483647).astype("<i4").tobytes(), b""),
    "float": (3, 32, TONE.astype("<f4").tobytes(), b""),
    "mu-law": (7, 8, g711.encode(INT16, 0).tobytes(), b""),
    "A-law": (6, 8, g711.encode(INT16, 1).tobytes(), b""),
    "extensible": (0xFFFE, 16, INT16.tobytes(), struct.pack("<HHIH", 22, 16, 4, 1) + bytes(14)),
}


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)
def test_every_encoding_gives_the_same_sound(tmp_path: Path, encoding: tuple[int, int, bytes, bytes]) -> None:
    """Within the precision of the coarsest, 8 bit."""
    code, bits, data, extra = encoding
    assert np.abs(read(tmp_path, riff(code, bits, data, extra=extra)) - TONE * 32768).max() < 700


def test_channels_are_averaged(tmp_path: Path) -> None:
    """A voice on one side of a stereo file is heard at half its level; one on both sides is whole."""
    both = np.stack([INT16, INT16], axis=1)
    left = np.stack([INT16, np.zeros_like(INT16)], axis=1)
    assert (read(tmp_path, riff(1, 16, both.tobytes(), channels=2)) == INT16).all()
    assert np.abs(read(tmp_path, riff(1, 16, left.tobytes(), channels=2)) - INT16 / 2).max() <= 1


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000])
def test_every_rate_comes_out_at_the_one_asked_for(tmp_path: Path, rate: int) -> None:
    """The length in seconds stays, and so does the level of a telephone-band tone."""
    tone = (16000 * np.sin(2 * np.pi * 1000 * np.arange(rate // 2) / rate)).astype("<i2")
    for wanted in (8000, 16000):
        sound = read(tmp_path, riff(1, 16, tone.tobytes(), rate=rate), wanted)
        assert len(sound) == wanted // 2
        assert np.abs(sound[400:-400]).max() == pytest.approx(16000, rel=0.02)


@given(st.lists(st.integers(-32768, 32767)), st.sampled_from([8000, 16000, 44100]))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, samples: list[int], rate: int) -> None:
    """Sixteen bits, one channel, the same rate: to the byte; and any other program reads it too."""
    path = tmp_path_factory.getbasetemp() / "round.wav"
    pcm = np.array(samples, "<i2").tobytes()
    write_wav(path, pcm, rate)
    assert read_wav(path, rate) == pcm
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, rate)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is not a WAV file; remedy: sox INPUT"),
        (b"ID3\x04 an mp3", "is not a WAV file"),
        (b"RIFF\0\0\0\0WAVE", "it has no format or no samples"),
        (riff(1, 16, b"")[:30], "it has no format or no samples"),
        (riff(2, 4, b"adpcm"), "WAV format 2 with 4 bit is not supported; remedy: sox"),
        (riff(1, 16, b"", channels=0), "damaged: 0 channels"),
        (riff(1, 16, b"ab", rate=7), "damaged: 1 channels at 7 Hz"),
    ],
)
def test_a_wrong_file_is_refused_with_its_path_and_a_remedy(tmp_path: Path, content: bytes, complaint: str) -> None:
    """Whatever it is, the operator learns which file and what to do."""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path / 'sound.wav'}: ")
    assert complaint in str(caught.value)


def test_a_file_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    """The system's own words."""
    with pytest.raises(ConfigError, match=r"none\.wav: cannot be read: No such file"):
        read_wav(tmp_path / "none.wav")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_wav(tmp_path)


def test_a_recording_that_was_cut_off_plays_as_far_as_it_goes(tmp_path: Path) -> None:
    """A crash leaves a header that promises more than there is, and perhaps half a sample."""
    whole = riff(1, 16, INT16.tobytes())
    assert (read(tmp_path, whole[: len(whole) - 2001]) == INT16[:2999]).all()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80), st.integers(0, 60), st.binary(max_size=6))
def test_damaged_files_are_refused_or_read_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, tail: bytes, at: int, noise: bytes
) -> None:
    """No bytes make anything but samples or a `ConfigError`."""
    content = riff(1, 16, tail)
    path = tmp_path_factory.getbasetemp() / "hostile.wav"
    path.write_bytes(content[:at] + noise + content[at + len(noise) :])
    with suppress(ConfigError):
        assert len(read_wav(path)) % 2 == 0
