"""What the SIP endpoint can be told. `dialog` is an opaque handle, from `CallOffered` or chosen by who calls out."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from gateway.sip.flow import Flow

Headers: TypeAlias = tuple[tuple[str, str], ...]


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


class Credentials(msgspec.Struct, frozen=True):
    username: str
    password: str


class Place(Command, frozen=True, tag=True):
    """Call `uri` over `flow`. Progress comes as `CallProgressed`, `CallAccepted`, `CallFailed`."""

    uri: str
    flow: Flow
    sdp: bytes
    from_uri: str
    from_display: str = ""
    headers: Headers = ()
    credentials: Credentials | None = None


AnyCommand: TypeAlias = Ring | Accept | Reject | HangUp | AnswerOffer | RefuseOffer | Offer | SendInfo | Place
