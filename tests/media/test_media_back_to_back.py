"""Two planes call each other over a network that loses, delays, doubles and reorders."""

from __future__ import annotations

import heapq
import random

import numpy as np
import pytest
from media_world import FRAME, World, sine, speech, through_code

from gateway.core.events import DigitPressed, SpeechBegan, SpeechEnded
from gateway.core.ids import SeededIds
from gateway.media.commands import (
    ClipFinished,
    CloseLeg,
    ConnectLeg,
    LegClosed,
    LegStats,
    Listen,
    QueueAudio,
    SendDigits,
)
from gateway.media.datagrams import Received, ToSend
from gateway.media.plane import TICK_S, MediaPlane, PlaneOptions
from gateway.media.vad import SileroVad

ADDRESSES = {"left": ("192.0.2.1", 4000), "right": ("192.0.2.2", 5000)}


class Network:
    """Both ends, a tick at a time. Every datagram is lost, doubled and delayed by chance."""

    def __init__(self, *, loss: float = 0.0, double: float = 0.0, jitter_s: float = 0.0, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._loss, self._double, self._jitter_s = loss, double, jitter_s
        self._flying: list[tuple[float, int, str, Received]] = []
        self._count = 0
        self.ends = {"left": World(vad=SileroVad(8)), "right": World(vad=SileroVad(8))}
        for seed_of, (name, world) in enumerate(self.ends.items()):
            world.plane = MediaPlane(PlaneOptions(slots=2), SeededIds(seed_of), SileroVad(2))
            there = ADDRESSES["right" if name == "left" else "left"]
            world.open().do(ConnectLeg("call", *there, "PCMU", 0, 101))

    def run(self, seconds: float) -> Network:
        for _ in range(round(seconds / TICK_S)):
            for name, world in self.ends.items():
                for datagram in world.take(self._arrived(name, world.now)):
                    self._send(name, datagram, world.now)
        return self

    def _send(self, name: str, datagram: ToSend, now: float) -> None:
        source = ADDRESSES[name][0], ADDRESSES[name][1] + datagram.control
        there = "right" if name == "left" else "left"
        for _ in range(1 + (self._random.random() < self._double)):
            if self._random.random() >= self._loss:
                at = now + 0.03 + self._random.expovariate(1) * self._jitter_s
                self._count += 1
                heapq.heappush(self._flying, (at, self._count, there, Received("call", datagram.data, source, at)))

    def _arrived(self, name: str, now: float) -> list[Received]:
        due = [f for f in self._flying if f[0] <= now and f[2] == name]
        self._flying = [f for f in self._flying if f not in due]
        heapq.heapify(self._flying)
        return [f[3] for f in sorted(due)]

    def stats(self, name: str) -> LegStats:
        world = self.ends[name].do(CloseLeg("call")).ticks(2)
        return world.all(LegClosed)[0].stats


def test_a_good_network_carries_everything() -> None:
    """Clips, digits and both sides' statistics, to the sample and the packet."""
    network = Network().run(0.2)
    left, right = network.ends.values()
    left.do(QueueAudio("call", 1, speech()[:24000].tobytes(), last=True)).do(SendDigits("call", "42", 80))
    right.do(Listen("call", "pcm_8k"))
    network.run(12)
    assert [p.digit for p in right.all(DigitPressed)] == ["4", "2"]
    assert left.all(ClipFinished)[0].played_s == 3.0
    assert len(right.all(SpeechBegan)) == len(right.all(SpeechEnded)) >= 1
    stats = network.stats("right")
    assert (stats.packets_lost, stats.packets_late, stats.packets_foreign, stats.packets_malformed) == (0, 0, 0, 0)
    assert stats.round_trip_ms == pytest.approx(80, abs=25)
    assert stats.mos is not None
    assert stats.mos > 4.3


@pytest.mark.parametrize("seed", range(4))
def test_a_bad_network_costs_quality_but_no_digit_and_no_word(seed: int) -> None:
    """5 % lost, some doubled, 15 ms of mean jitter: every digit once and in order, the speech found and heard."""
    network = Network(loss=0.05, double=0.03, jitter_s=0.015, seed=seed).run(0.2)
    left, right = network.ends.values()
    left.do(SendDigits("call", "31415926", 80))
    network.run(2)
    left.do(QueueAudio("call", 1, speech().tobytes(), last=True))
    network.run(7)
    assert "".join(p.digit for p in right.all(DigitPressed)) == "31415926"
    began, ended = right.all(SpeechBegan), right.all(SpeechEnded)
    assert len(began) == len(ended)
    spoken = sum(e.ended_at - b.began_at for b, e in zip(began, ended, strict=True))
    assert spoken == pytest.approx(3.85, abs=0.6)
    stats = network.stats("right")
    share = stats.packets_lost / (stats.packets_lost + stats.packets_received)
    assert 0.0 < share < 0.09
    assert 5 < stats.jitter_ms < 30
    assert stats.remote_lost is not None


def test_echo_through_two_planes_is_the_sound_itself() -> None:
    """Coded twice by the same law is coded once: what comes back after the round is what went out."""
    network = Network().run(0.2)
    left, right = network.ends.values()
    right.plane.table.loopback[right.plane.table.row_of["call"]] = True
    tone = sine(440, 0.6)
    left.do(QueueAudio("call", 1, tone.tobytes(), last=True))
    network.run(1.5)
    echoed = right.spoken()
    start = int(np.flatnonzero(echoed)[0]) // FRAME * FRAME
    assert np.array_equal(echoed[start : start + len(tone)], through_code(tone))
