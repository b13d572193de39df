"""Call transfer by REFER (RFC 3515, 5589), blind and attended, asked of us and asked by us.

Only within a call: a REFER from nowhere would let strangers make us call whom they like.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

import msgspec

from gateway.core.errors import MisuseError, PeerError
from gateway.sip.commands import AnswerTransfer, AnyCommand, ReportTransfer, Transfer
from gateway.sip.confirmed import ConfirmedCall
from gateway.sip.events import TransferProgressed, TransferRequested
from gateway.sip.extension import AnyCall, Extension
from gateway.sip.extensions.replaces import Replaces
from gateway.sip.headers import NameAddr, parse_name_addr
from gateway.sip.message import Request, Response
from gateway.sip.status import phrase
from gateway.sip.transaction import ClientTransaction, ServerTransaction
from gateway.sip.uri import Uri, parse_uri

NAME = "transfer"
SUBSCRIBED_S = 180
"""How long the implicit subscription to our reports is said to last."""


class ReferTo(msgspec.Struct, frozen=True):
    """Whom to call, and the Replaces value to send along, "" for none."""

    target: Uri
    replaces: str = ""

    def __str__(self) -> str:
        headers = f"Replaces={quote(self.replaces, safe='')}" if self.replaces else ""
        return f"<{msgspec.structs.replace(self.target, headers=headers)}>"


def parse_refer_to(text: str) -> ReferTo:
    """Raises `PeerError` 400. Embedded headers other than Replaces are not ours to send, and are dropped."""
    uri = parse_name_addr(text).uri
    if uri.scheme not in ("sip", "sips", "tel"):
        raise PeerError(f"cannot call {uri.scheme}:", status_hint=416)
    fields = (pair.partition("=") for pair in uri.headers.split("&"))
    replaces = next((unquote(value) for name, _, value in fields if name.lower() == "replaces"), "")
    if not replaces.isprintable():
        raise PeerError("a Replaces with a line of its own")  # it would become headers of ours
    return ReferTo(msgspec.structs.replace(uri, headers=""), replaces)


class Subscription:
    """A transfer asked of us: first undecided, then reported on by NOTIFY until its end."""

    def __init__(self, call: ConfirmedCall, transaction: ServerTransaction) -> None:
        self._call = call
        self._transaction = transaction
        # RFC 4488: the peer may not want to hear of it.
        self._silent = (transaction.request.first("Refer-Sub") or "").strip().lower() == "false"
        self._id = transaction.request.cseq.number
        self.decided = False
        self.over = False

    def answer(self, status: int) -> None:
        self.decided = True
        self.over = status >= 300 or self._silent
        core = self._call.core
        contact = core.contact(self._call.flow, self._call.contact_user)
        headers = (("Contact", contact), *((("Refer-Sub", "false"),) if self._silent else ()))
        core.respond(self._transaction, status, headers=headers)
        if not self.over:
            self.report(100, "")

    def report(self, status: int, reason: str) -> None:
        if self.over:
            return
        self.over = status >= 200
        request = self._call.request("NOTIFY")
        request.add("Event", f"refer;id={self._id}")
        state = "terminated;reason=noresource" if self.over else f"active;expires={SUBSCRIBED_S}"
        request.add("Subscription-State", state)
        request.set_body("message/sipfrag;version=2.0", f"SIP/2.0 {status} {reason or phrase(status)}\r\n".encode())
        self._call.sign(request)
        self._call.send(request, self)

    def answered(self, transaction: ClientTransaction, response: Response) -> None:
        """To a NOTIFY. A peer that forgot the subscription hears no more; the call itself goes on (RFC 5057)."""
        if response.status >= 300:
            self.over = True


class OurRefer:
    """A transfer we asked for."""

    def __init__(self, call: ConfirmedCall) -> None:
        self._call = call
        self.over = False

    def answered(self, transaction: ClientTransaction, response: Response) -> None:
        call = self._call
        if response.status < 200 or not call.up:
            return
        if response.status < 300:
            # 202, or 200 from old peers: the NOTIFYs tell the rest.
            return
        if call.authorized(transaction, response):
            again = call.request("REFER")
            for name in ("Refer-To", "Referred-By"):
                again.add(name, transaction.request.required(name))
            call.sign(again)
            call.send(again, self)
        elif not call.gone(response):
            self.progressed(response.status, response.reason, refused=True)

    def progressed(self, status: int, reason: str, *, refused: bool = False) -> None:
        self.over = status >= 200
        self._call.core.emit(TransferProgressed(self._call.core.now, self._call.handle, status, reason, refused))


class TransferExtension(Extension):
    name = NAME
    methods = ("REFER", "NOTIFY")

    def command_given(self, call: AnyCall, command: AnyCommand) -> bool:
        assert isinstance(call, ConfirmedCall)
        asked = call.notes.get(NAME)
        match command:
            case AnswerTransfer(status=status):
                if not 202 <= status < 700:
                    raise MisuseError(f"a transfer cannot be answered with {status}")
                if isinstance(asked, Subscription) and not asked.decided:
                    asked.answer(status)
            case ReportTransfer(status=status, reason=reason):
                if isinstance(asked, Subscription) and asked.decided:
                    asked.report(status, reason)
            case Transfer():
                _transfer(call, command)
            case _:
                return False
        return True

    def request_arrived(self, call: AnyCall, transaction: ServerTransaction, request: Request) -> bool:
        if request.method not in ("REFER", "NOTIFY"):
            return False
        if not isinstance(call, ConfirmedCall):
            # Nobody transfers a call that is not up.
            call.core.respond(transaction, 481 if request.method == "NOTIFY" else 603)
        elif request.method == "REFER":
            _asked(call, transaction, request)
        else:
            call.core.respond(transaction, _notified(call, request))
        return True

    def call_ended(self, call: AnyCall) -> None:
        asked = call.notes.pop(NAME, None)
        if isinstance(asked, Subscription) and not asked.decided:
            asked.answer(603)


def _asked(call: ConfirmedCall, transaction: ServerTransaction, request: Request) -> None:
    core, under_way = call.core, call.notes.get(NAME)
    if under_way is not None and not under_way.over:
        core.respond(transaction, 491)
        return
    values = request.all("Refer-To")
    try:
        if len(values) != 1:
            raise PeerError("not exactly one Refer-To")
        refer_to = parse_refer_to(values[0])
    except PeerError as error:
        core.respond(transaction, error.status_hint)
        return
    call.notes[NAME] = Subscription(call, transaction)
    event = TransferRequested(
        core.now, call.handle, str(refer_to.target), refer_to.replaces, request.first("Referred-By") or ""
    )
    core.emit(event)


def _notified(call: ConfirmedCall, request: Request) -> int:
    """The status a NOTIFY deserves, its news told."""
    ours = call.notes.get(NAME)
    event = (request.first("Event") or "").partition(";")[0].strip().lower()
    if event != "refer":
        return 489
    if not isinstance(ours, OurRefer):
        return 481
    line = request.body.decode("utf-8", "replace").split("\n", 1)[0].strip()
    version, _, rest = line.partition(" ")
    code, _, reason = rest.partition(" ")
    if version.upper() != "SIP/2.0" or len(code) != 3 or not (code.isascii() and code.isdigit()):
        return 400
    if not ours.over:
        ours.progressed(int(code), reason)
    return 200


def _transfer(call: ConfirmedCall, command: Transfer) -> None:
    core = call.core
    replaces, target = "", command.target
    if command.replaces:
        other = core.calls.get(command.replaces)
        if not isinstance(other, ConfirmedCall) or not other.up:
            raise MisuseError(f"{command.replaces!r} is no call that could be replaced")
        dialog = other.dialog
        # As the third party sees it: its own tag is our remote one.
        replaces = str(Replaces(dialog.call_id, dialog.remote_tag, dialog.local_tag))
        target = target or dialog.remote_target
    try:
        refer_to = ReferTo(parse_uri(target), replaces)
        referrer = NameAddr(parse_name_addr(call.dialog.local).uri)
    except PeerError as error:
        raise MisuseError(str(error)) from error
    request = call.request("REFER")
    request.add("Refer-To", str(refer_to))
    request.add("Referred-By", str(referrer))
    call.sign(request)
    ours = call.notes[NAME] = OurRefer(call)
    call.send(request, ours)


EXTENSION = TransferExtension()
