"""When speech over the bot's voice is an interruption. Pure judgement: no state, no time but what is passed in."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

from gateway.core.speech import Expectation
from gateway.session.echo import without_echo
from gateway.session.options import ConversationOptions
from gateway.session.words import normalised

Floor: TypeAlias = Literal["caller", "preparing", "speaking"]
"""Who holds it: the caller; the bot, but nothing of its reply was audible yet; the bot, audibly."""


class BargeInJudge:
    """Applies the thresholds of `ConversationOptions`, other ones while the bot is only preparing its reply."""

    def __init__(self, options: ConversationOptions) -> None:
        self._options = options
        self._acknowledgements = _phrases(options.acknowledgements)
        self._interjections = _phrases(options.interjections)

    def by_words(self, text: str, floor: Floor, saying: str) -> bool:
        """Enough words of substance. `saying` is what the bot says at the time: its echo does not count.

        While the bot prepares, `saying` is what the caller said before: saying it again is nothing new.
        """
        if floor == "preparing" and _repeats(text, saying):
            return False
        least = self._options.min_words if floor == "speaking" else self._options.processing_min_words
        return len(self._substance(text, floor, saying)) >= max(1, least)

    def by_duration(self, speech_s: float, text: str, floor: Floor, saying: str) -> bool:
        """Speech known to be `speech_s` long suffices by itself."""
        return speech_s >= self._least_s(text, floor, saying)

    def duration_due(self, began_at: float, text: str, floor: Floor, saying: str) -> float:
        """When speech that goes on and on is certain to have been long enough.

        Later than the threshold by the detector's lag: until then the speech may be over without our knowing.
        """
        return began_at + self._least_s(text, floor, saying) + self._options.detector_lag_ms / 1000

    def by_answer(self, text: str, expectation: Expectation, floor: Floor, saying: str) -> bool:
        """The final word on short speech: is it the answer that is awaited, an interjection, or words enough?"""
        words = normalised(text)
        if not words or (floor == "preparing" and _repeats(text, saying)):
            return False
        if words in _phrases(expectation.phrases):
            return True
        if self.only_acknowledges(text):
            return False
        if any(words[: len(phrase)] == phrase for phrase in self._interjections):
            return True
        return _in_grammar(words, expectation.grammar) or self.by_words(text, floor, saying)

    def only_acknowledges(self, text: str) -> bool:
        """Something was said, and nothing but "uh-huh" and its like. No text at all is not an acknowledgement."""
        words = normalised(text)
        return bool(words) and not self._less_acknowledgements(words)

    def _least_s(self, text: str, floor: Floor, saying: str) -> float:
        """Acknowledgements and echo, as long as nothing else was recognised, may last longer than other speech."""
        if text and not self._substance(text, floor, saying):
            return self._options.acknowledgement_max_ms / 1000
        speaking = floor == "speaking"
        return (self._options.min_duration_ms if speaking else self._options.processing_min_duration_ms) / 1000

    def _substance(self, text: str, floor: Floor, saying: str) -> tuple[str, ...]:
        return self._less_acknowledgements(without_echo(text, saying if floor == "speaking" else ""))

    def _less_acknowledgements(self, words: tuple[str, ...]) -> tuple[str, ...]:
        kept: list[str] = []
        at = 0
        while at < len(words):
            lengths = [len(phrase) for phrase in self._acknowledgements if words[at : at + len(phrase)] == phrase]
            if not lengths:
                kept.append(words[at])
            at += max(lengths, default=1)
        return tuple(kept)


def _phrases(texts: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [words for text in texts if (words := normalised(text))]


def _repeats(text: str, said: str) -> bool:
    words = normalised(text)
    return normalised(said)[: len(words)] == words


def _in_grammar(words: tuple[str, ...], grammar: str | None) -> bool:
    """Whether a grammar has all these words. Its rules and tags are not followed: an engine with a grammar returns
    whole sentences of it, engines without one rarely hit its words alone by chance."""
    if grammar is None:
        return False
    terminals = normalised(re.sub(r"<[^>]*>|\{[^}]*\}|/[\d.]+/", " ", grammar))
    return set(words) <= set(terminals)
