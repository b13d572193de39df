"""The watch over the media tick."""

import pytest
from structlog.testing import capture_logs

from gateway.app.ticks import TickWatch
from gateway.media.wire import WorkerPulse


def test_percentiles_are_of_all_ticks() -> None:
    """One late tick in a hundred is the 99th percentile's business, not the median's."""
    watch = TickWatch()
    watch.observe(0, WorkerPulse(1.0, late_us=[50] * 99))
    watch.observe(1, WorkerPulse(1.0, late_us=[7_300]))
    lateness = watch.lateness()
    assert lateness["ticks"] == 100
    assert lateness["p50_ms"] == pytest.approx(0.1)
    assert lateness["p99_ms"] == pytest.approx(0.1)
    assert lateness["p999_ms"] == lateness["max_ms"] == pytest.approx(7.4)


def test_a_late_tick_is_warned_of_once_in_a_while() -> None:
    """Operators learn of an overloaded machine, and their log survives it."""
    watch = TickWatch()
    with capture_logs() as logs:
        for at in (1.0, 2.0, 40.0):
            watch.observe(0, WorkerPulse(at, legs=9, late_us=[25_000]))
        watch.observe(0, WorkerPulse(90.0, late_us=[15_000]))
    assert [entry["event"] for entry in logs] == ["media.tick_late"] * 2


def test_no_ticks_are_no_lateness() -> None:
    """A gateway that carried no call has nothing to report."""
    assert TickWatch().lateness()["max_ms"] == 0.0
