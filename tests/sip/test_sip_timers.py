"""The timer heap, and the transaction tables held against RFC 3261's table 4."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sip.tables import (
    INVITE_CLIENT,
    INVITE_SERVER,
    PLAIN_CLIENT,
    PLAIN_SERVER,
    Table,
    event_of,
    first_interval,
)
from gateway.sip.timers import Timer, Timers, Timing


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=60), st.integers(0, 60))
def test_timers_go_off_in_order_and_stopped_ones_never(plan: list[tuple[int, bool]], now: int) -> None:
    """By due time, then in the order they were started."""
    timers: Timers[str] = Timers()
    started = [(due, index, timers.start(due, str(index), "x"), stopped) for index, (due, stopped) in enumerate(plan)]
    for _, _, timer, stopped in started:
        if stopped:
            timers.stop(timer)
    alive = sorted((due, index) for due, index, _, stopped in started if not stopped)
    assert timers.next_deadline() == (alive[0][0] if alive else None)
    assert [owner for owner, _ in timers.expired(now)] == [str(index) for due, index in alive if due <= now]
    assert len(timers) == sum(due > now for due, _ in alive)


def test_what_goes_off_may_stop_what_is_due_with_it() -> None:
    """A transaction that ends takes its other timers along."""
    timers: Timers[str] = Timers()
    timers.start(1, "first", "x")
    second = timers.start(1, "second", "x")
    for owner, _ in timers.expired(2):
        assert owner == "first"
        timers.stop(second)


def test_stopped_timers_do_not_pile_up() -> None:
    """Most timers of a SIP stack never go off; 32 s of them must not stay in memory."""
    timers: Timers[str] = Timers()
    keep = timers.start(10, "keep", "x")
    for _ in range(10_000):
        timers.stop(timers.start(32, "gone", "x"))
    assert len(timers) == 1
    assert len(timers._heap) < 1000
    assert isinstance(keep, Timer)
    assert timers.next_deadline() == 10


@pytest.mark.parametrize(
    ("name", "seconds"),
    [("A", 0.5), ("B", 32), ("D", 32), ("E", 0.5), ("F", 32), ("G", 0.5), ("H", 32), ("I", 5), ("J", 32), ("K", 5)],
)
def test_timers_have_the_durations_of_table_4(name: str, seconds: float) -> None:
    """RFC 3261 appendix A with T1 = 0.5, T4 = 5."""
    assert first_interval(name, Timing()) == seconds


@pytest.mark.parametrize("name", ["L", "M"])
def test_accepted_lasts_64_t1(name: str) -> None:
    """RFC 6026 8.7 and 8.11."""
    assert first_interval(name, Timing(t1=1.0)) == 64


@pytest.mark.parametrize("table", [INVITE_CLIENT, PLAIN_CLIENT, INVITE_SERVER, PLAIN_SERVER])
def test_every_timer_started_is_awaited_in_the_state_it_leads_to(table: Table) -> None:
    """Else it would be stopped, or go off unheard, and the transaction never end."""
    for row in table.values():
        for timer in row.start:
            assert (row.state, timer) in table


@pytest.mark.parametrize("table", [INVITE_CLIENT, PLAIN_CLIENT, INVITE_SERVER, PLAIN_SERVER])
def test_from_every_state_a_timer_or_the_user_leads_out(table: Table) -> None:
    """No transaction can live for ever but one that waits for its user, or for a callee that rings."""
    waiting = {"proceeding", "trying"}
    states = {state for state, _ in table} - waiting
    for state in states:
        assert any(table[key].state == "terminated" and key[1].isupper() for key in table if key[0] == state) or any(
            table[key].state != state for key in table if key[0] == state
        )


@pytest.mark.parametrize(
    ("status", "event"), [(100, "1xx"), (199, "1xx"), (200, "2xx"), (300, "refusal"), (699, "refusal")]
)
def test_statuses_fall_into_three_classes(status: int, event: str) -> None:
    """All that a table needs to know."""
    assert event_of(status) == event
