"""Dialogs (RFC 3261 12): the peer-to-peer relation that requests after the first belong to."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from gateway.core.errors import PeerError
from gateway.sip.flow import Flow
from gateway.sip.headers import COOKIE, NameAddr, parse_name_addr
from gateway.sip.message import Lines, Message, Request, Response
from gateway.sip.uri import Uri, parse_uri

FIRST_CSEQ = 1

_TAG = re.compile(r";\s*+tag\s*+=[^;]*+", re.IGNORECASE)


class DialogId(NamedTuple):
    """Call-ID alone is not enough: forks share it, and a call to ourselves has both ends here."""

    call_id: str
    local_tag: str
    remote_tag: str


def dialog_id_of(request: Request) -> DialogId:
    """The dialog a request from the peer names."""
    return DialogId(request.call_id, request.to.tag, request.from_.tag)


class Dialog:
    """Both ends' addresses and tags, the route, and the two CSeq counters.

    `local` and `remote` are From/To values without tag. `remote_cseq` is -1 until the peer's first request.
    `flow` is the way the dialog's messages come; `reach` (in the endpoint) may choose another for requests.
    """

    __slots__ = (
        "call_id",
        "flow",
        "local",
        "local_cseq",
        "local_tag",
        "nat",
        "remote",
        "remote_cseq",
        "remote_tag",
        "remote_target",
        "role",
        "route",
    )

    def __init__(
        self,
        role: Literal["caller", "callee"],
        call_id: str,
        local: str,
        local_tag: str,
        remote: str,
        remote_tag: str,
        remote_target: str,
        route: list[str],
        flow: Flow,
    ) -> None:
        self.role = role
        self.call_id = call_id
        self.local = local
        self.local_tag = local_tag
        self.remote = remote
        self.remote_tag = remote_tag
        self.remote_target = remote_target
        self.route = route
        self.flow = flow
        self.local_cseq = FIRST_CSEQ
        self.remote_cseq = -1
        self.nat = False

    @property
    def id(self) -> DialogId:
        return DialogId(self.call_id, self.local_tag, self.remote_tag)

    def request(self, method: str, cseq: int | None = None) -> Request:
        """A request in this dialog, routed (RFC 3261 12.2.1.1), without Via and Contact.

        Counts CSeq up; ACK and PRACK's like pass the `cseq` they answer for.
        """
        if cseq is None:
            self.local_cseq += 1
            cseq = self.local_cseq
        uri, routes = self._routing()
        remote_tag = f";tag={self.remote_tag}" if self.remote_tag else ""
        headers: Lines = [
            ("Max-Forwards", "70"),
            *(("Route", route) for route in routes),
            ("From", f"{self.local};tag={self.local_tag}"),
            ("To", f"{self.remote}{remote_tag}"),
            ("Call-ID", self.call_id),
            ("CSeq", f"{cseq} {method}"),
        ]
        return Request(method, uri, headers)

    def _routing(self) -> tuple[str, list[str]]:
        if not self.route:
            return self.remote_target, []
        first = parse_name_addr(self.route[0]).uri
        if first.param("lr") is not None:
            return self.remote_target, self.route
        # A strict router (RFC 2543) wants its own address in the request line and the target last.
        return str(first), [*self.route[1:], f"<{self.remote_target}>"]

    def next_hop(self) -> Uri:
        """The address the next request must be sent to."""
        if self.route:
            return parse_name_addr(self.route[0]).uri
        return parse_uri(self.remote_target)

    def in_order(self, request: Request) -> bool:
        """Note the CSeq of a new request. False: it is older than what was seen, answer 500 (12.2.2)."""
        number = request.cseq.number
        if number <= self.remote_cseq:
            return False
        self.remote_cseq = number
        return True

    def refresh_target(self, message: Message) -> None:
        """Take the new Contact of a target refresh (re-INVITE, UPDATE and their 2xx); a broken one changes nothing."""
        target = contact_of(message)
        if target:
            self.remote_target = target


def contact_of(message: Message) -> str:
    """The Contact's SIP address, "" when there is none or it is unusable."""
    try:
        contact = message.contact
    except PeerError:
        return ""
    return str(contact.uri) if contact is not None and contact.uri.is_sip else ""


def as_callee(invite: Request, local_tag: str, flow: Flow) -> Dialog:
    """The dialog an INVITE that came will make (12.1.1). Raises `PeerError` 400 without a usable Contact."""
    target = contact_of(invite)
    if not target and invite.first("Contact") is None and not invite.via.branch.startswith(COOKIE):
        # RFC 2543 callers need not name one: their From is it.
        target = str(invite.from_.uri)
    if not target:
        raise PeerError("an INVITE without a usable Contact")
    dialog = Dialog(
        "callee",
        invite.call_id,
        without_tag(invite.required("To"), invite.to),
        local_tag,
        without_tag(invite.required("From"), invite.from_),
        invite.from_.tag,
        target,
        route_set(invite),
        flow,
    )
    dialog.remote_cseq = invite.cseq.number
    return dialog


def as_caller(invite: Request, response: Response, flow: Flow) -> Dialog:
    """The dialog a response to our INVITE makes (12.1.2). A 1xx may lack a Contact; then our own target stays."""
    try:
        route = route_set(response)[::-1]
    except PeerError:
        # The call is up all the same; the way it came is better than none.
        route = []
    dialog = Dialog(
        "caller",
        invite.call_id,
        without_tag(invite.required("From"), invite.from_),
        invite.from_.tag,
        without_tag(response.required("To"), response.to),
        response.to.tag,
        contact_of(response) or invite.uri,
        route,
        flow,
    )
    dialog.local_cseq = invite.cseq.number
    return dialog


def route_set(message: Message) -> list[str]:
    """The Record-Route values in wire order. Raises `PeerError` when one cannot be routed to."""
    values = message.listed("Record-Route")
    for value in values:
        if not parse_name_addr(value).uri.is_sip:
            raise PeerError("a Record-Route that is no SIP address")
    return values


def without_tag(text: str, address: NameAddr) -> str:
    """A From or To value as it came, its tag cut off: peers of RFC 2543 compare the rest as text."""
    if not address.tag:
        return text
    bracketed, bracket, params = text.rpartition(">")
    return (bracketed + bracket + _TAG.sub("", params, count=1)).rstrip()
