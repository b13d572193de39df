"""A session outlives its call: hung up, dropped, or lost with the whole gateway. Everything is real but the caller."""

from __future__ import annotations

from pathlib import Path

import pytest
from call_bundle import CallBundle
from callers import (
    IS_THAT_RIGHT,
    MORNING_OR_AFTERNOON,
    WHAT_TO_DO,
    WHICH_DAY,
    WHICH_SERVICE,
    answer,
    dial,
    line,
    slots,
    soon,
)
from gateway_process import NO_WORDS, QUICK, GatewayProcess
from waiting import wait_until

from gateway.app.phone import Phone, PhoneLine
from gateway.core.clock import SystemClock

pytestmark = pytest.mark.interop

ASKED_FOR_THE_SERVICE = f"Which service would you like? {WHICH_SERVICE}"


async def to_the_service(
    line: PhoneLine, gateway: GatewayProcess, caller: str, call_number: int = 1
) -> tuple[Phone, CallBundle]:
    """A call which has told the desk what to do, and is being asked for the service."""
    phone = await dial(line, gateway, "desk", caller)
    call = await soon(gateway.call, call_number)
    await soon(call.wait, "UtteranceStarted")
    await phone.press("1")
    await soon(call.wait, "AgentReplied", text=ASKED_FOR_THE_SERVICE)
    assert slots(call) == {"task": "book"}
    return phone, call


async def expect_resumed(gateway: GatewayProcess, call_number: int, earlier: CallBundle) -> CallBundle:
    """The `call_number`-th call goes on with the session of `earlier`: a welcome, what is known, the same question."""
    call = await soon(gateway.call, call_number)
    await soon(call.wait, "AgentReplied", text=f"Welcome back. So far I have: a booking. {ASKED_FOR_THE_SERVICE}")
    assert session_of(call) == session_of(earlier)
    assert call.find("SessionResumed")
    assert slots(call) == {"task": "book"}
    return call


def stored_slots(gateway: GatewayProcess, call: CallBundle) -> list[dict[str, str]]:
    """What the store holds of what the desk's agent has kept, from the first to the last."""
    events = gateway.stored(session_of(call))
    return [event["state"]["slots"] for event in events if event["type"] == "AgentRemembered"]


def session_of(call: CallBundle) -> str:
    return str((call.find("SessionStarted") or call.find("SessionResumed"))[0]["session"])


async def expect_afresh(gateway: GatewayProcess, call_number: int) -> CallBundle:
    call = await soon(gateway.call, call_number)
    replied = await soon(call.wait, "AgentReplied")
    assert replied["text"] == f"Hello, this is the appointment desk. {WHAT_TO_DO}"
    assert not call.find("SessionResumed")
    assert slots(call) == {}
    return call


def expect_all_stored(gateway: GatewayProcess, *calls: CallBundle) -> None:
    """The session holds every event of its calls, once and in order, whatever ended them."""
    happened = [(event["type"], event["at"]) for call in calls for event in call.events]

    def stored() -> list[tuple[str, float]]:
        return [(event["type"], event["at"]) for event in gateway.stored(session_of(calls[0]))]

    wait_until(lambda: stored()[-1] == happened[-1], within_s=5)
    assert stored() == happened


async def test_a_caller_who_hung_up_goes_on_where_they_stopped(gateway: GatewayProcess, number: str) -> None:
    """Same question, slots kept, and the dialogue can be brought to its end. After that, nothing is resumed."""
    async with line() as phones:
        phone, first = await to_the_service(phones, gateway, number)
        await phone.hang_up()
        ended = await soon(gateway.ended, first)
        assert (ended["reason"], ended["by"]) == ("hangup", "caller")

        phone = await dial(phones, gateway, "desk", number)
        second = await expect_resumed(gateway, 2, first)
        for digit, question in (("1", WHICH_DAY), ("4", MORNING_OR_AFTERNOON), ("1", IS_THAT_RIGHT)):
            await phone.press(digit)
            await soon(second.wait_replied, question)
        await answer(phone, second, IS_THAT_RIGHT, "yes")
        completed = await soon(second.wait, "DialogueCompleted")
        assert completed["outcome"] == "booked"
        assert completed["data"] == {"task": "book", "service": "haircut", "day": "thursday", "half": "morning"}
        assert await phone.until_ended(within_s=10)
        await phone.hang_up()
        await soon(gateway.ended, second)

        phone = await dial(phones, gateway, "desk", number)
        await expect_afresh(gateway, 3)
        await soon(expect_all_stored, gateway, first, second)


async def test_a_caller_who_redials_at_once_loses_nothing(gateway: GatewayProcess, number: str) -> None:
    """However short the way from the last word to the next call: the session is there, with all that was said."""
    async with line() as phones:
        phone, first = await to_the_service(phones, gateway, number)
        for again in (2, 3, 4):
            await phone.hang_up()
            phone = await dial(phones, gateway, "desk", number)
            await expect_resumed(gateway, again, first)
        await phone.hang_up()
        calls = [await soon(gateway.call, one) for one in (1, 2, 3, 4)]
        await soon(gateway.ended, calls[-1])
        await soon(expect_all_stored, gateway, *calls)


async def test_a_line_that_died_is_taken_over_before_the_old_call_ends(gateway: GatewayProcess, number: str) -> None:
    """No goodbye, no media: the caller need not wait until the gateway has given the old call up."""
    async with line() as phones:
        phone, first = await to_the_service(phones, gateway, number)
        await phone.vanish()
        await soon(first.wait, "LineFellSilent")
        assert not gateway.find("call.ended")
        phone = await dial(phones, gateway, "desk", number)
        second = await expect_resumed(gateway, 2, first)
        assert (await soon(gateway.ended, first))["reason"] == "line_lost"
        await phone.hang_up()
        await soon(gateway.ended, second)
        await soon(expect_all_stored, gateway, first, second)


async def test_a_gateway_killed_in_mid_call_remembers(tmp_path: Path, number: str) -> None:
    """kill -9, a new gateway on the same data: the caller is greeted as a return. No worker outlives its gateway."""
    data = tmp_path / "data"
    async with line() as phones:
        with GatewayProcess(data, config=QUICK, leave=True) as gateway:
            phone, first = await to_the_service(phones, gateway, number)
            await soon(wait_until, lambda: {"task": "book"} in stored_slots(gateway, first), within_s=2)
            gateway.kill_alone()
            assert not gateway.orphans()
            await phone.vanish()
        with GatewayProcess(data, config=QUICK) as gateway:
            await dial(phones, gateway, "desk", number)
            await expect_resumed(gateway, 1, first)


async def test_only_the_same_caller_is_taken_for_the_same(gateway: GatewayProcess, number: str) -> None:
    """Another number starts afresh; so does a withheld one, even after another withheld one."""
    async with line() as phones:
        phone, _ = await to_the_service(phones, gateway, number)
        await phone.hang_up()
        phone = await dial(phones, gateway, "desk", f"{number}9")
        await expect_afresh(gateway, 2)
        await phone.hang_up()
        phone, withheld = await to_the_service(phones, gateway, "anonymous", 3)
        assert withheld.find("CallStarted")[0]["caller"] == ""
        await phone.hang_up()
        phone = await dial(phones, gateway, "desk", "anonymous")
        await expect_afresh(gateway, 4)


async def test_a_session_is_kept_only_so_long(tmp_path: Path, number: str) -> None:
    """A call back after the configured window starts afresh; one within it does not."""
    window_s = 2.0
    config = f"{QUICK}[session]\nresume_within_s = {window_s}\n"
    with GatewayProcess(tmp_path / "data", config=config) as gateway:
        async with line() as phones:
            phone, first = await to_the_service(phones, gateway, number)
            await phone.hang_up()
            phone = await dial(phones, gateway, "desk", number)
            second = await expect_resumed(gateway, 2, first)
            await phone.hang_up()
            over = await soon(second.wait, "CallEnded")
            await SystemClock().sleep_until(over["at"] + window_s + 0.2)
            await dial(phones, gateway, "desk", number)
            await expect_afresh(gateway, 3)


async def test_a_route_that_ran_to_its_end_begins_anew(tmp_path: Path) -> None:
    """Nobody who calls an announcement twice is resumed at its end."""
    plan = tmp_path / "plan.yaml"
    plan.write_text("routes:\n  news:\n    match: {}\n    steps: [answer, {wait: 200ms}, hangup]\n")
    with GatewayProcess(tmp_path / "data", "--dialplan", str(plan), config=NO_WORDS) as gateway:
        for number in (1, 2):
            async with line() as phones:
                phone = await dial(phones, gateway, "news")
                assert await phone.until_ended(within_s=5)
            call = await soon(gateway.call, number)
            ended = await soon(gateway.ended, call)
            assert (ended["reason"], ended["by"], ended["resumed"]) == ("hangup", "bot", False)


async def test_a_caller_who_was_waiting_is_picked_up_again(tmp_path: Path) -> None:
    """A step that needs nobody on the line is gone on with there, and not before the door."""
    plan = tmp_path / "plan.yaml"
    plan.write_text("routes:\n  hall:\n    match: {}\n    steps: [{ring: 100ms}, answer, {wait: 60s}]\n")
    with GatewayProcess(tmp_path / "data", "--dialplan", str(plan), config=NO_WORDS) as gateway:
        for number in (1, 2):
            async with line() as phones:
                phone = await dial(phones, gateway, "hall")
                call = await soon(gateway.call, number)
                await soon(call.wait, "StepEntered", step="hall/2:wait")
                await phone.hang_up()
            ended = await soon(gateway.ended, call)
            assert (ended["reason"], ended["by"], ended["resumed"]) == ("hangup", "caller", number == 2)
            assert call.find("CallAnswered")
