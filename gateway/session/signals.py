"""What the turn taker tells of the caller's turns."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec


class TurnOpened(msgspec.Struct, frozen=True):
    """The caller began to speak: recognise it."""

    turn: int


class TurnClosed(msgspec.Struct, frozen=True):
    """Nothing more comes: get the final transcript and tell it by `finished`."""

    turn: int


class TurnDropped(msgspec.Struct, frozen=True):
    """Never mind what was said: cancel its recognition."""

    turn: int


class TurnTaken(msgspec.Struct, frozen=True):
    """What the caller said, for somebody to answer. Empty `text`: speech of `spoken_s` that nobody understood."""

    turn: int
    text: str
    confidence: float
    spoken_s: float


class Interrupted(msgspec.Struct, frozen=True):
    """The bot loses the floor. The turn that did it goes on."""

    by: Literal["words", "duration"]


class Dismissed(msgspec.Struct, frozen=True):
    """It was no interruption: the bot may go on from where it paused."""

    text: str


Signal: TypeAlias = TurnOpened | TurnClosed | TurnDropped | TurnTaken | Interrupted | Dismissed
