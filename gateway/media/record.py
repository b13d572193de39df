"""Stereo recordings: left what the bot heard (after the jitter buffer), right what it sent, both by the same clock.

The audio of a second is gathered in an array for all recorded calls, and handed to the file sink a call at a time. The
header tells each time of all there is: a recording can be read while it grows, and where a gateway was killed.
Sample k of a recording lies k/8000 s after the tick it began with (k/16000 s where it is of a wideband leg): events
can be found in it by their times. Positions and counts are of 8 kHz, whatever the rate.
"""

from __future__ import annotations

import struct
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.media.files import FileSink
from gateway.media.history import FRAME
from gateway.media.ports import Int64s

Int16s: TypeAlias = npt.NDArray[np.int16]

_FRAMES = 50
"""Frames gathered before they are handed on: a second, 32 kB."""

_LONGEST_GAP = 4 * 1024 * 1024


def wav_header(data_bytes: int, rate: int = 8000) -> bytes:
    """For 16-bit stereo."""
    size = min(data_bytes, 0xFFFFFFFF - 36)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, rate, 4 * rate, 4, 16)
    return struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE") + form + struct.pack("<4sI", b"data", size)


class Recorder:
    """By row. `file` numbers are the sink's; the same row may record again and again."""

    def __init__(self, slots: int, sink: FileSink, scale: int = 1) -> None:
        """At `scale` times 8 kHz."""
        self._sink, self.rate, self._sample_bytes = sink, 8000 * scale, 4 * scale
        self._no_audio = wav_header(0, self.rate)
        self._gathered = np.zeros((slots, _FRAMES, scale * FRAME, 2), np.int16)
        self._filled = np.zeros(slots, np.int64)
        self._position = np.zeros(slots, np.int64)  # of the next sample
        self._written = np.zeros(slots, np.int64)
        self._files: dict[int, int] = {}
        self.rows: Int64s = np.zeros(0, np.int64)
        """The rows that are being recorded."""

    def start(self, row: int, file: int, path: str, position: int, *, recorded: int = 0) -> None:
        """With `recorded` samples the file is there already; what it lacks of them is silence."""
        written = self._sample_bytes * recorded
        self._sink.open(file, path, at=len(self._no_audio) + written if recorded else 0)
        if not recorded:
            self._sink.write(file, self._no_audio)
        self._filled[row], self._written[row] = 0, written
        self._position[row] = position
        self._files[row] = file
        self._know_rows()

    def add(self, position: int, left: Int16s, right: Int16s) -> None:
        """The frame at `position` of all recorded `rows`."""
        rows = self.rows
        for row in rows[self._position[rows] < position]:
            self._bridge(int(row), position)
        filled = self._filled[rows]
        self._gathered[rows, filled, :, 0] = left
        self._gathered[rows, filled, :, 1] = right
        self._filled[rows] = filled + 1
        self._position[rows] = position + FRAME
        for row in rows[filled + 1 == _FRAMES]:
            self._hand_on(int(row))

    def stop(self, row: int) -> int | None:
        """Finish the row's file; its number, or None when the row was not recorded."""
        if row not in self._files:
            return None
        self._hand_on(row)
        file = self._files[row]
        self._sink.close(file, wav_header(int(self._written[row]), self.rate))
        self.abandon(row)
        return file

    def abandon(self, row: int) -> None:
        """The file is lost: record this row no longer."""
        self._files.pop(row, None)
        self._know_rows()

    def _bridge(self, row: int, position: int) -> None:
        """The plane was stopped for a while: keep the recording's clock with silence."""
        self._hand_on(row)
        gap = min(self._sample_bytes * int(position - self._position[row]), _LONGEST_GAP)
        self._write(row, bytes(gap))

    def _hand_on(self, row: int) -> None:
        self._write(row, self._gathered[row, : self._filled[row]].tobytes())
        self._filled[row] = 0

    def _write(self, row: int, data: bytes) -> None:
        self._written[row] += len(data)
        self._sink.write(self._files[row], data, wav_header(int(self._written[row]), self.rate))

    def _know_rows(self) -> None:
        self.rows = np.array(sorted(self._files), np.int64)
