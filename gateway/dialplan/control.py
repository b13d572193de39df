"""The port through which a dialplan's actions act on a call.

An action is a coroutine that awaits nothing but these methods. The call drives it by hand, with no event loop: so a
dialplan runs the same live, in a test and in a replay. When the line dies the coroutine is closed where it stands.
"""

from __future__ import annotations

from typing import Any, Literal, NoReturn, Protocol

import msgspec

from gateway.core.speech import Expectation

BargeIn = Literal["off", "digits", "on"]


class Prompt(msgspec.Struct, frozen=True):
    """Something to say. `file` is a WAV that is played instead when it exists (8 or 16 kHz, mono, 16 bit)."""

    text: str
    file: str | None = None


class Heard(msgspec.Struct, frozen=True):
    """What the caller answered; all empty and `silent` when nothing came in time."""

    text: str = ""
    digits: str = ""
    confidence: float = 1.0
    silent: bool = False


class BotStep(msgspec.Struct, frozen=True):
    """A conversation with an agent, by the name of its provider; `options` reach it in its context."""

    agent: str
    options: dict[str, Any] = {}
    barge_in: BargeIn = "on"


class Outcome(msgspec.Struct, frozen=True):
    """How a conversation ended: the agent's own word, and what it gathered."""

    outcome: str
    data: dict[str, Any] = {}


TransferMode = Literal["blind", "attended", "bridge"]
TransferFailure = Literal["busy", "no_answer", "rejected", "unreachable", "refused"]
TransferOutcome = Literal["finished", "busy", "no_answer", "rejected", "unreachable", "refused"]
"""What a call can go on after: the target hung up, or it never came to a talk. `refused`: the caller's side does not
do transfers, and passing the audio on was not wanted."""


class TransferStep(msgspec.Struct, frozen=True):
    """Connect the caller with `to`: a number, or a `sip:` address."""

    to: str
    mode: TransferMode = "blind"
    trunk: str = ""
    """To call the target through; empty: the one the call came by."""
    caller: str = ""
    """The number shown to the target; empty: the trunk's own."""
    music: str | None = None
    """A WAV for the caller while the target's telephone rings; else they hear it ring."""
    ring_s: float = 30.0
    bridge_if_refused: bool = True


class CallControl(Protocol):
    @property
    def caller(self) -> str: ...

    @property
    def called(self) -> str: ...

    @property
    def headers(self) -> dict[str, str]: ...

    @property
    def variables(self) -> dict[str, str]:
        """A copy; change them with `set`."""
        ...

    def set(self, name: str, value: str) -> None:
        """Remember a variable, across a dropped line too."""
        ...

    async def ring(self) -> None:
        """Let the caller hear ringing (180). Nothing on a call that is answered."""
        ...

    async def answer(self) -> None:
        """Pick up; returns when audio can flow. At once on a call that is answered."""
        ...

    async def wait(self, seconds: float) -> None: ...

    async def say(self, prompt: Prompt, *, barge_in: BargeIn = "on") -> bool:
        """Speak; true when the caller heard it whole."""
        ...

    async def ask(self, prompt: Prompt, expectation: Expectation, *, barge_in: BargeIn = "on") -> Heard:
        """Speak, then take one turn: speech or digits, whichever comes; digits count from the prompt's start on."""
        ...

    async def converse(self, bot: BotStep) -> Outcome:
        """Hand the caller to an agent until it finishes."""
        ...

    async def loop_back(self, seconds: float | None = None) -> None:
        """Send the caller's voice back, for ever or for `seconds`."""
        ...

    async def tone(self, hz: float, *, dbm0: float = 0.0, seconds: float | None = None) -> None: ...

    async def music(
        self, file: str, *, level_db: float = -10.0, while_speaking_db: float = -24.0, seconds: float | None = None
    ) -> None:
        """Play a file round and round behind everything, for `seconds` or until `stop_music`."""
        ...

    async def stop_music(self) -> None: ...

    async def press(self, digits: str) -> None:
        """Send RFC 4733 digits to the caller's side."""
        ...

    async def transfer(self, step: TransferStep) -> TransferOutcome:
        """Connect the caller with somebody else. Returns when they are back; a call that is gone ends here."""
        ...

    async def hang_up(self) -> NoReturn:
        """Say goodbye in the signalling and end here."""
        ...

    async def reject(self, status: int, reason: str | None = None) -> NoReturn:
        """Refuse a call that is not answered yet; on an answered one this is `hang_up`."""
        ...


class Goto(msgspec.Struct, frozen=True):
    """What an action returns to leave its route: go on with the first step of another."""

    route: str
