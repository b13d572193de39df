"""The engine behind `flite`: speaks texts, wherever it runs (see `gateway.providers.jobs`)."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, Final

import msgspec

from gateway.core.speech import Word
from gateway.providers.tts.flite_library import Token, Voice

_SPOKEN: Final = str.maketrans(
    {"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "€": " euros ", "£": " pounds ", "°": " degrees "}
)


class Request(msgspec.Struct, frozen=True):
    text: str


class Reply(msgspec.Struct, frozen=True):
    """PCM16 at the voice's rate, empty when there was nothing to pronounce; words as the text spells them."""

    pcm: bytes
    words: tuple[Word, ...]


class Options(msgspec.Struct, frozen=True):
    voice: str
    pace: float


class FliteEngine:
    def __init__(self, options: Options) -> None:
        self._voice = Voice(options.voice, options.pace)

    def handle(self, job: int, request: Request) -> Iterable[Reply]:
        words = request.text.split()
        plain = [speakable(word) for word in words]
        if not any(map(str.isalnum, "".join(plain))):
            return [Reply(b"", ())]
        pcm, tokens = self._voice.synthesise(" ".join(plain))
        return [Reply(pcm, timed(words, plain, tokens))]

    def end(self, job: int) -> None:
        pass


def create(options: dict[str, Any]) -> FliteEngine:
    return FliteEngine(msgspec.convert(options, Options))


def speakable(text: str) -> str:
    """In the only alphabet that the library reads, ASCII; accents are dropped, and so is what has no likeness."""
    folded = unicodedata.normalize("NFKD", text.translate(_SPOKEN)).encode("ascii", "ignore").decode()
    return "".join(character for character in folded if character.isprintable())


def timed(words: Sequence[str], plain: Sequence[str], tokens: Sequence[Token]) -> tuple[Word, ...]:
    """The words of the text with the times of the tokens found in them, in order; silent ones are left out."""
    line = " ".join(plain)
    ends = list(accumulate(len(word) + 1 for word in plain))
    times: dict[int, tuple[float, float]] = {}
    at = 0
    for token in tokens:
        found = line.find(token.text, at)
        at = found + len(token.text) if found >= 0 else at
        index = bisect_right(ends, max(found, 0)) if found >= 0 or not times else max(times)
        start, _ = times.get(index, (token.start_s, token.end_s))
        times[index] = (start, token.end_s)
    return tuple(Word(words[index], round(start, 4), round(end, 4)) for index, (start, end) in times.items())
