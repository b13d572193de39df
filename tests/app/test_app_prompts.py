"""Stored prompts: what the shipped dialplan says to everybody is spoken without a synthesiser."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from gateway.app import render_prompts
from gateway.app.config import shipped
from gateway.app.prompts import PromptShelf, spoken_pieces
from gateway.core import events as e
from gateway.providers.tts.prompt_store import PromptStore, file_name
from gateway.providers.wav import write_wav
from gateway.replay.run import ReplayOptions, replay_wav
from gateway.replay.stage import Live
from gateway.session.options import ConversationOptions

DIALPLAN = shipped("dialplans/default.yaml")
FOLDER = shipped("dialplans/prompts")
PLAN = "routes:\n  a:\n    match: {}\n    steps:\n      - say: Good morning. Hello, {caller}.\n      - say: Goodbye.\n"


def test_every_fixed_text_of_the_shipped_dialplan_is_stored() -> None:
    """After a change of the dialplan: python -m gateway.app.render_prompts --anew."""
    store = PromptStore(FOLDER)
    texts = render_prompts.needed(DIALPLAN, ConversationOptions())
    assert [text for text in texts if text not in store] == []
    assert len(store) == len(texts)


def test_the_stored_prompts_are_what_a_wideband_line_carries() -> None:
    """16 kHz, mono, 16 bit, none without a text, all of them together small, and their licence beside them."""
    recordings = sorted(FOLDER.glob("*.wav"))
    assert [path.name for path in recordings] == PromptStore(FOLDER).files
    for path in recordings:
        with wave.open(str(path)) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2), path.name
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 4_000_000
    assert "Carnegie Mellon" in (FOLDER / "flite.LICENSE").read_text()


@pytest.mark.parametrize("name", ["apology", "farewell"])
def test_the_apologies_are_found_by_name_too(name: str) -> None:
    """A conversation whose voice fails plays them as files."""
    pcm = PromptShelf(DIALPLAN)(name)
    assert pcm is not None
    assert len(pcm) > 2 * 8000


@pytest.mark.parametrize("rate", [8000, 16000, 22050])
def test_a_prompt_has_twice_as_many_samples_for_wideband(tmp_path: Path, rate: int) -> None:
    """Of the same seconds, whatever the file's rate; a file that is not there has none."""
    t = np.arange(rate // 3) / rate
    write_wav(tmp_path / "one.wav", np.rint(8000 * np.sin(2 * np.pi * 1000 * t)).astype("<i2").tobytes(), rate)
    shelf = PromptShelf(tmp_path)
    narrow, wide = shelf("one"), shelf.wide("one")
    assert narrow is not None
    assert wide is not None
    assert len(wide) == 2 * len(narrow)
    low, high = (np.frombuffer(pcm, "<i2").astype(float) for pcm in (narrow, wide))
    assert np.abs(high[::2] - low)[100:-100].max() < 40
    assert shelf.wide("two") is None


def test_the_desk_speaks_with_no_synthesiser_at_all(tmp_path: Path) -> None:
    """A caller who keeps silent hears the greeting, the question and both reminders, all from recordings."""
    write_wav(tmp_path / "silence.wav", bytes(2 * 8000 * 60), 8000)
    silent = {"directory": str(FOLDER), "fallback": ""}
    live = Live(stt=("scripted", {}), tts=("prompts", silent), vad="energy")
    replayed = replay_wav(tmp_path / "silence.wav", ReplayOptions(route="desk", dialplan=DIALPLAN, live=live))
    said = [event.heard for event in replayed.events if isinstance(event, e.UtterancePlayed)]
    assert said[:2] == ["Hello, this is the appointment desk.", "Do you want to book, move, or cancel an appointment?"]
    assert {"I did not hear anything.", "Are you still there?"} <= set(said)
    assert not [event for event in replayed.events if isinstance(event, e.ProviderFailed | e.ErrorOccurred)]


def test_a_text_is_cut_as_it_will_be_spoken_wherever_it_stands() -> None:
    """As the first thing the bot says it begins with a clause, after something else it is a sentence."""
    assert spoken_pieces(["Do you want to book, or to cancel?"]) == [
        "Do you want to book,",
        "or to cancel?",
        "Do you want to book, or to cancel?",
    ]


def test_only_what_is_missing_is_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Recordings of one's own stay; texts with a variable in them are nobody's to record."""
    (tmp_path / "plan.yaml").write_text(PLAN)
    assert render_prompts.main([str(tmp_path / "plan.yaml")]) == 0
    assert PromptStore(tmp_path / "prompts").files == ["apology.wav", "farewell.wav", file_name("Goodbye.")]
    own = tmp_path / "prompts" / file_name("Goodbye.")
    own.write_bytes(b"a recording of one's own")
    (tmp_path / "plan.yaml").write_text(PLAN + "      - say: And once more.\n")
    assert render_prompts.main([str(tmp_path / "plan.yaml")]) == 0
    assert own.read_bytes() == b"a recording of one's own"
    assert "And once more." in capsys.readouterr().out


def test_recording_anew_deletes_what_is_spoken_no_more(tmp_path: Path) -> None:
    """And leaves alone what it does not know."""
    (tmp_path / "plan.yaml").write_text(PLAN)
    assert render_prompts.main([str(tmp_path / "plan.yaml")]) == 0
    (tmp_path / "prompts" / "music.wav").write_bytes(b"not in the index")
    (tmp_path / "plan.yaml").write_text(PLAN.replace("Goodbye.", "So long."))
    assert render_prompts.main([str(tmp_path / "plan.yaml"), "--anew"]) == 0
    left = sorted(path.name for path in (tmp_path / "prompts").glob("*.wav"))
    assert left == ["apology.wav", "farewell.wav", "music.wav", file_name("So long.")]


def test_a_dialplan_that_is_none_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing is deleted for it."""
    assert render_prompts.main([str(tmp_path / "nowhere.yaml"), "--anew"]) == 1
    assert capsys.readouterr().err.startswith("gateway: ")
