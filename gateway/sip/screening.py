"""What a request must pass before anybody looks at what it wants (RFC 3261 8.2)."""

from __future__ import annotations

import hashlib

from gateway.core.errors import PeerError
from gateway.sip.core import Core
from gateway.sip.extension import Refusal
from gateway.sip.message import Request
from gateway.sip.names import SINGLE

KNOWN_METHODS = frozenset(
    (
        *("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER"),  # RFC 3261
        *("INFO", "UPDATE", "PRACK", "REFER", "NOTIFY", "SUBSCRIBE", "PUBLISH", "MESSAGE"),
    )
)
SCHEMES = ("sip", "sips", "tel")
SDP = ("application/sdp",)
BODIES = {
    **{"INVITE": SDP, "UPDATE": SDP, "PRACK": SDP},
    "INFO": ("application/dtmf-relay", "application/dtmf"),
}
"""What each method's body may be; of the others nobody reads it."""


def check_syntax(request: Request) -> None:
    """Raises `PeerError` 400 unless every line that routing and matching rest upon is there, once, and well-formed."""
    names = [name for name, _ in request.headers]
    for name in SINGLE:
        if names.count(name) > 1:
            raise PeerError(f"more than one {name}")
    if not request.via.branch and "branch" in request.via.params:
        raise PeerError("empty branch")
    if request.target.headers:
        # RFC 3261 19.1.5, table 1: no headers in a Request-URI.
        raise PeerError("headers in the Request-URI")
    _ = request.from_, request.to, request.call_id
    if request.cseq.method != request.method:
        raise PeerError("CSeq is of another method")
    hops = request.first("Max-Forwards")
    if hops is not None and not (hops.isascii() and hops.isdigit() and int(hops[:4]) < 256):
        raise PeerError(f"Max-Forwards {hops[:20]!r}")


def screen(core: Core, request: Request) -> Refusal | None:
    """The refusal that a new request deserves, in the order the RFC inspects; None when it may go on."""
    method = request.method
    if method not in KNOWN_METHODS:
        return Refusal(501, headers=(("Allow", core.allow),))
    if method not in core.methods:
        return Refusal(405, headers=(("Allow", core.allow),))
    if request.target.scheme not in SCHEMES:
        return Refusal(416)
    outside = not request.to.tag
    if outside and method != "OPTIONS" and request.first("Max-Forwards") in ("0", "00", "000"):
        # A gateway stands for whatever it would call next; OPTIONS with 0 asks about the gateway itself (11).
        return Refusal(483)
    if outside and core.transactions.merged(request):
        return Refusal(482)
    return _required_extensions(core, request) or _package(request) or _content(request) or _acceptable(request)


def _required_extensions(core: Core, request: Request) -> Refusal | None:
    unknown = [tag for tag in request.listed("Require") if tag.lower() not in core.extensions.option_tags]
    return Refusal(420, headers=(("Unsupported", ", ".join(unknown)),)) if unknown else None


def _package(request: Request) -> Refusal | None:
    """We take INFO for keys, as it was before packages; those we know none of (RFC 6086 4.2.2)."""
    if request.method != "INFO" or not request.first("Info-Package"):
        return None
    return Refusal(469, headers=(("Recv-Info", ""),))


def _content(request: Request) -> Refusal | None:
    """A body that the method could not do without must be one we read; an optional one may be anything (20.11)."""
    if not request.body or "handling=optional" in (request.first("Content-Disposition") or "").lower():
        return None
    encodings = request.tokens("Content-Encoding") - {"identity"}
    if encodings:
        return Refusal(415, headers=(("Accept-Encoding", "identity"),))
    kind, taken = request.content_type, BODIES.get(request.method)
    if taken is None or kind in taken or (taken is SDP and kind.startswith("multipart/")):
        return None
    return Refusal(415, headers=(("Accept", ", ".join(taken)),))


def _acceptable(request: Request) -> Refusal | None:
    """A caller that takes no session description cannot be answered with one (RFC 3261 21.4.7)."""
    if request.method != "INVITE" or request.first("Accept") is None:
        return None
    taken = request.tokens("Accept") & {"application/sdp", "application/*", "*/*"}
    return None if taken else Refusal(406)


def stateless_tag(request: Request) -> str:
    """A To tag for answers nobody remembers: the same for every repetition of the request (RFC 3261 8.2.7)."""
    seed = "|".join(request.first(name) or "" for name in ("Via", "Call-ID", "CSeq"))
    return hashlib.blake2b(seed.encode(errors="surrogateescape"), digest_size=8).hexdigest()
