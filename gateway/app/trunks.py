"""The trunks while the gateway runs: looked up, registered, asked whether they are there, and left in good order."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import structlog

from gateway.app.resolver import Resolver, Unresolved
from gateway.app.trunk_config import Address, Trunk, credentials
from gateway.app.trunk_state import Note, TargetState, TrunkState, WayState
from gateway.call.trunks import TrunkBook, TrunkRules
from gateway.core.clock import Clock
from gateway.core.errors import ConfigError, PeerError
from gateway.core.ids import Ids, RandomIds
from gateway.sip import commands as sip
from gateway.sip import events as heard
from gateway.sip.flow import Flow, Transport
from gateway.sip.headers import parse_name_addr
from gateway.sip.locate import Server, Way
from gateway.sip.reach import transport_of
from gateway.sip.uri import bare

log = structlog.get_logger()

LOOK_UP_EVERY_S = 300.0
"""How often a name is looked up that is not asked whether it is there; else with each question."""
LOOK_UP_AGAIN_S = 30.0
LEAVE_WITHIN_S = 2.0
"""How long to wait, when the gateway stops, for registrars to confirm that we are gone."""


class Locator(Protocol):
    """Finds the servers of a name. Raises `Unresolved`."""

    async def locate(self, target: Address, usable: Sequence[Transport]) -> list[Server]: ...


class Signalling(Protocol):
    """What the trunks need of `SipServer`."""

    @property
    def transports(self) -> tuple[Transport, ...]:
        """Those that we can call out on."""
        ...

    def send(self, command: sip.AnyCommand) -> None: ...

    def flow_to(self, host: str, port: int, transport: Transport = "udp", *, name: str = "") -> Flow: ...


class Trunks:
    """All trunks. Raises `ConfigError` for a password that is not where it should be."""

    def __init__(
        self,
        trunks: Sequence[Trunk],
        *,
        clock: Clock,
        environment: Mapping[str, str] = os.environ,
        locator: Locator | None = None,
        ids: Ids | None = None,
    ) -> None:
        """`locator` None asks the system's name servers."""
        self.credentials = {trunk.name: credentials(trunk, environment) for trunk in trunks}
        self.states = {trunk.name: TrunkState(trunk) for trunk in trunks}
        self.book = TrunkBook(rules_of(trunk) for trunk in trunks)
        self._clock, self._ids = clock, ids or RandomIds()
        self._locator: Locator = locator or Resolver()
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers: dict[str, asyncio.Future[heard.ProbeAnswered]] = {}
        self._registrations: dict[str, TrunkState] = {}
        self._ordered: dict[str, list[Flow]] = {}
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

    def flows(self, state: TrunkState) -> list[Flow]:
        """Where to send a call through a trunk, drawn anew for each call; none while its name leads nowhere."""
        return state.usable(self._ids)

    async def ways_to(self, address: Address) -> list[Flow]:
        """To an address that is no trunk's. Raises `PeerError` when it leads nowhere."""
        if self._sip is None:
            raise PeerError("no way out yet", status_hint=503)
        try:
            servers = await self._locator.locate(address, self._sip.transports)
        except Unresolved as unresolved:
            raise PeerError(str(unresolved), status_hint=404 if unresolved.gone else 503) from unresolved
        return [self._flow(way) for server in servers for way in server.ways]

    def on_event(self, event: heard.AnySipEvent) -> bool:
        """Whether it was about a trunk."""
        match event:
            case heard.ProbeAnswered(dialog=handle):
                waiting = self._answers.pop(handle, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(event)
            case heard.Registered(dialog=handle):
                if handle in self._registrations:
                    self._registered(self._registrations[handle], event)
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
            await self._look_up(state, target)
            self._register(state)
            if interval_s:
                await asyncio.gather(*(self._probe(state, target, way) for way in list(target.ways.values())))
                self._register(state)
            pause_s = LOOK_UP_AGAIN_S if target.fault else interval_s or LOOK_UP_EVERY_S
            await self._clock.sleep_until(self._clock.now() + pause_s)

    async def _look_up(self, state: TrunkState, target: TargetState) -> None:
        assert self._sip is not None
        try:
            servers = await self._locator.locate(target.address, self._sip.transports)
        except Unresolved as unresolved:
            _tell(state.unresolved(target, str(unresolved), gone=unresolved.gone))
            return
        _tell(state.resolved(target, servers, self._flow))
        self.book.learn(state.trunk.name, [way.host for server in servers for way in server.ways])

    def _flow(self, way: Way) -> Flow:
        assert self._sip is not None
        return self._sip.flow_to(way.host, way.port, way.transport, name=way.name)

    async def _probe(self, state: TrunkState, target: TargetState, way: WayState) -> None:
        assert self._sip is not None
        host, port = way.flow.remote
        handle = f"probe-{state.trunk.name}-{way.flow.transport}-{host}-{port}"
        if handle in self._answers:
            # Two names lead to the same peer; its answer is waited for already.
            return
        answer = self._answers[handle] = asyncio.get_running_loop().create_future()
        self._sip.send(sip.Probe(handle, uri=f"sip:{state.trunk.realm}", flow=way.flow))
        answered = await answer
        _tell(state.probed(way, answered.status, answered.round_trip_s, answered.reason))

    # The registration

    def _register(self, state: TrunkState) -> None:
        """With the best way there is; the others are for when it fails."""
        assert self._sip is not None
        trunk = state.trunk
        ways = state.registrars(self._ids) if trunk.register else []
        if not ways:
            return
        handle = f"register-{trunk.name}"
        first, others = ways[0], tuple(ways[1:])
        if handle not in self._registrations:
            self._registrations[handle] = state
            command: sip.AnyCommand = sip.Register(
                handle,
                registrar=f"sip:{trunk.realm}",
                address=f"sip:{trunk.username}@{trunk.realm}",
                flow=first,
                credentials=self.credentials[trunk.name],
                expires_s=trunk.expires_s,
                others=others,
                silent_for_s=trunk.failover_after_s,
            )
        elif self._moves(handle, state, ways):
            command = sip.MoveRegistration(handle, first, others)
        else:
            return
        self._ordered[handle] = ways
        self._sip.send(command)

    def _moves(self, handle: str, state: TrunkState, ways: list[Flow]) -> bool:
        """Whether the registration must be told: of other ways, or that a better one than its own is there.

        Not of another order among equals, which is drawn by lot; nor while it tries one way after the other by itself.
        """
        if set(ways) != set(self._ordered[handle]):
            return True
        return state.registration == "registered" and state.registered_by not in (None, ways[0])

    def _registered(self, state: TrunkState, event: heard.Registered) -> None:
        known = state.route
        _tell(state.registered(event.expires_s, event.flow, event.service_route))
        if state.route and state.route != known and state.trunk.outbound_proxy is None:
            self._spawn(self._find_entry(state, state.route))

    async def _find_entry(self, state: TrunkState, route: tuple[str, ...]) -> None:
        """Calls go to where the registrar's route begins (RFC 3608 6.1); an outbound proxy comes before even that."""
        assert self._sip is not None
        hop = parse_name_addr(route[0]).uri
        named = hop.param("transport") is not None or hop.scheme == "sips"
        entry = Address(bare(hop.host), hop.port, transport_of(hop) if named else None)
        try:
            servers = await self._locator.locate(entry, self._sip.transports)
            ways = [WayState(self._flow(way), server.rank) for server in servers for way in server.ways]
        except (Unresolved, ConfigError) as fault:
            log.warning("trunk.route_unusable", trunk=state.trunk.name, route=route[0], error=str(fault))
            return
        if state.route == route:
            state.entry = ways

    def _unregister(self, handle: str) -> None:
        assert self._sip is not None
        del self._registrations[handle]
        self._leaving[handle] = asyncio.Event()
        self._sip.send(sip.Unregister(handle))

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("trunk.task_failed", exc_info=error)


def rules_of(trunk: Trunk) -> TrunkRules:
    """What the hallway holds calls of this trunk to."""
    return TrunkRules(
        name=trunk.name,
        networks=trunk.known_networks,
        username=trunk.username or "",
        trusted=trunk.trusted,
        transfers=trunk.transfers,
        max_calls=trunk.max_calls,
        calls_per_s=trunk.calls_per_s,
        codecs=trunk.codecs,
        dtmf=trunk.dtmf,
        srtp=trunk.srtp,
        session=sip.SessionPolicy(trunk.session_timer, trunk.session_expires_s),
    )


def _tell(note: Note | None) -> None:
    if note is not None:
        getattr(log, note.level)(note.event, **note.facts)
