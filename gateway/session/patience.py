"""How long one side waits for the other: the caller for something audible, the bot for an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from gateway.core.speech import Expectation
from gateway.session.options import ConversationOptions

Awaited: TypeAlias = Literal["caller", "bot"]


@dataclass
class Patience:
    """`note` who is awaited whenever that may have changed; the moments follow."""

    options: ConversationOptions
    _awaited: Awaited | None = None
    _since: float = 0.0
    _floor_free_since: float | None = None
    _suspended: bool = False
    _filled: bool = False

    def note(self, awaited: Awaited | None, now: float, *, suspended: bool = False) -> None:
        """`suspended`: the caller makes some sound; whether that ends the wait is not known yet."""
        if awaited != self._awaited:
            self._awaited, self._since = awaited, now
        if awaited == "caller" and self._floor_free_since is None:
            self._floor_free_since = now
        self._suspended = suspended

    def restart(self, now: float) -> None:
        """Something else is tried from here on."""
        self._since = now

    def answered(self) -> None:
        """The caller took a turn: the caller's time for an answer begins anew.

        Noises do not come here. They would put a silence off for ever.
        """
        self._floor_free_since, self._filled = None, False

    def bot_audible(self) -> None:
        self._floor_free_since = None

    def filled(self) -> None:
        """The filler was said; once is enough until the caller's next turn."""
        self._filled = True

    def silence_at(self, expectation: Expectation) -> float | None:
        """When the caller has been silent for too long."""
        if self._awaited != "caller" or self._suspended or self._floor_free_since is None:
            return None
        return self._floor_free_since + expectation.timeout_s

    @property
    def filler_at(self) -> float | None:
        """When the bot has been silent long enough for a filler."""
        usable = (self.options.filler or self.options.filler_file) and not self._filled
        return self._since + self.options.filler_after_s if self._awaits_bot and usable else None

    @property
    def dead_air_at(self) -> float | None:
        """When the caller has heard nothing for longer than allowed."""
        return self._since + self.options.reply_within_s if self._awaits_bot else None

    @property
    def _awaits_bot(self) -> bool:
        return self._awaited == "bot" and not self._suspended
