"""Group commit: nobody waits for company, everybody travels with whoever is there, and each hears of his own fate."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from virtual_time import elapse
from waiting import turns

from gateway.core.errors import SessionError, StoreError
from gateway.core.loops import run_virtual
from gateway.store.together import Outcome, Together


class Ferry:
    """Takes one second to cross and writes down who was aboard."""

    def __init__(self) -> None:
        self.crossings: list[tuple[str, ...]] = []
        self.sinks = False
        self.together = Together(self.cross)

    async def cross(self, items: Sequence[str]) -> Sequence[Outcome]:
        self.crossings.append(tuple(items))
        await elapse(1.0)
        if self.sinks:
            raise StoreError("sunk")
        return [SessionError(item, code="session_not_found") if item == "stowaway" else None for item in items]


def test_what_comes_while_one_is_written_goes_together_next() -> None:
    """The first leaves at once and alone; all who came meanwhile share the next, in the order they came."""

    async def main() -> list[tuple[str, ...]]:
        ferry = Ferry()
        first = asyncio.create_task(ferry.together.add("anna"))
        await elapse(0.5)
        await asyncio.gather(first, *(ferry.together.add(name) for name in ("bert", "carl", "dora")))
        assert asyncio.get_running_loop().time() == 2.0
        return ferry.crossings

    assert run_virtual(main()) == [("anna",), ("bert", "carl", "dora")]


def test_each_hears_what_became_of_his_own() -> None:
    """One bad item does not spoil the trip for the others."""

    async def main() -> list[object]:
        ferry = Ferry()
        names = ("anna", "stowaway", "bert")
        return await asyncio.gather(*(ferry.together.add(name) for name in names), return_exceptions=True)

    outcomes = run_virtual(main())
    assert [type(outcome) for outcome in outcomes] == [type(None), SessionError, type(None)]


def test_a_failed_batch_fails_for_all_of_it_and_for_nobody_later() -> None:
    """The transaction as a whole did not come about: all its items hear so, and the next one starts clean."""

    async def main() -> None:
        ferry = Ferry()
        ferry.sinks = True
        both = (ferry.together.add("anna"), ferry.together.add("bert"))
        assert [str(outcome) for outcome in await asyncio.gather(*both, return_exceptions=True)] == ["sunk", "sunk"]
        ferry.sinks = False
        await ferry.together.add("carl")

    run_virtual(main())


def test_a_cancelled_caller_changes_nothing() -> None:
    """Who gives up waiting is written all the same, and the others of the batch do not notice."""

    async def main() -> list[tuple[str, ...]]:
        ferry = Ferry()
        anna = asyncio.create_task(ferry.together.add("anna"))
        bert = asyncio.create_task(ferry.together.add("bert"))
        await elapse(0.5)
        anna.cancel()
        await bert
        with pytest.raises(asyncio.CancelledError):
            await anna
        return ferry.crossings

    assert run_virtual(main()) == [("anna", "bert")]


def test_finish_waits_for_everything_begun() -> None:
    """Closing loses nothing that was handed over, however many batches that takes."""

    async def main() -> int:
        ferry = Ferry()
        adding = [asyncio.create_task(ferry.together.add(str(number))) for number in range(450)]
        await turns()
        await ferry.together.finish()
        await asyncio.gather(*adding)
        return sum(len(crossing) for crossing in ferry.crossings)

    assert run_virtual(main()) == 450
