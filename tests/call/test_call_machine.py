"""The call machine: a dialplan's coroutine on a line, driven by hand under a clock that is just a number."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gateway.call import commands as c
from gateway.call.call import Call, CallOptions, Resumption
from gateway.call.control import Control
from gateway.core import events as e
from gateway.core.errors import ProviderError
from gateway.core.speech import Expectation
from gateway.dialplan.control import BotStep, Prompt

Steps = Callable[[Control], Coroutine[Any, Any, None]]


def a_call(steps: Steps, *, resumption: Resumption | None = None, **options: float) -> Call:
    async def program(control: Control, on_step: Callable[[str], None]) -> None:
        on_step("test/0:steps")
        await steps(control)

    control = Control(caller="1001", called="desk", headers={}, variables={})
    return Call("c-1", control, program, options=CallOptions(**options), resumption=resumption)


def kinds(commands: list[c.AnyCommand]) -> list[str]:
    return [type(command).__name__ for command in commands]


def recorded(commands: list[c.AnyCommand]) -> list[e.AnyEvent]:
    return [command.event for command in commands if isinstance(command, c.Record)]


async def ring_then_answer(control: Control) -> None:
    await control.ring()
    await control.wait(3.0)
    await control.answer()
    await control.loop_back()


def test_steps_run_up_to_their_first_wait_and_go_on_when_it_is_over() -> None:
    """A dialplan goes exactly as far as the line allows, and not a step further."""
    call = a_call(ring_then_answer)
    assert kinds(call.start(0.0)) == ["Record", "RingLine"]
    assert call.next_deadline() == 0.0
    assert call.on_deadline(0.0) == []
    assert call.next_deadline() == 3.0
    assert kinds(call.on_deadline(3.0)) == ["AnswerLine"]
    assert kinds(call.handle(c.LineAnswered("PCMU"), 3.1)) == ["Record", "LoopBack"]
    assert call.line == "up"


def test_answering_twice_answers_once() -> None:
    """`say` answers by itself; a dialplan that answers first loses nothing."""

    async def steps(control: Control) -> None:
        await control.answer()
        await control.answer()
        await control.say(Prompt("hello"))

    call = a_call(steps)
    call.start(0.0)
    assert kinds(call.handle(c.LineAnswered("PCMA"), 0.1)) == ["Record", "Say"]


def test_the_end_of_the_dialplan_hangs_up() -> None:
    """No caller is left on a line that nobody serves."""

    async def steps(control: Control) -> None:
        await control.say(Prompt("goodbye"))

    call = a_call(steps)
    call.start(0.0)
    call.handle(c.LineAnswered("PCMU"), 0.0)
    out = call.handle(c.Said(heard_whole=True), 2.0)
    assert out == [c.HangUpLine(), c.Release("hangup", "bot")]
    assert call.next_deadline() is None


def test_a_broken_action_costs_its_call_and_says_where() -> None:
    """An action is anybody's code: its fault is recorded with the step, and the caller is not left hanging."""

    async def steps(control: Control) -> None:
        await control.answer()
        raise ProviderError("no voice", category="unavailable", retryable=False)

    call = a_call(steps)
    call.start(0.0)
    out = call.handle(c.LineAnswered("PCMU"), 0.0)
    assert out[-2:] == [c.HangUpLine(), c.Release("error", "gateway")]
    [error] = [event for event in recorded(out) if isinstance(event, e.ErrorOccurred)]
    assert "test/0:steps" in error.message
    assert "no voice" in error.message


def test_a_caller_who_gives_up_early_ends_the_dialplan() -> None:
    """CANCEL: nothing is answered any more, and the coroutine is closed where it stands."""
    closed = []

    async def steps(control: Control) -> None:
        try:
            await control.wait(60.0)
        finally:
            closed.append(True)

    call = a_call(steps)
    call.start(0.0)
    assert call.handle(c.LineEnded("cancelled", "caller"), 1.0) == [c.Release("cancelled", "caller")]
    assert closed == [True]
    assert call.handle(c.LineAnswered("PCMU"), 1.1) == []


def test_rejecting_answers_with_the_status_and_nothing_else() -> None:
    """`reject` refuses a call that is still at the door."""

    async def steps(control: Control) -> None:
        await control.reject(486, "Busy Here")

    out = a_call(steps).start(0.0)
    assert out[1:] == [c.RejectLine(486, "Busy Here"), c.Release("rejected", "bot")]


def test_a_line_that_nobody_answered_is_not_up() -> None:
    """Whatever a line says of itself at the door: it is refused there, and the log tells of no answer."""

    async def steps(control: Control) -> None:
        await control.wait(1.0)
        await control.reject(486)

    call = a_call(steps)
    call.start(0.0)
    assert call.handle(c.LineAnswered("PCMU"), 0.5) == []
    assert call.on_deadline(1.0)[-2:] == [c.RejectLine(486), c.Release("rejected", "bot")]


def test_a_line_that_stays_silent_is_lost_and_one_that_recovers_is_not() -> None:
    """A dead line ends its call after the grace, so that the session can be resumed; a short gap harms nothing."""
    call = a_call(ring_then_answer, line_lost_after_s=20.0)
    call.start(0.0)
    call.on_deadline(0.0)
    call.on_deadline(3.0)
    call.handle(c.LineAnswered("PCMU"), 3.0)
    call.handle(c.LineSilent(True), 10.0)
    assert call.line_is_silent
    call.handle(c.LineSilent(False), 15.0)
    assert call.next_deadline() == 3600.0
    call.handle(c.LineSilent(True), 40.0)
    assert call.next_deadline() == 60.0
    assert call.on_deadline(60.0)[-1] == c.Release("line_lost", "caller")


def test_a_line_that_rings_need_carry_nothing() -> None:
    """Early media may be silent; once answered, the silence counts."""
    call = a_call(ring_then_answer, line_lost_after_s=20.0)
    call.start(0.0)
    call.handle(c.LineSilent(True), 1.0)
    assert call.next_deadline() == 0.0
    call.on_deadline(0.0)
    call.on_deadline(3.0)
    assert call.next_deadline() == 3600.0
    call.handle(c.LineAnswered("PCMU"), 30.0)
    assert call.next_deadline() == 50.0


@pytest.mark.parametrize("held_first", [True, False])
def test_a_held_line_need_carry_nothing(held_first: bool) -> None:
    """Many phones send nothing while they hold; whether the line is dead is known again when it is retrieved."""
    call = a_call(ring_then_answer, line_lost_after_s=20.0)
    call.start(0.0)
    call.on_deadline(0.0)
    call.on_deadline(3.0)
    call.handle(c.LineAnswered("PCMU"), 3.0)
    changes = [c.LineHeld(True), c.LineSilent(True)]
    for change in changes if held_first else reversed(changes):
        call.handle(change, 10.0)
    assert call.line_is_silent
    assert call.next_deadline() == 3600.0
    call.handle(c.LineHeld(False), 300.0)
    assert call.next_deadline() == 320.0
    call.handle(c.LineSilent(False), 300.1)
    assert call.next_deadline() == 3600.0


def test_no_dialplan_outlives_the_longest_call() -> None:
    """A loop in a dialplan cannot hold a line for ever."""
    call = a_call(ring_then_answer, max_s=5.0)
    call.start(0.0)
    call.on_deadline(0.0)
    call.on_deadline(3.0)
    call.handle(c.LineAnswered("PCMU"), 3.0)
    assert call.on_deadline(5.0) == [c.HangUpLine(), c.Release("limit", "gateway")]


def test_variables_are_recorded_as_they_are_set() -> None:
    """What a dialplan remembers survives the line: it goes into the session before the next wait."""

    async def steps(control: Control) -> None:
        control.set("language", "en")
        await control.wait(1.0)

    events = recorded(a_call(steps).start(0.0))
    assert events[1] == e.VariableSet(0.0, "c-1", "language", "en")


def test_the_first_conversation_of_a_call_back_is_told_of_the_return() -> None:
    """A call back greets as a return exactly once; a second conversation in the same call is new."""
    told: list[c.Converse] = []

    async def steps(control: Control) -> None:
        await control.converse(BotStep("flow"))
        await control.converse(BotStep("flow"))

    call = a_call(steps, resumption=Resumption("s-1", "desk/1:bot", 75.0))
    call.start(0.0)
    out = call.handle(c.LineAnswered("PCMU"), 0.2)
    out += call.handle(c.Finished("booked", {}), 9.0)
    told = [command for command in out if isinstance(command, c.Converse)]
    assert [(one.resumed, one.away_s) for one in told] == [(True, 75.0), (False, 0.0)]


@pytest.mark.parametrize("reason", ["shutdown", "limit"])
def test_stopping_a_call_at_the_door_refuses_it(reason: e.EndReason) -> None:
    """Who was not answered yet hears a refusal, not a hang-up."""
    call = a_call(ring_then_answer)
    call.start(0.0)
    out = call.handle(c.Stop(reason), 0.5)
    assert isinstance(out[0], c.RejectLine)
    assert out[-1] == c.Release(reason, "gateway")


def test_answers_reach_only_the_step_that_asked() -> None:
    """A late answer to a question that is over resumes nothing."""

    async def steps(control: Control) -> None:
        heard = await control.ask(Prompt("which day?"), Expectation(phrases=("monday",)))
        control.set("day", heard.text)
        await control.wait(10.0)

    call = a_call(steps)
    call.start(0.0)
    call.handle(c.LineAnswered("PCMU"), 0.0)
    assert call.handle(c.Said(True), 0.5) == []
    out = call.handle(c.Heard("monday", "", 0.9, silent=False), 3.0)
    assert recorded(out) == [e.VariableSet(3.0, "c-1", "day", "monday")]
    assert call.handle(c.Heard("tuesday", "", 0.9, silent=False), 4.0) == []
