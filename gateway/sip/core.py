"""What the parts of one endpoint share: identity, timers, transactions, the calls, and what is to be done next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from gateway.core.ids import Ids
from gateway.sip.commands import AnyCommand, Headers
from gateway.sip.dialog import Dialog, DialogId
from gateway.sip.events import Action, AnySipEvent, Send
from gateway.sip.extension import Extensions
from gateway.sip.flow import Flow, Transport
from gateway.sip.headers import COOKIE
from gateway.sip.message import Lines, Request, Response, respond
from gateway.sip.options import EndpointOptions
from gateway.sip.reach import request_flow
from gateway.sip.timers import Timers
from gateway.sip.transaction import (
    ClientTransaction,
    ClientUser,
    ServerTransaction,
    TimerOwner,
    Transactions,
)
from gateway.sip.uri import bracketed, escape_user


class Participant(Protocol):
    """A call in one of its phases: what `calls` and `dialogs` lead to."""

    handle: str

    @property
    def flow(self) -> Flow:
        """The way the peer's messages come."""
        ...

    def on_command(self, command: AnyCommand) -> None: ...

    def on_request(self, transaction: ServerTransaction, request: Request) -> None:
        """A new request in the dialog, screened and in order."""
        ...

    def dialog_of(self, request: Request) -> Dialog | None:
        """The dialog (of several while a call of ours forks) that a request from the peer belongs to."""
        ...

    def on_ack(self, request: Request) -> None: ...

    def on_cancel(self, transaction: ServerTransaction, reason: str) -> None:
        """`transaction`, an INVITE still unanswered, is no longer wanted."""
        ...


class Service(Protocol):
    """Something that lives beside the calls, as a registration does."""

    @property
    def flow(self) -> Flow: ...

    def on_command(self, command: AnyCommand) -> None: ...


class Core:
    """Handed to every part at its birth. `now` is the time of the entry at hand, set by the endpoint."""

    def __init__(self, options: EndpointOptions, ids: Ids, extensions: Extensions) -> None:
        self.options = options
        self.ids = ids
        self.extensions = extensions
        self.now = 0.0
        self.timers: Timers[TimerOwner] = Timers()
        self.transactions = Transactions(self.timers, options.timing, options.max_transactions)
        self.calls: dict[str, Participant] = {}
        self.services: dict[str, Service] = {}
        self.dialogs: dict[DialogId, Participant] = {}
        self.ports: dict[Transport, int] = {}
        self.counters: Counter[str] = Counter()
        methods = (*options.methods, *(m for m in extensions.methods if m not in options.methods))
        self.methods = frozenset(methods)
        self.allow = ", ".join(methods)

    @property
    def live_connections(self) -> set[int]:
        """The numbers of the connections that messages came by and that are not lost yet."""
        return self.transactions.live_connections

    @property
    def actions(self) -> list[Action]:
        return self.transactions.actions

    def emit(self, event: AnySipEvent) -> None:
        self.actions.append(event)

    def transmit(self, flow: Flow, data: bytes) -> None:
        self.actions.append(Send(flow, data))

    @property
    def full(self) -> bool:
        """Another call would be one too many."""
        return len(self.calls) >= self.options.max_calls or self.transactions.crowded

    def address(self, flow: Flow) -> tuple[str, int]:
        """The host and port the other side of `flow` should know us by."""
        known = self.options.advertised.get(flow.transport)
        return known or (flow.local[0], self.ports.get(flow.transport, flow.local[1]))

    def contact(self, flow: Flow, user: str = "", *, secure: bool = False) -> str:
        host, port = self.address(flow)
        at = f"{escape_user(user)}@" if user else ""
        transport = "" if flow.transport == "udp" else f";transport={flow.transport}"
        return f"<{'sips' if secure else 'sip'}:{at}{bracketed(host)}:{port}{transport}>"

    def prepare(
        self,
        transaction: ServerTransaction,
        status: int,
        reason: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
        sdp: bytes | None = None,
    ) -> Response:
        """An answer in the dialog of the transaction's `to_tag` (a fresh one when it has none), not sent yet."""
        if not transaction.to_tag and status > 100:
            transaction.to_tag = self.ids.token()
        response = respond(transaction.request, status, reason, to_tag=transaction.to_tag if status > 100 else "")
        self.finish(response, headers, sdp)
        return response

    def respond(
        self,
        transaction: ServerTransaction,
        status: int,
        reason: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
        sdp: bytes | None = None,
    ) -> None:
        transaction.respond(self.prepare(transaction, status, reason, headers, sdp), self.now)

    def finish(
        self, message: Request | Response, headers: Iterable[tuple[str, str]] = (), sdp: bytes | None = None
    ) -> None:
        """Add what every message of ours carries, then `headers` and the body."""
        if isinstance(message, Request):
            message.add("User-Agent", self.options.user_agent)
        elif message.status > 100:
            message.add("Server", self.options.user_agent)
        message.headers.extend(headers)
        if sdp is not None:
            message.set_body("application/sdp", sdp)

    def capabilities(self) -> Lines:
        """Allow and Supported, as INVITEs, their 2xx and OPTIONS carry them."""
        lines: Lines = [("Allow", self.allow)]
        if self.extensions.supported:
            lines.append(("Supported", self.extensions.supported))
        return lines

    def description(self) -> Lines:
        """What a 200 to OPTIONS tells about us (RFC 3261 11.2)."""
        accepted = [("Accept", "application/sdp"), ("Accept-Encoding", "identity"), ("Accept-Language", "en")]
        return [*self.capabilities(), *accepted]

    def add_via(self, request: Request, flow: Flow) -> None:
        """A fresh branch, our address, and the wish for an answer to where we really are (RFC 3581)."""
        host, port = self.address(flow)
        transport = flow.transport.upper()
        branch = COOKIE + self.ids.token()
        request.headers.insert(0, ("Via", f"SIP/2.0/{transport} {bracketed(host)}:{port};branch={branch};rport"))

    def send(self, request: Request, flow: Flow, user: ClientUser) -> ClientTransaction:
        """Start a transaction for a finished request."""
        self.add_via(request, flow)
        return self.transactions.send(request, flow, user, self.now)

    def flow_for(self, dialog: Dialog) -> Flow:
        return request_flow(dialog, self.live_connections)

    def soon(self) -> Headers:
        """For a 500: come back within 10 s, not all at once (RFC 3261 14.2, RFC 3311 5.2)."""
        return (("Retry-After", str(self.ids.uint32() % 11)),)

    def forget(self, participant: Participant, dialog: DialogId | None = None) -> None:
        """Take the call off the books; harmless when another phase has taken its place."""
        if self.calls.get(participant.handle) is participant:
            del self.calls[participant.handle]
        if dialog is not None and self.dialogs.get(dialog) is participant:
            del self.dialogs[dialog]

    def chance(self, low_s: float, high_s: float) -> float:
        """A duration between both, in steps of 10 ms."""
        steps = round((high_s - low_s) * 100)
        return low_s + (self.ids.uint32() % (steps + 1)) / 100
