"""What the media plane needs from outside, and what it offers to shells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.core.events import AnyEvent
from gateway.media.commands import AnyCommand, AnyReport

Float32s: TypeAlias = npt.NDArray[np.float32]
Float64s: TypeAlias = npt.NDArray[np.float64]
Int64s: TypeAlias = npt.NDArray[np.int64]
Said: TypeAlias = AnyEvent | AnyReport


class BatchVad(Protocol):
    """Speech probability for many calls at once, 8 kHz.

    `window` is how many new samples a decision takes (Silero: 256 = 32 ms). State is kept by row: `reset(rows)`
    forgets it when a slot changes hands.
    """

    window: int

    def probabilities(self, rows: Int64s, audio: Float32s) -> Float32s:
        """`audio` is (len(rows), window) in -1..1; gives (len(rows),) in 0..1 and moves the rows' state on."""
        ...

    def reset(self, rows: Int64s) -> None: ...


class NoiseSuppressor(Protocol):
    """Cleans 20 ms of 8 kHz audio of many calls before detection and recognition; never on a recording."""

    def clean(self, rows: Int64s, audio: Float32s) -> Float32s:
        """(len(rows), 160) in and out, in -1..1."""
        ...

    def reset(self, rows: Int64s) -> None: ...


class MediaControl(Protocol):
    """A running plane, in another process or in this one. `send` never blocks; what it says goes to the listener."""

    def send(self, command: AnyCommand) -> None: ...

    def subscribe(self, leg: str, listener: Callable[[Said], None]) -> None:
        """Deliver everything said of `leg` to `listener`, in order; ended by `unsubscribe`."""
        ...

    def unsubscribe(self, leg: str) -> None: ...
