"""Offers within a confirmed call: re-INVITE and UPDATE both ways, and what happens when they meet (RFC 3261 14)."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from gateway.sip.awaited_ack import AwaitedAck, Waiting
from gateway.sip.core import Core
from gateway.sip.dialog import Dialog
from gateway.sip.events import OfferAnswered, OfferReceived, OfferRefused, Send
from gateway.sip.extension import AnyCall
from gateway.sip.message import Request, Response
from gateway.sip.timers import Timer
from gateway.sip.transaction import Abandonment, ClientTransaction, ClientUser, ServerTransaction, TimerOwner


class Negotiating(Waiting, AnyCall, Protocol):
    """The call the offers are made in: its dialog, and how requests and answers leave it."""

    core: Core
    dialog: Dialog

    @property
    def up(self) -> bool: ...

    def request(self, method: str, cseq: int | None = None) -> Request: ...

    def sign(self, request: Request) -> None: ...

    def send(self, request: Request, user: ClientUser) -> ClientTransaction: ...

    def send_2xx(self, transaction: ServerTransaction, sdp: bytes | None) -> None: ...

    def acknowledge(self, invite: Request) -> Send: ...

    def acknowledged(self, cseq: int, request: Request | None) -> None: ...

    def authorized(self, transaction: ClientTransaction, response: Response) -> bool: ...

    def gone(self, response: Response) -> bool: ...


class Proposal(NamedTuple):
    """An offer of ours. A `quiet` one repeats what is agreed, and is told only if the answer is a new one."""

    sdp: bytes
    quiet: bool = False


class Renegotiation:
    """`local` and `remote` are the descriptions agreed on last.

    At most one offer is open at a time, theirs (`_theirs`) or ours (`_ours`); ours may be waiting for its turn.
    """

    __slots__ = (
        *("_acks", "_call", "_core", "_offered", "_ours", "_retry", "_theirs", "_waiting"),
        *("awaited", "local", "remote"),
    )

    def __init__(self, call: Negotiating) -> None:
        self._call = call
        self._core = call.core
        self._theirs: ServerTransaction | None = None
        self._ours: ClientTransaction | None = None
        self._offered = Proposal(b"")
        self._waiting: Proposal | None = None
        self._retry: Timer[TimerOwner] | None = None
        # The ACKs of our re-INVITEs by their CSeq; a repeated 2xx gets the same again.
        self._acks: dict[int, Send] = {}
        self.awaited: AwaitedAck | None = None
        self.local = b""
        self.remote = b""

    # Their offers

    def arrived(self, transaction: ServerTransaction, request: Request) -> None:
        """A re-INVITE or UPDATE."""
        core = self._core
        if request.method == "INVITE" and self.awaited is not None and not self.awaited.offered:
            # A new INVITE proves that our last 2xx arrived; its ACK was lost or overtaken.
            self._call.acknowledged(self.awaited.cseq, None)
        if (refusal := core.extensions.invite_arrived(core, request)) is not None:
            core.respond(transaction, *refusal)
        elif request.method == "UPDATE" and request.sdp() is None:
            # A refresh of target and session timer, no offer.
            self._call.dialog.refresh_target(request)
            self._call.send_2xx(transaction, None)
        elif self._theirs is not None:
            # RFC 3261 14.2, RFC 3311 5.2: ours is still to be answered, come back in a while.
            core.respond(transaction, 500, headers=core.soon())
        elif self._ours is not None or (self.awaited is not None and self.awaited.offered):
            core.respond(transaction, 491)
        else:
            if request.method == "INVITE":
                core.respond(transaction, 100)
            self._theirs = transaction
            core.emit(OfferReceived(core.now, self._call.handle, request.sdp()))

    def answer(self, sdp: bytes) -> None:
        transaction, self._theirs = self._theirs, None
        if transaction is None:
            return
        self._call.dialog.refresh_target(transaction.request)
        self._call.send_2xx(transaction, sdp)
        self.go_on()

    def refuse(self, status: int, reason: str | None) -> None:
        transaction, self._theirs = self._theirs, None
        if transaction is not None:
            self._core.respond(transaction, status, reason)
            self.go_on()

    def cancelled(self, transaction: ServerTransaction) -> None:
        if transaction is self._theirs:
            self.refuse(487, None)

    # Our offers

    def offer(self, sdp: bytes) -> None:
        """Send a re-INVITE as soon as nothing is open. A newer offer replaces one that still waits."""
        self._propose(Proposal(sdp))

    def refresh(self) -> None:
        """Offer again what is agreed (RFC 4028: a re-INVITE that only says that we are here)."""
        if self._waiting is None:
            self._propose(Proposal(self.local, quiet=True))

    def _propose(self, proposal: Proposal) -> None:
        self._waiting = proposal
        if self._retry is None:
            self.go_on()

    def go_on(self) -> None:
        """Send the offer that waits, if nothing is open any more.

        RFC 3261 14.1: never while an INVITE is under way in either direction, nor before the ACK of our 2xx.
        """
        busy = self._ours is not None or self._theirs is not None or self.awaited is not None
        if self._waiting is None or busy or not self._call.up:
            return
        request = self._call.request("INVITE")
        self._core.extensions.request_leaves(self._call, request)
        request.set_body("application/sdp", self._waiting.sdp)
        self._call.sign(request)
        self._offered, self._waiting = self._waiting, None
        self._ours = self._call.send(request, self)

    def answered(self, transaction: ClientTransaction, response: Response) -> None:
        if response.status < 200:
            return
        if response.status < 300:
            self._accepted(transaction, response)
        elif transaction is self._ours:
            self._refused(transaction, response)

    def _accepted(self, transaction: ClientTransaction, response: Response) -> None:
        number = transaction.request.cseq.number
        if number in self._acks:
            self._core.actions.append(self._acks[number])
            return
        self._call.dialog.refresh_target(response)
        self._acks = {number: self._call.acknowledge(transaction.request)}
        if transaction is not self._ours:
            return
        self._ours = None
        self._core.extensions.response_arrived(self._call, transaction, response)
        self._answered(response.sdp())
        self.go_on()

    def _answered(self, sdp: bytes | None) -> None:
        proposal, core, handle = self._offered, self._core, self._call.handle
        if sdp is None:
            if not proposal.quiet:
                core.emit(OfferRefused(core.now, handle, 488, "No answer in the 200"))
            return
        known = sdp == self.remote
        self.local, self.remote = proposal.sdp, sdp
        if not (proposal.quiet and known):
            core.emit(OfferAnswered(core.now, handle, sdp))

    def _refused(self, transaction: ClientTransaction, response: Response) -> None:
        self._ours = None
        again = self._waiting or self._offered
        if self._call.authorized(transaction, response) or self._core.extensions.response_arrived(
            self._call, transaction, response
        ):
            self._waiting = again
            self.go_on()
        elif response.status == 491:
            # RFC 3261 14.1: whoever chose the Call-ID waits longer, so that the two do not meet again.
            self._waiting = again
            low, high = (2.1, 4.0) if self._call.dialog.role == "caller" else (0.0, 2.0)
            due = self._core.now + self._core.chance(low, high)
            self._retry = self._core.timers.start(due, self, "glare")
        elif not self._call.gone(response):
            if not self._offered.quiet:
                self._core.emit(OfferRefused(self._core.now, self._call.handle, response.status, response.reason))
            self.go_on()

    def on_timer(self, name: str, now: float) -> None:
        self._retry = None
        self.go_on()

    # The ACK of our 2xx

    def acknowledged(self, cseq: int) -> AwaitedAck | None:
        """The wait that the ACK of this CSeq ends, None when it repeats an older one."""
        awaited = self.awaited
        if awaited is None or awaited.cseq != cseq:
            return None
        awaited.stop()
        self.awaited = None
        return awaited

    def answered_by_ack(self, sdp: bytes | None) -> None:
        """Report what the ACK of a re-INVITE's 2xx brought, when the 2xx held our offer."""
        core, handle = self._core, self._call.handle
        if sdp is not None:
            self.remote = sdp
            core.emit(OfferAnswered(core.now, handle, sdp))
        else:
            core.emit(OfferRefused(core.now, handle, 488, "No answer in the ACK"))

    def stop(self) -> None:
        """The call is over: refuse what is open, stop what is due."""
        if self.awaited is not None:
            self.awaited.stop()
            self.awaited = None
        self._core.timers.stop(self._retry)
        self._retry = None
        if self._ours is not None and self._ours.pending:
            # Who hangs up with our re-INVITE at hand may never answer it.
            due = self._core.now + self._core.options.timing.patience
            self._core.timers.start(due, Abandonment(self._core.transactions, self._ours), "abandon")
        self._ours = None
        self._waiting = None
        transaction, self._theirs = self._theirs, None
        if transaction is not None:
            # RFC 3261 15.1.2
            self._core.respond(transaction, 487)
