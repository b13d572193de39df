"""The watch over the media tick."""

import pytest
from structlog.testing import capture_logs

from gateway.app.ticks import TickWatch
from gateway.media.wire import WorkerPulse


def test_percentiles_are_of_all_ticks() -> None:
    """One late tick in a hundred is the 99th percentile's business, not the median's."""
    watch = TickWatch(lambda: 0.0, refuse_ms=0.0)
    watch.observe(0, WorkerPulse(1.0, late_us=[50] * 99))
    watch.observe(1, WorkerPulse(1.0, late_us=[7_300]))
    lateness = watch.lateness()
    assert lateness["ticks"] == 100
    assert lateness["p50_ms"] == pytest.approx(0.1)
    assert lateness["p99_ms"] == pytest.approx(0.1)
    assert lateness["p999_ms"] == lateness["max_ms"] == pytest.approx(7.4)


def test_a_late_tick_is_warned_of_once_in_a_while() -> None:
    """Operators learn of an overloaded machine, and their log survives it."""
    watch = TickWatch(lambda: 0.0, refuse_ms=0.0)
    with capture_logs() as logs:
        for at in (1.0, 2.0, 40.0):
            watch.observe(0, WorkerPulse(at, legs=9, late_us=[25_000]))
        watch.observe(0, WorkerPulse(90.0, late_us=[15_000]))
    assert [entry["event"] for entry in logs] == ["media.tick_late"] * 2


def test_no_ticks_are_no_lateness() -> None:
    """A gateway that carried no call has nothing to report."""
    assert TickWatch(lambda: 0.0, refuse_ms=0.0).lateness()["max_ms"] == 0.0


def late(*each_ms: float, at: float = 1.0) -> WorkerPulse:
    return WorkerPulse(at, legs=9, late_us=[int(1000 * ms) for ms in each_ms])


def test_a_worker_that_is_usually_late_is_overloaded_until_it_has_recovered() -> None:
    """Told once when it begins; while it lasts there is a reason to refuse a call, and three seconds beyond."""
    now = 1.0
    watch = TickWatch(lambda: now, refuse_ms=10.0)
    watch.observe(0, late(1, 1, 1))
    assert watch.overload() == ""
    with capture_logs() as logs:
        for now in (2.0, 3.0):
            watch.observe(1, late(12, 1, 13, at=now))
            watch.observe(0, late(1, 1, 1, at=now))
            assert "12 ms" in watch.overload()
        now = 5.9
        assert watch.overload()
        now = 6.0
        assert watch.overload() == ""
        watch.observe(1, late(19, 19, at=6.0))
        assert watch.overload()
    told = [entry for entry in logs if entry["event"] == "media.overloaded"]
    assert [(entry["worker"], entry["usual_ms"]) for entry in told] == [(1, 12.0), (1, 19.0)]


def test_a_machine_that_stalled_for_a_moment_is_not_overloaded() -> None:
    """Half a second without a processor makes some ticks very late: the next ones are in time."""
    watch = TickWatch(lambda: 1.0, refuse_ms=10.0)
    watch.observe(0, late(*[150] * 49, *[1] * 51))
    watch.observe(1, late())
    assert watch.overload() == ""


def test_without_a_limit_nobody_is_overloaded() -> None:
    """0 is for those who would rather have late audio than a call refused."""
    watch = TickWatch(lambda: 1.0, refuse_ms=0.0)
    watch.observe(0, late(200, 200))
    assert watch.overload() == ""
