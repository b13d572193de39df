"""The trunks while the gateway runs: looked up, registered, asked whether they are there, and left in good order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import structlog

from gateway.app.trunk_config import Trunk, credentials
from gateway.app.trunk_state import Note, TargetState, TrunkState
from gateway.call.trunks import TrunkBook, TrunkRules
from gateway.core.clock import Clock
from gateway.core.errors import PeerError
from gateway.sip import commands as sip
from gateway.sip import events as heard
from gateway.sip.flow import Flow, Transport

log = structlog.get_logger()

LOOK_UP_EVERY_S = 300.0
"""How often a name is looked up that is not asked whether it is there."""
LOOK_UP_AGAIN_S = 30.0
LOOK_UP_WITHIN_S = 10.0
LEAVE_WITHIN_S = 2.0
"""How long to wait, when the gateway stops, for registrars to confirm that we are gone."""

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Literal addresses of a name, best first. Raises `OSError`."""


class Signalling(Protocol):
    """What the trunks need of `SipServer`."""

    def send(self, command: sip.AnyCommand) -> None: ...

    def flow_to(self, host: str, port: int, transport: Transport = "udp", *, name: str = "") -> Flow: ...


async def look_up(host: str, port: int) -> list[str]:
    """By the system's resolver, in a thread of its own."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Trunks:
    """All trunks. Raises `ConfigError` for a password that is not where it should be."""

    def __init__(
        self,
        trunks: Sequence[Trunk],
        *,
        clock: Clock,
        environment: Mapping[str, str] = os.environ,
        resolve: Resolve = look_up,
    ) -> None:
        self.credentials = {trunk.name: credentials(trunk, environment) for trunk in trunks}
        self.states = {trunk.name: TrunkState(trunk) for trunk in trunks}
        self.book = TrunkBook(_rules(trunk) for trunk in trunks)
        self._clock, self._resolve = clock, resolve
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers: dict[str, asyncio.Future[heard.ProbeAnswered]] = {}
        self._registrations: dict[str, TrunkState] = {}
        self._leaving: dict[str, asyncio.Event] = {}
        self._sip: Signalling | None = None

    def start(self, signalling: Signalling) -> None:
        """From now on events must come to `on_event`."""
        self._sip = signalling
        for state in self.states.values():
            for target in state.targets:
                self._spawn(self._watch(state, target))

    def state(self, name: str) -> TrunkState:
        """Raises `PeerError` 404."""
        try:
            return self.states[name]
        except KeyError:
            raise PeerError(f"there is no trunk {name!r}", status_hint=404) from None

    def on_event(self, event: heard.AnySipEvent) -> bool:
        """Whether it was about a trunk."""
        match event:
            case heard.ProbeAnswered(dialog=handle):
                waiting = self._answers.pop(handle, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(event)
            case heard.Registered(dialog=handle, expires_s=expires_s):
                if handle in self._registrations:
                    _tell(self._registrations[handle].registered(expires_s))
            case heard.RegistrationFailed(dialog=handle, status=status, reason=reason, retry_in_s=retry_in_s):
                if handle in self._registrations:
                    _tell(self._registrations[handle].not_registered(status, reason, retry_in_s))
            case heard.Unregistered(dialog=handle):
                if gone := self._leaving.pop(handle, None):
                    gone.set()
            case _:
                return False
        return True

    async def close(self) -> None:
        """Stop asking, and take every registration back. Safe to call twice."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for handle in list(self._registrations):
            self._unregister(handle)
        waiting = [event.wait() for event in self._leaving.values()]
        if waiting:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.gather(*waiting), LEAVE_WITHIN_S)

    # One target

    async def _watch(self, state: TrunkState, target: TargetState) -> None:
        """Look it up, register if it is the one to register with, and ask whether it is there; again and again."""
        interval_s = state.trunk.options_interval_s
        while True:
            found = await self._reach(state, target)
            if found and interval_s:
                await self._probe(state, target)
            pause_s = (interval_s or LOOK_UP_EVERY_S) if found else LOOK_UP_AGAIN_S
            await self._clock.sleep_until(self._clock.now() + pause_s)

    async def _reach(self, state: TrunkState, target: TargetState) -> bool:
        assert self._sip is not None
        address = target.address
        try:
            async with asyncio.timeout(LOOK_UP_WITHIN_S):
                hosts = [address.host] if address.is_literal else await self._resolve(address.host, address.port)
        except OSError as error:  # a TimeoutError is one, too
            _tell(state.unresolved(target, str(error) or "no answer"))
            return False
        name = "" if address.is_literal else address.host
        flows = [self._sip.flow_to(host, address.port, state.trunk.transport, name=name) for host in hosts]
        self.book.learn(state.trunk.name, hosts)
        if target.flow not in flows:
            target.flow = flows[0]
            if state.trunk.register and target is state.targets[0]:
                self._register(state, target.flow)
        return True

    def _register(self, state: TrunkState, flow: Flow) -> None:
        assert self._sip is not None
        trunk = state.trunk
        for handle, registered in list(self._registrations.items()):
            if registered is state:
                self._unregister(handle)
        handle = f"register-{trunk.name}-{flow.remote[0]}"
        self._registrations[handle] = state
        self._sip.send(
            sip.Register(
                handle,
                registrar=f"sip:{trunk.realm}",
                address=f"sip:{trunk.username}@{trunk.realm}",
                flow=flow,
                credentials=self.credentials[trunk.name],
                expires_s=trunk.expires_s,
            )
        )

    def _unregister(self, handle: str) -> None:
        assert self._sip is not None
        del self._registrations[handle]
        self._leaving[handle] = asyncio.Event()
        self._sip.send(sip.Unregister(handle))

    async def _probe(self, state: TrunkState, target: TargetState) -> None:
        assert self._sip is not None
        assert target.flow is not None
        handle = f"probe-{state.trunk.name}-{state.targets.index(target)}"
        answer = self._answers[handle] = asyncio.get_running_loop().create_future()
        self._sip.send(sip.Probe(handle, uri=f"sip:{state.trunk.realm}", flow=target.flow))
        answered = await answer
        _tell(state.probed(target, answered.status, answered.round_trip_s))

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("trunk.task_failed", exc_info=error)


def _rules(trunk: Trunk) -> TrunkRules:
    return TrunkRules(
        name=trunk.name,
        networks=trunk.known_networks,
        username=trunk.username or "",
        trusted=trunk.trusted,
        max_calls=trunk.max_calls,
        calls_per_s=trunk.calls_per_s,
        codecs=trunk.codecs,
        telephone_events=trunk.dtmf == "rfc4733",
        srtp=trunk.srtp,
    )


def _tell(note: Note | None) -> None:
    if note is not None:
        getattr(log, note.level)(note.event, **note.facts)
