"""What is wrong inside a flow: nodes that do not exist or are never reached, slots never asked, ways without an end."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.dialplan.flow import Ask, Confirm, Finish, FlowSpec, Slot, choices_of, listed, slot_of, successors
from gateway.dialplan.model import Fault
from gateway.dialplan.phrases import normalise
from gateway.dialplan.places import Place, Places, did_you_mean


def faults(name: str, spec: FlowSpec, places: Places) -> Iterator[Fault]:
    return _Flow(name, spec, places).faults()


class _Flow:
    """One flow under examination. Names are checked against what was written, sound or not."""

    def __init__(self, name: str, spec: FlowSpec, places: Places) -> None:
        self.at: Place = ("flows", name)
        self.name, self.spec, self.places = name, spec, places
        self.nodes = places.names(*self.at, "nodes")
        self.slots = places.names(*self.at, "slots")

    def faults(self) -> Iterator[Fault]:
        if not self.nodes:
            yield self.places.key_fault((*self.at, "nodes"), f"flow `{self.name}` has no nodes", "add an `ask`")
            return
        if not 1 <= self.spec.tries <= 20:
            yield self.places.fault((*self.at, "tries"), "`tries` must be from 1 to 20")
        for slot, about in self.spec.slots.items():
            yield from self._slot(slot, about)
        for node, written in self.spec.nodes.items():
            if isinstance(written, Ask):
                yield from self._ask(node, written)
            if not isinstance(written, Finish):
                yield from self._next(node, written)
        if len(self.nodes) == len(self.spec.nodes):
            yield from self._ways()
        yield from self._never_asked()

    def _slot(self, name: str, about: Slot | str) -> Iterator[Fault]:
        place = (*self.at, "slots", name)
        if isinstance(about, str):
            return
        if about.type == "choice" and not self.places.names(*place, "choices"):
            yield self.places.key_fault(place, f"slot `{name}` has no choices", "add `choices:` or a `type:`")
        if about.type != "choice" and about.choices:
            yield self.places.key_fault((*place, "choices"), f"a slot of type {about.type} has its own choices")
        if about.type != "weekday" and about.days:
            yield self.places.key_fault((*place, "days"), "`days` belongs to a slot of type weekday")
        yield from self._choices(name, about)

    def _choices(self, name: str, about: Slot) -> Iterator[Fault]:
        """Two values of a slot must differ in what is said and pressed for them."""
        taken: dict[tuple[str, ...], str] = {}
        for value, choice in choices_of(self.spec, about).items() if about.type == "choice" else ():
            place = (*self.at, "slots", name, "choices", value)
            keys = [normalise(phrase) for phrase in listed(choice.phrases)]
            if () in keys:
                yield self.places.key_fault(place, f"a phrase of `{value}` has no word in it", "spell it out")
            keys += [("key", choice.digits)] if choice.digits else []
            for key in keys:
                other = taken.setdefault(key, value)
                if other != value and key:
                    said = " ".join(key)
                    yield self.places.key_fault(place, f"`{said}` stands for `{other}` already", "make them differ")

    def _ask(self, name: str, node: Ask) -> Iterator[Fault]:
        slot = slot_of(name, node)
        if slot not in self.slots:
            place = (*self.at, "nodes", name, "slot") if node.slot else (*self.at, "nodes", name)
            locate = self.places.fault if node.slot else self.places.key_fault
            yield locate(place, f"no slot `{slot}`", did_you_mean(slot, self.slots) or "add it below `slots:`")

    def _next(self, name: str, node: Ask | Confirm) -> Iterator[Fault]:
        place = (*self.at, "nodes", name, "next")
        targets = node.next if isinstance(node.next, dict) else {}
        values = self._values(name, node)
        for value, target in targets.items():
            if values is not None and value not in values:
                remedy = did_you_mean(value, values)
                yield self.places.key_fault((*place, value), f"`{name}` never has the value `{value}`", remedy)
            yield from self._target(target, (*place, value))
        if isinstance(node.next, str):
            yield from self._target(node.next, place)

    def _target(self, target: str, place: Place) -> Iterator[Fault]:
        if target not in self.nodes:
            yield self.places.fault(place, f"no node `{target}`", did_you_mean(target, self.nodes))

    def _values(self, name: str, node: Ask | Confirm) -> list[str] | None:
        """What a branch may go by; None when the slot is not known well enough to say."""
        if isinstance(node, Confirm):
            return ["yes"]
        slot = slot_of(name, node)
        if slot not in self.spec.slots:
            return None
        return list(choices_of(self.spec, self.spec.slots[slot]))

    def _ways(self) -> Iterator[Fault]:
        """From the first node on: what is reached, what leads nowhere, what goes round."""
        leads = self._reached()
        for name, targets in leads.items():
            if None in targets:
                message = f"the flow ends at `{name}` without a `finish`"
                yield self.places.key_fault((*self.at, "nodes", name), message, "add one below")
        for name in self.nodes:
            if name not in leads:
                remedy = "let the `next` of another node name it, or remove it"
                place = (*self.at, "nodes", name)
                yield self.places.key_fault(place, f"node `{name}` is never reached", remedy, "warning")
        if round_ := _round({name: targets - {None} for name, targets in leads.items()}):
            message = f"the flow goes round: {' -> '.join(round_)}"
            yield self.places.key_fault((*self.at, "nodes", round_[-2]), message, "lead it on to a `finish`")

    def _reached(self) -> dict[str, set[str | None]]:
        """The nodes that can be come to, with all that may follow each; None stands for the flow's open end."""
        leads: dict[str, set[str | None]] = {}
        ahead: list[str | None] = [next(iter(self.spec.nodes))]
        while ahead:
            name = ahead.pop()
            if name is not None and name in self.spec.nodes and name not in leads:
                leads[name] = set(successors(self.spec, name, {}))
                ahead += sorted(leads[name] - {None}, key=str)
        return leads

    def _never_asked(self) -> Iterator[Fault]:
        asked = {slot_of(name, node) for name, node in self.spec.nodes.items() if isinstance(node, Ask)}
        complete = len(self.nodes) == len(self.spec.nodes)
        for slot in self.slots if complete else ():
            if slot not in asked:
                place = (*self.at, "slots", slot)
                message = f"slot `{slot}` is never asked for"
                yield self.places.key_fault(place, message, "add a node that asks for it, or remove it", "warning")


def _round(leads: dict[str, set[str | None]]) -> list[str]:
    """A way that comes back to where it began; empty when there is none. Nodes without a way on are peeled off."""
    left = {name: {target for target in targets if target in leads} for name, targets in leads.items()}
    while ends := [name for name, targets in left.items() if not targets & left.keys()]:
        for name in ends:
            del left[name]
    if not left:
        return []
    way = [next(iter(left))]
    while way.count(way[-1]) == 1:
        way.append(min(str(target) for target in left[way[-1]] if target in left))
    return way[way.index(way[-1]) :]
