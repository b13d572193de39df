"""Reliable provisional responses (RFC 3262): ringing and early media that are repeated until PRACK."""

from __future__ import annotations

import re
from collections import deque
from typing import Any

from gateway.sip.extension import AnyCall, Extension
from gateway.sip.message import Request, Response
from gateway.sip.timers import Timer
from gateway.sip.transaction import ClientTransaction, ServerTransaction
from gateway.sip.uac import OutgoingCall
from gateway.sip.uas import IncomingCall

NAME = "100rel"

_RACK = re.compile(r"([0-9]{1,10})\s+([0-9]{1,10})\s+(\S+)\Z")


class Rel100(Extension):
    name = NAME
    option_tag = "100rel"
    methods = ("PRACK",)

    def provisional_leaves(self, call: AnyCall, transaction: ServerTransaction, response: Response) -> bool:
        """Reliably when the caller requires it, or when it can and there is a description to get across."""
        assert isinstance(call, IncomingCall)
        invite = transaction.request
        required = "100rel" in invite.tokens("Require")
        if not required and not (response.body and "100rel" in invite.tokens("Supported")):
            return False
        late_offer = invite.sdp() is None
        if late_offer and not response.body and NAME not in call.notes:
            # RFC 3262 5: the first reliable response must then carry our offer, and there is none yet.
            return True
        queue = call.notes.setdefault(NAME, ReliableQueue(call))
        queue.send(response, offered=late_offer and bool(response.body))
        return True

    def holds_final(self, call: AnyCall) -> bool:
        """RFC 3262 3: no 2xx while a provisional is unacknowledged."""
        queue: ReliableQueue | None = call.notes.get(NAME)
        return queue is not None and queue.open

    def request_arrived(self, call: AnyCall, transaction: ServerTransaction, request: Request) -> bool:
        if request.method != "PRACK":
            return False
        queue = call.notes.get(NAME)
        refused = queue.acknowledge(request) if isinstance(queue, ReliableQueue) else 481
        if refused:
            call.core.respond(transaction, refused)
            return True
        assert isinstance(queue, ReliableQueue)
        queue.took_note(transaction, request)
        return True

    def response_leaves(self, call: AnyCall, request: Request, response: Response) -> None:
        """The 2xx repeats no description that PRACK has settled."""
        queue = call.notes.pop(NAME, None)
        if isinstance(queue, ReliableQueue) and queue.offered:
            call.notes["early-answer"] = queue.answer
            response.remove("Content-Type")
            response.body = b""

    def response_arrived(self, call: AnyCall, transaction: ClientTransaction, response: Response) -> bool:
        """PRACK what asks for it; True for a repetition, or one that overtook another."""
        if not isinstance(call, OutgoingCall) or not 100 < response.status < 200:
            return False
        number = _number(response.first("RSeq"))
        dialog = call.early.get(response.to.tag)
        if number is None or dialog is None or "100rel" not in response.tokens("Require"):
            return False
        seen: dict[str, int] = call.notes.setdefault(NAME, {})
        last = seen.get(dialog.remote_tag)
        if last is not None and number != last + 1:
            return True
        seen[dialog.remote_tag] = number
        prack = dialog.request("PRACK")
        prack.add("RAck", f"{number} {transaction.request.cseq}")
        call.core.finish(prack)
        call.sign(prack)
        call.core.send(prack, call.core.flow_for(dialog), _Indifferent())
        return False

    def call_confirmed(self, call: AnyCall) -> None:
        call.notes.pop(NAME, None)

    def call_ended(self, call: AnyCall) -> None:
        queue = call.notes.pop(NAME, None)
        if isinstance(queue, ReliableQueue):
            queue.stop()


class ReliableQueue:
    """One reliable response under way at a time (RFC 3262 3); the others wait for its PRACK."""

    def __init__(self, call: IncomingCall) -> None:
        self._call = call
        # RFC 3262 3: any start below 2**31, chosen at random.
        self._number = call.core.ids.uint32() % 2**30 + 1
        self._waiting: deque[Response] = deque()
        self._sent: Response | None = None
        self._interval_s = 0.0
        self._repeat: Timer[Any] | None = None
        self._give_up: Timer[Any] | None = None
        self.offered = False
        self.answer: bytes | None = None

    @property
    def open(self) -> bool:
        return self._sent is not None

    def send(self, response: Response, *, offered: bool) -> None:
        if offered and self.offered:
            # Our offer is out already; it is not made twice.
            response.remove("Content-Type")
            response.body = b""
        self.offered = self.offered or offered
        self._waiting.append(response)
        if self._sent is None:
            self._next()

    def _next(self) -> None:
        core, response = self._call.core, self._waiting.popleft()
        self._number += 1
        response.add("Require", "100rel")
        response.add("RSeq", str(self._number))
        self._sent = response
        self._call.invite.respond(response, core.now)
        timing = core.options.timing
        self._interval_s = timing.t1
        self._repeat = core.timers.start(core.now + timing.t1, self, "repeat")
        self._give_up = core.timers.start(core.now + timing.patience, self, "give up")

    def acknowledge(self, prack: Request) -> int:
        """Let the PRACK end the repetition; the status that refuses it, or 0."""
        found = _RACK.match(prack.first("RAck") or "")
        if found is None:
            return 400
        cseq = self._call.invite.request.cseq
        expected = (self._number, cseq.number, cseq.method)
        if self._sent is None or (int(found.group(1)), int(found.group(2)), found.group(3)) != expected:
            return 481
        if self._sent.body and not self.offered:
            self._call.settled = True
        self.stop()
        return 0

    def took_note(self, transaction: ServerTransaction, prack: Request) -> None:
        """Read what the PRACK describes: the answer to our offer, or an offer (RFC 3262 5)."""
        sdp = prack.sdp()
        if sdp is not None and self.offered and self.answer is None:
            self.answer = sdp
            self._call.settled = True
        elif sdp is not None:
            # It has acknowledged whatever becomes of what it offers.
            self._call.early_offer(transaction, prack)
        if not transaction.answered and not self._call.negotiating:
            self._call.core.respond(transaction, 200)
        self.go_on()

    def go_on(self) -> None:
        if self._waiting:
            self._next()
        else:
            self._call.go_on()

    def on_timer(self, name: str, now: float) -> None:
        if name == "give up":
            self.stop()
            self._call.give_up(504, "No PRACK")
            return
        self._call.invite.feed("request", now)
        self._interval_s *= 2
        self._repeat = self._call.core.timers.start(now + self._interval_s, self, "repeat")

    def stop(self) -> None:
        self._call.core.timers.stop(self._repeat)
        self._call.core.timers.stop(self._give_up)
        self._sent = None


class _Indifferent:
    def answered(self, transaction: ClientTransaction, response: Response) -> None:
        """A PRACK that fails changes nothing: the INVITE's own answer decides."""


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 11 else None


EXTENSION = Rel100()
