"""Recorded prompts: a gateway that speaks with no synthesiser, and another voice for the rest."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.core.errors import ConfigError, ProviderError
from gateway.core.loops import run_virtual
from gateway.providers.load import build_tts
from gateway.providers.tts.prompt_store import INDEX, PromptStore, render_prompts
from gateway.providers.tts.scripted import Options, ScriptedTts
from gateway.session.ports import SpeechChunk
from gateway.session.resample import to_8k

TEXTS = ("Hello, this is the desk.", "Goodbye.")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run_virtual(render_prompts(TEXTS, ScriptedTts(Options(sample_rate=16000)), tmp_path / "prompts"))
    return tmp_path / "prompts"


def spoken(text: str, folder: Path, **options: Any) -> tuple[int, list[SpeechChunk]]:
    async def scenario() -> tuple[int, list[SpeechChunk]]:
        tts = build_tts("prompts", {"directory": str(folder), **options})
        try:
            return tts.sample_rate, [chunk async for chunk in tts.speak(text)]
        finally:
            await tts.close()

    return run_virtual(scenario())


@pytest.mark.parametrize("text", ["Goodbye.", "goodbye.", "  GOODBYE. "])
def test_a_recorded_text_is_played_with_its_words(folder: Path, text: str) -> None:
    """Case and spacing do not count; with no other voice, at the telephone's rate."""
    rate, (chunk,) = spoken(text, folder, fallback="")
    assert rate == 8000
    assert len(chunk.pcm) == 2 * 2000
    assert [(word.text, word.start_s, word.end_s) for word in chunk.words] == [("Goodbye.", 0.0, 0.25)]


def test_other_texts_go_to_the_other_voice(folder: Path) -> None:
    """At the line's rate too, whatever its own; recorded ones stay what they are."""
    settings = {"fallback": "scripted", "fallback_options": {"sample_rate": 24000, "words_per_s": 2}}
    rate, other = spoken("Something new", folder, **settings)
    assert rate == 8000
    assert sum(len(chunk.pcm) for chunk in other) == 2 * 8000
    assert [word.text for chunk in other for word in chunk.words] == ["Something", "new"]
    assert len(spoken("Goodbye.", folder, **settings)[1][0].pcm) == 2 * 2000


def test_wideband_lines_get_what_the_files_hold(tmp_path: Path) -> None:
    """Recordings of 16 kHz and the other voice at that rate, where the line carries it; at 8 kHz they are as ever."""
    voice = ScriptedTts(Options(sample_rate=16000))
    run_virtual(render_prompts(TEXTS, voice, tmp_path / "wide", rate=16000))
    run_virtual(render_prompts(TEXTS, voice, tmp_path / "narrow"))
    options = {"fallback": "scripted", "fallback_options": {"sample_rate": 24000, "words_per_s": 2}}

    async def scenario() -> None:
        tts = build_tts("prompts", {"directory": str(tmp_path / "wide"), **options})
        narrow = build_tts("prompts", {"directory": str(tmp_path / "narrow"), **options})
        assert [c.pcm async for c in tts.speak("Goodbye.")] == [c.pcm async for c in narrow.speak("Goodbye.")]
        wide = tts.wideband  # type: ignore[attr-defined]
        assert wide is tts.wideband  # type: ignore[attr-defined]
        assert (tts.sample_rate, wide.sample_rate) == (8000, 16000)
        spoken = b"".join([c.pcm async for c in voice.speak("Goodbye.")])
        assert b"".join([c.pcm async for c in wide.speak("Goodbye.")]) == spoken
        assert sum([len(c.pcm) async for c in wide.speak("Something new")]) == 2 * 16000
        await tts.close()
        await narrow.close()

    run_virtual(scenario())


def test_without_a_fallback_an_unknown_text_is_an_error(folder: Path) -> None:
    """It names the text; another try would be the same."""
    with pytest.raises(ProviderError, match="no recording of 'Something new'") as caught:
        spoken("Something new", folder, fallback="")
    assert not caught.value.retryable


def test_rendering_again_adds_only_what_is_new(folder: Path) -> None:
    """Recordings that somebody replaced by a human voice stay."""
    kept = {path.name: path.read_bytes() for path in folder.glob("*.wav")}
    voice = ScriptedTts()
    assert run_virtual(render_prompts([*TEXTS, "New.", "goodbye.", "New."], voice, folder)) == ["New."]
    assert voice.spoken == ["New."]
    assert {name: (folder / name).read_bytes() for name in kept} == kept
    assert len(PromptStore(folder)) == 3


def test_rendering_keeps_what_was_done_when_the_voice_fails(tmp_path: Path) -> None:
    """Going on later takes up where it stopped."""
    away = ProviderError("away", category="network", retryable=True)
    voice = ScriptedTts(errors={"Two words.": away})
    with pytest.raises(ProviderError, match="away"):
        run_virtual(render_prompts(["One.", "Two words.", "Three."], voice, tmp_path))
    assert "One." in PromptStore(tmp_path)
    assert len(PromptStore(tmp_path)) == 1


def test_a_flite_recording_speaks_like_flite(tmp_path: Path) -> None:
    """The recording has the words of the voice it was made with, and its samples but for the rate."""

    async def scenario() -> None:
        voice = build_tts("flite", {"inline": True})
        await render_prompts(TEXTS, voice, tmp_path)
        (said,) = [chunk async for chunk in voice.speak(TEXTS[0])]
        recorded = build_tts("prompts", {"directory": str(tmp_path), "fallback_options": {"inline": True}})
        (again,) = [chunk async for chunk in recorded.speak(TEXTS[0])]
        assert again == SpeechChunk(to_8k(said.pcm, voice.sample_rate), said.words)
        await recorded.close()
        await voice.close()

    run_virtual(scenario())


def test_a_folder_that_cannot_be_used_is_refused_at_the_start(tmp_path: Path) -> None:
    """Missing, or with an index that is no index: the path is in the message."""
    with pytest.raises(ConfigError, match="no such folder of recorded prompts"):
        build_tts("prompts", {"directory": str(tmp_path / "none")})
    (tmp_path / INDEX).write_text("[1, 2")
    with pytest.raises(ConfigError, match=r"index\.json: cannot be read"):
        build_tts("prompts", {"directory": str(tmp_path)})


def test_a_recording_that_is_gone_is_a_provider_error(folder: Path) -> None:
    """A call survives somebody's tidying."""
    for path in folder.glob("*.wav"):
        path.unlink()
    with pytest.raises(ProviderError, match="cannot be read") as caught:
        spoken("Goodbye.", folder, fallback="")
    assert caught.value.category == "unavailable"


def test_closing_closes_the_other_voice_too(folder: Path) -> None:
    """Who interrupts the bot interrupts the fallback."""

    async def scenario() -> None:
        from gateway.providers.tts.prompts import Prompts

        fallback = ScriptedTts()
        tts = Prompts(PromptStore(folder), fallback, 1000)
        chunks = tts.speak("Many words to say")
        await anext(chunks)
        await chunks.aclose()  # type: ignore[attr-defined]
        assert fallback.cancelled == ["Many words to say"]

    asyncio.run(scenario())
