"""An incoming call until its final answer (RFC 3261 13.3): ringing, accepted, refused, cancelled."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gateway.core.errors import MisuseError
from gateway.sip.commands import (
    SESSION_POLICY,
    Accept,
    AnswerOffer,
    AnyCommand,
    HangUp,
    Headers,
    RefuseOffer,
    Reject,
    Ring,
)
from gateway.sip.confirmed import ConfirmedCall
from gateway.sip.core import Core
from gateway.sip.dialog import Dialog, as_callee
from gateway.sip.early import EarlyOffers
from gateway.sip.events import CallCancelled, CallOffered, InfoReceived
from gateway.sip.flow import Flow
from gateway.sip.headers import NameAddr
from gateway.sip.message import Request, Response, readable
from gateway.sip.reach import behind_nat
from gateway.sip.timers import Timer
from gateway.sip.transaction import ServerTransaction, TimerOwner


class IncomingCall:
    """Lives from the INVITE to its final answer; a 2xx hands over to a `ConfirmedCall`."""

    __slots__ = (
        "_accepting",
        "_last_ring",
        "_offers",
        "_repeat",
        "contact_user",
        "core",
        "dialog",
        "flow",
        "handle",
        "invite",
        "notes",
        "settled",
    )

    def __init__(self, core: Core, transaction: ServerTransaction, flow: Flow, username: str = "") -> None:
        """`flow` is how the INVITE came, `username` the account that signed it.

        Raises `PeerError` 400 for one that can make no dialog.
        """
        request = transaction.request
        self.core = core
        self.invite = transaction
        self.flow = flow
        # One name for both: it is unguessable, and drawing it costs more than parsing the INVITE.
        self.handle = transaction.to_tag = core.ids.token()
        self.dialog = as_callee(request, transaction.to_tag, flow)
        self.dialog.nat = behind_nat(request.via, flow)
        self.contact_user = request.target.user
        self.notes: dict[str, Any] = {"facts": (("account", username),)} if username else {}
        self._last_ring: Ring | None = None
        self._repeat: Timer[TimerOwner] | None = None
        self._accepting: Accept | None = None
        self._offers = EarlyOffers(core, self.handle, self.contact_user)
        # Whether offer and answer have both arrived for certain, which before the 2xx only PRACK can tell.
        self.settled = False
        core.extensions.call_arrived(self, request)
        offered = self._offered(request)
        # Nothing is kept until all of it has been read.
        core.calls[self.handle] = self
        core.dialogs[self.dialog.id] = self
        core.respond(transaction, 100)
        core.emit(offered)

    def _offered(self, request: Request) -> CallOffered:
        caller = request.from_
        headers = tuple(request.headers)
        return CallOffered(
            at=self.core.now,
            dialog=self.handle,
            flow=self.flow,
            call_id=readable(request.call_id),
            caller=readable(_number(caller)),
            called=readable(request.target.user),
            from_uri=readable(str(caller.uri)),
            to_uri=readable(str(request.to.uri)),
            display=readable(caller.display),
            sdp=request.sdp(),
            headers=headers if request.clean else _readable_lines(headers),
            facts=_readable_lines((*self.core.extensions.facts(request), *self.notes.pop("facts", ()))),
        )

    # Commands

    def on_command(self, command: AnyCommand) -> None:
        allowed = AnswerOffer | RefuseOffer | HangUp if self._accepting else AnyCommand
        if self.invite.answered or not isinstance(command, allowed):
            self.core.counters["commands_late"] += 1
            return
        match command:
            case AnswerOffer(sdp=sdp):
                self._offers.answer(sdp)
                self._try_to_go_on()
            case RefuseOffer(status=status, reason=reason):
                self._offers.refuse(status, reason)
                self._try_to_go_on()
            case Ring():
                self._ring(command)
            case Accept():
                self._accept(command)
            case Reject(status=status, reason=reason, headers=headers):
                if not 300 <= status < 700:
                    raise MisuseError(f"a call cannot be rejected with {status}")
                self._refuse(status, reason, headers)
            case HangUp(reason=reason, headers=headers):
                self._refuse(603, reason, headers)
            case _:
                self.core.counters["commands_late"] += 1

    def _ring(self, command: Ring) -> None:
        if not 101 <= command.status < 200:
            raise MisuseError(f"{command.status} is not a provisional answer")
        response = self._prepare(command.status, None, command.headers, command.sdp)
        if not self.core.extensions.provisional_leaves(self, self.invite, response):
            self.invite.respond(response, self.core.now)
        self._last_ring = command
        self.core.timers.stop(self._repeat)
        due = self.core.now + self.core.options.provisional_every_s
        self._repeat = self.core.timers.start(due, self, "ring again")

    def _prepare(self, status: int, reason: str | None, headers: Headers, sdp: bytes | None) -> Response:
        contact = self.core.contact(self.flow, self.contact_user, secure=self.invite.request.uri.startswith("sips:"))
        lines = (("Contact", contact), ("Allow", self.core.allow), *headers)
        return self.core.prepare(self.invite, status, reason, lines, sdp)

    def on_timer(self, name: str, now: float) -> None:
        if self._last_ring is not None and not self.invite.answered:
            self._ring(self._last_ring)

    def _accept(self, command: Accept) -> None:
        self._accepting = command
        self.notes[SESSION_POLICY] = command.session
        self._try_to_go_on()

    def _try_to_go_on(self) -> None:
        if not self.core.extensions.holds_final(self):
            self.go_on()

    @property
    def negotiating(self) -> bool:
        """An offer of the peer's waits for our answer."""
        return self._offers.open

    def early_offer(self, transaction: ServerTransaction, request: Request) -> None:
        """An UPDATE, or a PRACK with an offer."""
        unsettled = 0 if self.settled else 491 if self.invite.request.sdp() is None else 500
        self._offers.arrived(transaction, request, self.dialog, unsettled)

    def go_on(self) -> None:
        """Send the 2xx that was held back, if one was."""
        command = self._accepting
        if command is None or self.invite.answered or self._offers.open:
            return
        self.core.timers.stop(self._repeat)
        call = ConfirmedCall(self.core, self.handle, self.dialog, self.contact_user, self.notes)
        call.take_over()
        agreed = self._offers.agreed
        # RFC 6337 3.1.1: a 2xx has no description when what it would answer is settled, and superseded.
        call.send_2xx(self.invite, command.sdp if agreed is None else None, command.headers)
        if agreed is not None:
            call.offers.local, call.offers.remote = agreed.local, agreed.remote
            call.notes.pop("early-answer", None)
        self.core.extensions.call_confirmed(call)

    def _refuse(self, status: int, reason: str | None, headers: Headers = ()) -> None:
        self.core.respond(self.invite, status, reason, headers)
        self._end()

    def _end(self) -> None:
        self._offers.refuse(487)
        self.core.timers.stop(self._repeat)
        self.core.extensions.call_ended(self)
        self.core.forget(self, self.dialog.id)

    def give_up(self, status: int, reason: str) -> None:
        """For extensions: refuse the call and report it as lost."""
        self._refuse(status, None)
        self.core.emit(CallCancelled(self.core.now, self.handle, reason))

    # What the caller sends before the final answer

    def on_cancel(self, transaction: ServerTransaction, reason: str) -> None:
        self._refuse(487, None)
        self.core.emit(CallCancelled(self.core.now, self.handle, readable(reason)))

    def on_request(self, transaction: ServerTransaction, request: Request) -> None:
        core = self.core
        if core.extensions.request_arrived(self, transaction, request):
            return
        match request.method:
            case "BYE":
                # RFC 3261 15: a caller may say BYE to an early dialog.
                core.respond(transaction, 200)
                self.on_cancel(self.invite, request.first("Reason") or "")
            case "INVITE":
                # RFC 3261 14.2: the first one has no final answer yet.
                core.respond(transaction, 500, headers=core.soon())
            case "UPDATE":
                self.early_offer(transaction, request)
            case "INFO":
                core.respond(transaction, 200)
                core.emit(InfoReceived(core.now, self.handle, request.content_type, request.body))
            case "OPTIONS":
                core.respond(transaction, 200, headers=core.description())
            case _:
                core.respond(transaction, 405, headers=(("Allow", core.allow),))

    def on_ack(self, request: Request) -> None:
        """There is no 2xx to acknowledge yet."""

    def dialog_of(self, request: Request) -> Dialog:
        return self.dialog


def _number(address: NameAddr) -> str:
    user = address.uri.user
    return "" if user.lower() == "anonymous" else user


def _readable_lines(lines: Iterable[tuple[str, str]]) -> Headers:
    return tuple((name, readable(value)) for name, value in lines)
