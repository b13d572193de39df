"""Recordings that only an agent names are read before it is heard that it wants them said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from gateway.app.prompts import PromptShelf
from gateway.replay.recorded import closing
from gateway.session.ports import Agent, AgentAct, Context, Prompted, Say


class ReadingAgent:
    """An `Agent` whose prompts no call waits for but its own: the first to name a long one stopped all others."""

    def __init__(self, agent: Agent, shelf: PromptShelf) -> None:
        self._agent, self._shelf = agent, shelf
        self.name = getattr(agent, "name", type(agent).__module__.rpartition(".")[2])

    async def respond(self, prompted: Prompted, context: Context) -> AsyncIterator[AgentAct]:
        async with closing(self._agent.respond(prompted, context)) as answers:
            async for act in answers:
                if isinstance(act, Say) and act.prompt is not None and not self._shelf.knows(act.prompt):
                    await asyncio.to_thread(self._shelf.read_ahead, [act.prompt])
                yield act

    async def close(self) -> None:
        await self._agent.close()
