"""When the packets of a step leave, on a clock that only sleeping and sending move."""

from __future__ import annotations

from itertools import pairwise

import pytest

from gateway.media.worker import pacing
from gateway.media.worker.pacing import in_bursts

DUE = 1000.0


class Sender:
    """The module `time`, for a machine that takes so long for a packet."""

    def __init__(self, packet_s: float) -> None:
        self.now, self._packet_s = DUE, packet_s
        self.sent: list[tuple[float, int]] = []
        """Of each burst: milliseconds since the step was due, and its packets."""

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds

    def send(self, count: int, made_s: float) -> list[float]:
        """Send `count` packets that were made by `made_s` after the step was due: when each burst began."""
        self.now, self.sent, places = DUE + made_s, [], list(range(count))
        for part in in_bursts(count, DUE):
            self.sent.append((1000 * (self.now - DUE), len(places[part])))
            self.now += self._packet_s * len(places[part])
        assert sum(size for _, size in self.sent) == count
        return [at for at, _ in self.sent]


@pytest.fixture
def sender(monkeypatch: pytest.MonkeyPatch) -> Sender:
    made = Sender(packet_s=3e-6)
    monkeypatch.setattr(pacing, "time", made)
    return made


def test_bursts_leave_at_the_same_time_however_long_they_took_to_make(sender: Sender) -> None:
    """To a tenth of a millisecond; without pacing, the last of five hundred would differ by half a millisecond."""
    assert sender.send(500, made_s=0.0003) == pytest.approx(sender.send(500, made_s=0.0008), abs=0.1)


def test_no_more_than_a_burst_leaves_at_once(sender: Sender) -> None:
    """All packets leave, in the order of their rows, spread over the time they may take."""
    begun = sender.send(1000, made_s=0.0005)
    assert all(size <= 256 for _, size in sender.sent)
    assert all(later - earlier >= 1.2 for earlier, later in pairwise(begun))
    assert begun[-1] < 6


@pytest.mark.parametrize("count", [0, 1, 256])
def test_few_packets_leave_when_they_are_made(sender: Sender, count: int) -> None:
    """They take less time than waking up once more does."""
    assert sender.send(count, made_s=0.0003) == pytest.approx([0.3])


def test_who_is_late_waits_for_nothing(sender: Sender) -> None:
    """A step that began late sends all it has, one burst behind the other."""
    assert sender.send(500, made_s=0.008) == pytest.approx([8.0, 8.768])


def test_a_slow_machine_catches_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a packet takes twice what it may, only the first burst can be too early."""
    monkeypatch.setattr(pacing, "time", slow := Sender(packet_s=10e-6))
    assert slow.send(500, made_s=0.0005) == pytest.approx([1.0, 3.56], abs=0.1)
