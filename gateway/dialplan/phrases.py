"""Which of some phrases a caller said: matching on normalised words, the longest phrase winning."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

import msgspec

V = TypeVar("V", bound=Hashable)
Words = tuple[str, ...]
_NUMBER = re.compile(r"[0-9]+")
# fmt: off
_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
# fmt: on
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


class Span(msgspec.Struct, Generic[V], frozen=True):
    """A found phrase: words `begin` up to `end` of the utterance stand for `value`."""

    begin: int
    end: int
    value: V


def normalise(text: str) -> Words:
    """Lower-case words without punctuation; inner apostrophes stay ("I'd like" is i'd, like).

    Numbers become words, so that "room 12" and "room twelve" are the same to every engine.
    """
    folded = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    spelled = _NUMBER.sub(lambda found: f" {_spell(found[0])} ", folded)
    return tuple(_WORD.findall(spelled))


def _spell(digits: str) -> str:
    """Up to 99 as a number, else digit by digit, as people say numbers of rooms and telephones."""
    if len(digits) > 2 or (len(digits) == 2 and digits[0] == "0"):
        return " ".join(_SMALL[int(digit)] for digit in digits)
    tens, ones = divmod(int(digits), 10)
    if tens < 2:
        return _SMALL[int(digits)]
    return f"{_TENS[tens]} {_SMALL[ones]}" if ones else _TENS[tens]


def spans(words: Sequence[str], choices: Mapping[V, Iterable[str]]) -> list[Span[V]]:
    """Where phrases of the choices stand, left to right, not overlapping.

    At one place the longest wins, among equals the choice named first.
    """
    by_length = sorted(
        ((normalise(phrase), value) for value, phrases in choices.items() for phrase in phrases),
        key=lambda entry: -len(entry[0]),
    )
    found: list[Span[V]] = []
    at = 0
    while at < len(words):
        span = next((span for phrase, value in by_length if (span := _at(words, at, phrase, value))), None)
        if span:
            found.append(span)
        at = span.end if span else at + 1
    return found


def _at(words: Sequence[str], at: int, phrase: Words, value: V) -> Span[V] | None:
    end = at + len(phrase)
    return Span(at, end, value) if phrase and tuple(words[at:end]) == phrase else None


def chosen(text: str, choices: Mapping[str, Iterable[str]]) -> str | None:
    """The one value that the text names; None for none, or for several different ones."""
    values = {span.value for span in spans(normalise(text), choices)}
    return values.pop() if len(values) == 1 else None
