"""What legs were told that still holds, and what they told: enough to open them again when their plane has died.

For whoever sends commands and listens, a leg that was lost and opened again is the same leg: its clips go on in the
last pause before the break, and count as one; speech that was going on has ended; `LegRestored` tells of the break.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any

import msgspec

from gateway.core import events as e
from gateway.media import commands as c
from gateway.media.commands import AnyCommand
from gateway.media.ports import Said
from gateway.media.totals import Totals
from gateway.media.unplayed import Unplayed


class Standing:
    """One leg. `lost` while there is no plane to tell anything; `over` when nothing more will be said of it."""

    def __init__(self, opening: c.OpenLeg) -> None:
        self.leg = opening.leg
        self.lost = self.over = False
        self.awaited = False  # the first word of its next plane
        self._closing = False
        self._opening = opening
        self._opened: c.LegOpened | None = None
        self._connected: c.ConnectLeg | None = None
        self._holds: dict[type[AnyCommand], AnyCommand] = {}
        self._waiting: list[AnyCommand] = []
        self._unplayed = Unplayed(self.leg)
        self._totals = Totals()
        self._asked = False  # by somebody who listens, how it is doing
        self._in_speech = self._line_is_silent = False
        self._recorded_since: float | None = None
        self._recorded_wide = False
        self._ssrcs: tuple[int, ...] = ()
        self._lost_at = 0.0
        self._goes_on_at_s: float | None = None
        self._losses = 0

    # While it lives

    def told(self, command: AnyCommand, now: float) -> list[Said] | None:
        """Note a command. None where its plane is to be told; what it would have answered while the leg is lost."""
        if (note := _TOLD.get(type(command))) is not None:
            note(self, command, now)
        if not self.lost:
            return None
        if isinstance(command, c.CloseLeg):
            return self._end(now)
        if isinstance(command, c.SendDigits):
            self._waiting.append(command)
        return [*self._unplayed.give_up(now, dropped_only=True), *self._answer(now)]

    def heard(self, said: Said) -> Iterable[Said]:
        """What of it is news to whoever listens."""
        if self.awaited:
            return () if self.lost else self._heard_first(said)
        hear = NOTED.get(type(said))
        return (said,) if hear is None else hear(self, said)

    # When its plane dies

    def lose(self, at: float, now: float, goes_on_at_s: float | None = None) -> list[Said]:
        """The plane is gone since `at`. What has ended with it. `goes_on_at_s` is known of a call that is replayed."""
        broken_at_s = self._unplayed.break_off(at, goes_on_at_s)
        if not self.awaited:
            self._lost_at, self._goes_on_at_s = at, broken_at_s
        self.lost = self.awaited = True
        self._losses += 1
        self._totals.begin_anew()
        if self._closing:
            return self._end(now)
        said: list[Said] = [*self._unplayed.give_up(now, dropped_only=True), *self._answer(now)]
        if self._in_speech:
            self._in_speech = False
            listen = self._holds.get(c.Listen)
            if isinstance(listen, c.Listen) and listen.format is not None:
                said.append(c.HeardAudio(now, self.leg, at, b"", speech=False, last=True))
            said.append(e.SpeechEnded(now, self.leg, at))
        return said

    def _end(self, now: float) -> list[Said]:
        """Nobody else will tell of its end."""
        self.over = True
        return [*self._unplayed.give_up(now), c.LegClosed(now, self.leg, self._totals.whole)]

    def die(self, now: float) -> list[Said]:
        """No plane takes it over."""
        self.over = True
        return [c.LegClosed(now, self.leg, self._totals.whole), c.MediaDied(now, self.leg)]

    def again(self) -> list[AnyCommand]:
        """What opens it again, but for its `bridge`; on its way to the next plane when this returns."""
        self.lost = False
        held = [command for kind, command in self._holds.items() if kind is not c.Bridge]
        pause: list[AnyCommand] = [c.PausePlayout(self.leg)] if self._unplayed.paused else []
        connect: list[AnyCommand] = [self._connected] if self._connected is not None else []
        waiting, self._waiting = self._waiting, []
        return [self._reopening(), *connect, *held, *pause, *self._unplayed.again(), *waiting]

    @property
    def bridge(self) -> c.Bridge | None:
        """To be told when both legs are open."""
        bridge = self._holds.get(c.Bridge)
        return bridge if isinstance(bridge, c.Bridge) and bridge.to is not None else None

    def _reopening(self) -> c.OpenLeg:
        if self._opened is None:
            return self._opening
        again = c.Again(self._opened.port, self._opened.at, self._recorded_since, self._ssrcs, self._recorded_wide)
        trace = self._opening.trace
        if trace is not None:
            trace = continued(trace, self._losses + 1)
        return msgspec.structs.replace(self._opening, trace=trace, again=again)

    def _heard_first(self, said: Said) -> Iterable[Said]:
        """Of the next plane; what one that was given up may still say is not heard."""
        if isinstance(said, c.LegFailed):
            return self._fail(said) if self._opened is None else self.die(said.at)
        if not isinstance(said, c.LegOpened):
            return ()
        self.awaited = False
        self._ssrcs += (said.ssrc,)
        if self._opened is None:
            self._opened = said
            return (said,)
        without_s = max(0.0, said.at - self._lost_at)
        restored = c.LegRestored(said.at, self.leg, said.port, said.ssrc, without_s, self._goes_on_at_s)
        news: list[Said] = [restored]
        if self._line_is_silent:
            # The waiting for media begins anew.
            self._line_is_silent = False
            news.append(e.LineRecovered(said.at, self.leg))
        return news

    # What is noted of commands

    def _connect(self, command: c.ConnectLeg, now: float) -> None:
        # Who comes where nobody was is no newcomer.
        self._connected = msgspec.structs.replace(command, newcomer=False)
        self._unplayed.send(command.direction in ("sendrecv", "sendonly"), now)

    def _hold(self, command: AnyCommand, now: float) -> None:
        self._holds[type(command)] = command

    def _queue(self, command: c.QueueAudio, now: float) -> None:
        self._unplayed.queue(command, now)

    def _pause(self, command: c.PausePlayout, now: float) -> None:
        self._unplayed.pause(now)

    def _resume(self, command: c.ResumePlayout, now: float) -> None:
        self._unplayed.resume(now)

    def _flush(self, command: c.FlushPlayout, now: float) -> None:
        self._unplayed.drop(now)

    def _close(self, command: c.CloseLeg, now: float) -> None:
        self._closing = True

    def _ask(self, command: c.TellStats, now: float) -> None:
        self._asked = True

    def _answer(self, now: float) -> list[c.LegDoing]:
        """To whoever asked, when nobody else can."""
        asked, self._asked = self._asked, False
        return [c.LegDoing(now, self.leg, self._totals.whole)] if asked else []

    # What is noted of reports

    def _open(self, said: c.LegOpened) -> Iterable[Said]:
        self._opened = self._opened or said
        self._ssrcs += (said.ssrc,)
        return (said,)

    def _fail(self, said: c.LegFailed) -> Iterable[Said]:
        """Another leg of its name that was refused is no end of this one."""
        self.over = self._opened is None
        return (said,)

    def _be_closed(self, said: c.LegClosed) -> Iterable[Said]:
        self.over = True
        return (c.LegClosed(said.at, self.leg, self._totals.with_latest(said.stats)),)

    def _do(self, said: c.LegDoing) -> Iterable[Said]:
        """Noted whoever asked; news to those who did."""
        self._totals.with_latest(said.stats)
        return self._answer(said.at)

    def _start(self, said: c.ClipStarted) -> Iterable[Said]:
        news = self._unplayed.started(said)
        return () if news is None else (news,)

    def _finish(self, said: c.ClipFinished) -> Iterable[Said]:
        return (self._unplayed.finished(said),)

    def _begin_speech(self, said: e.SpeechBegan) -> Iterable[Said]:
        self._in_speech = True
        return (said,)

    def _end_speech(self, said: e.SpeechEnded) -> Iterable[Said]:
        self._in_speech = False
        return (said,)

    def _fall_silent(self, said: e.LineFellSilent) -> Iterable[Said]:
        self._line_is_silent = True
        return (said,)

    def _recover(self, said: e.LineRecovered) -> Iterable[Said]:
        self._line_is_silent = False
        return (said,)

    def _record(self, said: e.RecordingStarted) -> Iterable[Said]:
        """One recording, however often it is taken up."""
        if self._recorded_since is not None:
            return ()
        self._recorded_since, self._recorded_wide = said.at, said.wideband
        return (said,)

    def _lose_file(self, said: e.RecordingFailed) -> Iterable[Said]:
        lost = {"record": None} if said.what == "recording" else {"trace": None}
        self._opening = msgspec.structs.replace(self._opening, **lost)
        return (said,)


def continued(trace: str, number: int) -> str:
    """Where the trace of a leg goes on that was opened for the `number`-th time: `packets.2.trace`."""
    path = PurePath(trace)
    return str(path.with_name(f"{path.stem}.{number}{path.suffix}"))


_TOLD: dict[type[AnyCommand], Callable[[Standing, Any, float], None]] = {
    c.ConnectLeg: Standing._connect,
    c.QueueAudio: Standing._queue,
    c.PausePlayout: Standing._pause,
    c.ResumePlayout: Standing._resume,
    c.FlushPlayout: Standing._flush,
    c.CloseLeg: Standing._close,
    c.TellStats: Standing._ask,
    **dict.fromkeys(
        (c.Listen, c.SetNoise, c.SetGain, c.PlayMusic, c.SetTone, c.HearTones, c.SetLoopback, c.Bridge), Standing._hold
    ),
}
NOTED: Mapping[type[Said], Callable[[Standing, Any], Iterable[Said]]] = {
    c.LegOpened: Standing._open,
    c.LegFailed: Standing._fail,
    c.LegClosed: Standing._be_closed,
    c.LegDoing: Standing._do,
    c.ClipStarted: Standing._start,
    c.ClipFinished: Standing._finish,
    e.SpeechBegan: Standing._begin_speech,
    e.SpeechEnded: Standing._end_speech,
    e.LineFellSilent: Standing._fall_silent,
    e.LineRecovered: Standing._recover,
    e.RecordingStarted: Standing._record,
    e.RecordingFailed: Standing._lose_file,
}
