"""How a leg's audio is doing, and how it did: asked of the media process, which may be slow to answer or gone."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.core.loops import Latch
from gateway.media import commands as media
from gateway.media.ports import MediaControl

STATS_WITHIN_S = 6.0
"""How long the closing line waits for the leg's statistics; the leg itself waits for its recording to be on disk."""

DOING_WITHIN_S = 1.0
"""How long somebody who asks after a live call's audio waits for the media process."""


class LegStatistics:
    def __init__(self, leg: str, control: MediaControl) -> None:
        self._leg, self._control = leg, control
        self._last: Latch[media.LegStats] = Latch()
        self._asked: list[Latch[media.LegStats]] = []

    def told(self, stats: media.LegStats, *, last: bool) -> None:
        if last:
            self._last.set(stats)
        else:
            waiting, self._asked = self._asked, []
            for latch in waiting:
                latch.set(stats)

    async def now(self) -> dict[str, Any]:
        """Empty when the media process does not answer."""
        asked: Latch[media.LegStats] = Latch()
        self._asked.append(asked)
        self._control.send(media.TellStats(self._leg))
        return _by_name(await asked.get(within_s=DOING_WITHIN_S))

    async def last(self) -> dict[str, Any]:
        """Of the whole call, once the leg has closed; empty when it does not."""
        return _by_name(await self._last.get(within_s=STATS_WITHIN_S))


def _by_name(stats: media.LegStats | None) -> dict[str, Any]:
    return msgspec.structs.asdict(stats) if stats is not None else {}
