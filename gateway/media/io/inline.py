"""The media plane in motion in this process, with no sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable

from gateway.core.clock import Clock
from gateway.core.errors import MisuseError
from gateway.media.commands import AnyCommand, CloseLeg, OpenLeg, TellStats
from gateway.media.datagrams import Address, Received
from gateway.media.io.listeners import Listener, Listeners
from gateway.media.plane import TICK_S, MediaPlane
from gateway.media.ports import Said
from gateway.media.roll import Roll, leg_of
from gateway.media.rtp import is_rtcp


class InlineMedia:
    """A plane for replay and tests. Implements `MediaControl`.

    Ticks every 20 ms of the clock while there is anything to do, the first one as soon as a leg is opened.
    """

    def __init__(self, plane: MediaPlane, clock: Clock) -> None:
        self._plane, self._clock = plane, clock
        self._roll = Roll()
        self._listeners = Listeners()
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
