"""What the hallway needs from outside: a line to the caller, and somewhere to leave a call's bundle."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

import msgspec

from gateway.call.commands import AnyInput
from gateway.core.errors import PeerError
from gateway.core.events import AnyEvent, DigitPressed, Door
from gateway.media.commands import AnyReport
from gateway.session.ports import Agent, SpeechToText, TextToSpeech


class Incoming(msgspec.Struct, frozen=True):
    """A call at the door. `caller` is empty when anonymous.

    `route` names the route where the caller chose one (a browser's page); otherwise the dialplan decides.
    `headers` are what the caller's side wrote, `facts` what we believe.
    """

    door: Door
    caller: str
    called: str
    headers: dict[str, str] = {}
    trunk: str = ""
    route: str = ""
    facts: dict[str, str] = {}


class Referral(Protocol):
    """What a line can do about transfers (RFC 3515), where its signalling knows them."""

    @property
    def dialog(self) -> str:
        """The handle of the call in the signalling."""
        ...

    @property
    def accepts_transfers(self) -> bool:
        """Whether its peer may transfer us, and others take its place."""
        ...

    def refer(self, to: str, replaces: str) -> None:
        """Ask the peer to call `to`, or to take our place in the dialog `replaces`; ends in `TransferTold`s."""
        ...

    def answer_transfer(self, status: int) -> None: ...

    def report_transfer(self, status: int) -> None: ...


class Line(Protocol):
    """One call's way to its caller, whatever the door. What comes of it is told to the `tell` given on creation.

    A line opens, connects and closes its own media leg, which bears the call's id.
    """

    def ring(self) -> None: ...

    def answer(self) -> None:
        """Ends in `LineAnswered`, or `LineEnded(reason="error")` when there is no leg to be had."""
        ...

    def reject(self, status: int, reason: str | None) -> None: ...

    def hang_up(self) -> None: ...

    def press(self, digits: str) -> None:
        """Send keys to the far side, in whichever way it takes them."""
        ...

    def answer_text(self, number: int, *, taken: bool) -> None:
        """To a `TextCame`: whether anybody has it now. Every one is answered, once."""
        ...

    @property
    def referral(self) -> Referral | None: ...

    @property
    def wideband(self) -> bool:
        """Whether its leg sends by a codec that carries more than 4 kHz."""
        ...

    def media_said(self, report: AnyReport) -> None:
        """A report of the line's leg; the call passes all of them on."""
        ...

    def release(self) -> None:
        """The call is over: give the leg back. Always called, once."""
        ...


Tell = Callable[[AnyInput | DigitPressed], None]
"""Where a line reports: what became of it, and digits that came in the signalling."""
LineFactory = Callable[[str, Tell, str | None, str | None], Line]
"""Called with the call's id, `tell`, and the paths for recording and packet trace (or None)."""
SuccessorFactory = Callable[[str, Tell, Line | None], Line]
"""Called with a name of its own for the line, `tell`, and the line whose place and leg it takes, or None.

Without such a line the name is its leg's, too."""
Dial = Callable[["Placing"], Coroutine[Any, Any, SuccessorFactory]]
"""Finds the way for a call within a call. Raises `GatewayError` when there is none."""
LoadPrompt = Callable[[str], bytes | None]
"""Gives the 8 kHz PCM of a stored prompt, or None when there is none."""


class Placing(msgspec.Struct, frozen=True):
    """A call within a call: to the target of a transfer, or to whom a transfer sends us.

    `to` is a number or an address. `trunk` is the way, "" for straight to the address; `caller` the number shown, ""
    for the trunk's own.
    """

    to: str
    trunk: str = ""
    caller: str = ""
    ring_s: float | None = None
    headers: tuple[tuple[str, str], ...] = ()


async def nowhere(placing: Placing) -> SuccessorFactory:
    """For gateways that place no calls."""
    raise PeerError("no way to call anybody", status_hint=503)


class Bundle(Protocol):
    """Where a call leaves what its replay needs. All methods are quick and never raise; a full disk is logged."""

    @property
    def recording(self) -> str | None: ...

    @property
    def trace(self) -> str | None: ...

    def resumes(self, events: Sequence[AnyEvent]) -> None:
        """The call goes on with a session that holds these events already."""
        ...

    def event(self, event: AnyEvent) -> None: ...

    def listen_through(self, stt: SpeechToText) -> SpeechToText:
        """The same recogniser, its answers and their delays noted."""
        ...

    def speak_through(self, tts: TextToSpeech) -> TextToSpeech: ...

    def think_through(self, name: str, agent: Agent) -> Agent: ...

    def play_through(self, load_prompt: LoadPrompt, sample_rate: int = 8000) -> LoadPrompt:
        """`sample_rate` is that of what it gives: stored prompts come at 8 kHz, and at 16 to lines that carry it."""
        ...

    def close(self) -> None: ...


class NoBundle:
    """For calls that leave none."""

    recording: str | None = None
    trace: str | None = None

    def resumes(self, events: Sequence[AnyEvent]) -> None:
        pass

    def event(self, event: AnyEvent) -> None:
        pass

    def listen_through(self, stt: SpeechToText) -> SpeechToText:
        return stt

    def speak_through(self, tts: TextToSpeech) -> TextToSpeech:
        return tts

    def think_through(self, name: str, agent: Agent) -> Agent:
        return agent

    def play_through(self, load_prompt: LoadPrompt, sample_rate: int = 8000) -> LoadPrompt:
        return load_prompt

    def close(self) -> None:
        pass
