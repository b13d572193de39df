"""How words are pronounced: the dictionary that comes with pocketsphinx, and a guess for what is not in it.

Pronunciations are phones of the CMU dictionary without stress, as in "HH EH L OW".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from gateway.core.errors import ConfigError, ProviderError

# fmt: off
PHONES: Final = frozenset((
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH", "IH", "IY", "JH",
    "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y", "Z", "ZH",
))

# The longest spelling that fits at a place wins; `$` is the end of the word, `^` its beginning, _ no sound.
_SOUNDS: Final = {
    "tion": "SH AH N", "sion": "ZH AH N", "ture": "CH ER", "ough": "OW", "eigh": "EY", "igh": "AY", "tch": "CH",
    "dge": "JH", "sch": "SH", "kn": "N", "wr": "R", "ph": "F", "gh": "G", "th": "TH", "sh": "SH", "ch": "CH",
    "ck": "K", "ng": "NG", "qu": "K W", "wh": "W", "x": "K S", "^x": "Z", "^ps": "S", "ai": "EY", "ay": "EY",
    "ea": "IY", "ee": "IY", "ei": "EY", "ey": "IY", "ie": "IY", "oa": "OW", "oe": "OW", "oi": "OY", "oy": "OY",
    "oo": "UW", "ou": "AW", "ow": "OW", "ue": "UW", "ui": "UW", "ew": "UW", "au": "AO", "aw": "AO", "ar": "AA R",
    "er": "ER", "ir": "ER", "or": "AO R", "ur": "ER", "^y": "Y", "y$": "IY", "y": "IH", "ce": "S", "ci": "S IH",
    "cy": "S IY", "ge": "JH", "gi": "JH IH", "le$": "AH L", "e$": "_", "es$": "Z", "ed$": "D", "a": "AE", "b": "B",
    "c": "K", "d": "D", "e": "EH", "f": "F", "g": "G", "h": "HH", "i": "IH", "j": "JH", "k": "K", "l": "L", "m": "M",
    "n": "N", "o": "AA", "p": "P", "q": "K", "r": "R", "s": "S", "t": "T", "u": "AH", "v": "V", "w": "W", "z": "Z",
    "a$": "AH", "o$": "OW", "i$": "IY",
}
# fmt: on
_LONGEST: Final = max(len(spelling) for spelling in _SOUNDS)
_DOUBLED: Final = re.compile(r"([bcdfgklmnprstvz])\1")


class Pronunciations:
    """`extra` are an operator's own, by word, and win. Raises `ConfigError` when one has no such phones."""

    def __init__(self, extra: Mapping[str, str] | None = None) -> None:
        self._extra = {word.lower(): _checked(word, phones) for word, phones in (extra or {}).items()}

    def of(self, word: str) -> tuple[str, ...]:
        """Every known pronunciation of a lower-case word, else one guess; empty when there is nothing to sound."""
        if word in self._extra:
            return (self._extra[word],)
        return _known(word) or tuple(filter(None, (guess(word),)))

    def gaps(self, words: Iterable[str]) -> list[str]:
        """The words that would have to be guessed, in order, each once."""
        return [word for word in dict.fromkeys(words) if word not in self._extra and not _known(word)]


def vocabulary_gaps(words: Iterable[str]) -> list[str]:
    """The words that the shipped dictionary does not know. For a dialplan's check: their recognition is a guess."""
    return Pronunciations().gaps(word.lower() for word in words)


def guess(word: str) -> str:
    """Letters to sounds by rule; right often enough for a name or a brand, when nobody wrote it down."""
    rest = _DOUBLED.sub(r"\1", f"^{re.sub(r'[^a-z]', '', word.lower())}$")
    phones: list[str] = []
    while rest:
        spelling = next((rest[:n] for n in range(_LONGEST, 0, -1) if rest[:n] in _SOUNDS), rest[:1])
        phones += _SOUNDS.get(spelling, "_").split()
        rest = rest[len(spelling) :]
    return " ".join(phone for phone in phones if phone != "_")


def _checked(word: str, phones: str) -> str:
    phones = " ".join(phones.upper().split())
    wrong = [phone for phone in phones.split() if phone not in PHONES]
    if wrong or not phones:
        listed = " ".join(sorted(PHONES))
        raise ConfigError(
            f"pronunciation of `{word}`: {wrong[0] if wrong else 'nothing'} is no phone; phones: {listed}"
        )
    return phones


@cache
def _dictionary() -> bytes:
    """The file as it is, three megabytes: searched, not parsed, since a grammar has few words."""
    try:
        return b"\n" + files("pocketsphinx").joinpath("model", "en-us", "cmudict-en-us.dict").read_bytes()
    except (ImportError, OSError) as error:
        message = f"pocketsphinx is not installed ({error}); remedy: pip install pocketsphinx"
        raise ProviderError(message, category="unavailable", retryable=False) from error


@cache
def _known(word: str) -> tuple[str, ...]:
    """`word` and `word(2)`, `word(3)` and so on stand together, in this order."""
    text, found = _dictionary(), []
    entry = word.encode()
    at = text.find(b"\n" + entry + b" ")
    while at >= 0:
        end = text.index(b"\n", at + 1)
        found.append(text[at + 1 : end].split(maxsplit=1)[1].decode())
        follows = text.startswith(b"%s(%d) " % (entry, len(found) + 1), end + 1)
        at = end if follows else -1
    return tuple(found)
