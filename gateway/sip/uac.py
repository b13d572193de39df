"""A call we place, until it is accepted or has failed (RFC 3261 13.2): forks, challenges, CANCEL and its races."""

from __future__ import annotations

from typing import Any

from gateway.core.errors import MisuseError, PeerError
from gateway.sip.auth import DigestClient
from gateway.sip.commands import SESSION_POLICY, AnswerOffer, AnyCommand, HangUp, Headers, Place, RefuseOffer
from gateway.sip.confirmed import ConfirmedCall
from gateway.sip.core import Core
from gateway.sip.dialog import FIRST_CSEQ, Dialog, as_caller
from gateway.sip.early import EarlyOffers
from gateway.sip.events import CallAccepted, CallFailed, CallProgressed, Send
from gateway.sip.headers import parse_name_addr, quote_string
from gateway.sip.message import Lines, Request, Response, readable
from gateway.sip.reach import over_tcp
from gateway.sip.status import phrase
from gateway.sip.transaction import Abandonment, ClientTransaction, ServerTransaction, cancel
from gateway.sip.uri import parse_uri

LARGEST_DATAGRAM = 1300
"""In octets: larger requests go over TCP, as fragments get lost and congestion goes unnoticed (RFC 3261 18.1.1)."""
LONGEST_VIA = 120
MOST_INVITES = 8
"""Of one call, each with what the refusal before it taught. A peer may call every nonce stale for ever."""
MOST_FORKS = 64
"""Beyond so many, 2xx or early dialogs of one INVITE are no forking but an attack."""


class OutgoingCall:
    """One INVITE and all its branches. It outlives its end as long as its transaction does, to answer late 2xx."""

    __slots__ = (
        "_acks", "_cancel_sent", "_cancelled", "_confirmed", "_cseq", "_described", "_digest", "_from_tag", "_heard_of",
        "_offers", "_place", "_settled", "_small_only", "_transaction", "call_id", "contact_user", "core", "early",
        "flow", "handle", "notes",
    )  # fmt: skip

    def __init__(self, core: Core, place: Place) -> None:
        """Sends the INVITE. Raises `MisuseError` when an address cannot be parsed or the handle is taken."""
        if place.dialog in core.calls:
            raise MisuseError(f"the handle {place.dialog!r} is of a living call")
        try:
            parse_uri(place.uri)
            self.contact_user = parse_uri(place.from_uri).user
        except PeerError as error:
            raise MisuseError(str(error)) from error
        self.core = core
        self.handle = place.dialog
        self.notes: dict[str, Any] = {SESSION_POLICY: place.session}
        self.call_id = core.ids.token(24)
        self._place = place
        self._from_tag = core.ids.token()
        self._cseq = FIRST_CSEQ - 1
        self._digest = DigestClient(place.credentials, core.ids) if place.credentials else None
        self._cancelled: Headers | None = None
        self._cancel_sent = False
        self._transaction: ClientTransaction | None = None
        self._confirmed = False
        # By To tag: early dialogs, and the ACKs of the 2xx that each fork gave.
        self.early: dict[str, Dialog] = {}
        self._acks: dict[str, Send] = {}
        self._offers = EarlyOffers(core, self.handle, self.contact_user)
        # By To tag too: who sent our answer reliably, so that another offer may follow.
        self._settled: set[str] = set()
        # What provisional answers held: a 2xx need not repeat what PRACK has settled (RFC 3262 5).
        self._described: dict[str, bytes] = {}
        self.flow = place.flow
        self._small_only = "tcp" not in core.ports
        core.calls[self.handle] = self
        self._heard_of = False
        self.invite()
        self._watch_for_silence()

    def _watch_for_silence(self) -> None:
        if self._place.silent_for_s is not None:
            self.core.timers.start(self.core.now + self._place.silent_for_s, self, "silence")

    @property
    def dialog(self) -> Dialog | None:
        """The early dialog heard of last, while there is one."""
        return next(reversed(self.early.values()), None)

    def invite(self) -> None:
        """Send the INVITE, or send it again with what a refusal taught (credentials, a longer session interval)."""
        request = self._invitation()
        if self.flow.transport == "udp" and not self._small_only and _too_large(request):
            self.flow = over_tcp(self.flow, self.core.ports["tcp"])
            request.set("Contact", self._contact)
        self.sign(request)
        self._forget_early()
        self._transaction = self.core.send(request, self.flow, self)

    @property
    def _contact(self) -> str:
        return self.core.contact(self.flow, self.contact_user, secure=self._place.uri.startswith("sips:"))

    def _invitation(self) -> Request:
        place = self._place
        self._cseq += 1
        display = quote_string(place.from_display) + " " if place.from_display else ""
        headers: Lines = [
            ("Max-Forwards", "70"),
            *(("Route", route) for route in place.route),
            ("From", f"{display}<{place.from_uri}>;tag={self._from_tag}"),
            ("To", f"<{place.uri}>"),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self._cseq} INVITE"),
            ("Contact", self._contact),
            *self.core.capabilities(),
        ]
        request = Request("INVITE", place.uri, headers)
        self.core.finish(request, place.headers, place.sdp)
        self.core.extensions.request_leaves(self, request)
        return request

    def _back_to_datagrams(self) -> bool:
        """RFC 3261 18.1.1: a large request that got no connection goes by UDP after all."""
        if self.flow == self._place.flow:
            return False
        if self._transaction is not None:
            self.core.transactions.abandon(self._transaction)
        self.flow, self._small_only = self._place.flow, True
        self.invite()
        return True

    def sign(self, request: Request) -> None:
        """Add credentials for whoever asked for them before."""
        if self._digest is not None:
            self._digest.authorize(request)

    # Commands

    def on_command(self, command: AnyCommand) -> None:
        match command:
            case HangUp(headers=headers) if self._cancelled is None:
                self._cancel(headers)
            case AnswerOffer(sdp=sdp):
                self._offers.answer(sdp)
            case RefuseOffer(status=status, reason=reason):
                self._offers.refuse(status, reason)
            case _:
                self.core.counters["commands_late"] += 1

    def _cancel(self, headers: Headers) -> None:
        """RFC 3261 9.1: only what has been answered provisionally can be cancelled; else wait for that."""
        self._cancelled = headers
        self._end()
        self._send_cancel()

    def _send_cancel(self) -> None:
        transaction = self._transaction
        if transaction is None or not transaction.provisional or self._cancel_sent:
            return
        self._cancel_sent = True
        request = cancel(transaction.request)
        self.core.finish(request, self._cancelled or ())
        self.core.transactions.send(request, transaction.flow, _Indifferent(), self.core.now)
        # No final answer may ever come (RFC 2543 peers): 64*T1 from here it is over.
        due = self.core.now + self.core.options.timing.patience
        self.core.timers.start(due, Abandonment(self.core.transactions, transaction), "abandon")

    def on_timer(self, name: str, now: float) -> None:
        """Nobody seems to be there. Whoever answers after all is told that it is too late."""
        transaction = self._transaction
        if self._cancelled is None and self.core.calls.get(self.handle) is self:
            if transaction is None or transaction.provisional or self._heard_of:
                return
            if self._back_to_datagrams():
                self._watch_for_silence()
                return
            self._cancel(())
            self.core.emit(CallFailed(now, self.handle, 408, phrase(408)))

    # Answers

    def answered(self, transaction: ClientTransaction, response: Response) -> None:
        if transaction is not self._transaction:
            return
        self._heard_of = self._heard_of or not response.local
        if response.status < 200:
            self._progressed(transaction, response)
        elif response.status < 300:
            self._accepted(transaction, response)
        else:
            self._refused(transaction, response)

    def _progressed(self, transaction: ClientTransaction, response: Response) -> None:
        if self._cancelled is not None:
            self._send_cancel()
            return
        tag = response.to.tag
        if tag and response.status > 100:
            if tag not in self.early:
                if len(self.early) >= MOST_FORKS:
                    return
                self.early[tag] = self._early_dialog(transaction, response)
            else:
                self.early[tag].refresh_target(response)
        if self.core.extensions.response_arrived(self, transaction, response) or response.status == 100:
            return
        sdp = response.sdp()
        if sdp is not None and tag:
            self._described[tag] = sdp
            if "100rel" in response.tokens("Require"):
                self._settled.add(tag)
        self.core.emit(CallProgressed(self.core.now, self.handle, response.status, response.reason, sdp))

    def _early_dialog(self, transaction: ClientTransaction, response: Response) -> Dialog:
        dialog = as_caller(transaction.request, response, self.flow)
        self.core.dialogs[dialog.id] = self
        return dialog

    def _accepted(self, transaction: ClientTransaction, response: Response) -> None:
        tag = response.to.tag
        if tag in self._acks:
            self.core.actions.append(self._acks[tag])
            return
        if len(self._acks) >= MOST_FORKS:
            return
        dialog = as_caller(transaction.request, response, self.flow)
        early = self.early.get(tag)
        if early is not None:
            dialog.local_cseq = max(dialog.local_cseq, early.local_cseq)
            dialog.remote_cseq = early.remote_cseq
        unwanted = self._confirmed or self._cancelled is not None
        # The notes (a session timer is among them) are those of the fork that won.
        notes = {} if unwanted else self.notes
        call = ConfirmedCall(self.core, self.handle, dialog, self.contact_user, notes, self._digest)
        self._acks[tag] = call.acknowledge(transaction.request)
        if unwanted:
            # Another fork was quicker, or nobody wants the call any more (13.2.2.4).
            call.leave(self._cancelled or ())
            return
        self._confirmed = True
        self._close()
        call.take_over()
        sdp = response.sdp() or self._described.get(tag)
        call.offers.local, call.offers.remote = self._place.sdp, sdp or b""
        agreed = self._offers.agreed
        if agreed is not None and agreed.tag == tag:
            # What the 2xx repeats was superseded before it came.
            sdp, call.offers.local, call.offers.remote = None, agreed.local, agreed.remote
        self.core.extensions.call_confirmed(call)
        self.core.extensions.response_arrived(call, transaction, response)
        self.core.emit(CallAccepted(self.core.now, self.handle, sdp))

    def _refused(self, transaction: ClientTransaction, response: Response) -> None:
        if self._cancelled is not None or (response.local and response.status == 503 and self._back_to_datagrams()):
            return
        again = self._digest is not None and self._digest.challenged(transaction.request, response)
        again = self.core.extensions.response_arrived(self, transaction, response) or again
        if again and self._cseq < MOST_INVITES:
            self.invite()
            return
        self._failed(response.status, response.reason, _targets(response))

    def _failed(self, status: int, reason: str, targets: tuple[str, ...] = ()) -> None:
        self._end()
        self.core.emit(CallFailed(self.core.now, self.handle, status, reason, targets))

    def _end(self) -> None:
        self.core.extensions.call_ended(self)
        self._close()

    def _close(self) -> None:
        self._offers.refuse(487)
        self.core.forget(self)
        for dialog in self.early.values():
            self.core.forget(self, dialog.id)

    def _forget_early(self) -> None:
        """The INVITE that made these dialogs was refused."""
        for dialog in self.early.values():
            self.core.dialogs.pop(dialog.id, None)
        self.early.clear()
        self._described.clear()
        self._settled.clear()

    # What the other side sends before its final answer

    def on_request(self, transaction: ServerTransaction, request: Request) -> None:
        core = self.core
        if core.extensions.request_arrived(self, transaction, request):
            return
        match request.method:
            case "OPTIONS":
                core.respond(transaction, 200, headers=core.description())
            case "UPDATE" if (dialog := self.dialog_of(request)) is not None:
                # RFC 3311 5.2: our own offer is unanswered until a reliable answer came.
                self._offers.arrived(transaction, request, dialog, 0 if dialog.remote_tag in self._settled else 491)
            case "INVITE":
                # RFC 3261 14.2.
                core.respond(transaction, 491)
            case "BYE":
                # A callee may not say BYE to an early dialog (RFC 3261 15).
                core.respond(transaction, 403)
            case _:
                core.respond(transaction, 405, headers=(("Allow", core.allow),))

    def dialog_of(self, request: Request) -> Dialog | None:
        return self.early.get(request.from_.tag)

    def on_ack(self, request: Request) -> None:
        """A caller's peer sends none."""

    def on_cancel(self, transaction: ServerTransaction, reason: str) -> None:
        """There is no INVITE of theirs to cancel."""


class _Indifferent:
    """For requests whose answer changes nothing."""

    def answered(self, transaction: ClientTransaction, response: Response) -> None:
        pass


def _too_large(request: Request) -> bool:
    return len(request.to_bytes()) + LONGEST_VIA > LARGEST_DATAGRAM


def _targets(response: Response) -> tuple[str, ...]:
    """Where a 3xx sends us, its best first (q, RFC 3261 20.10)."""
    if not 300 <= response.status < 400:
        return ()
    contacts = []
    for value in response.values("Contact"):
        try:
            contacts.append(parse_name_addr(value))
        except PeerError:
            continue
    contacts.sort(key=lambda contact: -_weight(contact.params.get("q")))
    # What is not even text can be neither called nor written down.
    return tuple(uri for contact in contacts if (uri := str(contact.uri)) == readable(uri))


def _weight(q: str | None) -> float:
    try:
        return float(q or "1")
    except ValueError:
        return 0.0
