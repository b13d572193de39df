"""JSGF grammars: from phrases or a dialplan's rules to what pocketsphinx compiles, and the words in them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from gateway.core.errors import ConfigError
from gateway.core.speech import Expectation

HEADER: Final = "#JSGF V1.0;\ngrammar expected;\n"

# fmt: off
_ONES: Final = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)
# fmt: on
_TENS: Final = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_NUMBER: Final = re.compile(r"\d+")
_WORD: Final = re.compile(r"[^\W_]+(?:['.][^\W_]+)*", re.UNICODE)

# Whatever stands in a rule and is no word: comments, tags, rule names, weights, operators.
_COMMENT: Final = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_NO_WORD: Final = re.compile(r"\{[^}]*\}|<[^>]*>|/\s*[\d.eE+-]+\s*/|[()\[\]|*+;=\"]")
_PUBLIC: Final = re.compile(r"(^|;)\s*public(?=\s*<)")
_RULE: Final = re.compile(r"<([^>]*)>")
_DEFINED: Final = re.compile(r"<([^>]*)>\s*=")
_LOWERED: Final = re.compile(r"<[^>]*>|\{[^}]*\}|[^<{]+")


def grammar_of(expectation: Expectation) -> str | None:
    """The grammar that an expectation asks for, or None when nothing in particular is expected.

    Raises `ConfigError` when a rule is missing.
    """
    if expectation.grammar and expectation.grammar.strip():
        return from_rules(expectation.grammar)
    phrases = [words for words in map(spoken, expectation.phrases) if words]
    return from_phrases(phrases) if phrases else None


def from_phrases(phrases: Iterable[tuple[str, ...]]) -> str:
    """A grammar for exactly one of the phrases."""
    alternatives = dict.fromkeys(" ".join(words) for words in phrases)
    return f"{HEADER}public <utterance> = {' | '.join(alternatives)};\n"


def from_rules(bodies: str) -> str:
    """Rule definitions with the header before them; words in lower case, as in the dictionary."""
    bodies = _COMMENT.sub(" ", bodies).strip()
    bodies = re.sub(r"^#JSGF[^;]*;\s*(?:grammar\s+[^;]*;)?\s*", "", bodies)
    lowered = "".join(part if part[0] in "<{" else part.lower() for part in _LOWERED.findall(bodies.replace("’", "'")))
    if not re.search(r"\bpublic\s*<", lowered):
        raise ConfigError("the grammar has no public rule; remedy: write `public <utterance> = ...;`")
    missing = {*_RULE.findall(lowered)} - {*_DEFINED.findall(lowered)} - {"NULL", "VOID"}
    if missing:  # which pocketsphinx would take for a rule that nobody can say
        raise ConfigError(f"the grammar has no rule <{min(missing)}>; remedy: write `<{min(missing)}> = ...;`")
    return f"{HEADER}{lowered.rstrip().rstrip(';')};\n"


def words_in(grammar: str) -> list[str]:
    """The words of a grammar made here, each once, in the order of their first appearance."""
    bodies = _PUBLIC.sub(r"\1", grammar.removeprefix(HEADER))
    return list(dict.fromkeys(_NO_WORD.sub(" ", bodies).split()))


def spoken(phrase: str) -> tuple[str, ...]:
    """A phrase as it is said: lower-case words without punctuation, numbers in words. "Room 12" is room, twelve."""
    folded = unicodedata.normalize("NFKC", phrase).casefold().replace("’", "'")
    spelled = _NUMBER.sub(lambda number: f" {number_words(number.group())} ", folded)
    return tuple(_WORD.findall(spelled))


def number_words(digits: str) -> str:
    """A number up to 99 as a word or two; longer ones, and those with a zero in front, digit by digit."""
    if len(digits) > 2 or (len(digits) == 2 and digits[0] == "0"):
        return " ".join(_ONES[int(digit)] for digit in digits)
    number = int(digits)
    if number < 20:
        return _ONES[number]
    tens, ones = _TENS[number // 10 - 2], number % 10
    return f"{tens} {_ONES[ones]}" if ones else tens
