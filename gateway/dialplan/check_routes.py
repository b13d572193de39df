"""What is wrong between routes: those no call reaches, steps behind an end, gotos that go round for ever."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.dialplan.convert import Converter
from gateway.dialplan.kinds import variables_in
from gateway.dialplan.match import covers
from gateway.dialplan.model import Document, Fault, Step
from gateway.dialplan.places import Place, Places

ENDS = ("goto", "hangup", "reject")
ENDLESS = ("echo", "milliwatt", "tone")
"""Without `seconds` they last until the caller hangs up."""
INSTANT = ("answer", "set", "goto")


def faults(document: Document, converter: Converter) -> Iterator[Fault]:
    places = converter.places
    if not places.names("routes"):
        yield places.key_fault(("routes",), "there is no route", "add one below `routes:`")
    yield from _unreached(document, converter)
    yield from _shadowed(document, places)
    yield from _behind_an_end(converter)
    yield from _rounds(document, places)
    yield from _dialled_by_strangers(converter)
    for name, route in document.routes.items():
        written = places.nodes.get(("routes", name, "steps"))
        if not route.steps and written is not None and not written.value:
            yield places.key_fault(("routes", name, "steps"), f"route `{name}` has no steps", "as in `- answer`")


def _unreached(document: Document, converter: Converter) -> Iterator[Fault]:
    named = {mention.value for mention in converter.mentions if mention.kind == "route"}
    for name, route in document.routes.items():
        written = ("routes", name, "match") in converter.places.nodes
        if route.match is None and not written and name not in named:
            message = f"no call can reach route `{name}`"
            remedy = "give it a `match`, a `goto`, or make it the `default`"
            yield converter.places.key_fault(("routes", name), message, remedy, "warning")


def _shadowed(document: Document, places: Places) -> Iterator[Fault]:
    earlier: list[str] = []
    for name, route in document.routes.items():
        if route.match is None:
            continue
        for before in earlier:
            wide = document.routes[before].match
            if wide is not None and covers(wide, route.match):
                line = places.keys[("routes", before)].start_mark.line + 1
                message = f"route `{name}` is never reached: `{before}` (line {line}) takes all its calls"
                yield places.key_fault(("routes", name), message, f"move it above `{before}`", "warning")
                break
        earlier.append(name)


def _behind_an_end(converter: Converter) -> Iterator[Fault]:
    """A step right after one that does not come back; the steps of a list differ by their index in the place."""
    ends = {_list_and_index(place): step for place, step in converter.steps if _is_end(step)}
    for place, step in converter.steps:
        steps, index = _list_and_index(place)
        before = ends.get((steps, index - 1))
        if before:
            message = f"`{step.action}` is never reached: `{before.action}` does not come back"
            yield converter.places.key_fault(place, message, "remove it or move it up", "warning")


def _dialled_by_strangers(converter: Converter) -> Iterator[Fault]:
    """A caller who may answer anything may answer with an address abroad, in a text message for instance."""
    anything = {
        step.options.into
        for _, step in converter.steps
        if step.action == "gather" and not step.options.digits and not step.options.phrases
    }
    for place, step in converter.steps:
        if step.action == "transfer" and (open_ := anything.intersection(variables_in(step.options.to))):
            message = f"callers can have themselves connected with any address: `{min(open_)}` takes whatever they say"
            yield converter.places.key_fault(place, message, "give its `gather` `digits` or `phrases`", "warning")


def _list_and_index(place: Place) -> tuple[Place, int]:
    (*steps, index, _) = place
    assert isinstance(index, int)
    return tuple(steps), index


def _is_end(step: Step) -> bool:
    return step.action in ENDS or (step.action in ENDLESS and step.options.seconds is None)


def _rounds(document: Document, places: Places) -> Iterator[Fault]:
    """A goto whose way leads back to it through steps that take no time would never let go of the gateway."""
    leads = {name: target for name, route in document.routes.items() if (target := _instant_goto(route.steps))}
    for name in leads:
        seen, at = [name], leads[name]
        while at in leads and at not in seen:
            seen.append(at)
            at = leads[at]
        if at == name:
            way = " -> ".join([*seen, name])
            message = f"goes round for ever: {way}"
            yield places.key_fault(("routes", name), message, "let a step speak or wait in between")


def _instant_goto(steps: tuple[Step, ...]) -> str | None:
    for step in steps:
        if step.action == "goto":
            return str(step.options.route)
        if step.action not in INSTANT:
            return None
    return None
