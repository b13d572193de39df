"""The jitter buffer as a table of what networks do to packets."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.media.jitter import CELL, PATIENCE, JitterBuffer

ROW = np.array([1])
QUIET = -1


class Line:
    """One row of a buffer. Every packet's audio is its own number, so that what is played tells where it came from."""

    def __init__(self, *, ptime_ms: int = 20, timestamp: int = 1000) -> None:
        self.buffer = JitterBuffer(3)
        self.samples = 8 * ptime_ms
        self.timestamp = timestamp
        self.played: list[int] = []

    def arrive(self, *numbers: int) -> Line:
        for number in numbers:
            timestamp = (self.timestamp + number * self.samples) % 2**32
            pcm = np.full((1, self.samples), number % 30000, np.int16)
            self.buffer.insert(ROW, np.array([timestamp]), pcm)
        return self

    def play(self) -> Line:
        """20 ms; notes the packet each 10 ms came from, or QUIET."""
        pcm, have = self.buffer.pop(ROW)
        for half in (0, 1):
            self.played.append(int(pcm[0, half * CELL]) if have[0, half] else QUIET)
        return self

    def run(self, arrivals: Iterable[Iterable[int]]) -> list[int]:
        """One entry a tick. Gives what was played, each packet once, in order."""
        for numbers in arrivals:
            self.arrive(*numbers).play()
        return list(dict.fromkeys(n for n in self.played if n != QUIET))


def steady(start: int, end: int) -> list[list[int]]:
    return [[k] for k in range(start, end)]


def test_steady_packets_play_after_one_more_tick() -> None:
    """A first packet waits for one more, then every packet plays whole and in order: 20 to 40 ms of delay."""
    line = Line()
    assert line.run(steady(0, 50)) == list(range(49))
    assert line.played[:4] == [QUIET, QUIET, 0, 0]
    assert QUIET not in line.played[2:]


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 50, 60])
def test_any_packet_length_plays_whole(ptime_ms: int) -> None:
    """10 to 60 ms in, 20 ms out, nothing lost and nothing doubled once it runs."""
    line = Line(ptime_ms=ptime_ms)
    due, sent = 0.0, 0
    for tick in range(200):
        while due <= tick * 20:
            line.arrive(sent)
            sent, due = sent + 1, due + ptime_ms
        line.play()
    played = line.played[line.played.index(0) : 300]
    cells = ptime_ms // 10
    whole = [n for n in played if n != QUIET]
    assert whole == [k // cells for k in range(len(whole))]
    # A long packet that comes late in its tick may cost one hold in the beginning, never one later.
    assert QUIET not in played[2 * cells + 8 :]


SCENARIOS = {
    "timestamp wrap": (Line(timestamp=2**32 - 1600), steady(0, 40), list(range(39))),
    "duplicates": (Line(), [[k, k] for k in range(30)], list(range(29))),
    "reorder 2": (Line(), [[0], *[[k + 1, k] if k % 2 else [] for k in range(1, 31)]], None),
    "lost packets": (Line(), [[k] if k % 5 else [] for k in range(1, 41)], [k for k in range(1, 40) if k % 5]),
    "burst after a stall": (
        Line(),
        steady(0, 10) + [[]] * 10 + [list(range(10, 20))] + steady(20, 60),
        list(range(44)),
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str) -> None:
    """Every packet that the network delivered in time is played, once, in order."""
    line, arrivals, expected = SCENARIOS[name]
    played = line.run(arrivals)
    assert played == sorted(played)
    if expected is not None:
        assert played[: len(expected)] == expected


def test_packets_five_places_out_of_order_are_put_right() -> None:
    """Once the buffer has learnt the delay, reordering by 5 packets loses nothing."""
    line = Line()
    arrivals: list[list[int]] = steady(0, 10)
    for start in range(10, 130, 6):
        arrivals += [[], [], [], [], [], [start + k for k in (5, 4, 3, 2, 1, 0)]]
    played = line.run(arrivals)
    assert played == sorted(played)
    assert [n for n in range(40, 120) if n not in played] == []


def test_packets_that_are_often_five_late_are_waited_for() -> None:
    """One packet in ten overtaken by five others: lost at first, then the buffer waits long enough for them."""
    line = Line()
    arrivals: list[list[int]] = [[] for _ in range(420)]
    for number in range(400):
        arrivals[number + (5 if number % 10 == 3 else 0)].append(number)
    played = line.run(arrivals)
    assert [n for n in range(100, 390) if n not in played] == []


@pytest.mark.parametrize("step", [-400, -50, 30, 100, 5000, -(2**31) // 160, 2**20])
def test_a_stepped_clock_silences_for_a_few_packets_only(step: int) -> None:
    """PATIENCE packets outside the buffer prove a step; without this a call would be silent for ever."""
    line = Line()
    line.run(steady(0, 50))
    line.played.clear()
    # Late numbers, told apart from those before the step by the audio they bring.
    played = line.run(steady(50 + step, 50 + step + 30))
    last = [n % 30000 for n in range(50 + step + PATIENCE + 4, 50 + step + 28)]
    assert [n for n in last if n not in played] == []


def test_one_wild_timestamp_is_not_followed() -> None:
    """A single packet from nowhere neither plays nor moves the buffer."""
    line = Line()
    line.run(steady(0, 20))
    line.arrive(20, 100_000, 21).play()
    assert line.run(steady(22, 60)) == list(range(58))


def test_a_dry_buffer_waits_and_loses_nothing() -> None:
    """When everything comes 60 ms later from now on, the buffer has waited: not one packet is late."""
    line = Line()
    line.run(steady(0, 20))
    line.play().play().play()
    played = line.run(steady(20, 60))
    assert played == list(range(60))
    assert line.buffer.late[1] == 0
    assert QUIET not in line.played[-60:]


def test_a_delay_that_is_not_needed_is_given_up() -> None:
    """After one stall of 200 ms the buffer is back to its usual delay within seconds, without losing a packet."""
    line = Line()
    line.run(steady(0, 20) + [[]] * 10 + [list(range(20, 30))])
    assert line.buffer.delay_ms(1) >= 180
    line.run(steady(30, 700))
    assert line.buffer.delay_ms(1) <= 40
    played = [n for n in line.played if n != QUIET]
    assert sorted(set(played)) == list(range(max(played) + 1))


def test_no_delay_is_given_up_over_a_hole() -> None:
    """Three cells are played in the time of two only where all three have come: what lacks is said to lack, and never
    what stood in its cell before. (Of packets of 10 ms every fifth is lost here.)"""
    came = np.random.default_rng(1).random(1000) > 0.2
    line = Line(ptime_ms=10).arrive(*range(24))
    for k in range(12, 500):
        line.arrive(*(n for n in (2 * k, 2 * k + 1) if came[n])).play()
    played = [n for n in line.played if n != QUIET]
    assert played == sorted(played)
    assert line.buffer.delay_ms(1) <= 60


@pytest.mark.parametrize("ptime_ms", [10, 20])
@pytest.mark.parametrize("every", [2, 3, 4])
@pytest.mark.parametrize("phase", [0, 1])
def test_a_line_with_regular_holes_gives_its_delay_up_too(ptime_ms: int, every: int, phase: int) -> None:
    """Where every second to fourth packet is lost there may be no three cells in a row, ever: the delay of one stall of
    200 ms is given up all the same, in 20 s at the most, and what lacks is said to lack."""
    line, a_tick = Line(ptime_ms=ptime_ms), 20 // ptime_ms
    came = [[n for n in range(k * a_tick, (k + 1) * a_tick) if n % every != phase % every] for k in range(1040)]
    line.run(came[:20] + [[]] * 10 + [[n for tick in came[20:31] for n in tick]])
    assert line.buffer.delay_ms(1) >= 180
    line.run(came[31:])
    assert line.buffer.delay_ms(1) <= 60
    played = [n for n in line.played if n != QUIET]
    assert played == sorted(played)
    assert len(set(played)) > 0.95 * sum(map(len, came))


def test_silence_suppression_starts_each_stretch_afresh() -> None:
    """A sender that pauses (its timestamps go on) is heard promptly when it speaks again."""
    line = Line()
    line.run(steady(0, 20) + [[]] * 100)
    line.played.clear()
    assert line.run(steady(120, 140)) == list(range(120, 139))
    assert line.played[:4] == [QUIET, QUIET, 120, 120]


def test_odd_timestamps_are_put_on_the_grid() -> None:
    """A jump that is no multiple of 10 ms moves the audio by less than 10 ms and loses nothing."""
    line = Line()
    line.run(steady(0, 20))
    line.timestamp += 37
    played = line.run(steady(20, 60))
    assert played == list(range(59))


@pytest.mark.parametrize("ppm", [200, -200, 2000, -2000])
def test_a_clock_that_drifts_is_followed(ppm: int) -> None:
    """A far clock that runs fast or slow costs a crossfade or a held frame now and then, never a packet."""
    line = Line()
    sent, due = 0, 0.0
    for tick in range(3000):
        while due <= tick:
            line.arrive(sent)
            sent, due = sent + 1, due + 1 - ppm / 1e6
        line.play()
    played = [n for n in line.played if n != QUIET]
    assert sorted(set(played)) == list(range(max(played) + 1))
    assert line.buffer.delay_ms(1) <= 80
    assert line.played.count(QUIET) <= 2 + 2 * 3000 * abs(ppm) / 1e6 + 2


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(0, 3)), max_size=80))
def test_no_timestamp_breaks_it(packets: list[tuple[int, int, int]]) -> None:
    """Whatever timestamps come, every tick gives 20 ms and a good stream afterwards is played."""
    line = Line(timestamp=7)
    for timestamp, cells, ticks in packets:
        line.buffer.insert(ROW, np.array([timestamp]), np.zeros((1, cells * CELL), np.int16))
        for _ in range(ticks):
            pcm, have = line.buffer.pop(ROW)
            assert pcm.shape == (1, 160)
            assert have.shape == (1, 2)
    line.run(steady(0, 120))
    assert line.played[-20:].count(QUIET) == 0
    assert 90 <= line.played[-1] <= 120


def test_another_source_begins_anew_wherever_its_clock_is() -> None:
    """A restarted peer: the new stream plays promptly and whole, and nothing of the old one afterwards."""
    line = Line()
    line.run(steady(0, 50))
    line.played.clear()
    line.buffer.expect_new_source(1)
    line.timestamp += 123_456_789
    played = line.run(steady(60, 90))
    assert played == list(range(60, 89))
    assert line.played[:4] == [QUIET, QUIET, 60, 60]
