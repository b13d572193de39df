"""What is kept of each leg: its recording and its packet trace, and the news of them.

A leg's end is told when its files are complete, so that whoever hears of it can read them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gateway.core.events import RecordingFailed, RecordingStarted
from gateway.media.commands import LegClosed, LegStats
from gateway.media.datagrams import Received
from gateway.media.files import FileSink
from gateway.media.history import FRAME
from gateway.media.legs import Leg, LegTable
from gateway.media.ports import Int64s, Said
from gateway.media.record import Int16s, Recorder
from gateway.media.record_wide import Sound, Widener
from gateway.media.trace import TraceWriter

_PATIENCE_S = 5.0
"""A leg's end is told after this even if the disk has not answered."""

_TRACE_CHUNK = 8192


@dataclass(slots=True)
class _Ending:
    leg: str
    stats: LegStats
    until: float
    open_files: set[int] = field(default_factory=set)


class Archive:
    def __init__(self, slots: int, table: LegTable, files: FileSink) -> None:
        self._table, self._files = table, files
        self._narrow, self._wide = Recorder(slots, files), Recorder(slots, files, 2)
        self._heard, self._sent = Widener(slots), Widener(slots)
        self._next_file = 0
        self._recorded: dict[int, Leg] = {}  # by file
        self._ended_traces: dict[int, Leg] = {}  # by file, whose last octets are on their way
        self._traced: dict[str, tuple[Leg, TraceWriter, int, bytearray]] = {}
        self._endings: list[_Ending] = []

    @property
    def waiting(self) -> bool:
        """Whether legs have ended whose files are not closed."""
        return bool(self._endings)

    def _new_file(self) -> int:
        self._next_file += 1
        return self._next_file

    def open(self, leg: Leg, trace: str | None) -> None:
        if trace is not None:
            file, writer = self._new_file(), TraceWriter()
            leg.traced = True
            self._files.open(file, trace)
            self._traced[leg.name] = leg, writer, file, bytearray(writer.begin())

    def start_recording(self, leg: Leg, position: int, now: float) -> list[Said]:
        if leg.record is None:
            return []
        file = self._new_file()
        wide = leg.speaks_wide if leg.recorded_wide is None else leg.recorded_wide
        recorder = self._wide if wide else self._narrow
        recorder.start(leg.row, file, leg.record, position, recorded=leg.recorded)
        self._recorded[file] = leg
        for side in (self._heard, self._sent):
            side.reset(leg.row)
        return [RecordingStarted(now, leg.name, leg.record, wide)]

    def trace(self, received: Sequence[Received], position: int, now: float) -> None:
        """Note the datagrams taken by the tick at `position`."""
        if not self._traced:
            return
        for datagram in received:
            if (traced := self._traced.get(datagram.leg)) is not None:
                leg, writer, file, unwritten = traced
                tick = (position - leg.opened) // FRAME
                unwritten += writer.datagram(tick, now - datagram.at, datagram.source, datagram.data)
                if len(unwritten) >= _TRACE_CHUNK:
                    self._files.write(file, bytes(unwritten))
                    unwritten.clear()

    def leave_out(self, position: int, ticks: int) -> None:
        """Note that this many ticks from `position` on do not come."""
        for leg, writer, _, unwritten in self._traced.values():
            unwritten += writer.left_out((position - leg.opened) // FRAME, ticks)

    def record(self, rows: Int64s, position: int, heard: Int16s, sent: Int16s) -> None:
        """What is recorded at 8 kHz. `heard` is by index of `rows`, `sent` by row."""
        recorded = self._narrow.rows
        if len(recorded):
            self._narrow.add(position, heard[np.searchsorted(rows, recorded)], sent[recorded])

    @property
    def wide_rows(self) -> Int64s:
        """Which rows are recorded at 16 kHz, to be given to `record_wide`."""
        return self._wide.rows

    def record_wide(self, position: int, heard: Sound, sent: Sound) -> None:
        rows = self.wide_rows
        self._wide.add(position, self._heard.feed(rows, heard), self._sent.feed(rows, sent))

    def close(self, leg: Leg, stats: LegStats, now: float) -> None:
        ending = _Ending(leg.name, stats, now + _PATIENCE_S)
        ending.open_files |= {
            file for recorder in (self._narrow, self._wide) if (file := recorder.stop(leg.row)) is not None
        }
        if (traced := self._traced.pop(leg.name, None)) is not None:
            _, writer, file, unwritten = traced
            self._files.write(file, bytes(unwritten))
            self._files.close(file, writer.begin())
            ending.open_files.add(file)
            self._ended_traces[file] = leg
        self._endings.append(ending)

    def news(self, now: float) -> list[Said]:
        said: list[Said] = []
        for file, error in self._files.poll():
            if error is not None:
                said += self._lost(file, error, now)
            else:
                self._ended_traces.pop(file, None)
                for ending in self._endings:
                    ending.open_files.discard(file)
        if self._endings:
            over = [e for e in self._endings if not e.open_files or now >= e.until]
            self._endings = [e for e in self._endings if e.open_files and now < e.until]
            said += [LegClosed(now, e.leg, e.stats) for e in over]
        return said

    def _lost(self, file: int, error: str, now: float) -> list[Said]:
        leg = self._recorded.pop(file, None)
        if leg is None:
            return self._lost_trace(file, error, now)
        if self._table.by_row[leg.row] is leg:
            self._narrow.abandon(leg.row)
            self._wide.abandon(leg.row)
            self._files.close(file)
        return [RecordingFailed(now, leg.name, error)]

    def _lost_trace(self, file: int, error: str, now: float) -> list[Said]:
        """The packets go on untold; a leg that has ended meanwhile has said so already."""
        leg = next((leg for leg, _, traced, _ in self._traced.values() if traced == file), None)
        if leg is None:
            leg = self._ended_traces.pop(file, None)
        else:
            del self._traced[leg.name]
            self._files.close(file)
        return [] if leg is None else [RecordingFailed(now, leg.name, error, "trace")]
