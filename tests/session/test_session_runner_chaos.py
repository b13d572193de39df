"""The shell with providers that fail in every way at once: no exception escapes, no task survives, nobody waits."""

from __future__ import annotations

import asyncio
from typing import Any

from fakes import AWAY, BREAK, HANG, Ear, Mind, Room, Voice
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from virtual_time import elapse
from waiting import turns

from gateway.core import events as e
from gateway.core.errors import ProviderError
from gateway.core.loops import run_virtual
from gateway.core.speech import Expectation
from gateway.session.conversation import ConversationOptions
from gateway.session.memory import fold
from gateway.session.ports import Expect, Finish, Opened, Prompted, Remember, Say

TROUBLE = st.sampled_from([HANG, BREAK, AWAY, ProviderError("key", category="auth", retryable=False)])
ACTS = st.one_of(
    st.sampled_from([Say("One two three. "), Say("four five"), Say("Stored.", "prompt"), Remember({"n": 1}), 0.3, 2.5]),
    st.sampled_from([Expect(Expectation(digits_max=2)), Expect(Expectation(phrases=("yes",))), Finish("done")]),
    TROUBLE,
)
EAR = st.one_of(st.sampled_from(["yes", "uh-huh", "", "please book a table"]), TROUBLE)
CALLER = st.lists(st.sampled_from([("speaks", 0.3), ("speaks", 1.2), ("presses", 0.0), ("waits", 1.0), ("waits", 6.0)]))
OPTIONS = ConversationOptions(reply_within_s=2.0, filler="Well.", filler_after_s=1.0, preempt="if_similar")


@settings(max_examples=60, deadline=None)
@given(
    replies=st.lists(st.lists(ACTS, max_size=5), max_size=8),
    hears=st.lists(EAR, max_size=8),
    interim=st.lists(st.sampled_from(["y", "yes", "please book"]), max_size=3),
    voices=st.lists(st.one_of(st.none(), TROUBLE), max_size=12),
    after_words=st.integers(0, 2),
    caller=CALLER,
    asks=st.booleans(),
)
def test_a_call_survives_its_providers(
    replies: list[list[Any]],
    hears: list[Any],
    interim: list[str],
    voices: list[Any],
    after_words: int,
    caller: list[tuple[str, float]],
    asks: bool,
) -> None:
    """Whatever fails, whenever: the call is told of an end or goes on, and leaves nothing behind."""

    async def call() -> None:
        script = iter(replies)

        def answer(prompted: Prompted) -> list[Any]:
            return next(script, [Say("Goodbye."), Finish("done")])

        room = Room(
            ear=Ear(*hears, interim=tuple(interim)),
            voice=Voice(*voices, after_words=after_words),
            mind=Mind(answer),
            options=OPTIONS,
            prompts=lambda name: b"\x01\x00" * 800 if name == "prompt" else None,
        )
        if asks:
            room.runner.ask("Which day would you like to come?", None, Expectation(timeout_s=4.0), "on")
        else:
            room.runner.converse("", {}, Opened(), "on")
        for deed, seconds in caller:
            if deed == "speaks":
                await room.speaks(seconds)
            elif deed == "presses":
                room.runner.handle(e.DigitPressed(room.clock.now(), "call", "1", 100))
            else:
                await elapse(seconds)
        await elapse(150)
        assert len(room.outcomes) == 1, "three silences, a farewell or an answer end every exchange by now"
        await room.leave()
        await turns()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert fold(room.events).history == room.context.history
        assert room.mind.closed == len(room.mind.asked)
        assert not room.line.held

    with capture_logs():
        run_virtual(call())
