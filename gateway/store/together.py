"""Group commit: what arrives while one transaction is being written goes into the next, all of it together.

A transaction costs nearly the same for one append as for fifty, and calls append all the time. So nothing waits
when little happens, and when much happens the work per append shrinks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeAlias, TypeVar

Item = TypeVar("Item")
Outcome: TypeAlias = Exception | None

_MOST_TOGETHER = 200


class Together(Generic[Item]):
    """`write` gets the items in the order they came and says of each what became of it; if `write` itself raises,
    that is the outcome of them all."""

    def __init__(self, write: Callable[[Sequence[Item]], Awaitable[Sequence[Outcome]]]) -> None:
        self._write = write
        self._waiting: list[tuple[Item, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def add(self, item: Item) -> None:
        """Returns when the item is written and raises what became of it instead. A caller that is cancelled
        meanwhile changes nothing: the item is written all the same."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        await done

    async def finish(self) -> None:
        """Wait until nothing is waiting any more."""
        while self._writing is not None:
            await asyncio.wait([self._writing])

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_MOST_TOGETHER], self._waiting[_MOST_TOGETHER:]
                outcomes = await self._outcomes([item for item, _ in batch])
                for (_, done), outcome in zip(batch, outcomes, strict=True):
                    _settle(done, outcome)
        finally:
            self._writing = None

    async def _outcomes(self, items: Sequence[Item]) -> Sequence[Outcome]:
        try:
            return await self._write(items)
        except Exception as error:
            return [error] * len(items)


def _settle(done: asyncio.Future[None], outcome: Outcome) -> None:
    if done.done():  # its caller was cancelled
        return
    if outcome is None:
        done.set_result(None)
    else:
        done.set_exception(outcome)
