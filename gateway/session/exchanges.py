"""The three things a conversation can be asked to do, as values: say, ask, converse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from gateway.core.speech import Expectation
from gateway.session.commands import Answered, Completed, SaidAll

BargeIn: TypeAlias = Literal["off", "digits", "on"]
Outcome: TypeAlias = Answered | SaidAll | Completed


@dataclass
class Saying:
    barge_in: BargeIn
    whole: bool = True

    @property
    def failed(self) -> Outcome:
        return SaidAll(False)


@dataclass
class Asking:
    barge_in: BargeIn
    expectation: Expectation

    @property
    def failed(self) -> Outcome:
        """As if the caller had not been understood: dialplans know what to do then."""
        return Answered("", "", 0.0, False)


@dataclass
class Conversing:
    barge_in: BargeIn
    silences: int = 0

    @property
    def failed(self) -> Outcome:
        return Completed("failed")


Exchange: TypeAlias = Saying | Asking | Conversing


@dataclass
class Taken:
    """A turn of the caller, complete; `interrupted` when it cut the bot off."""

    turn: int
    text: str = ""
    digits: str = ""
    confidence: float = 1.0
    silent: bool = False
