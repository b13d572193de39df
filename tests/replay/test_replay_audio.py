"""Audio of bundles and callers: exact samples, the caller's own channel, and prompts where the gateway finds them."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import ConfigError
from gateway.media import g711
from gateway.providers.wav import read_wav
from gateway.replay.audio import caller_in_recording, caller_of, converted, mulaw_wav, prompt_loader, wav
from gateway.session.ports import AudioFormat

RAMP = np.arange(-20000, 20000, 400, dtype=np.int16)


def stereo(path: Path, rate: int = 8000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.stack([RAMP, -RAMP], axis=1).tobytes())
    return path


def test_the_caller_in_a_stereo_file_is_the_left_channel(tmp_path: Path) -> None:
    """A call's recording can be played as a caller without the bot's voice in it."""
    assert caller_of(stereo(tmp_path / "call.wav")) == RAMP.tobytes()
    assert caller_in_recording(tmp_path / "call.wav") == (RAMP.tobytes(), 8000)
    assert caller_in_recording(stereo(tmp_path / "wide.wav", 16000)) == (RAMP.tobytes(), 16000)


def test_a_recording_whose_header_was_never_finished_is_read_to_its_end(tmp_path: Path) -> None:
    """kill -9 leaves a WAV that says it is empty."""
    path = stereo(tmp_path / "call.wav")
    content = bytearray(path.read_bytes())
    content[40:44] = bytes(4)
    path.write_bytes(content)
    assert caller_in_recording(path) == (RAMP.tobytes(), 8000)


def test_what_cannot_be_played_is_refused_by_name(tmp_path: Path) -> None:
    """As a configuration error, for a missing file too."""
    (tmp_path / "noise.wav").write_bytes(b"noise")
    for name in ("noise.wav", "none.wav"):
        with pytest.raises(ConfigError, match=name):
            caller_of(tmp_path / name)


@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=50))
def test_mu_law_files_sound_on_a_pcmu_line_as_the_samples_would(
    tmp_path_factory: pytest.TempPathFactory, values: list[int]
) -> None:
    """Kept speech is stored as the line quantises it: coding it again changes nothing (but the sign of zero)."""
    pcm = np.array(values, np.int16)
    path = tmp_path_factory.mktemp("kept") / "speech.wav"
    path.write_bytes(mulaw_wav(pcm.tobytes()))
    kept = np.frombuffer(read_wav(path), "<i2").astype(np.int16)
    assert (kept == g711.decode(g711.encode(pcm, 0), 0)).all()
    assert (g711.decode(g711.encode(kept, 0), 0) == kept).all()


def test_a_prompt_is_found_as_the_gateway_finds_it(tmp_path: Path) -> None:
    """Beside the dialplan or in `prompts/`, by its name or its file; what cannot be read is not there, and then the
    voice speaks its text."""
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "good.wav").write_bytes(wav(RAMP.tobytes(), 8000))
    (tmp_path / "bad.wav").write_bytes(b"noise")
    load = prompt_loader(tmp_path)
    assert load("good.wav") == load("good") == load("prompts/good.wav") == RAMP.tobytes()
    assert load("bad") is load("none") is prompt_loader(None)("good") is None


@pytest.mark.parametrize("want", ["ulaw_8k", "pcm_8k", "pcm_16k"])
@pytest.mark.parametrize("have", ["ulaw_8k", "pcm_8k", "pcm_16k"])
def test_a_turn_can_be_given_to_a_recogniser_of_another_format(have: AudioFormat, want: AudioFormat) -> None:
    """A tone stays the tone, as long as it was, within what mu-law and the filter leave of it."""
    forms: dict[AudioFormat, bytes] = {}
    for rate in (8000, 16000):
        tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)).astype("<i2")
        forms["pcm_8k" if rate == 8000 else "pcm_16k"] = tone.tobytes()
    forms["ulaw_8k"] = g711.encode(np.frombuffer(forms["pcm_8k"], "<i2").astype(np.int16), 0).tobytes()
    got = converted(forms[have], have, want)
    assert len(got) == len(forms[want])
    if want == "ulaw_8k":
        got, forms[want] = (converted(one, "ulaw_8k", "pcm_8k") for one in (got, forms[want]))
    heard, meant = (np.frombuffer(one, "<i2").astype(int)[400:-400] for one in (got, forms[want]))
    assert np.abs(heard - meant).max() < 400
