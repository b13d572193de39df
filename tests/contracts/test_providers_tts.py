"""What every voice promises (`TextToSpeech`), held against every file in `providers/tts`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
from provider_cases import cases, error_of, open_tts, run
from waiting import turns

from gateway.providers.load import build_tts
from gateway.providers.tts.prompts import render_prompts
from gateway.session.ports import SpeechChunk, TextToSpeech

pytestmark = pytest.mark.parametrize(("kind", "options"), cases("tts"))

TEXT = "Your appointment is on Tuesday, the 3rd, at 10:30. Is that right?"


@pytest.fixture
def settings(kind: str, options: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """Recorded prompts need a folder with recordings in it."""
    if kind != "prompts":
        return options
    voice = build_tts("flite", {"inline": True})
    asyncio.run(render_prompts([TEXT], voice, tmp_path))
    return {"directory": str(tmp_path), "fallback_options": {"inline": True}, **options}


async def spoken(tts: TextToSpeech, text: str) -> list[SpeechChunk]:
    return [chunk async for chunk in tts.speak(text)]


def test_chunks_are_whole_samples_of_sound(kind: str, settings: dict[str, Any]) -> None:
    """Every chunk is 16-bit PCM, so of even length, and none is empty; the whole has a plausible length."""

    async def scenario() -> None:
        async with open_tts(kind, settings) as tts:
            chunks = await spoken(tts, TEXT)
        assert all(chunk.pcm and len(chunk.pcm) % 2 == 0 for chunk in chunks)
        assert 2.0 < sum(len(chunk.pcm) for chunk in chunks) / 2 / tts.sample_rate < 10.0

    run(scenario, settings)


def test_words_are_those_of_the_text_and_rise_in_time(kind: str, settings: dict[str, Any]) -> None:
    """Joined they spell the text; each begins in its own chunk, when the one before has ended."""

    async def scenario() -> None:
        async with open_tts(kind, settings) as tts:
            chunks = await spoken(tts, TEXT)
        words = [word for chunk in chunks for word in chunk.words]
        assert " ".join(word.text for word in words) == TEXT
        assert all(one.start_s < one.end_s <= other.start_s for one, other in pairwise(words))
        begins = 0.0
        for chunk in chunks:
            ends = begins + len(chunk.pcm) / 2 / tts.sample_rate
            assert all(begins <= word.start_s < ends for word in chunk.words)
            begins = ends

    run(scenario, settings)


def test_the_same_text_sounds_the_same_again(kind: str, settings: dict[str, Any]) -> None:
    """A replay gives the samples of the call."""

    async def scenario() -> None:
        async with open_tts(kind, settings) as tts:
            first = await spoken(tts, TEXT)
            await spoken(tts, "Something else.")
            assert await spoken(tts, TEXT) == first

    run(scenario, settings)


@pytest.mark.parametrize(
    "text", ["", " ", "...", "?!", "—", "日本語", "\0\x07", "a" * 400, "x, " * 200, "\ud83d\ude00"]
)
def test_no_text_upsets_it(kind: str, settings: dict[str, Any], text: str) -> None:
    """What cannot be pronounced is silence or a `ProviderError`, and the next text is spoken as ever."""

    async def scenario() -> None:
        async with open_tts(kind, settings) as tts:
            await error_of(spoken(tts, text))
            assert await spoken(tts, "Still here.")

    run(scenario, settings)


def test_closing_the_iterator_cancels(kind: str, settings: dict[str, Any]) -> None:
    """Before the first chunk and after it; other texts go on."""

    async def scenario() -> None:
        async with open_tts(kind, settings) as tts:
            unread = cast(AsyncGenerator[SpeechChunk], tts.speak(TEXT))
            await unread.aclose()
            begun = cast(AsyncGenerator[SpeechChunk], tts.speak(TEXT))
            await anext(begun)
            await begun.aclose()
            waiting = asyncio.create_task(spoken(tts, "A text that nobody waits for."))
            await turns()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            assert await spoken(tts, TEXT)

    run(scenario, settings)


def test_several_texts_at_a_time(kind: str, settings: dict[str, Any]) -> None:
    """Each caller gets the words of their own text."""

    async def scenario() -> None:
        async with open_tts(kind, settings) as tts:
            texts = [f"Number {number}." for number in range(6)]
            everything = await asyncio.gather(*(spoken(tts, text) for text in texts))
        assert [" ".join(word.text for chunk in chunks for word in chunk.words) for chunks in everything] == texts

    run(scenario, settings)


def test_close_is_safe_twice(kind: str, settings: dict[str, Any]) -> None:
    """Also when nothing was ever said."""

    async def scenario() -> None:
        tts = build_tts(kind, settings)
        await tts.close()
        await tts.close()

    run(scenario, settings)
