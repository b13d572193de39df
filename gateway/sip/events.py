"""What the SIP endpoint tells. Not the call's log: the hallway turns these into `gateway.core.events`."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from gateway.sip.commands import Headers
from gateway.sip.flow import Flow


class SipEvent(msgspec.Struct, frozen=True, tag=True):
    at: float
    dialog: str


class CallOffered(SipEvent, frozen=True, tag=True):
    """A new INVITE that passed the endpoint's own checks; 100 Trying has been sent.

    `caller` and `called` are user parts ("" for anonymous), `sdp` None on a late offer. `headers` holds every header
    in wire order under its long name. `facts` are what was found out beyond them: `account` that signed the
    INVITE, `diverted-from`, `first-called`, `user-to-user`, `replaces` with the handle of the call whose place this
    one will take, and whatever other extensions read.
    """

    flow: Flow
    call_id: str
    caller: str
    called: str
    from_uri: str
    to_uri: str
    display: str
    sdp: bytes | None
    headers: Headers = ()
    facts: Headers = ()


class CallCancelled(SipEvent, frozen=True, tag=True):
    """The caller gave up before the final answer; 487 has been sent. Nothing more comes of this dialog.

    It may follow an `Accept`, when that was waiting for a PRACK (RFC 3262).
    """

    reason: str = ""


class CallConfirmed(SipEvent, frozen=True, tag=True):
    """The ACK of our 200 came; `sdp` is the answer to our offer when the INVITE brought none."""

    sdp: bytes | None = None


class CallProgressed(SipEvent, frozen=True, tag=True):
    """A 1xx to a call we placed."""

    status: int
    reason: str
    sdp: bytes | None = None


class CallAccepted(SipEvent, frozen=True, tag=True):
    """A 2xx to a call we placed; the ACK has been sent. `sdp` None: what was agreed on while it rang holds."""

    sdp: bytes | None


class CallFailed(SipEvent, frozen=True, tag=True):
    """A call we placed got no 2xx; 408 when nothing answered, 503 when the transport failed.

    `targets` are the addresses a 3xx redirects to, the best first; nobody follows them but who placed the call.
    """

    status: int
    reason: str
    targets: tuple[str, ...] = ()


class OfferReceived(SipEvent, frozen=True, tag=True):
    """A re-INVITE, an UPDATE, or while it rings a PRACK; answer with `AnswerOffer` or `RefuseOffer`.

    `sdp` None asks us to make the offer.
    """

    sdp: bytes | None


class OfferAnswered(SipEvent, frozen=True, tag=True):
    sdp: bytes


class OfferRefused(SipEvent, frozen=True, tag=True):
    status: int
    reason: str


class InfoReceived(SipEvent, frozen=True, tag=True):
    """200 has been sent. DTMF by INFO is `application/dtmf-relay` or `application/dtmf`."""

    content_type: str
    body: bytes


class MessageReceived(SipEvent, frozen=True, tag=True):
    """A text of the peer's (RFC 3428), on one line and without control characters; answer with `AnswerMessage`."""

    number: int
    text: str


class CallEnded(SipEvent, frozen=True, tag=True):
    """The dialog is over, not by our `HangUp`: a BYE came, a 200 was never acknowledged, the far end is gone.

    `replaced` means that another call took its place (RFC 3891).
    """

    by: Literal["bye", "no_ack", "timeout", "transport", "replaced"]
    reason: str = ""


class TransferRequested(SipEvent, frozen=True, tag=True):
    """The peer asks us to call `target` (REFER, RFC 3515); answer with `AnswerTransfer`.

    `replaces` is a Replaces value to send along with that call ("" for a blind transfer).
    """

    target: str
    replaces: str = ""
    referred_by: str = ""


class TransferProgressed(SipEvent, frozen=True, tag=True):
    """How the transfer we asked for goes, as the peer tells it; 200 and up is the last word.

    `refused` says that it answered the REFER itself with this, and does not try.
    """

    status: int
    reason: str
    refused: bool = False


class Registered(SipEvent, frozen=True, tag=True):
    """A REGISTER succeeded; the registrar keeps it for `expires_s`, and it is refreshed before.

    `flow` is the way that was taken, `service_route` what requests from now on should be routed by (RFC 3608).
    """

    expires_s: int
    flow: Flow | None = None
    service_route: tuple[str, ...] = ()


class RegistrationFailed(SipEvent, frozen=True, tag=True):
    """Tried again in `retry_in_s`. 401, 403, 407: the credentials are wrong; 408, 503: nobody is there."""

    status: int
    reason: str
    retry_in_s: float


class Unregistered(SipEvent, frozen=True, tag=True):
    """The registration was taken back; or the registrar did not answer to that, and will forget it by itself."""


class ProbeAnswered(SipEvent, frozen=True, tag=True):
    """Any answer shows that the peer lives; 408 is silence, 503 that it is of no use."""

    status: int
    round_trip_s: float
    reason: str = ""


AnySipEvent: TypeAlias = (
    CallOffered | CallCancelled | CallConfirmed | CallProgressed | CallAccepted | CallFailed
    | OfferReceived | OfferAnswered | OfferRefused | InfoReceived | MessageReceived | CallEnded
    | TransferRequested | TransferProgressed | Registered | RegistrationFailed | Unregistered | ProbeAnswered
)  # fmt: skip


class Send(msgspec.Struct, frozen=True):
    """Bytes to put on the wire, whole SIP messages or keep-alives."""

    flow: Flow
    data: bytes


class Close(msgspec.Struct, frozen=True):
    """Close the connection of this flow (idle, or it sent rubbish)."""

    flow: Flow


Action: TypeAlias = Send | Close | AnySipEvent
