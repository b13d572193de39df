"""From an offered call to its plan, and the program that runs a plan on a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from gateway.core.errors import MisuseError
from gateway.dialplan import actions
from gateway.dialplan.actions import Steps
from gateway.dialplan.actions.reject import Options as RejectOptions
from gateway.dialplan.control import CallControl, Goto
from gateway.dialplan.match import Offer, Verdict, verdicts
from gateway.dialplan.model import Document, Match, Route, Step
from gateway.dialplan.recordings import Recorded

__all__ = ["Dialplan", "Explanation", "Offer", "Plan", "RouteVerdict", "Step", "run"]

MAX_HOPS = 10_000
"""Steps of one call. Only a loop that no caller takes part in comes so far; it is ended, not run for ever."""


class Plan(msgspec.Struct, frozen=True):
    """What a call is going to do, from the first step on; gotos lead on into other routes."""

    route: str
    steps: tuple[Step, ...]
    noise: str = ""
    """The noise suppressor for this call, "off", or "" for the configured one."""
    hear_tones: bool = False
    """Whether keys are heard by their sound, too; else that is up to the call's trunk."""


NO_ROUTE = Plan("", (Step("/0:reject", "reject", RejectOptions(404)),))


class RouteVerdict(msgspec.Struct, frozen=True):
    """What became of one route: its conditions, and in a word the result."""

    route: str
    matched: bool
    verdicts: tuple[Verdict, ...]
    why: str


class Explanation(msgspec.Struct, frozen=True):
    """Every route with the reasons for and against; `winner` None when the call is rejected."""

    offer: Offer
    at: datetime
    routes: tuple[RouteVerdict, ...]
    winner: str | None
    by_default: bool

    def text(self) -> str:
        """For people: a line a route, then the decision."""
        lines = [f"{'+' if entry.matched else '-'} {entry.route}: {entry.why}" for entry in self.routes]
        if self.winner is None:
            return "\n".join([*lines, "=> rejected with 404: no route matches and there is no default"])
        reason = "the default" if self.by_default else "the first that matches"
        return "\n".join([*lines, f"=> {self.winner} ({reason})"])


class Dialplan:
    """A checked document. Immutable; a reload makes another one."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._zone = ZoneInfo(document.timezone) if document.timezone else None

    @property
    def document(self) -> Document:
        return self._document

    @property
    def routes(self) -> tuple[str, ...]:
        """The names, in the order they are tried."""
        return tuple(self._document.routes)

    @property
    def recordings(self) -> dict[str, str]:
        """Which file is played for which text."""
        return {text: file for file, text in self._document.prompts.items()}

    @property
    def noises(self) -> frozenset[str]:
        """The kinds of noise suppressors that routes ask for."""
        return frozenset(route.noise for route in self._document.routes.values()) - {"", "off"}

    def plan(self, route: str) -> Plan:
        """The plan of a route by its name. Raises `MisuseError` when there is none."""
        if route not in self._document.routes:
            raise MisuseError(f"no route {route!r}")
        found = self._document.routes[route]
        return Plan(route, found.steps, found.noise, found.hear_tones)

    def route(self, offer: Offer, at: datetime) -> Plan:
        """The plan for a call. Give `at` with its zone; one without is taken as local to the dialplan already."""
        at = self._local(at)
        for name, route in self._document.routes.items():
            if route.match is not None and all(one.holds for one in verdicts(route.match, name, offer, at)):
                return self.plan(name)
        return self.plan(self._document.default) if self._document.default else NO_ROUTE

    def explain(self, offer: Offer, at: datetime) -> Explanation:
        """The same decision as `route`, with its reasons."""
        at = self._local(at)
        judged = tuple(_judge(name, route, offer, at) for name, route in self._document.routes.items())
        first = next((entry.route for entry in judged if entry.matched), None)
        return Explanation(offer, at, judged, first or self._document.default, by_default=first is None)

    def _local(self, at: datetime) -> datetime:
        return at.astimezone(self._zone) if self._zone and at.tzinfo else at

    @cached_property
    def _positions(self) -> dict[str, list[tuple[Step, ...]]]:
        """For each step the steps to run from there on: innermost branch first, then what follows it."""
        return {position: rest for route in self._document.routes.values() for position, rest in _walk(route.steps, [])}

    def resume_at(self, position: str) -> list[tuple[Step, ...]] | None:
        """What is to be run from a stored position on; None when the dialplan has no such step any more."""
        rest = self._positions.get(position)
        return list(rest) if rest is not None else None


def _judge(name: str, route: Route, offer: Offer, at: datetime) -> RouteVerdict:
    if route.match is None:
        return RouteVerdict(name, False, (), "has no `match`; reached by goto only")
    if route.match == Match():
        return RouteVerdict(name, True, (), "matches every call")
    found = tuple(verdicts(route.match, name, offer, at))
    failed = [verdict for verdict in found if not verdict.holds]
    return RouteVerdict(name, not failed, found, "; ".join(str(verdict) for verdict in failed or found))


def _walk(steps: tuple[Step, ...], after: list[tuple[Step, ...]]) -> Iterator[tuple[str, list[tuple[Step, ...]]]]:
    for index, step in enumerate(steps):
        yield step.position, [steps[index:], *after]
        for inner in branches(step.options):
            yield from _walk(inner, [steps[index + 1 :], *after])


def branches(value: Any) -> Iterator[tuple[Step, ...]]:
    """The lists of steps anywhere inside an action's options."""
    if isinstance(value, tuple) and value and isinstance(value[0], Step):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from branches(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from branches(item)
    elif isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            yield from branches(getattr(value, field))


async def run(
    dialplan: Dialplan,
    plan: Plan,
    call: CallControl,
    *,
    start: str | None = None,
    answered: bool = False,
    on_step: Callable[[str], None],
) -> None:
    """Run a plan to its end and hang up. Awaits nothing but `call`, so it can be driven by hand.

    `start` is the position of a step to go on from after a dropped line; one that the dialplan no longer has begins
    the plan anew. A step that needs the line up answers first; so does any where that call was `answered` already.
    `on_step` hears each position before its step runs.
    """
    control: CallControl = Recorded(call, dialplan.recordings)
    resumed = dialplan.resume_at(start) if start else None
    ahead, was_up = resumed or [plan.steps], answered and resumed is not None
    for _ in range(MAX_HOPS):
        step, ahead = _next(ahead)
        if step is None:
            break
        on_step(step.position)
        action = actions.find(step.action)
        if action is None:
            raise MisuseError(f"no action {step.action!r}")
        if was_up or not action.early:
            await control.answer()
        went = await action.run(control, step.options)
        if isinstance(went, Goto):
            ahead = [dialplan.plan(went.route).steps]
        elif isinstance(went, Steps):
            ahead = [went.steps, *ahead]
    await call.hang_up()


def _next(ahead: list[tuple[Step, ...]]) -> tuple[Step | None, list[tuple[Step, ...]]]:
    """The step to run now, and what is ahead then."""
    while ahead:
        (steps, *after) = ahead
        if steps:
            return steps[0], [steps[1:], *after]
        ahead = after
    return None, []
