"""Texts that callers send while they talk (MESSAGE, RFC 3428): in their call, or beside it as softphones do.

Whoever takes the text answers for it: 200 is said when somebody has it, and never to a text that nobody reads.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import count

from gateway.core.errors import PeerError
from gateway.core.token_bucket import TokenBucket
from gateway.sip.commands import AnswerMessage, AnyCommand
from gateway.sip.confirmed import ConfirmedCall
from gateway.sip.core import Core
from gateway.sip.events import MessageReceived
from gateway.sip.extension import AnyCall, Extension, Refusal
from gateway.sip.flow import Flow
from gateway.sip.headers import parse_name_addr
from gateway.sip.message import Request
from gateway.sip.transaction import ServerTransaction

NAME = "message"
MAX_OCTETS = 4096
"""The longest text taken; people who type send a hundredth of it."""
TEXTS_PER_S, TEXTS_AT_ONCE = 1.0, 5.0
"""What a call may send: each text is a question to somebody's agent."""

_ACCEPT = (("Accept", "text/plain;charset=utf-8"),)
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^\s";]*)', re.IGNORECASE)
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"


class Texts:
    """Of one call: who may send them from outside its dialog, how often, and which are not answered yet."""

    def __init__(self, sender: str) -> None:
        self.sender = sender
        self.unanswered: dict[int, ServerTransaction] = {}
        self._bucket = TokenBucket(TEXTS_PER_S, TEXTS_AT_ONCE)
        self._numbers = count(1)

    def admit(self, now: float) -> bool:
        return self._bucket.take(now)

    def keep(self, transaction: ServerTransaction) -> int:
        number = next(self._numbers)
        self.unanswered[number] = transaction
        return number


class MessageExtension(Extension):
    name = NAME
    methods = ("MESSAGE",)

    def call_confirmed(self, call: AnyCall) -> None:
        call.notes[NAME] = Texts(_sender(call))

    def call_meant(self, core: Core, request: Request, flow: Flow) -> str | Refusal | None:
        """The one live call with the same user at the same address: more than that a text does not say."""
        if request.method != "MESSAGE":
            return None
        sender = _named(request.from_.uri.user)
        calls = [call for call in core.calls.values() if sender and _is_with(call, sender, flow)]
        if not calls:
            return Refusal(404, "No Call With Its Sender")
        return calls[0].handle if len(calls) == 1 else Refusal(480, "More Than One Call With Its Sender")

    def request_arrived(self, call: AnyCall, transaction: ServerTransaction, request: Request) -> bool:
        if request.method != "MESSAGE":
            return False
        core, texts = call.core, call.notes.get(NAME)
        if not isinstance(texts, Texts):
            core.respond(transaction, 480, "Not Answered Yet")
        elif not texts.admit(core.now):
            core.respond(transaction, 480, "Too Many Texts", (("Retry-After", "1"),))
        elif isinstance(text := read(request), Refusal):
            core.respond(transaction, *text)
        else:
            core.emit(MessageReceived(core.now, call.handle, texts.keep(transaction), text))
        return True

    def command_given(self, call: AnyCall, command: AnyCommand) -> bool:
        if not isinstance(command, AnswerMessage):
            return False
        transaction = call.notes[NAME].unanswered.pop(command.number, None)
        if transaction is not None:
            call.core.respond(transaction, command.status, command.reason)
        return True

    def call_ended(self, call: AnyCall) -> None:
        texts = call.notes.pop(NAME, None)
        for transaction in texts.unanswered.values() if isinstance(texts, Texts) else ():
            call.core.respond(transaction, 480, "The Call Has Ended")


def read(request: Request) -> str | Refusal:
    """What it says, fit for logs and stores, or why nobody can read it."""
    charset = _CHARSET.search(request.first("Content-Type") or "")
    known = charset is None or charset[1].lower() in ("utf-8", "utf8", "us-ascii")
    if request.content_type != "text/plain" or not known:
        return Refusal(415, headers=_ACCEPT)
    if len(request.body) > MAX_OCTETS:
        return Refusal(413, f"At Most {MAX_OCTETS} Octets")
    try:
        text = harmless(request.body.decode())
    except UnicodeDecodeError:
        return Refusal(400, "Not UTF-8")
    return text or Refusal(400, "Nothing To Read")


def harmless(text: str) -> str:
    """One line without control characters, and without invisible ones that turn the direction of what follows.

    Joiners stay: scripts and emoji are made of them.
    """
    return " ".join("".join(map(_harmless, text)).split())


def _harmless(character: str) -> str:
    if character.isascii() and character.isprintable():
        return character
    match unicodedata.category(character):
        case "Cc" | "Zl" | "Zp":
            return " "
        case "Cf" if character not in _JOINERS:
            return ""
        case _:
            return character


def _is_with(call: object, sender: str, flow: Flow) -> bool:
    if not isinstance(call, ConfirmedCall) or not call.up or call.flow.remote[0] != flow.remote[0]:
        return False
    texts = call.notes.get(NAME)
    return isinstance(texts, Texts) and texts.sender == sender


def _sender(call: AnyCall) -> str:
    """The user at the other side; "" for one without a name, who cannot be told from others."""
    assert call.dialog is not None, "a confirmed call has a dialog"
    try:
        return _named(parse_name_addr(call.dialog.remote).uri.user)
    except PeerError:
        return ""


def _named(user: str) -> str:
    return "" if user.lower() == "anonymous" else user


EXTENSION = MessageExtension()
