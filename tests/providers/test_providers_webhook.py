"""The webhook agent against a program that listens on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.core.errors import ProviderError
from gateway.core.speech import Expectation
from gateway.providers.load import build_agent
from gateway.session.ports import (
    Agent,
    AgentAct,
    CallerSaid,
    Context,
    Expect,
    Finish,
    Message,
    Opened,
    Prompted,
    Remember,
    Say,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Program:
    """Somebody's bot: keeps the questions, answers by `handler`."""

    def __init__(self) -> None:
        self.questions: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.handler: Handler = self.acts()
        self.dropped = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.questions.append(await request.json())
        self.headers.append(dict(request.headers))
        return await self.handler(request)

    @staticmethod
    def acts(*acts: Any) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            return web.json_response({"acts": list(acts)})

        return handler

    @staticmethod
    def plain(text: str, status: int = 200) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            return web.Response(text=text, status=status)

        return handler

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        await response.write(b'{"type": "Say", "text": "One moment."}\n\n')
        try:
            await asyncio.Event().wait()
        finally:
            self.dropped.set()
        return response


@pytest.fixture
async def program() -> AsyncIterator[Program]:
    program = Program()
    app = web.Application()
    app.router.add_post("/turn", program.answer)
    async with TestServer(app, handler_cancellation=True) as server:
        program.url = str(server.make_url("/turn"))  # type: ignore[attr-defined]
        yield program


@pytest.fixture
async def agent(program: Program) -> AsyncIterator[Agent]:
    options = {"url": program.url, "authorization": "Bearer s3cret", "reply_within_s": 0.3}  # type: ignore[attr-defined]
    agent = build_agent("webhook", options)
    yield agent
    await agent.close()


CONTEXT = Context(
    call="c1", caller="anna", called="100", history=[Message("agent", "Hello."), Message("user", "friday")],
    state={"asked": "day"}, variables={"lang": "en"}, options={"shop": 7},
)  # fmt: skip


async def answer(agent: Agent, prompted: Prompted) -> list[AgentAct]:
    return [act async for act in agent.respond(prompted, CONTEXT)]


async def test_the_question_holds_all_that_an_agent_is_told(program: Program, agent: Agent) -> None:
    """The documented JSON, with the secret in the header."""
    await answer(agent, CallerSaid("friday", interrupted=True))
    assert program.questions == [
        {
            "call": "c1",
            "caller": "anna",
            "called": "100",
            "turn": {"type": "CallerSaid", "text": "friday", "digits": "", "confidence": 1.0, "interrupted": True},
            "history": [{"role": "agent", "text": "Hello."}, {"role": "user", "text": "friday"}],
            "state": {"asked": "day"},
            "variables": {"lang": "en"},
            "options": {"shop": 7},
        }
    ]
    assert program.headers[0]["Authorization"] == "Bearer s3cret"


async def test_all_acts_can_be_answered(program: Program, agent: Agent) -> None:
    """As in the provider's documentation."""
    program.handler = Program.acts(
        {"type": "Say", "text": "Which day?"},
        {"type": "Expect", "expectation": {"phrases": ["monday"], "digits_max": 1, "timeout_s": 8}},
        {"type": "Remember", "state": {"asked": "day"}},
        {"type": "Finish", "outcome": "booked", "data": {"day": "monday"}},
    )
    assert await answer(agent, Opened()) == [
        Say("Which day?"),
        Expect(Expectation(phrases=("monday",), digits_max=1, timeout_s=8)),
        Remember({"asked": "day"}),
        Finish("booked", {"day": "monday"}),
    ]


async def test_lines_are_spoken_as_they_arrive_and_closing_drops_the_request(program: Program, agent: Agent) -> None:
    """The caller hears the first sentence while the program still thinks, and may interrupt it."""
    program.handler = program.stream
    acts = agent.respond(Opened(), CONTEXT)
    assert await anext(acts) == Say("One moment.")
    await acts.aclose()  # type: ignore[attr-defined]
    await asyncio.wait_for(program.dropped.wait(), 5)


@pytest.mark.parametrize(
    ("status", "category", "retryable"),
    [
        (400, "bad_request", False),
        (401, "auth", False),
        (404, "bad_request", False),
        (429, "quota", True),
        (500, "unavailable", True),
        (504, "timeout", True),
    ],
)
async def test_a_status_says_what_is_wrong(
    program: Program, agent: Agent, status: int, category: str, retryable: bool
) -> None:
    """So that the conversation knows whether to try again."""
    program.handler = Program.plain("no", status)
    with pytest.raises(ProviderError, match=str(status)) as caught:
        await answer(agent, Opened())
    assert (caught.value.category, caught.value.retryable) == (category, retryable)


@pytest.mark.parametrize(
    "text", ["", "no JSON", '{"acts": 1}', '{"acts": [{"type": "Sing"}]}', json.dumps({"acts": [{"text": "x"}]})]
)
async def test_an_answer_that_is_none_is_refused(program: Program, agent: Agent, text: str) -> None:
    """The message says where; asking again would not help."""
    program.handler = Program.plain(text)
    with pytest.raises(ProviderError, match="no list of acts") as caught:
        await answer(agent, Opened())
    assert (caught.value.category, caught.value.retryable) == ("bad_request", False)


async def test_a_program_that_hangs_is_not_waited_for(program: Program, agent: Agent) -> None:
    """`reply_within_s` without a byte is a time-out, at the start and in the middle."""

    async def hang(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    program.handler = hang
    with pytest.raises(ProviderError) as caught:
        await answer(agent, Opened())
    assert caught.value.category == "timeout"
    program.handler = program.stream
    with pytest.raises(ProviderError) as caught:
        await answer(agent, Opened())
    assert (caught.value.category, caught.value.retryable) == ("timeout", True)


async def test_nobody_there_is_a_network_error() -> None:
    """Worth another try: the program may be restarting."""
    agent = build_agent("webhook", {"url": "http://127.0.0.1:9/turn"})
    with pytest.raises(ProviderError) as caught:
        await answer(agent, Opened())
    await agent.close()
    assert (caught.value.category, caught.value.retryable) == ("network", True)
