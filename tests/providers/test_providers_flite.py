"""The built-in voice: exact words, any text, repeated texts from memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.errors import ProviderError
from gateway.core.loops import run_virtual
from gateway.providers.load import build_tts
from gateway.providers.tts import flite_library
from gateway.providers.tts.cache import SpokenCache
from gateway.providers.tts.flite import PART_CHARACTERS, parts
from gateway.providers.tts.flite_engine import FliteEngine, Request, create, speakable, timed
from gateway.providers.tts.flite_library import VOICES, Token
from gateway.session.ports import SpeechChunk


def spoken(text: str, **options: Any) -> list[SpeechChunk]:
    async def scenario() -> list[SpeechChunk]:
        tts = build_tts("flite", {"inline": True, **options})
        try:
            return [chunk async for chunk in tts.speak(text)]
        finally:
            await tts.close()

    return run_virtual(scenario())


def words(text: str, **options: Any) -> list[str]:
    return [word.text for chunk in spoken(text, **options) for word in chunk.words]


@pytest.mark.parametrize(
    "text",
    [
        "the the 10:30 10:30 yes",
        "Dr. Smith’s well-known café: $12.50, on 3/4/2026 at 5pm (maybe).",
        "U.S.A., e.g. foo@bar.com; “quoted”!",
        "Only 20 °C? That's €5 or £3.",
    ],
)
def test_words_are_spelled_as_in_the_text(text: str) -> None:
    """History is cut by them: joined they are the text, whatever the library made of it."""
    assert " ".join(words(text)) == text


def test_silent_pieces_of_a_text_have_no_time() -> None:
    """A dash, or what the alphabet lacks, is not said and so never heard."""
    assert words("well - 日本 fine …") == ["well", "fine"]


@pytest.mark.parametrize("voice", VOICES)
def test_every_voice_speaks_at_its_rate_and_words_fit_the_sound(voice: str) -> None:
    """The last word ends before the audio does, and the first begins after its first pause."""
    (chunk,) = spoken("Good morning, how can I help you?", voice=voice)
    duration_s = len(chunk.pcm) / 2 / VOICES[voice]
    assert 1.5 < duration_s < 4.0
    assert chunk.words[0].start_s > 0.05
    assert duration_s - 0.5 < chunk.words[-1].end_s < duration_s


def test_pace_changes_the_length() -> None:
    """Twice the pace is half the time, nearly."""
    slow, fast = (len(spoken("Good morning, how can I help you?", pace=pace)[0].pcm) for pace in (0.8, 1.6))
    assert 1.7 < slow / fast < 2.3


def test_a_long_text_starts_soon_and_goes_on_where_it_was() -> None:
    """Piece by piece, the words timed from the start of the whole."""
    text = "This is a rather long sentence, with a pause here and there, that does not want to end, " * 6
    chunks = spoken(text)
    spelled = [word for chunk in chunks for word in chunk.words]
    assert len(chunks) > 1
    assert " ".join(word.text for word in spelled) == text.strip()
    assert all(one.end_s <= other.start_s for one, other in pairwise(spelled))


@given(st.text(max_size=3 * PART_CHARACTERS))
def test_parts_lose_nothing(text: str) -> None:
    """All that is not space stays, in order, in pieces of bounded length."""
    pieces = list(parts(text))
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(0 < len(piece) <= PART_CHARACTERS for piece in pieces)


@given(st.text(max_size=40))
def test_everything_is_made_speakable(text: str) -> None:
    """Printable ASCII only: the library reads nothing else."""
    assert all(" " <= character <= "~" for character in speakable(text))


@settings(max_examples=60, deadline=None)
@given(text=st.text(alphabet=st.characters(codec="ascii"), max_size=40))
def test_no_text_upsets_the_library(engine: FliteEngine, text: str) -> None:
    """Sound of even length and rising words, or nothing."""
    (reply,) = engine.handle(1, Request(text))
    assert len(reply.pcm) % 2 == 0
    assert all(one.end_s <= other.start_s for one, other in pairwise(reply.words))


@pytest.fixture(scope="module")
def engine() -> FliteEngine:
    return create({"voice": "kal", "pace": 1.0})


def test_tokens_that_are_not_in_the_text_count_to_the_word_before() -> None:
    """Should the library spell something its own way, times stay in order."""
    tokens = [Token("hello", 0.1, 0.4), Token("wrld", 0.4, 0.7), Token("you", 0.8, 1.0)]
    found = timed(["hello", "world,", "you"], ["hello", "world,", "you"], tokens)
    assert [(word.text, word.start_s, word.end_s) for word in found] == [("hello", 0.1, 0.7), ("you", 0.8, 1.0)]


def test_a_text_spoken_before_is_not_synthesised_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The greeting is the same for every caller."""
    asked: list[str] = []
    handle = FliteEngine.handle

    def counting(self: FliteEngine, job: int, request: Request) -> Any:
        asked.append(request.text)
        return handle(self, job, request)

    monkeypatch.setattr(FliteEngine, "handle", counting)

    async def scenario() -> None:
        tts = build_tts("flite", {"inline": True})
        first = [chunk async for chunk in tts.speak("Hello.")]
        again = [chunk async for chunk in tts.speak("Hello.")]
        assert first == again
        await tts.close()

    run_virtual(scenario())
    assert asked == ["Hello."]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 60))))
def test_the_cache_stays_within_its_bytes(puts: list[tuple[str, int]]) -> None:
    """Whatever is put in; what it gives is what was put under that text first."""
    cache, first = SpokenCache(100), dict[str, SpeechChunk]()
    for text, size in puts:
        before = cache.get(text)
        cache.put(text, SpeechChunk(bytes(size)))
        if before is None:
            first[text] = SpeechChunk(bytes(size))
        assert cache.bytes <= 100
        kept = [found for key in "abcdef" if (found := cache.get(key)) is not None]
        assert sum(len(chunk.pcm) for chunk in kept) == cache.bytes
        assert cache.get(text) == first[text]


def test_the_least_used_text_goes_first() -> None:
    """Being asked for counts as use."""
    cache = SpokenCache(100)
    cache.put("a", SpeechChunk(bytes(50)))
    cache.put("b", SpeechChunk(bytes(50)))
    cache.get("a")
    cache.put("c", SpeechChunk(bytes(50)))
    assert [text for text in "abc" if cache.get(text)] == ["a", "c"]
    cache.put("huge", SpeechChunk(bytes(101)))
    assert cache.get("huge") is None


@pytest.fixture
def no_flite(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def missing(name: str, mode: int) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(flite_library, "CDLL", missing)
    flite_library._library.cache_clear()
    return flite_library._library.cache_clear


def test_without_the_library_the_remedy_is_told(no_flite: Callable[[], None]) -> None:
    """Not worth a retry; the gateway itself goes on."""
    with pytest.raises(ProviderError, match="remedy: apt-get install libflite1") as caught:
        spoken("Hello.")
    no_flite()
    assert (caught.value.category, caught.value.retryable) == ("unavailable", False)


def test_many_callers_hear_their_own_text_from_a_process() -> None:
    """Fifty texts at a time through one worker."""

    async def scenario() -> list[str]:
        tts = build_tts("flite", {"voice": "kal"})

        async def say(text: str) -> str:
            return " ".join([word.text async for chunk in tts.speak(text) for word in chunk.words])

        everything = await asyncio.gather(*(say(f"Caller number {number}.") for number in range(50)))
        await tts.close()
        return everything

    assert asyncio.run(scenario()) == [f"Caller number {number}." for number in range(50)]
