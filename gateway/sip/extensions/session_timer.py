"""Session timers (RFC 4028): a call whose other side vanished without a word does not stay up for ever.

One side refreshes the session at half of the agreed interval, by UPDATE where the peer takes it, else by re-INVITE
with the same description. The other ends the call when no refresh comes.
"""

from __future__ import annotations

from typing import Any, Literal

from gateway.sip.commands import SESSION_POLICY, SessionPolicy
from gateway.sip.confirmed import ConfirmedCall
from gateway.sip.core import Core
from gateway.sip.extension import AnyCall, Extension, Refusal
from gateway.sip.message import Message, Request, Response
from gateway.sip.timers import Timer
from gateway.sip.transaction import ClientTransaction

NAME = "session-timer"
LEAST_S = 90
"""RFC 4028 5: no Min-SE may be smaller."""
LONGEST_MIN_SE_S = 7200
"""A Min-SE beyond this we do not take part in."""

REQUESTING = SessionPolicy()

Role = Literal["uac", "uas"]


class SessionTimer(Extension):
    name = NAME
    option_tag = "timer"
    methods = ("UPDATE",)

    def invite_arrived(self, core: Core, invite: Request) -> Refusal | None:
        """422 for an interval shorter than ours, to a peer that understands it (RFC 4028 9)."""
        interval = seconds(invite, "Session-Expires")
        least = core.options.min_session_expires_s
        if interval is None or interval >= least or "timer" not in invite.tokens("Supported"):
            return None
        return Refusal(422, headers=(("Min-SE", str(least)),))

    def request_leaves(self, call: AnyCall, request: Request) -> None:
        options, policy = call.core.options, _policy(call)
        least = call.notes.get("min-se", options.min_session_expires_s)
        interval = max(policy.expires_s or options.session_expires_s, least)
        watch: Watch | None = call.notes.get(NAME)
        if watch is None and policy.mode != "request":
            if policy.mode == "off":
                _deny(request)
            return
        refresher = ""
        if watch is not None:
            # RFC 4028 7.4: who refreshes stays who refreshes, whoever sends this request.
            interval, refresher = max(watch.interval_s, least), f";refresher={'uac' if watch.ours else 'uas'}"
        request.add("Session-Expires", f"{interval}{refresher}")
        if least > LEAST_S:
            request.add("Min-SE", str(least))

    def response_leaves(self, call: AnyCall, request: Request, response: Response) -> None:
        assert isinstance(call, ConfirmedCall)
        policy = _policy(call)
        asked = seconds(request, "Session-Expires")
        theirs = "timer" in request.tokens("Supported")
        if policy.mode == "off":
            _deny(response)
        if policy.mode == "off" or (asked is None and not (theirs and policy.mode == "request")):
            _stop(call)
            return
        wanted = policy.expires_s or call.core.options.session_expires_s
        interval, refresher = _agreed(call.core, request, asked, theirs, wanted)
        response.add("Session-Expires", f"{interval};refresher={refresher}")
        if refresher == "uac":
            response.add("Require", "timer")
        _start(call, interval, ours=refresher == "uas", by_update=_takes_update(call, request))

    def response_arrived(self, call: AnyCall, transaction: ClientTransaction, response: Response) -> bool:
        """True for a 422 that a longer interval can satisfy: send the same again."""
        if response.status == 422:
            return _lengthen(call, transaction.request, response)
        if 200 <= response.status < 300 and isinstance(call, ConfirmedCall) and _policy(call).mode != "off":
            _follow(call, response)
        return False

    def call_ended(self, call: AnyCall) -> None:
        _stop(call)


def _policy(call: AnyCall) -> SessionPolicy:
    policy: SessionPolicy = call.notes.get(SESSION_POLICY, REQUESTING)
    return policy


def _deny(message: Message) -> None:
    """Say that we know of no session timers."""
    tags = [tag for tag in message.values("Supported") if tag.strip().lower() != "timer"]
    message.remove("Supported")
    if tags:
        message.add("Supported", ", ".join(tags))


def _agreed(core: Core, request: Request, asked: int | None, theirs: bool, wanted: int) -> tuple[int, Role]:
    """Interval and refresher of our 2xx (RFC 4028 9, table 2)."""
    if asked is None:
        return wanted, "uas"
    least = max(core.options.min_session_expires_s, seconds(request, "Min-SE") or 0)
    interval = max(least, min(asked, wanted)) if asked > least else asked
    role = refresher(request)
    if not theirs:
        # A proxy asked for it; the caller itself would not refresh.
        return interval, "uas"
    return interval, role or "uac"


def _follow(call: ConfirmedCall, response: Response) -> None:
    """Take up what the 2xx to our request says; without a word in it there is no timer."""
    interval = seconds(response, "Session-Expires")
    if interval is None or interval < LEAST_S:
        _stop(call)
    else:
        _start(call, interval, ours=refresher(response) != "uas", by_update=_takes_update(call, response))


def _lengthen(call: AnyCall, request: Request, response: Response) -> bool:
    least = seconds(response, "Min-SE")
    tried = seconds(request, "Session-Expires") or 0
    if least is None or not tried < least <= LONGEST_MIN_SE_S:
        return False
    call.notes["min-se"] = least
    return True


def _takes_update(call: AnyCall, message: Message) -> bool:
    """By the Allow it carries; one without tells nothing new."""
    allowed = message.tokens("Allow")
    watch: Watch | None = call.notes.get(NAME)
    return "update" in allowed if allowed or watch is None else watch.by_update


def seconds(message: Message, name: str) -> int | None:
    """The number in Session-Expires or Min-SE; None when there is none that makes sense."""
    text = (message.first(name) or "").partition(";")[0].strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def refresher(message: Message) -> Role | None:
    for piece in (message.first("Session-Expires") or "").split(";")[1:]:
        name, _, value = piece.partition("=")
        if name.strip().lower() == "refresher":
            match value.strip().lower():
                case "uac":
                    return "uac"
                case "uas":
                    return "uas"
    return None


class Watch:
    """The running timer of one call. `ours` says that the refreshing is our job."""

    __slots__ = ("_call", "_timer", "by_update", "interval_s", "ours")

    def __init__(self, call: ConfirmedCall, interval_s: int, *, ours: bool, by_update: bool) -> None:
        self._call = call
        self.interval_s = interval_s
        self.ours = ours
        self.by_update = by_update
        self._timer: Timer[Any] | None = None
        self._start("refresh" if ours else "expired", interval_s / 2 if ours else self._latest_s)

    @property
    def _latest_s(self) -> float:
        """RFC 4028 10: the side that waits says BYE a little before the interval is over."""
        return self.interval_s - min(32.0, self.interval_s / 3)

    def _start(self, name: str, delay_s: float) -> None:
        core = self._call.core
        self._timer = core.timers.start(core.now + delay_s, self, name)

    def stop(self) -> None:
        self._call.core.timers.stop(self._timer)

    def on_timer(self, name: str, now: float) -> None:
        if name == "expired":
            self._call.end("timeout", "Session Expired")
            return
        # A refresh that brings no 2xx leaves this one to end the call.
        self._start("expired", self._latest_s - self.interval_s / 2)
        self._refresh()

    def _refresh(self) -> None:
        call = self._call
        if not self.by_update:
            call.offers.refresh()
            return
        request = call.request("UPDATE")
        call.core.extensions.request_leaves(call, request)
        call.sign(request)
        call.send(request, self)

    def answered(self, transaction: ClientTransaction, response: Response) -> None:
        """To our UPDATE."""
        call = self._call
        if response.status < 200 or not call.up:
            return
        again = call.authorized(transaction, response)
        if response.status < 300:
            call.dialog.refresh_target(response)
            _follow(call, response)
        elif again or _lengthen(call, transaction.request, response):
            self._refresh()
        elif response.status in (405, 501):
            self.by_update = False
            self._refresh()
        else:
            call.gone(response)


def _start(call: ConfirmedCall, interval_s: int, *, ours: bool, by_update: bool) -> None:
    _stop(call)
    call.notes[NAME] = Watch(call, interval_s, ours=ours, by_update=by_update)


def _stop(call: AnyCall) -> None:
    watch = call.notes.pop(NAME, None)
    if watch is not None:
        watch.stop()


EXTENSION = SessionTimer()
