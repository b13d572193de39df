"""Whatever comes of line and conversation, in whatever order: a call ends once, and is still afterwards."""

from collections.abc import Callable
from itertools import pairwise
from typing import cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.call import commands as c
from gateway.call.call import Call, CallOptions
from gateway.call.control import Control
from gateway.core import events as e
from gateway.core.errors import PeerError
from gateway.core.speech import Expectation
from gateway.dialplan.control import BotStep, Prompt, TransferMode, TransferStep

ACTIONS = (
    "ring",
    "answer",
    "wait",
    "say",
    "ask",
    "converse",
    "echo",
    "tone",
    "press",
    "set",
    "blind",
    "attended",
    "bridge",
    "hang_up",
    "reject",
    "break",
)


async def run_action(control: Control, action: str) -> None:
    match action:
        case "ring":
            await control.ring()
        case "answer":
            await control.answer()
        case "wait":
            await control.wait(2.0)
        case "say":
            await control.say(Prompt("hello"))
        case "ask":
            await control.ask(Prompt("which?"), Expectation())
        case "converse":
            await control.converse(BotStep("flow"))
        case "echo":
            await control.loop_back(3.0)
        case "tone":
            await control.tone(440.0, seconds=1.0)
        case "press":
            await control.press("12")
        case "set":
            control.set("name", "value")
        case "blind" | "attended" | "bridge":
            await control.transfer(TransferStep("100", cast(TransferMode, action), ring_s=3.0))
        case "hang_up":
            await control.hang_up()
        case "reject":
            await control.reject(486)
        case "break":
            raise PeerError("a broken action")


class AnyCall(RuleBasedStateMachine):
    """A random dialplan on a random line."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.done: list[c.AnyCommand] = []
        self.closed = 0
        self.call: Call | None = None

    @precondition(lambda self: self.call is None)
    @rule(actions=st.lists(st.sampled_from(ACTIONS), max_size=6))
    def start(self, actions: list[str]) -> None:
        async def program(control: Control, on_step: Callable[[str], None]) -> None:
            try:
                for index, action in enumerate(actions):
                    on_step(f"any/{index}:{action}")
                    await run_action(control, action)
            finally:
                self.closed += 1

        control = Control(caller="1", called="2", headers={}, variables={})
        self.call = Call("c", control, program, options=CallOptions(max_s=120.0, line_lost_after_s=10.0))
        self.done += self.call.start(self.now)

    @precondition(lambda self: self.call is not None)
    @rule(
        received=st.one_of(
            st.builds(c.LineAnswered, st.just("PCMU")),
            st.builds(c.LineEnded, st.sampled_from(["hangup", "cancelled", "timeout"]), st.just("caller")),
            st.builds(c.LineHeld, st.booleans()),
            st.builds(c.LineSilent, st.booleans()),
            st.builds(c.Said, st.booleans()),
            st.builds(c.Heard, st.just("yes"), st.just(""), st.just(1.0), st.booleans()),
            st.builds(c.Finished, st.just("booked")),
            st.builds(c.TransferTold, st.sampled_from([100, 180, 200, 486]), st.booleans()),
            st.builds(c.TargetRang, st.just(180)),
            st.builds(c.TargetAnswered),
            st.builds(c.TargetEnded, st.sampled_from(["busy", "hangup", "error"])),
            st.builds(c.TransferAsked, st.just("sip:200@192.0.2.9")),
            st.builds(c.TransferOrdered, st.just("300")),
            st.builds(c.SuccessorRang, st.just(180)),
            st.builds(c.SuccessorEnded, st.sampled_from(["busy", "unreachable"])),
            st.builds(c.LineMoved, st.sampled_from(["refer", "replaces"]), st.just("PCMU"), st.sampled_from(["", "9"])),
            st.builds(c.Stop, st.sampled_from(["shutdown", "hangup"])),
        )
    )
    def hear(self, received: c.AnyInput) -> None:
        assert self.call is not None
        ended = self.call.line == "ended"
        out = self.call.handle(received, self.now)
        assert not (ended and out), "a call that is over does nothing more"
        self.done += out

    @precondition(lambda self: self.call is not None and self.call.next_deadline() is not None)
    @rule()
    def let_time_come(self) -> None:
        assert self.call is not None
        deadline = self.call.next_deadline()
        assert deadline is not None
        self.now = max(self.now, deadline)
        self.done += self.call.on_deadline(self.now)

    @rule(seconds=st.floats(0.01, 5.0))
    def time_passes(self, seconds: float) -> None:
        """Less than to the next deadline: the shell is punctual."""
        deadline = self.call.next_deadline() if self.call else None
        self.now = min(self.now + seconds, deadline) if deadline is not None else self.now + seconds

    @invariant()
    def it_ends_once_and_frees_everything(self) -> None:
        releases = [command for command in self.done if isinstance(command, c.Release)]
        if self.call is None or self.call.line != "ended":
            assert releases == []
            return
        assert len(releases) == 1
        assert self.call.next_deadline() is None
        assert self.closed <= 1
        after = self.done[self.done.index(releases[0]) + 1 :]
        assert after == [], "release is the last word"

    @invariant()
    def every_transfer_that_began_ends_and_before_the_next_one(self) -> None:
        open_ways: list[str] = []
        for command in self.done:
            match command:
                case c.Record(event=e.TransferStarted(way=way)):
                    assert way not in open_ways
                    assert way == "move" or set(open_ways) <= {"move"}
                    open_ways.append(way)
                case c.Record(event=e.TransferEnded(outcome=outcome)):
                    open_ways.remove("move" if "move" in open_ways and outcome == "moved" else open_ways[-1])
                case c.Release():
                    assert open_ways == []

    @invariant()
    def a_target_is_let_go_before_the_dialplan_goes_on(self) -> None:
        wanted = [one for one in self.done if isinstance(one, c.CallTarget | c.DropTarget | c.Say | c.Ask | c.Release)]
        for before, after in pairwise(wanted):
            if isinstance(before, c.CallTarget):
                assert isinstance(after, c.DropTarget | c.Release)

    @invariant()
    def the_line_is_refused_or_hung_up_but_not_both(self) -> None:
        goodbyes = [command for command in self.done if isinstance(command, c.RejectLine | c.HangUpLine)]
        assert len(goodbyes) <= 1
        if any(isinstance(goodbye, c.RejectLine) for goodbye in goodbyes):
            assert not any(isinstance(one, c.Record) and isinstance(one.event, e.CallAnswered) for one in self.done)

    @invariant()
    def no_call_lasts_longer_than_it_may(self) -> None:
        if self.call is not None and self.call.line != "ended":
            assert self.now <= 120.0


AnyCall.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestAnyCall = AnyCall.TestCase
