"""Which noise suppressor each row has, if any: the configured one, or what its route asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from gateway.media.ports import Float32s, Int64s, NoiseSuppressor

_FULL = np.float32(32768)
OFF = "off"
CONFIGURED = ""


class NoiseRows:
    """Each kind is built once, when a row first asks for it, and shared by all that do."""

    def __init__(
        self, slots: int, configured: NoiseSuppressor | None, build: Callable[[str], NoiseSuppressor] | None
    ) -> None:
        """`build` raises `ConfigError` for a kind that is not to be had."""
        self._build = build
        self._kinds: dict[str, int] = {OFF: 0, CONFIGURED: 0 if configured is None else 1}
        self._suppressors = [] if configured is None else [configured]
        self._of_row = np.zeros(slots, np.int64)  # 0: none, else 1 more than its place above

    def reset(self, row: int) -> None:
        self._of_row[row] = self._kinds[CONFIGURED]
        self._forget(row)

    def choose(self, row: int, kind: str) -> bool:
        """From now on. Whether there is any. Raises `ConfigError`, and leaves it as it was."""
        if kind not in self._kinds and self._build is not None:
            self._suppressors.append(self._build(kind))
            self._kinds[kind] = len(self._suppressors)
        chosen = self._kinds.get(kind, self._kinds[CONFIGURED])
        if chosen != self._of_row[row]:
            self._of_row[row] = chosen
            self._forget(row)
        return chosen > 0

    def clean(self, rows: Int64s, pcm: npt.NDArray[np.int16]) -> tuple[npt.NDArray[np.int16], Float32s]:
        """The frames (rows, 160) as they are to be heard, and the same before rounding."""
        samples = pcm.astype(np.float32)
        if not self._suppressors:
            return pcm, samples
        chosen = self._of_row[rows]
        for number, suppressor in enumerate(self._suppressors, 1):
            if len(at := np.flatnonzero(chosen == number)):
                samples[at] = suppressor.clean(rows[at], samples[at] / _FULL) * _FULL
        return np.clip(np.rint(samples), -32768, 32767).astype(np.int16), samples

    def _forget(self, row: int) -> None:
        if number := int(self._of_row[row]):
            self._suppressors[number - 1].reset(np.array([row]))
