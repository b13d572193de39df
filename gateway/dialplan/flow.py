"""A scripted conversation: slots to fill, and nodes that ask for them, confirm, and finish.

The flow goes from node to node: an `ask` whose slot is filled is passed by, so one utterance can answer several; a
`confirm` waits for a yes and takes corrections; a `finish` ends with an outcome. After a node comes the one `next`
names, else the one written below it. The model only; `providers/agent/flow.py` plays it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from gateway.dialplan.hours import WEEKDAYS
from gateway.dialplan.kinds import Digits, Phrase, Seconds, Text

NodeName = Annotated[str, Meta(extra={"kind": "node"})]
Wordings: TypeAlias = Text | tuple[Text, ...]
"""One text, or several for the first time, the second and so on; the last one serves for all that follow."""


class _Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Choice(_Struct, frozen=True):
    """A value a slot can take."""

    phrases: Phrase | tuple[Phrase, ...] = ()
    """What callers say for it; the value itself when left out."""
    digits: Digits | None = None
    """The key, or keys, that stand for it."""
    say: str | None = None
    """How it is said back to the caller, as `{slot}` in a text; its first phrase when left out."""


class Slot(_Struct, frozen=True):
    """Something to find out."""

    type: Literal["choice", "weekday", "yes_no"] = "choice"
    choices: dict[str, Choice | Phrase | tuple[Phrase, ...]] = {}
    """For `choice`: the values, each with its phrases."""
    days: tuple[Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"], ...] = ()
    """For `weekday`: the days that can be chosen; all seven when left out."""
    named: Phrase | tuple[Phrase, ...] = ()
    """What callers call the slot itself when they want to change it ("no, the day"); its name when left out."""


class _Question(_Struct, frozen=True):
    no_match: Wordings = ()
    """Said before asking again when the answer was not understood; the flow's own when left out."""
    silence: Wordings = ()
    """The same, when no answer came."""
    next: NodeName | dict[str, NodeName] | None = None
    """The node to go on with, or one for each value; values left out go on with the node below."""


class Ask(_Question, frozen=True, tag="ask", tag_field="node", kw_only=True):
    """Ask for a slot."""

    ask: Text
    slot: str | None = None
    """The slot to fill; the one named as the node when left out."""


class Confirm(_Question, frozen=True, tag="confirm", tag_field="node", kw_only=True):
    """Read back and have the caller agree. "No" alone asks what to change; "no, Thursday" changes it at once."""

    confirm: Text
    change: Text = "What should I change?"


class Finish(_Struct, frozen=True, tag="finish", tag_field="node", kw_only=True):
    """The end of the flow, with the outcome that the dialplan's `then` branches on."""

    finish: str
    say: Text = ""


Node: TypeAlias = Ask | Confirm | Finish


class Exit(_Struct, frozen=True):
    """A way out that the caller may take at any time, such as asking for a person."""

    phrases: Phrase | tuple[Phrase, ...]
    digits: Digits | None = None
    say: Text = ""


class FlowSpec(_Struct, frozen=True):
    """A conversation. Texts may hold `{slot}` for a slot's value as it is spoken, and the call's variables."""

    nodes: dict[NodeName, Node]
    """The first one begins."""
    slots: dict[str, Slot | Literal["weekday", "yes_no"]] = {}
    greeting: Text = ""
    welcome_back: Text = "Welcome back."
    """For a caller whose line dropped in the middle."""
    recap: Text = ""
    """After `welcome_back` when something is known already; `{slots}` lists it."""
    understood: Text = ""
    """Said when a slot that was not asked for is filled or changed; `{slots}` lists those."""
    no_match: Wordings = ("Sorry, I did not understand.",)
    silence: Wordings = ("I did not hear anything.",)
    tries: int = 3
    """How many times in a row a question may go unanswered before the flow ends with the outcome `failed`."""
    failed: Text = "I am sorry, I cannot help you. Goodbye."
    exits: dict[str, Exit] = {}
    """Ways out by their outcomes."""
    timeout: Seconds = 8.0
    """How long to wait for an answer to begin."""
    yes: Phrase | tuple[Phrase, ...] = (
        "yes", "yeah", "yep", "yes please", "correct", "that's right", "right", "sure", "okay", "ok", "exactly",
    )  # fmt: skip
    no: Phrase | tuple[Phrase, ...] = ("no", "nope", "no thanks", "wrong", "that's wrong", "not right", "incorrect")
    repeat: Phrase | tuple[Phrase, ...] = ("repeat", "repeat that", "say that again", "pardon", "what was that")
    carriers: Phrase | tuple[Phrase, ...] = (
        "i'd like", "i'd like to", "i would like", "i would like to", "i want", "i want to", "can i",
        "please", "make it", "let's say", "change", "change it",
    )  # fmt: skip
    """Words around an answer that a grammar-driven recogniser should allow for; they carry no meaning."""
    links: Phrase | tuple[Phrase, ...] = ("a", "an", "the", "on", "on the", "in the", "for", "for a", "to", "and")
    """Words that may stand before each value."""


FAILED = "failed"
WEEKDAY_CHOICES: dict[str, Choice] = {
    day: Choice(phrases=(day,), digits=str(number), say=day.capitalize())
    for number, day in enumerate(WEEKDAYS, start=1)
}


def listed(value: str | tuple[str, ...]) -> tuple[str, ...]:
    """What may be written singly or as a list, as a tuple."""
    return (value,) if isinstance(value, str) else value


def slot_of(name: str, node: Ask) -> str:
    """The slot that an ask node fills."""
    return node.slot or name


def choices_of(spec: FlowSpec, slot: Slot | str) -> dict[str, Choice]:
    """Every value of a slot with its phrases, its digits and its spoken form filled in."""
    slot = Slot(type=slot) if isinstance(slot, str) else slot  # type: ignore[arg-type]
    if slot.type == "weekday":
        days = slot.days or WEEKDAYS
        return {day: choice for day, choice in WEEKDAY_CHOICES.items() if day in days}
    if slot.type == "yes_no":
        return {
            "yes": Choice(phrases=listed(spec.yes), digits="1", say="yes"),
            "no": Choice(phrases=listed(spec.no), digits="2", say="no"),
        }
    return {value: _filled(value, choice) for value, choice in slot.choices.items()}


def _filled(value: str, choice: Choice | str | tuple[str, ...]) -> Choice:
    if not isinstance(choice, Choice):
        choice = Choice(phrases=choice)
    phrases = listed(choice.phrases) or (value.replace("_", " "),)
    return Choice(phrases=phrases, digits=choice.digits, say=choice.say or phrases[0])


def successors(spec: FlowSpec, name: str, known: Mapping[str, str]) -> list[str | None]:
    """The nodes that may follow `name`: one where its slot is known, else one for each value it may take."""
    node = spec.nodes[name]
    if isinstance(node, Finish):
        return []
    if isinstance(node, Confirm):
        return [successor(spec, name, "yes")]
    slot = slot_of(name, node)
    about = spec.slots.get(slot)
    values: Iterable[str | None] = choices_of(spec, about) if about is not None else [None]
    return list(dict.fromkeys(successor(spec, name, value) for value in ([known[slot]] if slot in known else values)))


def successor(spec: FlowSpec, name: str, value: str | None) -> str | None:
    """The node after `name`; `value` is what its slot holds. None at the end of the flow."""
    node = spec.nodes[name]
    if isinstance(node, Finish):
        return None
    if isinstance(node.next, str):
        return node.next
    if isinstance(node.next, dict) and value in node.next:
        return node.next[value]
    names = list(spec.nodes)
    below = names.index(name) + 1
    return names[below] if below < len(names) else None
