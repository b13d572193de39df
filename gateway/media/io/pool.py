"""The media plane in motion, as a pool of worker processes with real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from gateway.core.clock import Clock
from gateway.core.errors import ConfigError, GatewayError
from gateway.media.commands import AnyCommand, LegClosed, LegFailed, LegOpened, OpenLeg, TellStats, first_leg
from gateway.media.io.listeners import Listener, Listeners
from gateway.media.options import PlaneOptions
from gateway.media.ports import Said
from gateway.media.relapses import Losses, Relapses
from gateway.media.roll import Roll, leg_of
from gateway.media.wire import Guest, WorkerPulse, WorkerSetup
from gateway.media.worker.lending import Lender
from gateway.media.worker.link import WorkerLink

log = structlog.get_logger()

_TURNS = (LegOpened, LegClosed, LegFailed)
"""With one of these a leg begins, ends, or goes on."""

_START_WITHIN_S = 30.0
_RESTART_WITHIN_S = 10.0
"""Calls wait for it, with nothing to be heard."""

_RESTART_AFTER_S = 0.5
"""Between the death of a worker that has died lately and its next start."""

_ASKED_EVERY = 5
"""Pulses (seconds) between two looks at what a leg has counted."""


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
        self._listeners = Listeners()
        self._relapses = {share: Relapses() for share in self._shares}
        self._restarts: set[asyncio.Task[None]] = set()
        self._hung_after_s = hung_after_s
        self._watching: asyncio.Task[None] | None = None
        self._closing = False
        self.losses = Losses()
        self.on_pulse: Callable[[int, WorkerPulse], None] = lambda worker, pulse: None
        """Called with each worker's number and pulse, once a second while it has legs."""

    @property
    def has_room(self) -> bool:
        """Whether any worker can take another leg."""
        return any(map(self._has_room, self._links))

    def _has_room(self, link: WorkerLink) -> bool:
        first, last = link.ports
        return link.alive and len(link.legs) < min(self._options.slots, (last - first + 1) // 2)

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
        roomy = [link for link in self._beside(command.leg) if self._has_room(link)]
        if not roomy:
            failed = LegFailed(self.now(), command.leg, "no media worker has room")
            log.warning("media.no_leg", leg=command.leg, reason=failed.reason)
            self._listeners.deliver_soon(command.leg, [failed])
            return None
        link = min(roomy, key=lambda link: len(link.legs))
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
        if isinstance(said, LegFailed):
            log.warning("media.no_leg", leg=leg, reason=said.reason)
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
