"""Figures of a leg's audio: whoever asks gets the next answer, and nobody waits for one that does not come."""

from __future__ import annotations

import asyncio
from typing import Any

from hallway import NotingLeg
from waiting import turns

from gateway.call.leg_stats import DOING_WITHIN_S, STATS_WITHIN_S, LegStatistics
from gateway.core.loops import run_virtual
from gateway.media import commands as media


def test_one_answer_is_for_all_who_asked_before_it() -> None:
    """Two look at a call at once; a third asks when they have been told, and is told anew."""

    async def asked() -> list[int]:
        leg = NotingLeg()
        statistics = LegStatistics("c-1", leg)
        both = [asyncio.create_task(statistics.now()) for _ in range(2)]
        await turns()
        statistics.told(media.LegStats(packets_received=7), last=False)
        third = asyncio.create_task(statistics.now())
        await turns()
        statistics.told(media.LegStats(packets_received=8), last=False)
        assert leg.sent == [media.TellStats("c-1")] * 3
        return [(await one)["packets_received"] for one in (*both, third)]

    assert run_virtual(asked()) == [7, 7, 8]


def test_what_does_not_come_is_nothing_in_time() -> None:
    """The media process hangs: empty figures after a second, and for the closing line after six."""

    async def waited() -> tuple[dict[str, Any], float, dict[str, Any], float]:
        statistics, loop = LegStatistics("c-1", NotingLeg()), asyncio.get_running_loop()
        now, after_s = await statistics.now(), loop.time()
        return now, after_s, await statistics.last(), loop.time() - after_s

    assert run_virtual(waited()) == ({}, DOING_WITHIN_S, {}, STATS_WITHIN_S)


def test_the_last_figures_may_come_before_they_are_asked_for() -> None:
    """A leg that closed by itself, or one that takes its time."""

    async def last() -> int:
        statistics = LegStatistics("c-1", NotingLeg())
        statistics.told(media.LegStats(packets_sent=5), last=True)
        return int((await statistics.last())["packets_sent"])

    assert run_virtual(last()) == 5
