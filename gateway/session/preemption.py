"""Beginning a reply before the caller's turn is certainly over, and judging whether it may be used."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.session.options import ConversationOptions
from gateway.session.words import normalised, similarity


@dataclass
class Preemption:
    """Counts the early starts of a turn; `worth` before one, `fits` when the final transcript is there."""

    options: ConversationOptions
    _turn: int = 0
    _starts: int = 0

    def worth(self, turn: int, text: str, begun_with: str | None) -> bool:
        """Whether to start on `text`; `begun_with` is what the reply that is being prepared was started on."""
        if self.options.preempt == "never" or (begun_with is not None and self.fits(begun_with, text)):
            return False
        if turn != self._turn:
            self._turn, self._starts = turn, 0
        if self._starts >= self.options.preempt_max:
            return False
        self._starts += 1
        return True

    def fits(self, begun_with: str, text: str) -> bool:
        """Whether a reply to the one is good enough a reply to the other."""
        match self.options.preempt:
            case "never":
                return False
            case "if_same":
                return normalised(begun_with) == normalised(text)
            case "if_similar":
                return similarity(begun_with, text) >= self.options.preempt_similarity
            case "always":
                return True
