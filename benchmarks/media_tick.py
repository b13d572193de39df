"""What a tick of the plane costs without sockets: `python -m benchmarks.media_tick --calls 50 250 500`.

Every call talks and is talked to all the time. CPU time of this process alone, so that it can be measured on a busy
machine; `--profile` shows where it goes.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import statistics
import sys
import time

import numpy as np

from benchmarks._media_load import SIZE, Callers, bot_speech
from gateway.core.ids import SeededIds
from gateway.media.commands import ConnectLeg, Listen, OpenLeg, QueueAudio
from gateway.media.datagrams import Received, Usual
from gateway.media.plane import TICK_S, MediaPlane, PlaneOptions
from gateway.media.vad import SileroVad
from gateway.media.worker.link import worker_environment

_WARM_UP = 60
_ROUND = 16
"""Ticks: two rounds of the detector's windows."""


class Bench:
    """One plane with `calls` legs, and the packets it will get."""

    def __init__(self, calls: int, ticks: int, *, detect: bool, guard: bool, talk: float) -> None:
        self._ticks = ticks
        self._names = [f"call{k}" for k in range(calls)]
        self._plane = MediaPlane(
            PlaneOptions(slots=calls, echo_guard=guard), SeededIds(1), SileroVad(calls) if detect else None
        )
        self._now = 1000.0
        speech = bot_speech()
        seconds = (_WARM_UP + ticks) * TICK_S
        for k, name in enumerate(self._names):
            self._plane.command(OpenLeg(name), self._now, port=10000 + 2 * k)
            self._plane.command(ConnectLeg(name, "127.0.0.1", 10000 + k, "PCMU", 0, 101), self._now)
            self._plane.command(Listen(name, "ulaw_8k"), self._now)
            said = np.resize(np.roll(speech, 999 * k), int(8000 * seconds)).astype(np.int16)
            self._plane.command(QueueAudio(name, 1, said.tobytes(), last=True), self._now)
        self._sources = [("127.0.0.1", 10000 + k) for k in range(calls)]
        self._callers, self._frames = Callers(calls, talk), int(seconds / TICK_S)

    def run(self) -> list[float]:
        """CPU seconds of each tick after the warm-up."""
        spent: list[float] = []
        rows = [self._plane.table.legs[name].row for name in self._names]
        for frame in range(self._frames):
            data = self._callers.packets(frame).tobytes()
            received = [data[SIZE * k : SIZE * k + SIZE] for k in range(len(rows))]
            at = [self._now - 0.01] * len(rows)
            before = time.process_time()
            self._plane.depart(self._now)
            if len(spent) == 0:  # the first packets tell who sends
                odd = zip(self._names, received, self._sources, at, strict=True)
                self._plane.receive(self._now, [Received(*one) for one in odd])
            else:
                self._plane.receive(self._now, [], Usual.of(rows, received, at))
            spent.append(time.process_time() - before)
            self._now += TICK_S
        return spent[_WARM_UP:]


def measure(calls: int, arguments: argparse.Namespace, *, detect: bool, guard: bool) -> float:
    """Microseconds per call and second."""
    spent = Bench(calls, arguments.ticks, detect=detect, guard=guard, talk=arguments.talk).run()
    rounds = [sum(spent[k : k + _ROUND]) for k in range(0, len(spent), _ROUND)]
    return 1e6 * statistics.median(rounds) / _ROUND * 50 / calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, nargs="+", default=[50, 250, 500])
    parser.add_argument("--ticks", type=int, default=240)
    parser.add_argument("--talk", type=float, default=1.0, help="part of the time each caller speaks, 0 to 1")
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        # As in a worker; the library of the matrix products reads this when it is loaded.
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.media_tick", *sys.argv[1:]], worker_environment())
    if arguments.profile:
        bench = Bench(arguments.calls[0], arguments.ticks, detect=True, guard=True, talk=arguments.talk)
        profile = cProfile.Profile()
        profile.runcall(bench.run)
        pstats.Stats(profile).sort_stats("tottime").print_stats(35)
        return
    print("calls    us of CPU per call and second: plane, with detection, with echo guard too")
    for calls in arguments.calls:
        settings = (
            {"detect": False, "guard": False},
            {"detect": True, "guard": False},
            {"detect": True, "guard": True},
        )
        costs = [measure(calls, arguments, **setting) for setting in settings]
        print(f"{calls:5}  ", *(f"{cost:6.0f}" for cost in costs), flush=True)


if __name__ == "__main__":
    main()
