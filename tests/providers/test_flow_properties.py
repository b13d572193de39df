"""Whatever a caller says, in whatever order: the flow answers, gets on or gives up, and loses nothing on the way."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway import dialplan
from gateway.dialplan.flow import FAILED, FlowSpec, choices_of
from gateway.providers.agent.flow import build
from gateway.session.ports import (
    AgentAct,
    CallerSaid,
    CallerSilent,
    Context,
    Expect,
    Finish,
    Opened,
    Prompted,
    Remember,
    Say,
)

SHIPPED = dialplan.load(Path(__file__).parents[2] / "dialplans" / "default.yaml")
SPEC: FlowSpec = SHIPPED.document.flows["desk"]
OPTIONS: dict[str, Any] = SHIPPED.plan("desk").steps[-1].options.options
AGENT = build()

phrases = st.sampled_from(dialplan.heard(SHIPPED))
utterances = st.one_of(
    st.lists(st.one_of(phrases, st.sampled_from(["not", "blue", "no,"])), min_size=1, max_size=5).map(" ".join),
    st.text(max_size=20),
)


async def _all(prompted: Prompted, context: Context) -> list[AgentAct]:
    return [act async for act in AGENT.respond(prompted, context)]


class Desk(RuleBasedStateMachine):
    """A caller without manners at the appointment desk; the line drops now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.context = Context("c-1", "1", "desk", options=OPTIONS)
        self.finish: Finish | None = None
        self.unanswered = 0

    def turn(self, prompted: Prompted) -> list[AgentAct]:
        before = json.dumps(self.context.state)
        acts = asyncio.run(_all(prompted, self.context))
        assert json.dumps(self.context.state) == before, "the agent may not write into what others keep"
        for act in acts:
            if isinstance(act, Remember):
                self.context.state = json.loads(json.dumps(act.state))
            elif isinstance(act, Finish):
                self.finish = act
        assert isinstance(acts[0], Remember)
        assert isinstance(acts[-1], Finish if self.finish else Expect)
        assert all(act.text.strip() and "{" not in act.text for act in acts if isinstance(act, Say))
        return acts

    @initialize()
    def calls(self) -> None:
        self.turn(Opened())

    @precondition(lambda self: self.finish is None)
    @rule(text=utterances, confidence=st.sampled_from([0.0, 0.4, 1.0]))
    def says(self, text: str, confidence: float) -> None:
        self.turn(CallerSaid(text, confidence=confidence))

    @precondition(lambda self: self.finish is None)
    @rule(digits=st.text("0123456789*#", min_size=1, max_size=3))
    def presses(self, digits: str) -> None:
        self.turn(CallerSaid("", digits))

    @precondition(lambda self: self.finish is None)
    @rule()
    def is_silent(self) -> None:
        self.turn(CallerSilent(1))

    @precondition(lambda self: self.finish is None)
    @rule()
    def drops_and_calls_back(self) -> None:
        slots = self.context.state["slots"]
        acts = self.turn(Opened(resumed=True, away_s=30))
        assert self.context.state["slots"] == slots
        assert any(isinstance(act, Say) and act.text.startswith("Welcome back.") for act in acts)

    @precondition(lambda self: self.finish is None)
    @rule()
    def gives_up_thinking(self) -> None:
        """Enough silence ends every flow."""
        for _ in range(SPEC.tries):
            if self.finish is None:
                self.turn(CallerSilent(1))
        assert self.finish is not None
        assert self.finish.outcome == FAILED

    @precondition(lambda self: self.finish is not None)
    @rule()
    def calls_anew(self) -> None:
        """Another dialogue: nothing of the former is left in it."""
        self.finish = None
        self.turn(Opened())
        assert self.context.state["slots"] == {}

    @invariant()
    def slots_hold_values_that_exist(self) -> None:
        for slot, value in self.context.state.get("slots", {}).items():
            assert value in choices_of(SPEC, SPEC.slots[slot])

    @invariant()
    def failures_are_counted_to_the_limit_only(self) -> None:
        state = self.context.state
        assert state.get("misses", 0) + state.get("silences", 0) <= SPEC.tries

    @invariant()
    def an_end_has_what_it_needs(self) -> None:
        if self.finish is not None and self.finish.outcome == "booked":
            assert set(self.finish.data) >= {"task", "service", "day", "half"}
            assert self.finish.data["task"] == "book"


TestDesk = Desk.TestCase
TestDesk.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
