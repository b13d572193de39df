"""Digits as an answer: collected until there are enough, the end key comes, or no more follow."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.core.speech import Expectation

KEYS = frozenset("0123456789*#")


def written_keys(text: str, expectation: Expectation) -> str:
    """The keys that a text stands for: a "1" where keys are an answer is one. "" when it is words, or too long."""
    keys = text.replace(" ", "").removesuffix(expectation.digits_end)
    return keys if len(keys) <= expectation.digits_max and KEYS.issuperset(keys) else ""


@dataclass
class Keypad:
    """`keys` so far, for one expectation. `complete` once nothing is to be waited for."""

    expectation: Expectation
    keys: str = ""
    complete: bool = False
    _last_at: float = 0.0

    def press(self, key: str, now: float) -> None:
        """Keys after the complete answer are not part of it and are ignored."""
        if self.complete:
            return
        self._last_at = now
        if key == self.expectation.digits_end:
            self.complete = True
            return
        self.keys += key
        self.complete = len(self.keys) >= self.expectation.digits_max

    def prompt_over(self, now: float) -> None:
        """The caller could only now know what else is wanted: the wait for the next key begins here."""
        self._last_at = now

    @property
    def deadline(self) -> float | None:
        """When the next key is too late to belong to this answer."""
        return None if self.complete else self._last_at + self.expectation.digits_gap_s
