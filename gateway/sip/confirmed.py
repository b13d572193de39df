"""A call that has had its 2xx: BYE both ways, INFO, offers, and the end when the other side is gone."""

from __future__ import annotations

from typing import Any, Literal

from gateway.sip.auth import DigestClient
from gateway.sip.awaited_ack import AwaitedAck
from gateway.sip.commands import AnswerOffer, AnyCommand, HangUp, Headers, Offer, RefuseOffer, SendInfo
from gateway.sip.core import Core
from gateway.sip.dialog import Dialog
from gateway.sip.events import CallConfirmed, CallEnded, InfoReceived, Send
from gateway.sip.flow import Flow
from gateway.sip.message import Request, Response, readable
from gateway.sip.renegotiation import Renegotiation
from gateway.sip.transaction import ClientTransaction, ClientUser, ServerTransaction

EndedBy = Literal["bye", "no_ack", "timeout", "transport", "replaced"]
Phase = Literal[
    "up",
    "parting",  # we want to hang up, and wait for the ACK of our 2xx
    "leaving",  # our BYE is under way
    "over",
]


class ConfirmedCall:
    """Takes the place of an incoming or outgoing call when its 2xx goes or comes."""

    __slots__ = (
        "_farewell",
        "_first_ack",
        "_infos",
        "contact_user",
        "core",
        "dialog",
        "digest",
        "handle",
        "notes",
        "offers",
        "phase",
    )

    def __init__(
        self,
        core: Core,
        handle: str,
        dialog: Dialog,
        contact_user: str,
        notes: dict[str, Any],
        digest: DigestClient | None = None,
    ) -> None:
        self.core = core
        self.handle = handle
        self.dialog = dialog
        self.contact_user = contact_user
        self.notes = notes
        self.digest = digest
        self.phase: Phase = "up"
        self.offers = Renegotiation(self)
        self._first_ack = False
        self._farewell: Headers = ()
        self._infos: tuple[SendInfo, ...] = ()
        core.dialogs[dialog.id] = self

    @property
    def flow(self) -> Flow:
        return self.dialog.flow

    def take_over(self) -> None:
        """From now on the handle leads here."""
        self.core.calls[self.handle] = self

    def dialog_of(self, request: Request) -> Dialog:
        return self.dialog

    @property
    def up(self) -> bool:
        return self.phase == "up"

    # Requests and answers of ours

    def request(self, method: str, cseq: int | None = None) -> Request:
        """A request in the dialog with everything but the Via; with a Contact where it refreshes the target."""
        request = self.dialog.request(method, cseq)
        if method in ("INVITE", "UPDATE", "SUBSCRIBE", "REFER", "NOTIFY"):
            request.add("Contact", self.core.contact(self.core.flow_for(self.dialog), self.contact_user))
            request.headers.extend(self.core.capabilities())
        self.core.finish(request)
        return request

    def sign(self, request: Request) -> None:
        """Add credentials for whoever asked for them before; when the body is complete."""
        if self.digest is not None:
            self.digest.authorize(request)

    def send(self, request: Request, user: ClientUser) -> ClientTransaction:
        return self.core.send(request, self.core.flow_for(self.dialog), user)

    def acknowledge(self, invite: Request) -> Send:
        """Send the ACK of a 2xx: a request of its own, with the INVITE's CSeq and credentials (RFC 3261 13.2.2.4).

        Given back for the repetitions of the 2xx.
        """
        ack = self.dialog.request("ACK", invite.cseq.number)
        for name in ("Authorization", "Proxy-Authorization"):
            ack.headers.extend((name, value) for value in invite.all(name))
        flow = self.core.flow_for(self.dialog)
        self.core.add_via(ack, flow)
        sent = Send(flow, ack.to_bytes())
        self.core.actions.append(sent)
        return sent

    def send_2xx(self, transaction: ServerTransaction, sdp: bytes | None, headers: Headers = ()) -> None:
        """200 with Contact and capabilities; an INVITE's is repeated until its ACK."""
        core, request = self.core, transaction.request
        contact = core.contact(transaction.flow, self.contact_user, secure=request.uri.startswith("sips:"))
        response = core.prepare(transaction, 200, None, (("Contact", contact), *core.capabilities(), *headers), sdp)
        core.extensions.response_leaves(self, request, response)
        transaction.respond(response, core.now)
        if sdp is not None:
            self.offers.local, self.offers.remote = sdp, request.sdp() or b""
        if request.method == "INVITE":
            offered = bool(response.body) and request.sdp() is None
            awaited = AwaitedAck(core, self, transaction, offered=offered)
            self.offers.awaited = awaited

    def authorized(self, transaction: ClientTransaction, response: Response) -> bool:
        """Whether a challenge can be answered, so that the same request is worth sending again."""
        return self.digest is not None and self.digest.challenged(transaction.request, response)

    # Commands

    def on_command(self, command: AnyCommand) -> None:
        if not self.up:
            self.core.counters["commands_late"] += 1
            return
        match command:
            case HangUp(headers=headers):
                self.hang_up(headers)
            case AnswerOffer(sdp=sdp):
                self.offers.answer(sdp)
            case RefuseOffer(status=status, reason=reason):
                self.offers.refuse(status, reason)
            case Offer(sdp=sdp):
                self.offers.offer(sdp)
            case SendInfo():
                self._infos += (command,)
                if len(self._infos) == 1:
                    self._send_info()
            case _ if not self.core.extensions.command_given(self, command):
                self.core.counters["commands_late"] += 1

    def hang_up(self, headers: Headers = ()) -> None:
        """BYE; not before the ACK of our 2xx, as a callee's BYE must not overtake it (RFC 3261 15)."""
        self._farewell = headers
        if self.offers.awaited is not None and self.dialog.role == "callee" and not self._first_ack:
            self.phase = "parting"
            self.core.forget(self)
            return
        self.leave(headers)

    def leave(self, headers: Headers = ()) -> None:
        """BYE at once, and not a word about it."""
        self._farewell = headers
        self._say_bye()

    def _say_bye(self) -> None:
        self.phase = "leaving"
        self._stop()
        request = self.request("BYE")
        request.headers.extend(self._farewell)
        self._sign_and_send(request)

    def _send_info(self) -> None:
        """One at a time: over UDP a key could overtake the one before it."""
        info = self._infos[0]
        request = self.request("INFO")
        request.set_body(info.content_type, info.body)
        self._sign_and_send(request)

    def _sign_and_send(self, request: Request) -> None:
        self.sign(request)
        self.send(request, self)

    def answered(self, transaction: ClientTransaction, response: Response) -> None:
        """To BYE and INFO."""
        if response.status < 200:
            return
        if self.authorized(transaction, response):
            self._again(transaction.request)
        elif self.phase == "leaving":
            if transaction.request.method == "BYE":
                self._over()
        elif not self.gone(response) and transaction.request.method == "INFO":
            self._infos = self._infos[1:]
            if self._infos and self.up:
                self._send_info()

    def _again(self, request: Request) -> None:
        again = self.request(request.method)
        content_type = request.first("Content-Type")
        if content_type is not None:
            again.set_body(content_type, request.body)
        if request.method == "BYE":
            again.headers.extend(self._farewell)
        self._sign_and_send(again)

    def gone(self, response: Response) -> bool:
        """End the call when the answer to a request in it says that it is no more (RFC 3261 12.2.1.2)."""
        if not self.up or not (response.local or response.status in (408, 481)):
            return False
        by: Literal["transport", "timeout"] = "transport" if response.local and response.status == 503 else "timeout"
        self._say_bye()
        self._ended(by, response.reason)
        return True

    # Requests of theirs

    def on_request(self, transaction: ServerTransaction, request: Request) -> None:
        method = request.method
        if method == "BYE":
            self._bye(transaction, request)
        elif not self.up:
            self.core.respond(transaction, 481)
        elif self.core.extensions.request_arrived(self, transaction, request):
            pass
        elif method in ("INVITE", "UPDATE"):
            self.offers.arrived(transaction, request)
        elif method == "INFO":
            self.core.respond(transaction, 200)
            content_type = request.content_type
            self.core.emit(InfoReceived(self.core.now, self.handle, content_type, request.body))
        elif method == "OPTIONS":
            self.core.respond(transaction, 200, headers=self.core.description())
        else:
            self.core.respond(transaction, 405, headers=(("Allow", self.core.allow),))

    def _bye(self, transaction: ServerTransaction, request: Request) -> None:
        self.core.respond(transaction, 200)
        was_up = self.up
        self._stop()
        if was_up:
            self._ended("bye", readable(request.first("Reason") or ""))
        if self.phase != "leaving":
            self._over()

    def on_ack(self, request: Request) -> None:
        self.acknowledged(request.cseq.number, request)

    def acknowledged(self, cseq: int, request: Request | None) -> None:
        """The 2xx of that CSeq has arrived: by its ACK, or (`request` None) by what only followed from it."""
        awaited = self.offers.acknowledged(cseq)
        if awaited is None:
            return
        first, self._first_ack = not self._first_ack and self.dialog.role == "callee", True
        early: bytes | None = self.notes.pop("early-answer", None)
        sdp = request.sdp() if request is not None and awaited.offered else early
        if self.phase == "parting":
            self._say_bye()
        elif self.up:
            if first:
                self.offers.remote = sdp or self.offers.remote
                self.core.emit(CallConfirmed(self.core.now, self.handle, sdp))
            elif awaited.offered:
                self.offers.answered_by_ack(sdp)
            self.offers.go_on()

    def on_cancel(self, transaction: ServerTransaction, reason: str) -> None:
        self.offers.cancelled(transaction)

    def ack_missing(self, awaited: AwaitedAck) -> None:
        """RFC 3261 13.3.1.4: the dialog is confirmed, but nobody is there; say BYE."""
        self.offers.awaited = None
        was_up = self.up
        self._say_bye()
        if was_up:
            self._ended("no_ack", "")

    def end(self, by: Literal["timeout", "replaced"], reason: str) -> None:
        """For extensions: say BYE and report the end."""
        if self.up:
            self._say_bye()
            self._ended(by, reason)

    def _ended(self, by: EndedBy, reason: str) -> None:
        self.core.forget(self)
        self.core.emit(CallEnded(self.core.now, self.handle, by, reason))

    def _stop(self) -> None:
        self.offers.stop()
        self.core.extensions.call_ended(self)
        self.core.forget(self)

    def _over(self) -> None:
        self.phase = "over"
        self.core.forget(self, self.dialog.id)
