"""`kind: scripted`: answers each turn with the next thing on its list. For tests of one's own bots and dialplans.

Works on a virtual clock: `run_virtual` from `gateway.core.loops` passes any delay in no time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from gateway.core.errors import ProviderError
from gateway.session.ports import AgentAct, Context, Finish, Prompted, Say

Turn: TypeAlias = str | ProviderError | Sequence[AgentAct | ProviderError]
"""A text to say, an error to raise, or the acts one after another, of which one may be an error too."""


class Options(msgspec.Struct, frozen=True):
    turns: tuple[str, ...] = ("Hello.", "I see.", "Goodbye.")
    """What it says, turn by turn; with the last one it finishes."""
    outcome: str = "done"
    delay_s: Annotated[float, Meta(ge=0)] = 0.0
    """Before each turn's first act."""


class ScriptedAgent:
    """Implements `Agent`. `prompted` is all it was told; turns beyond the script only finish, with `outcome`."""

    def __init__(self, turns: Iterable[Turn], *, outcome: str = "done", delay_s: float = 0.0) -> None:
        self._turns = iter([*turns])
        self._outcome, self._delay_s = outcome, delay_s
        self.prompted: list[Prompted] = []
        self.cancelled = 0

    async def respond(self, prompted: Prompted, context: Context) -> AsyncIterator[AgentAct]:
        self.prompted.append(prompted)
        turn = next(self._turns, (Finish(self._outcome),))
        try:
            await asyncio.sleep(self._delay_s)
            for act in _acts(turn):
                if isinstance(act, ProviderError):
                    raise act
                yield act
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise

    async def close(self) -> None:
        """Nothing is open."""


def _acts(turn: Turn) -> Sequence[AgentAct | ProviderError]:
    if isinstance(turn, str):
        return (Say(turn),)
    return (turn,) if isinstance(turn, ProviderError) else turn


def build(options: Options) -> ScriptedAgent:
    *turns, last = options.turns or ("",)
    return ScriptedAgent(
        [*turns, (Say(last), Finish(options.outcome))], outcome=options.outcome, delay_s=options.delay_s
    )
