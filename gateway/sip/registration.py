"""Keeping an address registered (RFC 3261 10), and asking a peer whether it is there (11)."""

from __future__ import annotations

from typing import Any

from gateway.core.errors import MisuseError, PeerError
from gateway.sip.auth import DigestClient
from gateway.sip.commands import AnyCommand, MoveRegistration, Probe, Register, Unregister
from gateway.sip.core import Core
from gateway.sip.events import ProbeAnswered, Registered, RegistrationFailed, Unregistered
from gateway.sip.flow import Flow
from gateway.sip.headers import parse_name_addr
from gateway.sip.message import Lines, Request, Response
from gateway.sip.status import phrase
from gateway.sip.timers import Timer
from gateway.sip.transaction import ClientTransaction
from gateway.sip.uri import Uri, parse_uri

SHORTEST_REFRESH_S = 5.0
"""A registrar that grants less still cannot make us spin."""
LONGEST_S = 86_400
FIRST_PAUSE_S = 30.0
KEEP_ALIVE = b"\r\n\r\n"
LONGEST_PAUSE_S = 1800.0
MOST_LESSONS = 5
"""Answers in a row that teach us how to ask again at once (a challenge, a longer time); beyond, it is a game."""
TRY_NEXT = frozenset((408, 502, 503, 504))
"""What another registrar may do better (RFC 3263 4.3); a wrong password is wrong everywhere."""


class Registration:
    """One address with one registrar, by whichever way leads there, for as long as it is wanted."""

    def __init__(self, core: Core, command: Register) -> None:
        """Sends the first REGISTER. Raises `MisuseError` when an address cannot be parsed."""
        self._core = core
        self._command = command
        self.handle = command.dialog
        self._address = _parsed(command.address)
        _parsed(command.registrar)
        self._call_id = core.ids.token(24)
        self._tag = core.ids.token()
        self._cseq = 0
        self._expires_s = command.expires_s
        self._failures = self._lessons = 0
        self._leaving = False
        self._ways = (command.flow, *command.others)
        self._untried = list(command.others)
        self.flow = command.flow
        self._digest: DigestClient | None = None
        self._signed_ahead = False
        """With a challenge of an earlier REGISTER."""
        self._timer: Timer[Any] | None = None
        self._silence: Timer[Any] | None = None
        self._alive: Timer[Any] | None = None
        core.services[self.handle] = self
        self._take(command.flow)
        self._register()
        self._keep_alive()

    def on_command(self, command: AnyCommand) -> None:
        match command:
            case Unregister():
                for timer in (self._timer, self._silence, self._alive):
                    self._core.timers.stop(timer)
                self._core.services.pop(self.handle, None)
                self._leaving = True
                self._expires_s = 0
                self._register()
            case MoveRegistration(flow=flow, others=others):
                self._ways = (flow, *others)
                if flow != self.flow:
                    self._begin()

    def on_timer(self, name: str, now: float) -> None:
        match name:
            case "keep alive":
                self._core.transmit(self.flow, KEEP_ALIVE)
                self._keep_alive()
            case "silence":
                self._no_answer(408, phrase(408), None)
            case "refresh":
                self._untried = [way for way in self._ways if way != self.flow]
                self._signed_ahead = True
                self._register()
            case _:
                self._begin()

    def _begin(self) -> None:
        """From the best way on."""
        self._core.timers.stop(self._timer)
        self._untried = list(self._ways[1:])
        if self._ways[0] != self.flow:
            self._take(self._ways[0])
        self._register()

    def _take(self, flow: Flow) -> None:
        self.flow, self._signed_ahead = flow, False
        credentials = self._command.credentials
        # Challenges are one registrar's own: its nonce would look like a wrong password to the next.
        self._digest = DigestClient(credentials, self._core.ids) if credentials else None

    def _keep_alive(self) -> None:
        due = self._core.now + self._core.options.keep_alive_s
        self._alive = self._core.timers.start(due, self, "keep alive")

    def _register(self) -> None:
        core, command = self._core, self._command
        self._cseq += 1
        headers: Lines = [
            ("Max-Forwards", "70"),
            ("From", f"<{command.address}>;tag={self._tag}"),
            ("To", f"<{command.address}>"),
            ("Call-ID", self._call_id),
            ("CSeq", f"{self._cseq} REGISTER"),
            ("Contact", f"{core.contact(self.flow, self._address.user)};expires={self._expires_s}"),
            ("Expires", str(self._expires_s)),
            ("Allow", core.allow),
            # RFC 3327 5.1: proxies on the way may put themselves into the path of calls to us.
            ("Supported", "path"),
        ]
        request = Request("REGISTER", command.registrar, headers)
        core.finish(request)
        if self._digest is not None:
            self._digest.authorize(request)
        self._watch_for_silence()
        core.send(request, self.flow, self)

    def _watch_for_silence(self) -> None:
        """While there is somebody else to ask."""
        timers, patience = self._core.timers, self._command.silent_for_s
        timers.stop(self._silence)
        if patience is not None and self._untried and not self._leaving:
            self._silence = timers.start(self._core.now + patience, self, "silence")

    def _left(self) -> None:
        self._core.emit(Unregistered(self._core.now, self.handle))

    def answered(self, transaction: ClientTransaction, response: Response) -> None:
        if transaction.request.cseq.number != self._cseq:
            return
        self._core.timers.stop(self._silence)
        if response.status < 200:
            return
        self._lessons += 1
        if self._lessons <= MOST_LESSONS and self._taught(transaction.request, response):
            self._register()
            return
        self._lessons = 0
        if self._leaving:
            self._left()
        elif response.status < 300:
            self._granted(response)
        else:
            self._no_answer(response.status, response.reason, _seconds(response.first("Retry-After")))

    def _taught(self, request: Request, response: Response) -> bool:
        """Whether asking again at once can help."""
        return self._challenged(request, response) or (
            response.status == 423 and not self._leaving and self._longer(response)
        )

    def _challenged(self, request: Request, response: Response) -> bool:
        """Whether to try again with what a challenge taught."""
        if self._digest is None:
            return False
        if self._digest.challenged(request, response):
            return True
        if response.status not in (401, 407) or not self._signed_ahead:
            return False
        # A refresh is signed with the nonce of long ago, and not every registrar says `stale` (RFC 7616 3.3).
        self._take(self.flow)
        assert self._digest is not None
        unsigned = Request(request.method, request.uri, [])
        return self._digest.challenged(unsigned, response)

    def _no_answer(self, status: int, reason: str, retry_after_s: int | None) -> None:
        """None that helps: the next way, where one is left and the status lets it hope."""
        if status in TRY_NEXT and self._untried:
            self._take(self._untried.pop(0))
            self._register()
        else:
            self._failed(status, reason, retry_after_s)

    def _granted(self, response: Response) -> None:
        granted = self._expires_of(response)
        if granted <= 0:
            self._failed(response.status, "The registrar keeps the registration for 0 s", None)
            return
        self._failures = 0
        self._core.emit(Registered(self._core.now, self.handle, granted, self.flow, _service_route(response)))
        # Early enough for a lost REGISTER to be repeated; scattered, so that many do not come together.
        self._start("refresh", max(SHORTEST_REFRESH_S, granted * self._core.chance(0.8, 0.9)))

    def _expires_of(self, response: Response) -> int:
        """What was granted to our own Contact, of the several an address may have (RFC 3261 10.2.4)."""
        ours = parse_name_addr(self._core.contact(self.flow, self._address.user)).uri
        for value in response.values("Contact"):
            try:
                contact = parse_name_addr(value)
            except PeerError:
                continue
            if (contact.uri.user, contact.uri.host, contact.uri.port) == (ours.user, ours.host, ours.port):
                expires = _seconds(contact.params.get("expires"))
                if expires is not None:
                    return expires
        expires = _seconds(response.first("Expires"))
        return self._expires_s if expires is None else expires

    def _longer(self, response: Response) -> bool:
        """423: the registrar wants it for longer (RFC 3261 10.2.8)."""
        least = _seconds(response.first("Min-Expires"))
        if least is None or not self._expires_s < least <= LONGEST_S:
            return False
        self._expires_s = least
        return True

    def _failed(self, status: int, reason: str, retry_after_s: int | None) -> None:
        """Pauses double from 30 s to half an hour, and are scattered (RFC 5626 4.5)."""
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._failures, 10))
        self._failures += 1
        pause *= self._core.chance(0.5, 1.0)
        pause = max(pause, min(retry_after_s or 0, LONGEST_S))
        self._core.emit(RegistrationFailed(self._core.now, self.handle, status, reason, pause))
        self._start("again", pause)

    def _start(self, name: str, delay_s: float) -> None:
        self._core.timers.stop(self._timer)
        self._timer = self._core.timers.start(self._core.now + delay_s, self, name)


class OptionsProbe:
    """One OPTIONS and its answer."""

    def __init__(self, core: Core, command: Probe) -> None:
        self._core = core
        self._handle = command.dialog
        self._sent_at = core.now
        _parsed(command.uri)
        request = _options(core, command.uri, command.flow)
        core.send(request, command.flow, self)

    def answered(self, transaction: ClientTransaction, response: Response) -> None:
        if response.status >= 200:
            now = self._core.now
            self._core.emit(ProbeAnswered(now, self._handle, response.status, now - self._sent_at, response.reason))


def _options(core: Core, uri: str, flow: Flow) -> Request:
    host, port = core.address(flow)
    us = Uri("sip", "", f"[{host}]" if ":" in host else host, port)
    headers: Lines = [
        ("Max-Forwards", "70"),
        ("From", f"<{us}>;tag={core.ids.token()}"),
        ("To", f"<{uri}>"),
        ("Call-ID", core.ids.token(24)),
        ("CSeq", "1 OPTIONS"),
        ("Contact", core.contact(flow)),
        ("Accept", "application/sdp"),
    ]
    request = Request("OPTIONS", uri, headers)
    core.finish(request)
    return request


def _service_route(response: Response) -> tuple[str, ...]:
    """None of it when one value cannot be used; RFC 3608 5 knows loose routers only."""
    try:
        routes = tuple(response.values("Service-Route"))
        addresses = [parse_name_addr(route).uri for route in routes]
    except PeerError:
        return ()
    return routes if all(uri.is_sip and uri.param("lr") is not None for uri in addresses) else ()


def _parsed(text: str) -> Uri:
    try:
        return parse_uri(text)
    except PeerError as error:
        raise MisuseError(str(error)) from error


def _seconds(text: str | None) -> int | None:
    digits = (text or "").partition(";")[0].partition("(")[0].strip()
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else None
