"""The statistics of a leg that several planes have carried, one after the other, each of which counts from nothing."""

from __future__ import annotations

import msgspec

from gateway.media.commands import LegStats

_COUNTS = [field for field in LegStats.__struct_fields__ if field.startswith("packets_")]


class Totals:
    """What a plane has counted since its last word dies with it."""

    def __init__(self) -> None:
        self._before = self._latest = LegStats()

    def with_latest(self, stats: LegStats) -> LegStats:
        """The whole, now that the present plane has told its part."""
        self._latest = stats
        return self.whole

    def begin_anew(self) -> None:
        """The next word is of another plane."""
        self._before, self._latest = self.whole, LegStats()

    @property
    def whole(self) -> LegStats:
        return self._latest if self._before == LegStats() else together(self._before, self._latest)


def together(before: LegStats, after: LegStats) -> LegStats:
    """Packets are added up, and the MOS is the mean by packets received. Of the rest the later word counts."""
    counts = {name: getattr(before, name) + getattr(after, name) for name in _COUNTS}
    # The far side counts by SSRC (RFC 3550 6.4.1), and each plane has its own.
    lost = [stats.remote_lost for stats in (before, after) if stats.remote_lost is not None]
    rated = [(stats.mos, stats.packets_received) for stats in (before, after) if stats.mos is not None]
    return msgspec.structs.replace(
        after if after.packets_received else before,
        **counts,
        codec=after.codec or before.codec,
        round_trip_ms=before.round_trip_ms if after.round_trip_ms is None else after.round_trip_ms,
        mos=_mean(rated),
        remote_lost=sum(lost) if lost else None,
    )


def _mean(weighted: list[tuple[float, int]]) -> float | None:
    weights = sum(weight for _, weight in weighted)
    return round(sum(value * weight for value, weight in weighted) / weights, 2) if weights else None
