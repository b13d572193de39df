"""The echo guard: echoes taken for callers, callers found over echoes and how soon, and what it costs.

    apt-get install libflite1 asterisk-core-sounds-en-wav
    python -m benchmarks.media_echo [--sounds DIR] [--seeds N]

The bot and the callers are four of flite's voices and, where they are installed, human prompts. Levels are of active
speech; the bot's is -20 dBFS. Delays are of the network: jitter buffers and packets add 40 ms to them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks._echoing_lines import Int16s, Line, Lines, echoes, flite, interruptions, monologue, recorded
from gateway.media.options import PlaneOptions

SECONDS = 10


def false_alarms(bots: Sequence[Sequence[Int16s]], seeds: int) -> None:
    found = {True: 0, False: 0}
    total = 0
    for seed in range(seeds):
        lines = echoes(bots, SECONDS, seed=seed)
        total += len(lines)
        for guard in (True, False):
            played = Lines(lines, PlaneOptions(slots=len(lines), echo_guard=guard)).run(SECONDS + 0.6)
            found[guard] += sum(map(len, played.began))
    print(
        f"echo alone, {total} lines of {SECONDS} s: speech began {found[True]} times, without the guard {found[False]}"
    )


def misses(pairs: Sequence[tuple[Sequence[Int16s], Sequence[Int16s]]]) -> None:
    for relative_db in (-6, 0, 6):
        for echo in (True, False):
            lines, onsets = interruptions(pairs, relative_db, each=5, echo=echo)
            delays = Lines(lines, PlaneOptions(slots=len(lines))).run(8).delays(onsets) * 1000
            missed = int((delays > 2000).sum())
            p50, p95, p99 = np.quantile(delays, [0.5, 0.95, 0.99])
            over = "over the echo" if echo else "without echo "
            late = f"ms p50 {p50:.0f}, p95 {p95:.0f}, p99 {p99:.0f}"
            print(f"caller {relative_db:+} dB {over}: {len(lines)} lines, missed {missed}, {late}")


def costs(bot: Sequence[Int16s], calls: int = 200, seconds: float = 8) -> None:
    rng = np.random.default_rng(1)
    for what, erl, speaks in (("bot silent", None, False), ("bot talks, no echo", None, True), ("echo", 12.0, True)):
        voice = monologue(rng, bot, seconds, -20) if speaks else np.zeros(int(8000 * seconds), np.int16)
        spent = []
        for guard in (True, False):
            lines = Lines([Line(voice, erl_db=erl)] * calls, PlaneOptions(slots=calls, echo_guard=guard))
            spent.append(_plane_us(lines, seconds))
        print(f"{what}: {spent[0]:.0f} us per call and second, without the guard {spent[1]:.0f}")


def _plane_us(lines: Lines, seconds: float) -> float:
    """Processor time of the plane's ticks alone."""
    spent, tick = 0.0, lines.plane.tick

    def timed(*arguments: object) -> object:
        nonlocal spent
        began = time.thread_time()
        done = tick(*arguments)  # type: ignore[arg-type]
        spent += time.thread_time() - began
        return done

    lines.plane.tick = timed  # type: ignore[method-assign,assignment]
    lines.run(seconds)
    return spent / len(lines.lines) / seconds * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sounds", type=Path, default=Path("/usr/share/asterisk/sounds/en_US_f_Allison"))
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    slt, rms, awb, kal = (flite(name) for name in ("slt", "rms", "awb", "kal"))
    bots, pairs = [slt, rms], [(slt, rms), (slt, awb), (rms, slt), (rms, kal)]
    if arguments.sounds.is_dir():
        human = recorded(arguments.sounds)
        bots.append(human)
        pairs += [(slt, human), (human, rms), (rms, human)]
    else:
        print(f"no human voices: no {arguments.sounds}")
    false_alarms(bots, arguments.seeds)
    misses(pairs)
    costs(slt)


if __name__ == "__main__":
    main()
