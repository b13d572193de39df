"""Appends to the session store: how many a second, how long each takes, and what they cost, by calls at once."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from gateway.core.events import UserTurnEnded
from gateway.store import Identity, Numbered, SessionStore, open_store

CALLS = (1, 20, 200)
APPENDS = 4000


async def call(store: SessionStore, name: str, appends: int) -> list[float]:
    """The seconds each append of one call took; the next one follows at once."""
    await store.create(name, Identity(name, "100"), now=0.0)
    took = []
    for sequence in range(1, appends + 1):
        event = UserTurnEnded(at=float(sequence), call=name, turn=sequence, text="on Thursday in the morning, please")
        began = time.perf_counter()
        await store.append(name, [Numbered(sequence, event)], now=float(sequence))
        took.append(time.perf_counter() - began)
    return took


async def measure(url: str, calls: int) -> str:
    store = open_store(url)
    await store.open()
    began, began_cpu = time.perf_counter(), time.process_time()
    per_call = await asyncio.gather(*(call(store, f"{calls}-{n}", APPENDS // calls) for n in range(calls)))
    elapsed, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    await store.close()
    took = [seconds for one in per_call for seconds in one]
    return (
        f"{calls:4} calls: {len(took) / elapsed:8,.0f} appends/s   "
        f"median {statistics.median(took) * 1e3:6.2f} ms   p99 {statistics.quantiles(took, n=100)[98] * 1e3:6.2f} ms   "
        f"CPU {cpu / len(took) * 1e6:5.0f} us each"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="a store to measure instead of SQLite in a temporary folder")
    url = parser.parse_args().url
    with tempfile.TemporaryDirectory() as folder:
        for calls in CALLS:
            print("  ", asyncio.run(measure(url or f"sqlite:///{Path(folder) / 'sessions.db'}", calls)), flush=True)


if __name__ == "__main__":
    main()
