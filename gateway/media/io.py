"""The media plane in motion: as a pool of worker processes with real sockets, or in this process with none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import structlog

import gateway
from gateway.core.clock import Clock
from gateway.core.errors import ConfigError, GatewayError, MisuseError
from gateway.media.commands import AnyCommand, LegClosed, LegFailed, MediaDied, OpenLeg, first_leg
from gateway.media.datagrams import Address, Received
from gateway.media.options import PlaneOptions
from gateway.media.plane import TICK_S, MediaPlane
from gateway.media.ports import Said
from gateway.media.rtp import is_rtcp
from gateway.media.wire import FromWorker, Guest, WorkerPulse, WorkerSetup, of_reports, pack

log = structlog.get_logger()

Listener = Callable[[Said], None]

_START_WITHIN_S = 30.0
_STOP_WITHIN_S = 5.0
_RESTART_AFTER_S = 0.5


class _Listeners:
    """Who hears what of which leg. A listener that raises is our caller's bug, and must not stop the others."""

    def __init__(self) -> None:
        self._by_leg: dict[str, Listener] = {}

    def subscribe(self, leg: str, listener: Listener) -> None:
        self._by_leg[leg] = listener

    def unsubscribe(self, leg: str) -> None:
        self._by_leg.pop(leg, None)

    def deliver(self, said: Said) -> None:
        leg = leg_of(said)
        if (listener := self._by_leg.get(leg)) is not None:
            try:
                listener(said)
            except Exception:
                log.exception("media.listener_failed", leg=leg, said=type(said).__name__)


def leg_of(said: Said) -> str:
    """The leg a report or log event is about."""
    return getattr(said, "leg", None) or said.call  # type: ignore[union-attr]


class _WorkerLink(asyncio.Protocol):
    """One worker as the pool sees it: its process, its socket, the legs on it."""

    def __init__(self, pool: MediaPool, ports: tuple[int, int]) -> None:
        self._pool = pool
        self._unpacker = of_reports()
        self._transport: asyncio.WriteTransport | None = None
        self.ports = ports
        self.process: asyncio.subprocess.Process | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.legs: set[str] = set()
        self.pulse: WorkerPulse | None = None
        self.heard_at = 0.0
        """When it last said anything, or got its first leg."""

    @property
    def alive(self) -> bool:
        return self._transport is not None and self.pulse is not None

    async def start(self, setup: WorkerSetup) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "gateway.media.worker", str(theirs.fileno())]
            self.process = await asyncio.create_subprocess_exec(
                *command, pass_fds=[theirs.fileno()], env=worker_environment(), stdin=asyncio.subprocess.DEVNULL
            )
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=ours)
        self.send(setup)

    def send(self, message: AnyCommand | WorkerSetup) -> None:
        if self._transport is not None:
            self._transport.write(pack([message]))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._pool.now()
        for message in self._unpacker.feed(data):
            if isinstance(message, WorkerPulse):
                self.pulse = message
                if not self.ready.done():
                    self.ready.set_result(None)
            self._pool.hear(self, message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.ready.done():
            self.ready.set_exception(GatewayError("a media worker died while it started"))
            self.ready.exception()  # looked at: nobody may be waiting any more
        self._pool.lost(self)

    async def stop(self) -> None:
        """Let the process finish its recordings; end it when it takes too long."""
        if self._transport is not None:
            self._transport.close()
        if self.process is None:
            return
        try:
            await asyncio.wait_for(self.process.wait(), _STOP_WITHIN_S)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


def worker_environment() -> dict[str, str]:
    """One thread for the matrix products: a worker has a core, and threads of it would fight over that."""
    one_thread = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    source = str(Path(gateway.__file__).parents[1])
    path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, **one_thread, "PYTHONPATH": path}


class MediaPool:
    """Media workers, one process each, with their own part of the RTP ports. Implements `MediaControl`.

    A leg goes to the worker with the fewest. When a worker dies, each leg on it gets `MediaDied` and a new worker
    takes its place; legs opened meanwhile go to the others.
    """

    def __init__(
        self,
        *,
        workers: int,
        bind: str,
        rtp_ports: tuple[int, int],
        clock: Clock,
        options: PlaneOptions | None = None,
        vad: str | Guest = "silero",
        noise: Guest | None = None,
        guests: str = "",
        hung_after_s: float = 10.0,
    ) -> None:
        """`rtp_ports` are the first and the last. Raises `ConfigError` when they do not give each worker a pair.

        A worker with legs that says nothing for `hung_after_s` (its pulse is due every second) is killed and replaced.
        `guests` is the module that builds detectors and suppressors of other kinds than ours (see `WorkerSetup`).
        """
        self._bind, self._clock = bind, clock
        self._vad, self._noise, self._guests = Guest(vad) if isinstance(vad, str) else vad, noise, guests
        self._options = options or PlaneOptions()
        self._shares = _shares(rtp_ports, workers)
        self._links: list[_WorkerLink] = []
        self._link_of: dict[str, _WorkerLink] = {}
        self._listeners = _Listeners()
        self._restarts: set[asyncio.Task[None]] = set()
        self._hung_after_s = hung_after_s
        self._watching: asyncio.Task[None] | None = None
        self._closing = False
        self.on_pulse: Callable[[int, WorkerPulse], None] = lambda worker, pulse: None
        """Called with each worker's number and pulse, once a second while it has legs."""

    @property
    def capacity(self) -> int:
        """Legs the live workers can hold together."""
        each = (min(self._options.slots, (last - first + 1) // 2) for first, last in self._live_shares())
        return sum(each)

    def _live_shares(self) -> list[tuple[int, int]]:
        return [link.ports for link in self._links if link.alive]

    async def start(self) -> None:
        """Start all workers. Raises `GatewayError` when one does not come up."""
        self._links = [_WorkerLink(self, share) for share in self._shares]
        try:
            async with asyncio.timeout(_START_WITHIN_S):
                await asyncio.gather(*(self._start(link) for link in self._links))
        except TimeoutError as error:
            await self.close()
            raise GatewayError("the media workers did not start in time") from error
        except GatewayError:
            await self.close()
            raise
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        """Kill workers that hang: their calls would hang with them, and nobody would say so."""
        interval_s = self._hung_after_s / 5
        while True:
            due = self.now() + interval_s
            await self._clock.sleep_until(due)
            if self.now() > due + interval_s:
                continue  # it was this process that hung; what the workers said meanwhile is still to be read
            for link in self._links:
                silent_s = self.now() - link.heard_at
                if link.alive and link.legs and link.process is not None and silent_s > self._hung_after_s:
                    log.error("media.worker_hangs", pid=link.process.pid, legs=len(link.legs), silent_s=round(silent_s))
                    with contextlib.suppress(ProcessLookupError):
                        link.process.kill()

    def now(self) -> float:
        return self._clock.now()

    async def _start(self, link: _WorkerLink) -> None:
        await link.start(WorkerSetup(self._bind, link.ports, self._options, self._vad, self._noise, self._guests))
        await link.ready
        log.info("media.worker_started", pid=link.process.pid if link.process else 0, ports=link.ports)

    async def close(self) -> None:
        """End all legs and workers; recordings are finished first."""
        self._closing = True
        for task in [*self._restarts, self._watching]:
            if task is not None:
                task.cancel()
        await asyncio.gather(*(link.stop() for link in self._links))

    def send(self, command: AnyCommand) -> None:
        link = self._place(command) if isinstance(command, OpenLeg) else self._link_of.get(command.leg)
        if link is not None:
            link.send(command)

    def _place(self, command: OpenLeg) -> _WorkerLink | None:
        if command.leg in self._link_of:
            # The worker that has it says so.
            return self._link_of[command.leg]
        live = [link for link in self._beside(command.leg) if link.alive and len(link.legs) < self._options.slots]
        if not live:
            failed = LegFailed(self._clock.now(), command.leg, "no media worker has room")
            asyncio.get_running_loop().call_soon(self._listeners.deliver, failed)
            return None
        link = min(live, key=lambda link: len(link.legs))
        if not link.legs:
            link.heard_at = self.now()
        link.legs.add(command.leg)
        self._link_of[command.leg] = link
        return link

    def _beside(self, leg: str) -> list[_WorkerLink]:
        """Where a leg may be opened: with the other legs of its call, so that they can be bridged."""
        link = self._link_of.get(first_leg(leg))
        return self._links if link is None else [link]

    def subscribe(self, leg: str, listener: Listener) -> None:
        self._listeners.subscribe(leg, listener)

    def unsubscribe(self, leg: str) -> None:
        self._listeners.unsubscribe(leg)

    def hear(self, link: _WorkerLink, message: FromWorker) -> None:
        """From a worker."""
        if isinstance(message, WorkerPulse):
            self.on_pulse(self._links.index(link), message)
            return
        if isinstance(message, LegClosed | LegFailed):
            link.legs.discard(message.leg)
            self._link_of.pop(message.leg, None)
        self._listeners.deliver(message)

    def lost(self, link: _WorkerLink) -> None:
        """A worker's socket closed."""
        if self._closing or link not in self._links:
            return
        log.error("media.worker_died", legs=len(link.legs), ports=link.ports)
        for leg in sorted(link.legs):
            self._link_of.pop(leg, None)
            self._listeners.deliver(MediaDied(self._clock.now(), leg))
        link.legs.clear()
        task = asyncio.get_running_loop().create_task(self._replace(link))
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)

    async def _replace(self, dead: _WorkerLink) -> None:
        await dead.stop()
        await asyncio.sleep(_RESTART_AFTER_S)
        fresh = _WorkerLink(self, dead.ports)
        self._links[self._links.index(dead)] = fresh
        with contextlib.suppress(GatewayError, OSError):
            # Should it die again at once, `lost` has started the next attempt.
            await self._start(fresh)


def _shares(rtp_ports: tuple[int, int], workers: int) -> list[tuple[int, int]]:
    """Disjoint parts of the range, each beginning with an even port."""
    first, last = rtp_ports[0] + rtp_ports[0] % 2, rtp_ports[1]
    pairs = (last - first + 1) // 2
    if workers < 1 or pairs < workers or not 0 < first <= last <= 65535:
        raise ConfigError(f"RTP ports {rtp_ports[0]}-{rtp_ports[1]} do not give each of {workers} workers a pair")
    each = pairs // workers
    return [(first + 2 * each * k, first + 2 * each * (k + 1) - 1) for k in range(workers)]


class InlineMedia:
    """A plane in this process, with no sockets: for replay and tests. Implements `MediaControl`.

    Ticks every 20 ms of the clock while there is anything to do, the first one as soon as a leg is opened.
    """

    def __init__(self, plane: MediaPlane, clock: Clock) -> None:
        self._plane, self._clock = plane, clock
        self._listeners = _Listeners()
        self._received: list[Received] = []
        self._watchers: dict[str, Callable[[bytes], None]] = {}
        self._ticking: asyncio.Task[None] | None = None
        self._next_port = 10000
        self._left_out = 0

    def send(self, command: AnyCommand) -> None:
        port = 0
        if isinstance(command, OpenLeg) and command.kind == "rtp":
            port, self._next_port = self._next_port, self._next_port + 2
        self._plane.command(command, self._clock.now(), port=port)
        if self._ticking is None and self._plane.busy:
            self._ticking = asyncio.get_running_loop().create_task(self._tick())

    def subscribe(self, leg: str, listener: Listener) -> None:
        self._listeners.subscribe(leg, listener)

    def unsubscribe(self, leg: str) -> None:
        self._listeners.unsubscribe(leg)

    def inject(self, leg: str, datagram: bytes, source: Address) -> None:
        """A datagram arrived now; the next tick takes it."""
        if self._ticking is None:
            raise MisuseError("no leg is open that could receive")
        self._received.append(Received(leg, datagram, source, self._clock.now()))

    def leave_out(self, ticks: int) -> None:
        """The next ticks do not come, as on a machine that is too busy."""
        self._left_out += ticks

    def on_packet(self, leg: str, callback: Callable[[bytes], None]) -> None:
        """Call back with every RTP datagram (no RTCP) the leg would send."""
        self._watchers[leg] = callback

    async def close(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticking

    async def _tick(self) -> None:
        due = self._clock.now()
        try:
            while self._plane.busy:
                received, self._received = self._received, []
                to_send, said = self._plane.tick(due, received)
                for datagram in to_send:
                    watcher = self._watchers.get(datagram.leg)
                    if watcher is not None and not is_rtcp(datagram.data):
                        watcher(datagram.data)
                for one in said:
                    self._listeners.deliver(one)
                due = await self._next_tick(due)
        finally:
            self._ticking = None

    async def _next_tick(self, due: float) -> float:
        """Wait for it: when it is due."""
        due += TICK_S
        await self._clock.sleep_until(due)
        while self._left_out:
            due, self._left_out = due + self._left_out * TICK_S, 0
            await self._clock.sleep_until(due)
        return due
