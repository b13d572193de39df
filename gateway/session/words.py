"""Words and their places in audio: which of them were heard, and when two texts say the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache

from gateway.core.speech import Word

LETTERS_PER_S = 10.0
"""A slow voice's pace, for a clip whose length is not known: rather a word too few in the history than one unheard."""
PAUSE_LETTERS = {",": 3.0, ";": 4.0, ":": 4.0, ".": 6.0, "?": 6.0, "!": 6.0}
"""Punctuation takes time too: counted in letters, by the mark that ends a word."""
HEARD_TOLERANCE_S = 0.02
"""One packet: where the playout stopped is known no better."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


@lru_cache(maxsize=4096)  # expected phrases are compared again and again
def normalised(text: str) -> tuple[str, ...]:
    """The words alone: lower case, no punctuation, hyphens part words. Two texts with equal results say the same."""
    return tuple(match.group().replace("’", "'") for match in _WORD.finditer(text.lower()))


def similarity(one: str, other: str) -> float:
    """Share of equal words in order, 0..1; 1 for two empty texts."""
    return SequenceMatcher(None, normalised(one), normalised(other), autojunk=False).ratio()


def estimated(text: str, duration_s: float | None = None) -> tuple[Word, ...]:
    """Times for the words of `text`, in proportion to their length, filling `duration_s` (or at a slow pace)."""
    tokens = text.split()
    total = sum(map(_weight, tokens))
    if not tokens:
        return ()
    per_letter = (duration_s if duration_s is not None else total / LETTERS_PER_S) / total
    words, at = [], 0.0
    for token in tokens:
        spoken, whole = len(token) * per_letter, _weight(token) * per_letter
        words.append(Word(token, at, at + spoken))
        at += whole
    return tuple(words)


def heard(text: str, words: Sequence[Word], played_s: float, *, all_words: bool = True) -> str:
    """The part of `text` whose words were played to their end.

    `words` come from the voice and may be spelt unlike the text ("3" as "three"): where their number differs, the
    cut falls at the same share of both, rounded down, because history must not hold what was not heard. Of a clip
    that was made in part only (not `all_words`), they stand for as many words of the text.
    """
    tokens = text.split()
    count = sum(word.end_s <= played_s + HEARD_TOLERANCE_S for word in words)
    if all_words and words and len(words) != len(tokens):
        count = len(tokens) * count // len(words)
    return " ".join(tokens[:count])


def _weight(token: str) -> float:
    return len(token) + 1 + PAUSE_LETTERS.get(token[-1], 0.0)


def joined(*texts: str) -> str:
    """Texts one after the other with single spaces, empty ones left out."""
    return " ".join(stripped for text in texts if (stripped := text.strip()))
