"""What the SIP endpoint can be told. `dialog` is an opaque handle, from `CallOffered` or chosen by who calls out."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from gateway.sip.flow import Flow

Headers: TypeAlias = tuple[tuple[str, str], ...]


SessionMode: TypeAlias = Literal["request", "accept", "off"]
"""Of session timers (RFC 4028): ask for one, take part when the other side asks, or do neither."""


class SessionPolicy(msgspec.Struct, frozen=True):
    """What one call does about session timers. `expires_s` None is the endpoint's own interval."""

    mode: SessionMode = "request"
    expires_s: int | None = None


SESSION_POLICY = "session-policy"
"""Where a call's notes keep its policy."""


class Command(msgspec.Struct, frozen=True, tag=True):
    dialog: str


class Ring(Command, frozen=True, tag=True):
    """A provisional answer (101..199) to the INVITE that offered the call; with SDP it is early media."""

    status: int = 180
    sdp: bytes | None = None
    headers: Headers = ()


class Accept(Command, frozen=True, tag=True):
    """200 to the INVITE, repeated until the ACK. `sdp` is the answer, or the offer when the INVITE brought none."""

    sdp: bytes
    headers: Headers = ()
    session: SessionPolicy = SessionPolicy()


class Reject(Command, frozen=True, tag=True):
    """A final 3xx-6xx to the INVITE."""

    status: int
    reason: str | None = None
    headers: Headers = ()


class HangUp(Command, frozen=True, tag=True):
    """End the call whatever its phase: BYE, CANCEL or 603. Harmless when it has ended already."""

    reason: str | None = None
    headers: Headers = ()


class AnswerOffer(Command, frozen=True, tag=True):
    """200 to the `OfferReceived` at hand."""

    sdp: bytes


class RefuseOffer(Command, frozen=True, tag=True):
    """A final refusal of the `OfferReceived` at hand; the session goes on as it was (RFC 3261 14.2)."""

    status: int = 488
    reason: str | None = None


class Offer(Command, frozen=True, tag=True):
    """Our own re-INVITE. Answered by `OfferAnswered` or `OfferRefused`; glare is retried by the endpoint."""

    sdp: bytes


class SendInfo(Command, frozen=True, tag=True):
    content_type: str
    body: bytes


class AnswerMessage(Command, frozen=True, tag=True):
    """To the `MessageReceived` of that number: 200 once somebody has the text, else a refusal."""

    number: int
    status: int = 200
    reason: str | None = None


class Credentials(msgspec.Struct, frozen=True):
    username: str
    password: str


class Place(Command, frozen=True, tag=True):
    """Call `uri` over `flow`. Progress comes as `CallProgressed`, `CallAccepted`, `CallFailed`.

    It fails with 408 when not even a 100 has come for `silent_for_s`; None waits for 64*T1.
    """

    uri: str
    flow: Flow
    sdp: bytes
    from_uri: str
    from_display: str = ""
    headers: Headers = ()
    credentials: Credentials | None = None
    silent_for_s: float | None = None
    route: tuple[str, ...] = ()
    """Route values to begin with, as a registrar's Service-Route gave them (RFC 3608)."""
    session: SessionPolicy = SessionPolicy()


class AnswerTransfer(Command, frozen=True, tag=True):
    """The answer to `TransferRequested`: 202 to try it, or a refusal. After a 202 say how it went: `ReportTransfer`."""

    status: int = 202


class ReportTransfer(Command, frozen=True, tag=True):
    """How the transfer we try goes; a final status (200 and up) is the last report."""

    status: int
    reason: str = ""


class Transfer(Command, frozen=True, tag=True):
    """Ask the peer to call `target` instead of us; `TransferProgressed` tells how that goes.

    With `replaces`, the handle of another confirmed call of ours, the peer takes our place in that call, and `target`
    may be empty: the attended transfer.
    """

    target: str = ""
    replaces: str = ""


# Not about calls: `dialog` is a handle that whoever asks chooses.


class Register(Command, frozen=True, tag=True):
    """Keep `address` registered over `flow` until `Unregister`: refreshed in time, retried with growing pauses.

    `others` are the ways to try next when it is silent for `silent_for_s` (None: for 64*T1) or can do nothing for us.
    """

    registrar: str
    address: str
    flow: Flow
    credentials: Credentials | None = None
    expires_s: int = 3600
    others: tuple[Flow, ...] = ()
    silent_for_s: float | None = None


class MoveRegistration(Command, frozen=True, tag=True):
    """The ways to the registrar have changed; registers anew when the first is not the one in use."""

    flow: Flow
    others: tuple[Flow, ...] = ()


class Unregister(Command, frozen=True, tag=True):
    """Take the registration back, and forget it; ends in `Unregistered`."""


class Probe(Command, frozen=True, tag=True):
    """OPTIONS to `uri`; answered by `ProbeAnswered`."""

    uri: str
    flow: Flow


AnyCommand: TypeAlias = (
    Ring | Accept | Reject | HangUp | AnswerOffer | RefuseOffer | Offer | SendInfo | AnswerMessage | Place
    | AnswerTransfer | ReportTransfer | Transfer | Register | MoveRegistration | Unregister | Probe
)  # fmt: skip
