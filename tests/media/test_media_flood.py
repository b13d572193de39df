"""How much of a flood a step takes: what is read of one socket is bounded, whatever waits there."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from media_world import FRAME, PHONE, STRANGER, Phone, World

from gateway.media.commands import SetLoopback
from gateway.media.plane import Received
from gateway.media.worker import loop


@dataclass
class Flooded:
    """A network whose sockets never run dry."""

    reads: int = 0

    def read(self, now: float, again: bool = False) -> bool:
        self.reads += 1
        return True


@dataclass
class Group:
    network: Flooded = field(default_factory=Flooded)


def test_a_step_reads_a_few_datagrams_of_each_socket_and_goes_on() -> None:
    """Each read takes one datagram of a socket: five in 20 ms, where a call sends one or two. The rest of a flood
    waits in the kernel's buffer for that port, and is lost there."""
    mine, opposite = Group(), Group()
    loop._read(mine, opposite)  # type: ignore[arg-type]
    assert mine.network.reads + opposite.network.reads <= 5


def test_a_flood_costs_its_own_call_and_no_other() -> None:
    """The most that a step lets through, of every kind, for ten seconds: the call beside hears itself, each packet."""
    w = World().open().connect().open("other", port=20002).connect("other", host="198.51.100.9")
    w.do(SetLoopback("other", True)).do(SetLoopback("call", True))
    phone, other, rng = Phone(), Phone("other", ssrc=5), np.random.default_rng(3)
    other.source = ("198.51.100.9", 4000)
    said = np.rint(8000 * np.sin(2 * np.pi * 440 * np.arange(500 * FRAME) / 8000)).astype(np.int16)
    for k in range(500):
        games = [phone.build(0, rng.bytes(160), timestamp=int(rng.integers(0, 2**32))) for _ in range(2)]
        strange = [bytes([0x80, 0]) + rng.bytes(170), rng.bytes(int(rng.integers(0, 400)))]
        received = [Received("call", data, PHONE, w.now - 0.001) for data in games]
        received += [Received("call", data, STRANGER, w.now - 0.001) for data in strange]
        frame = said[FRAME * k : FRAME * (k + 1)]
        w.take([*received, Received("other", other.packet(frame), other.source, w.now - 0.001)])
    heard = w.spoken("other").astype(float)
    turns = np.exp(-2j * np.pi * 440 * np.arange(len(heard) - 8000) / 8000)
    assert 2 * abs(np.mean(heard[8000:] * turns)) > 7800
    assert len(w.packets("call")) == len(w.packets("other")) == 500
