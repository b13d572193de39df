"""The line of a replayed call: lets a `FarSide` happen, in the replay's time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import msgspec

from gateway.call import commands as c
from gateway.call.ports import Tell
from gateway.core import events as e
from gateway.core.clock import Clock
from gateway.media import commands as media
from gateway.media.datagrams import Address
from gateway.media.io import InlineMedia
from gateway.media.trace import TICK_S
from gateway.replay.far_side import FarSide, Told

AHEAD_OF_TICK_S = 0.001
"""How long before its tick a datagram comes at the latest, so that no rounding lets it miss the tick."""


class Cues:
    """What the far side of a transfer must have been asked before it may tell how it went.

    Implements `gateway.call.ports.Referral`: the telling itself is up to the line.
    """

    dialog = "replayed"
    accepts_transfers = True

    def __init__(self) -> None:
        self.referred, self.called = asyncio.Event(), asyncio.Event()

    async def wait_for(self, told: Told) -> None:
        match told:
            case c.TransferTold(status=status, refused=refused):
                await self.referred.wait()
                if refused or status >= 200:
                    self.referred.clear()
            case c.TargetRang() | c.TargetAnswered() | c.TargetEnded():
                await self.called.wait()
                if isinstance(told, c.TargetEnded):
                    self.called.clear()
            case _:
                pass

    def refer(self, to: str, replaces: str) -> None:
        self.referred.set()

    def answer_transfer(self, status: int) -> None:
        pass

    def report_transfer(self, status: int) -> None:
        pass


class ReplayLine:
    """Implements `gateway.call.ports.Line`."""

    def __init__(
        self,
        call_id: str,
        side: FarSide,
        *,
        leg: InlineMedia,
        clock: Clock,
        tell: Tell,
        record: str | None,
        trace: str | None,
        cues: Cues | None = None,
    ) -> None:
        self._id, self._side, self._leg, self._clock, self._tell = call_id, side, leg, clock, tell
        self._record, self._trace, self._cues = record, trace, cues or Cues()
        self._start = self._opened_at = clock.now()
        self._opened = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._spawn(self._signal())

    def ring(self) -> None:
        pass

    def answer(self) -> None:
        self._spawn(self._open())

    def reject(self, status: int, reason: str | None) -> None:
        self._stop()

    def hang_up(self) -> None:
        self._stop()

    @property
    def referral(self) -> Cues:
        return self._cues

    @property
    def wideband(self) -> bool:
        return self._side.wideband

    def press(self, digits: str) -> None:
        self._leg.send(media.SendDigits(self._id, digits))

    def answer_text(self, number: int, *, taken: bool) -> None:
        pass

    def media_said(self, report: media.AnyReport) -> None:
        match report:
            case media.LegOpened():
                self._connect()
                if self._side.keys_as_tones:
                    self._leg.send(media.HearTones(self._id))
                self._spawn(self._confirm())
                self._spawn(self._send_datagrams() if self._side.is_rtp else self._push_frames())
                self._spawn(self._leave_out_ticks())
                self._spawn(self._interrupt())
                self._spawn(self._say_goodbye())
            case media.LegFailed() | media.MediaDied():
                self._tell(c.LineEnded("error", "gateway"))
            case _:
                pass

    def release(self) -> None:
        self._stop()
        if self._opened:
            self._leg.send(media.CloseLeg(self._id))

    async def _open(self) -> None:
        await self._clock.sleep_until(self._start + self._side.opens_s)
        self._opened = True
        self._opened_at = self._clock.now()
        self._leg.send(
            media.OpenLeg(
                self._id,
                kind="rtp" if self._side.is_rtp else "pcm",
                wide=self._side.wideband,
                record=self._record,
                trace=self._trace,
                silent_after_s=self._side.silent_after_s,
            )
        )

    def _reconnect(self, moved_at: float) -> None:
        """Somebody else sends from here on: whoever sends most, as who was there may take a while to stop."""
        later = Counter(one.source for one in self._side.datagrams if self._opened_at + one.at_s >= moved_at)
        if later:
            self._connect(later.most_common(1)[0][0])

    def _connect(self, source: Address | None = None) -> None:
        side = self._side
        if side.is_rtp:
            host, port = source or (side.datagrams[0].source if side.datagrams else ("192.0.2.1", 4000))
            self._leg.send(
                media.ConnectLeg(
                    self._id,
                    host=host,
                    port=port,
                    codec=side.audio_codec,
                    payload_type=side.payload_type,
                    dtmf_payload_type=side.dtmf_payload_type,
                    dtmf_clock_hz=48000 if side.audio_codec == "opus" else 8000,
                )
            )

    async def _confirm(self) -> None:
        await self._clock.sleep_until(self._opened_at + self._side.answer_s)
        self._tell(c.LineAnswered(self._side.codec))

    async def _send_datagrams(self) -> None:
        for datagram in self._side.datagrams:
            due_s = min(datagram.at_s, datagram.tick * TICK_S - AHEAD_OF_TICK_S)
            await self._clock.sleep_until(self._opened_at + due_s)
            self._leg.inject(self._id, datagram.data, datagram.source)

    async def _push_frames(self) -> None:
        for index, frame in enumerate(self._side.frames):
            await self._clock.sleep_until(self._opened_at + (index + 0.5) * TICK_S)
            if frame is not None:
                self._leg.send(media.PushPcm(self._id, frame))

    async def _leave_out_ticks(self) -> None:
        for tick, ticks in self._side.left_out:
            await self._clock.sleep_until(self._opened_at + tick * TICK_S - AHEAD_OF_TICK_S)
            self._leg.leave_out(ticks)

    async def _interrupt(self) -> None:
        for one in self._side.interruptions:
            await self._clock.sleep_until(self._opened_at + one.lost_s)
            self._leg.lose(self._id, one.goes_on_at_s)
            await self._clock.sleep_until(self._opened_at + one.restored_s)
            self._leg.restore(self._id)

    async def _say_goodbye(self) -> None:
        if self._side.hangs_up_s is not None:
            await self._clock.sleep_until(self._opened_at + self._side.hangs_up_s)
            self._tell(c.LineEnded("hangup", "caller"))

    async def _signal(self) -> None:
        for at_s, told in self._side.told:
            await self._clock.sleep_until(self._start + at_s)
            await self._cues.wait_for(told)
            if isinstance(told, c.LineMoved):
                self._reconnect(self._start + at_s)
            self._tell(self._now(told))

    def _now(self, told: Told) -> Told:
        if isinstance(told, e.DigitPressed):
            return msgspec.structs.replace(told, at=self._clock.now(), call=self._id)
        return told

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _stop(self) -> None:
        """The far side does nothing more. Safe from within one of the tasks: it ends at its next wait."""
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()
