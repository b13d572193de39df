"""What every agent promises (`Agent`), held against every file in `providers/agent`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Any, cast, get_args

import msgspec
import pytest
from provider_cases import cases

from gateway.core.errors import ProviderError
from gateway.core.loops import run_virtual
from gateway.providers.load import build_agent
from gateway.session.ports import Agent, AgentAct, CallerSaid, CallerSilent, Context, Finish, Opened, Prompted

pytestmark = pytest.mark.parametrize(("kind", "options"), cases("agent"))

PROMPTS: list[Prompted] = [
    Opened(),
    CallerSaid("yes"),
    CallerSaid("", digits="12"),
    CallerSaid("xyzzy", confidence=0.1, interrupted=True),
    CallerSaid(""),
    CallerSilent(1),
    CallerSilent(2),
    Opened(resumed=True, away_s=12.0),
]

FLOW = {
    "slots": {"day": {"choices": {"monday": "monday", "friday": "friday"}}},
    "nodes": {"day": {"node": "ask", "ask": "Which day?"}, "end": {"node": "finish", "finish": "done"}},
}


def context() -> Context:
    return Context(call="c1", caller="anna", called="100", options={"flow": FLOW})


async def acts(agent: Agent, prompted: Prompted, told: Context) -> list[AgentAct]:
    """A failure is allowed if it is a `ProviderError`: there may be no network behind the agent."""
    done: list[AgentAct] = []
    with suppress(ProviderError):
        async for act in agent.respond(prompted, told):
            done += [act]
    return done


def test_every_prompt_is_answered_with_acts(kind: str, options: dict[str, Any]) -> None:
    """Whatever happens, acts of the port come or a `ProviderError`; after `Finish` nothing more."""

    async def scenario() -> None:
        agent = build_agent(kind, options)
        told = context()
        for prompted in PROMPTS:
            done = await acts(agent, prompted, told)
            assert all(isinstance(act, get_args(AgentAct)) for act in done)
            assert not any(isinstance(act, Finish) for act in done[:-1])
        await agent.close()

    run_virtual(scenario())


def test_what_is_to_be_remembered_can_be_stored(kind: str, options: dict[str, Any]) -> None:
    """The state an agent asks to keep survives being written as JSON and read back."""

    async def scenario() -> None:
        agent = build_agent(kind, options)
        told = context()
        for prompted in PROMPTS:
            for act in await acts(agent, prompted, told):
                state = getattr(act, "state", None)
                if state is not None:
                    assert msgspec.json.decode(msgspec.json.encode(state)) == state
                    told.state = state
        await agent.close()

    run_virtual(scenario())


def test_closing_the_iterator_cancels(kind: str, options: dict[str, Any]) -> None:
    """Before the first act and after it; the agent answers again afterwards, and `close` is safe twice."""

    async def scenario() -> None:
        agent = build_agent(kind, options)
        unread = cast(AsyncGenerator[AgentAct], agent.respond(Opened(), context()))
        await unread.aclose()
        begun: AsyncIterator[AgentAct] = agent.respond(Opened(), context())
        with suppress(ProviderError, StopAsyncIteration):
            await anext(begun)
        await cast(AsyncGenerator[AgentAct], begun).aclose()
        await acts(agent, Opened(), context())
        await agent.close()
        await agent.close()

    run_virtual(scenario())
