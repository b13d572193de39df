from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core import events as e
from gateway.media.relapses import Losses
from gateway.ops.metrics import Histogram, Metrics, Series


def test_a_call_is_active_from_start_to_end_and_counted_by_reason() -> None:
    """The gauge returns to zero, whatever order calls end in; a call we did not see begin changes no gauge."""
    metrics = Metrics()
    for call, door in (("a", "sip"), ("b", "browser")):
        metrics.observe(e.CallStarted(0.0, call, door, "x", "y", "desk"))  # type: ignore[arg-type]
    assert (metrics.active.value("sip"), metrics.active.value("browser")) == (1, 1)
    metrics.observe(e.CallEnded(5.0, "a", "hangup", "caller", 5.0))
    metrics.observe(e.CallEnded(5.0, "unseen", "error", "gateway", 1.0))
    assert (metrics.active.value("sip"), metrics.active.value("browser")) == (0, 1)
    assert (metrics.ended.value("hangup"), metrics.ended.value("error")) == (1, 1)


def test_the_response_time_runs_from_the_end_of_the_turn_to_the_first_sample() -> None:
    """Once per turn, and per call: another call's voice is no answer, nor is a second sentence."""
    metrics = Metrics()
    metrics.observe(e.UserTurnEnded(10.0, "a", 1, "yes"))
    metrics.observe(e.UtteranceStarted(10.1, "b", 1))
    metrics.observe(e.UtteranceStarted(10.6, "a", 1))
    metrics.observe(e.UtteranceStarted(12.0, "a", 2))
    text = metrics.render(Losses())
    assert "gateway_response_seconds_count 1" in text
    assert 'gateway_response_seconds_bucket{le="0.5"} 0' in text
    assert 'gateway_response_seconds_bucket{le="0.75"} 1' in text


def test_every_kind_of_trouble_is_counted() -> None:
    """Failures by provider and category, errors by code, interruptions by cause, sessions by origin."""
    metrics = Metrics()
    for event in (
        e.ProviderFailed(1.0, "a", "stt.pocketsphinx", "timeout", "late", True),
        e.ErrorOccurred(1.0, "a", "internal", "x"),
        e.BargedIn(1.0, "a", 1, "words"),
        e.FalseAlarm(1.0, "a", 1),
        e.SessionStarted(1.0, "a", "s"),
        e.SessionResumed(1.0, "b", "s", "desk/1", 4.0),
    ):
        metrics.observe(event)
    text = metrics.render(Losses())
    for line in (
        'gateway_provider_failures_total{what="stt.pocketsphinx",category="timeout"} 1',
        'gateway_errors_total{code="internal"} 1',
        'gateway_barge_ins_total{by="words"} 1',
        "gateway_false_alarms_total 1",
        "gateway_sessions_started_total 1",
        "gateway_sessions_resumed_total 1",
    ):
        assert line in text.splitlines()


def test_deaths_of_media_workers_are_counted() -> None:
    """And their legs, by what became of them. All three show from the start, so that an alarm has its zero."""
    metrics, names = Metrics(), ("worker_deaths", "legs_restored", "legs_given_up")
    for losses, expected in ((Losses(), (0, 0, 0)), (Losses(3, 20, 10), (3, 20, 10))):
        lines = metrics.render(losses).splitlines()
        for name, value in zip(names, expected, strict=True):
            assert f"gateway_media_{name}_total {value}" in lines
            assert f"# TYPE gateway_media_{name}_total counter" in lines


@given(st.text())
def test_a_label_never_breaks_the_format(value: str) -> None:
    """Quotes, backslashes and newlines in a value are escaped: a series stays one line."""
    series = Series("x", "counter", "X.", ["label"])
    series.add(value)
    *_, line = "\n".join(series.lines()).split("\n")
    assert line.startswith('x{label="')
    assert line.endswith('"} 1')


@given(st.lists(st.floats(0, 100), max_size=30))
def test_a_histogram_is_cumulative(values: list[float]) -> None:
    """Each bucket counts all observations up to its bound, the last one everything."""
    histogram = Histogram("x", "X.", [1.0, 10.0])
    for value in values:
        histogram.observe(value)
    counts = [int(line.rsplit(" ", 1)[1]) for line in histogram.lines() if "_bucket" in line]
    assert counts == [sum(v <= 1 for v in values), sum(v <= 10 for v in values), len(values)]
