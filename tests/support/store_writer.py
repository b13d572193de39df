"""A process that appends for ever and says so: `python store_writer.py URL` prints each acknowledged sequence.

The tests kill it, or take its disk away, and look at what it had been promised.
"""

from __future__ import annotations

import asyncio
import resource
import sys

from gateway.core.errors import StoreError
from gateway.core.events import VariableSet
from gateway.store import Identity, Numbered, open_store

SESSION = "s1"
CALLER = Identity(caller="+4930123", called="100")
BATCH = 3


async def write(url: str) -> None:
    store = open_store(url)
    await store.open()
    await store.create(SESSION, CALLER, now=0.0)
    sequence = 0
    while True:
        batch = [Numbered(sequence + n, event(sequence + n)) for n in range(1, BATCH + 1)]
        try:
            await store.append(SESSION, batch, now=float(sequence))
        except StoreError as error:
            print("refused", error, flush=True)
            break
        sequence += BATCH
        print("stored", sequence, flush=True)
    await store.close()


def event(sequence: int) -> VariableSet:
    return VariableSet(at=float(sequence), call="c1", name=f"n{sequence}", value="x" * 200)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        limit = int(sys.argv[2])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    asyncio.run(write(sys.argv[1]))
