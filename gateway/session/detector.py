"""The default sense for when a caller is finished: silence, weighed by what the last words promise."""

from __future__ import annotations

from gateway.core.speech import Expectation
from gateway.session.words import normalised

_YES_NO = {"yes", "yeah", "yep", "no", "nope", "correct", "exactly", "right", "okay", "ok"}
_HESITATIONS = {"um", "uh", "er", "erm", "hmm", "well", "eh"}
_CONJUNCTIONS = {
    "and", "or", "but", "because", "so", "if", "when", "that", "with", "for", "to", "of", "in", "on", "at", "by",
    "from", "the", "a", "an", "my", "your", "is", "are", "was", "about", "between", "until",
}  # fmt: skip
_DIGITS = {"zero", "oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "double", "triple"}


class DefaultTurnDetector:
    """Implements `TurnDetector`. Milliseconds, all for ordinary English; the base is the configured silence."""

    def __init__(self, silence_ms: int = 700) -> None:
        self._base = silence_ms
        self._short = silence_ms * 4 // 7
        self._longer = silence_ms * 12 // 7
        self._longest = silence_ms * 15 // 7

    def silence_ms(self, text: str, expectation: Expectation) -> int:
        """An expectation that names its silence wins; then what is certain to go on; then what is complete."""
        if expectation.silence_ms is not None:
            return expectation.silence_ms
        words = normalised(text)
        if not words:
            return self._base
        if words[-1] in _HESITATIONS:
            return self._longest
        if _is_whole_answer(words, expectation):
            return self._short
        if words[-1] in _CONJUNCTIONS or _in_digits(words):
            return self._longer
        return self._short if (len(words) == 1 and words[0] in _YES_NO) or _ends_sentence(text) else self._base


def _is_whole_answer(words: tuple[str, ...], expectation: Expectation) -> bool:
    """An expected phrase that no longer expected phrase begins with ("three" may yet become "three thirty")."""
    phrases = [normalised(phrase) for phrase in expectation.phrases]
    return words in phrases and not any(
        len(phrase) > len(words) and phrase[: len(words)] == words for phrase in phrases
    )


def _in_digits(words: tuple[str, ...]) -> bool:
    """A number is being read out; a single digit is an answer like any other, two begin a string."""
    return len(words) > 1 and all(word in _DIGITS or word.isdigit() for word in words[-2:])


def _ends_sentence(text: str) -> bool:
    return text.rstrip().endswith((".", "?", "!"))
