"""The SIP endpoint without any I/O: bytes and commands in, bytes and events out, time as an argument.

    receive -> parse -> transaction -> screening -> the call it belongs to -> actions

`Endpoint` never raises on what comes from the wire. What it cannot use it counts (`counters`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from gateway.core.errors import MisuseError, PeerError
from gateway.core.ids import Ids
from gateway.sip.admission import Admitted, Doorkeeper, Dropped
from gateway.sip.commands import AnyCommand, Headers, Place, Probe, Register
from gateway.sip.core import Core
from gateway.sip.dialog import dialog_id_of
from gateway.sip.events import Action, CallFailed
from gateway.sip.extension import Extension, Extensions, Refusal, found
from gateway.sip.flow import Flow, Transport
from gateway.sip.message import Malformed, Request, Response, parse, readable, respond
from gateway.sip.options import EndpointOptions
from gateway.sip.reach import stamp
from gateway.sip.registration import OptionsProbe, Registration
from gateway.sip.screening import check_syntax, screen, stateless_tag
from gateway.sip.status import phrase
from gateway.sip.transaction import ServerTransaction, same_connection
from gateway.sip.uac import OutgoingCall
from gateway.sip.uas import IncomingCall

__all__ = ["Endpoint", "EndpointOptions"]

PING, PONG = b"\r\n\r\n", b"\r\n"


class Endpoint:
    """Every entry returns what is to be done, in order: `Send`, `Close`, and events."""

    def __init__(
        self,
        options: EndpointOptions,
        ids: Ids,
        extensions: tuple[Extension, ...] | None = None,
        *,
        epoch: float = 0.0,
    ) -> None:
        """`extensions` None takes all there are. `epoch` is the time since 1970 at `now` 0, for `nonce_secret`."""
        self._core = Core(options, ids, Extensions(found() if extensions is None else extensions))
        self._doorkeeper = Doorkeeper(options, ids, epoch)

    @property
    def counters(self) -> Counter[str]:
        """What happened too often for the log: malformed messages, strays, refusals by status."""
        return self._core.counters

    @property
    def calls(self) -> int:
        """Calls at this moment, ringing ones included."""
        return len(self._core.calls)

    @property
    def transactions(self) -> int:
        return len(self._core.transactions)

    def listening(self, ports: Mapping[Transport, int]) -> None:
        """Where the shell listens: a dialog may change its transport, and the peer must find us on the new one."""
        self._core.ports = dict(ports)

    def uses(self, flow: Flow) -> bool:
        """Whether a call or a registration lives on this connection. Looks at all of them; not for every packet."""
        users = (*self._core.dialogs.values(), *self._core.services.values())
        return any(same_connection(user.flow, flow) for user in users)

    def receive(self, data: bytes, flow: Flow, now: float) -> list[Action]:
        """Take one datagram, or one whole message cut from a stream."""
        self._core.now = now
        if flow.connection:
            self._core.live_connections.add(flow.connection)
        try:
            self._receive(data, flow)
        except PeerError:
            self._core.counters["malformed"] += 1
        return self._taken()

    def send(self, command: AnyCommand, now: float) -> list[Action]:
        """Do what is asked; a command for a call that is over is counted and forgotten. Raises `MisuseError`."""
        core = self._core
        core.now = now
        match command:
            case Place():
                self._place(command)
            case Register():
                self._register(command)
            case Probe():
                OptionsProbe(core, command)
            case _:
                owner = core.calls.get(command.dialog) or core.services.get(command.dialog)
                if owner is not None:
                    owner.on_command(command)
                else:
                    core.counters["commands_late"] += 1
        return self._taken()

    def next_deadline(self) -> float | None:
        """When `on_deadline` wants to be called; None while nothing is due ever."""
        return self._core.timers.next_deadline()

    def on_deadline(self, now: float) -> list[Action]:
        self._core.now = now
        for owner, name in self._core.timers.expired(now):
            owner.on_timer(name, now)
        return self._taken()

    def connection_lost(self, flow: Flow, now: float, reason: str = "") -> list[Action]:
        """The connection of `flow` is gone, or could not be made. Requests waiting on it fail with 503 and `reason`."""
        self._core.now = now
        self._core.live_connections.discard(flow.connection)
        self._core.transactions.connection_lost(flow, reason)
        return self._taken()

    def _taken(self) -> list[Action]:
        actions = self._core.transactions.actions
        self._core.transactions.actions = []
        return actions

    def _place(self, command: Place) -> None:
        core = self._core
        if core.full:
            core.emit(CallFailed(core.now, command.dialog, 503, phrase(503)))
            return
        OutgoingCall(core, command)

    def _register(self, command: Register) -> None:
        if command.dialog in self._core.services:
            raise MisuseError(f"the handle {command.dialog!r} is of a living registration")
        Registration(self._core, command)

    def _receive(self, data: bytes, flow: Flow) -> None:
        core = self._core
        if not data.strip(b"\r\n\0 "):
            # RFC 5626 4.4.1: a double CRLF asks for a single one, on connections only.
            if data == PING and flow.transport != "udp":
                core.transmit(flow, PONG)
            return
        try:
            message = parse(data.lstrip(b"\r\n"), stream=flow.transport != "udp")
        except Malformed as error:
            core.counters["malformed"] += 1
            if error.request is not None:
                self._refuse_malformed(error.request, flow, error.status_hint)
            return
        if isinstance(message, Response):
            _ = message.via, message.from_, message.to, message.cseq
            # RFC 3261 8.1.3.3: a second Via means that it was for somebody else.
            if len(message.vias) > 1 or not core.transactions.receive(message, core.now):
                core.counters["stray_responses"] += 1
            return
        self._request(message, flow)

    def _refuse_malformed(self, request: Request, flow: Flow, status: int) -> None:
        """Answer if it is clear enough whom; nothing is kept, so a repetition is answered anew."""
        if request.method == "ACK" or self._ignored(request):
            return
        try:
            back = stamp(request, flow)
            _ = request.from_, request.to, request.call_id, request.cseq
        except PeerError:
            if request.first("Via") is None:
                return
            back = flow
        self._respond_statelessly(request, back, status)

    def _respond_statelessly(
        self, request: Request, flow: Flow, status: int, reason: str | None = None, headers: Headers = ()
    ) -> None:
        """Answer and forget (RFC 3261 8.2.7): a repetition is answered anew, a flood fills no memory."""
        core = self._core
        if status >= 300:
            core.counters[f"refused_{status}"] += 1
        try:
            response = respond(request, status, reason, to_tag=stateless_tag(request))
        except PeerError:
            response = respond(request, status, reason)
        core.finish(response, headers)
        core.transmit(flow, response.to_bytes())

    @property
    def _later(self) -> Headers:
        return (("Retry-After", str(self._core.options.retry_after_s)),)

    def _ignored(self, request: Request) -> bool:
        agent = (request.first("User-Agent") or "").lower()
        if agent and any(name in agent for name in self._core.options.ignored_agents):
            self._core.counters["scanners"] += 1
            return True
        return False

    def _request(self, request: Request, flow: Flow) -> None:
        core = self._core
        if self._ignored(request):
            return
        try:
            check_syntax(request)
        except PeerError as error:
            core.counters["malformed"] += 1
            self._refuse_malformed(request, flow, error.status_hint)
            return
        back = stamp(request, flow)
        known = core.transactions.find_server(request)
        if known is not None and self._repeated(known, request):
            return
        if request.method == "ACK":
            self._ack(request)
        elif core.transactions.full:
            self._respond_statelessly(request, back, 503, headers=self._later)
        elif request.method == "CANCEL":
            self._cancel(request, back)
        else:
            self._new_request(request, flow, back)

    def _repeated(self, known: ServerTransaction, request: Request) -> bool:
        """Let the transaction absorb it. An ACK for a 2xx is for the call."""
        if request.method != "ACK":
            known.feed("request", self._core.now)
            return True
        row = known.feed("ack", self._core.now)
        return row is not None and "tell" not in row.effects

    def _ack(self, request: Request) -> None:
        participant = self._core.dialogs.get(dialog_id_of(request))
        if participant is not None:
            participant.on_ack(request)
        else:
            self._core.counters["stray_acks"] += 1

    def _cancel(self, request: Request, back: Flow) -> None:
        """RFC 3261 9.2: 200 when there is an INVITE to cancel, whatever has become of it; else 481."""
        core = self._core
        target = core.transactions.find_server(request, "INVITE")
        if target is None:
            self._respond_statelessly(request, back, 481)
            return
        transaction = core.transactions.serve(request, back)
        transaction.to_tag = target.to_tag
        core.respond(transaction, 200)
        participant = core.dialogs.get(dialog_id_of(target.request)._replace(local_tag=target.to_tag))
        if participant is not None and not target.answered:
            participant.on_cancel(target, request.first("Reason") or "")

    def _new_request(self, request: Request, flow: Flow, back: Flow) -> None:
        try:
            if request.to.tag:
                self._within_dialog(request, back)
            else:
                self._outside(request, flow, back)
        except PeerError as error:
            # A line that somebody had to read, and nobody could.
            self._core.counters["malformed"] += 1
            transaction = self._core.transactions.find_server(request)
            if transaction is None:
                self._respond_statelessly(request, back, error.status_hint)
            elif not transaction.answered:
                self._core.respond(transaction, error.status_hint)

    def _outside(self, request: Request, flow: Flow, back: Flow) -> None:
        core = self._core
        admission = self._doorkeeper.admit(request, flow, core.now)
        if not isinstance(admission, Admitted):
            self._turn_away(request, back, admission)
        elif (refusal := screen(core, request) or self._unwanted(request)) is not None:
            self._respond_statelessly(request, back, *refusal)
        elif request.method not in ("INVITE", "OPTIONS"):
            self._stray(request, flow, back)
        elif request.method == "OPTIONS":
            headers = (("Contact", core.contact(flow, request.target.user)), *core.description())
            self._respond_statelessly(request, back, 200, headers=headers)
        else:
            self._invite(core.transactions.serve(request, back), flow, admission.username)

    def _unwanted(self, request: Request) -> Refusal | None:
        """Why a well-formed request outside dialogs is not served."""
        core = self._core
        if request.method == "INVITE":
            return Refusal(503, headers=self._later) if core.full else core.extensions.invite_arrived(core, request)
        # Nobody makes us call others from outside a call.
        return Refusal(403) if request.method == "REFER" else None

    def _stray(self, request: Request, flow: Flow, back: Flow) -> None:
        """What belongs into a dialog came without one; an extension may know which call it is for."""
        core = self._core
        meant = core.extensions.call_meant(core, request, flow)
        if isinstance(meant, str):
            core.calls[meant].on_request(core.transactions.serve(request, back), request)
        else:
            self._respond_statelessly(request, back, *(meant or Refusal(481)))

    def _turn_away(self, request: Request, back: Flow, admission: Refusal | Dropped) -> None:
        if isinstance(admission, Dropped):
            self._core.counters["dropped"] += 1
        else:
            self._respond_statelessly(request, back, *admission)

    def _invite(self, transaction: ServerTransaction, flow: Flow, username: str) -> None:
        try:
            IncomingCall(self._core, transaction, flow, username)
        except PeerError as error:
            self._core.respond(transaction, error.status_hint, readable(str(error)))

    def _within_dialog(self, request: Request, back: Flow) -> None:
        core = self._core
        participant = core.dialogs.get(dialog_id_of(request))
        refusal = Refusal(481) if participant is None else screen(core, request)
        if participant is None or refusal is not None:
            self._respond_statelessly(request, back, *(refusal or Refusal(481)))
            return
        transaction = core.transactions.serve(request, back)
        transaction.to_tag = request.to.tag
        dialog = participant.dialog_of(request)
        if dialog is None or not dialog.in_order(request):
            core.respond(transaction, 500)
        else:
            participant.on_request(transaction, request)
