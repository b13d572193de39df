"""The media plane in motion: as a pool of worker processes with real sockets, or in this process with none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable

import structlog

from gateway.core.clock import Clock
from gateway.core.errors import ConfigError, GatewayError, MisuseError
from gateway.media.commands import AnyCommand, CloseLeg, LegClosed, LegFailed, LegOpened, OpenLeg, TellStats, first_leg
from gateway.media.datagrams import Address, Received
from gateway.media.options import PlaneOptions
from gateway.media.plane import TICK_S, MediaPlane
from gateway.media.ports import Said
from gateway.media.relapses import Losses, Relapses
from gateway.media.roll import Roll, leg_of
from gateway.media.rtp import is_rtcp
from gateway.media.wire import Guest, WorkerPulse, WorkerSetup
from gateway.media.worker.lending import Lender
from gateway.media.worker.link import WorkerLink

log = structlog.get_logger()

Listener = Callable[[Said], None]

_TURNS = (LegOpened, LegClosed, LegFailed)
"""With one of these a leg begins, ends, or goes on."""

_START_WITHIN_S = 30.0
_RESTART_WITHIN_S = 10.0
"""Calls wait for it, with nothing to be heard."""

_RESTART_AFTER_S = 0.5
"""Between the death of a worker that has died lately and its next start."""

_ASKED_EVERY = 5
"""Pulses (seconds) between two looks at what a leg has counted."""


class _Listeners:
    """Who hears what of which leg. A listener that raises is our caller's bug, and must not stop the others."""

    def __init__(self) -> None:
        self._by_leg: dict[str, Listener] = {}

    def subscribe(self, leg: str, listener: Listener) -> None:
        self._by_leg[leg] = listener

    def unsubscribe(self, leg: str) -> None:
        self._by_leg.pop(leg, None)

    def deliver(self, leg: str, news: Iterable[Said]) -> None:
        for said in news:
            # Looked up each time: who hears the first of them may be gone for the next.
            if (listener := self._by_leg.get(leg)) is not None:
                try:
                    listener(said)
                except Exception:
                    log.exception("media.listener_failed", leg=leg, said=type(said).__name__)

    def deliver_soon(self, leg: str, news: Iterable[Said]) -> None:
        """Not at once: whoever gave a command is still about it."""
        asyncio.get_running_loop().call_soon(self.deliver, leg, news)


class MediaPool:
    """Media workers, one process each, with their own part of the RTP ports. Implements `MediaControl`.

    A leg goes to the worker with the fewest. When a worker dies, a new one takes its place and its legs, which get
    `LegRestored`; legs opened meanwhile go to the others. Of a worker that dies again and again, or cannot be
    replaced, each leg gets `MediaDied`.
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
        hung_after_s: float = 5.0,
        io_uring: bool = True,
    ) -> None:
        """`rtp_ports` are the first and the last. Raises `ConfigError` when they do not give each worker a pair.

        A worker with legs that says nothing for `hung_after_s` (its pulse is due every second) is killed and replaced.
        For `guests` and `io_uring` see `WorkerSetup`.
        """
        self._bind, self._clock = bind, clock
        self._vad, self._noise, self._guests = Guest(vad) if isinstance(vad, str) else vad, noise, guests
        self._options, self._io_uring = options or PlaneOptions(), io_uring
        self._shares = _shares(rtp_ports, workers)
        self._links: list[WorkerLink] = []
        self._link_of: dict[str, WorkerLink] = {}
        self._roll = Roll()
        self.lender = Lender()
        self._listeners = _Listeners()
        self._relapses = {share: Relapses() for share in self._shares}
        self._restarts: set[asyncio.Task[None]] = set()
        self._hung_after_s = hung_after_s
        self._watching: asyncio.Task[None] | None = None
        self._closing = False
        self.losses = Losses()
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
        self._links = [WorkerLink(self, share) for share in self._shares]
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
                if link.alive and link.legs and silent_s > self._hung_after_s:
                    log.error("media.worker_hangs", pid=link.pid, legs=len(link.legs), silent_s=round(silent_s))
                    link.kill()

    def now(self) -> float:
        return self._clock.now()

    async def _start(self, link: WorkerLink) -> None:
        guests = self._vad, self._noise, self._guests
        await link.start(WorkerSetup(self._bind, link.ports, self._options, *guests, self._io_uring))
        await link.ready
        log.info("media.worker_started", pid=link.pid, ports=link.ports)

    async def close(self) -> None:
        """End all legs and workers; recordings are finished first."""
        self._closing = True
        for task in [*self._restarts, self._watching]:
            if task is not None:
                task.cancel()
        await asyncio.gather(*(link.stop() for link in self._links))
        self.lender.close()

    def send(self, command: AnyCommand) -> None:
        link = self._place(command) if isinstance(command, OpenLeg) else self._link_of.get(command.leg)
        if link is None:
            return
        answers = self._roll.told(command, self.now())
        if answers is None:
            link.send(command)
            return
        self._listeners.deliver_soon(command.leg, answers)
        if command.leg not in self._roll:
            self._forget(command.leg)

    def _place(self, command: OpenLeg) -> WorkerLink | None:
        if command.leg in self._link_of:
            # The worker that has it says so.
            return self._link_of[command.leg]
        live = [link for link in self._beside(command.leg) if link.alive and len(link.legs) < self._options.slots]
        if not live:
            failed = LegFailed(self.now(), command.leg, "no media worker has room")
            self._listeners.deliver_soon(command.leg, [failed])
            return None
        link = min(live, key=lambda link: len(link.legs))
        if not link.legs:
            link.heard_at = self.now()
        link.legs[command.leg] = None
        self._link_of[command.leg] = link
        return link

    def _beside(self, leg: str) -> list[WorkerLink]:
        """Where a leg may be opened: with the other legs of its call, so that they can be bridged."""
        link = self._link_of.get(first_leg(leg))
        return self._links if link is None else [link]

    def subscribe(self, leg: str, listener: Listener) -> None:
        self._listeners.subscribe(leg, listener)

    def unsubscribe(self, leg: str) -> None:
        self._listeners.unsubscribe(leg)

    # Workers

    def up(self, link: WorkerLink) -> None:
        """A worker is ready. Legs that wait for it are opened before any other could take their ports."""
        if link.legs:
            log.warning("media.worker_replaced", pid=link.pid, legs=len(link.legs), ports=link.ports)
            link.send(*self._roll.again(link.legs))

    def felt(self, link: WorkerLink, pulse: WorkerPulse) -> None:
        """Some of its legs are asked how they do with each pulse, so that so much is known should it die."""
        turn = link.pulses % _ASKED_EVERY
        if asks := [TellStats(leg) for leg in link.legs if hash(leg) % _ASKED_EVERY == turn]:
            link.send(*asks)
        self.on_pulse(self._links.index(link), pulse)

    def hear(self, said: Said) -> None:
        leg = leg_of(said)
        news = self._roll.heard(leg, said)
        if type(said) in _TURNS:
            self.losses.count(news)
            if leg not in self._roll:
                self._forget(leg)
        self._listeners.deliver(leg, news)

    def lost(self, link: WorkerLink) -> None:
        if self._closing or link not in self._links:
            return
        now, relapses = self.now(), self._relapses[link.ports]
        relapses.died(now)
        self.losses.worker_deaths += 1
        log.error("media.worker_died", legs=len(link.legs), ports=link.ports, given_up=relapses.hopeless)
        if relapses.hopeless:
            self._give_up(link)
        else:
            # One that was killed for its silence had carried nothing since its last word.
            lost = self._roll.lose(list(link.legs), link.heard_at if link.hangs else now, now)
            for leg in [leg for leg in link.legs if leg not in self._roll]:
                self._forget(leg)
            for said in lost:
                self._listeners.deliver(leg_of(said), [said])
        task = asyncio.get_running_loop().create_task(self._replace(link, at_once=relapses.first))
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)

    def _give_up(self, link: WorkerLink) -> None:
        for leg in list(link.legs):
            said = self._roll.give_up(leg, self.now())
            self.losses.count(said)
            self._forget(leg)
            self._listeners.deliver(leg, said)

    def _forget(self, leg: str) -> None:
        link = self._link_of.pop(leg, None)
        if link is not None:
            link.legs.pop(leg, None)

    async def _replace(self, dead: WorkerLink, *, at_once: bool) -> None:
        await dead.stop()
        if not at_once:
            await asyncio.sleep(_RESTART_AFTER_S)
        fresh = WorkerLink(self, dead.ports)
        fresh.legs = dead.legs
        self._link_of.update(dict.fromkeys(fresh.legs, fresh))
        self._links[self._links.index(dead)] = fresh
        try:
            async with asyncio.timeout(_RESTART_WITHIN_S):
                await self._start(fresh)
        except (OSError, TimeoutError) as error:
            log.error("media.worker_not_started", ports=fresh.ports, error=str(error) or "not in time")
            fresh.kill()
            if fresh.process is None:
                self.lost(fresh)
        except GatewayError:
            pass  # it died again at once: `lost` has started the next attempt


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
        self._roll = Roll()
        self._listeners = _Listeners()
        self._received: list[Received] = []
        self._watchers: dict[str, Callable[[bytes], None]] = {}
        self._ticking: asyncio.Task[None] | None = None
        self._next_port = 10000
        self._left_out = 0

    def send(self, command: AnyCommand) -> None:
        answers = self._roll.told(command, self._clock.now())
        if answers is None:
            self._carry_out(command)
        else:
            self._listeners.deliver_soon(command.leg, answers)

    def lose(self, leg: str, goes_on_at_s: float | None = None) -> None:
        """As if the process that carries the leg had died; what it was playing went on at that second."""
        now = self._clock.now()
        self._carry_out(TellStats(leg))
        self._hear(self._plane.take_said())
        self._listeners.deliver(leg, self._roll.lose([leg], now, now, goes_on_at_s))
        self._carry_out(CloseLeg(leg))

    def restore(self, leg: str) -> None:
        """As if another process took it over."""
        for command in self._roll.again([leg]):
            self._carry_out(command)

    def _carry_out(self, command: AnyCommand) -> None:
        port = 0
        if isinstance(command, OpenLeg) and command.kind == "rtp":
            port = command.again.port if command.again is not None else self._next_port
            self._next_port = max(self._next_port, port + 2)
        self._plane.command(command, self._clock.now(), port=port)
        if self._ticking is None and self._plane.busy:
            self._ticking = asyncio.get_running_loop().create_task(self._tick())

    def subscribe(self, leg: str, listener: Listener) -> None:
        self._listeners.subscribe(leg, listener)

    def unsubscribe(self, leg: str) -> None:
        self._listeners.unsubscribe(leg)

    def inject(self, leg: str, datagram: bytes, source: Address) -> None:
        """A datagram arrived now; the next tick takes it. For a leg that is lost it comes to nothing."""
        if self._roll.is_lost(leg):
            return
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
                self._hear(said)
                due = await self._next_tick(due)
        finally:
            self._ticking = None

    def _hear(self, said: Iterable[Said]) -> None:
        for one in said:
            leg = leg_of(one)
            self._listeners.deliver(leg, self._roll.heard(leg, one))

    async def _next_tick(self, due: float) -> float:
        """Wait for it: when it is due."""
        due += TICK_S
        await self._clock.sleep_until(due)
        while self._left_out:
            due, self._left_out = due + self._left_out * TICK_S, 0
            await self._clock.sleep_until(due)
        return due
