"""From what a caller said to what it means in a flow: slots filled or taken back, yes or no, a way out.

Matching is on whole phrases, wherever they stand: "no, make it Thursday afternoon please" is a no, a day and a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from gateway.dialplan.flow import Ask, FlowSpec, Slot, choices_of, listed, slot_of, successors
from gateway.dialplan.phrases import Span, Words, normalise, spans

Kind = Literal["slot", "named", "yes", "no", "repeat", "exit"]
Meaning = tuple[Kind, str, str]
"""A kind, and what it is about: (slot, day, thursday), (named, day, ""), (exit, goodbye, "")."""
Phrases = dict[Meaning, tuple[str, ...]]
DENIALS = ("not", "isn't", "don't")


class Understood(msgspec.Struct, frozen=True):
    """What an utterance means. A slot named twice takes the later value ("Tuesday, no, Thursday")."""

    fills: dict[str, str] = {}
    denied: dict[str, str] = {}
    """What the caller said it is not ("not Tuesday")."""
    named: tuple[str, ...] = ()
    """Slots the caller spoke of without a value ("change the day")."""
    answer: Literal["yes", "no"] | None = None
    exit: str | None = None
    repeat: bool = False


def relevant_slots(spec: FlowSpec, known: Mapping[str, str]) -> list[str]:
    """The slots asked for on the ways that are still open, given what is known; in the flow's order.

    Who moves an appointment is not asked which service, so that no word can be taken for one.
    """
    ahead, passed = [next(iter(spec.nodes), None)], set[str]()
    while ahead:
        name = ahead.pop()
        if name is None or name in passed or name not in spec.nodes:
            continue
        passed.add(name)
        ahead += successors(spec, name, known)
    asked = (slot_of(name, node) for name, node in spec.nodes.items() if isinstance(node, Ask) and name in passed)
    return [slot for slot in dict.fromkeys(asked) if slot in spec.slots]


def is_yes_no(spec: FlowSpec, slot: str) -> bool:
    about = spec.slots[slot]
    return (about.type if isinstance(about, Slot) else about) == "yes_no"


def meanings(spec: FlowSpec, asked: str | None, known: Mapping[str, str]) -> Phrases:
    """Every phrase that means something while `asked` is the open slot (None: a confirmation is open).

    The open slot comes first, so that a word that two slots know goes to it. A yes or no fills only the slot that is
    asked: it says nothing of the others.
    """
    found: Phrases = {}
    others = [slot for slot in relevant_slots(spec, known) if slot != asked and not is_yes_no(spec, slot)]
    if asked is not None and not is_yes_no(spec, asked):
        others.insert(0, asked)
    for slot in others:
        for value, choice in choices_of(spec, spec.slots[slot]).items():
            found["slot", slot, value] = listed(choice.phrases)
    for slot in others:
        found["named", slot, ""] = names_of(spec, slot)
    found["yes", "", ""] = listed(spec.yes)
    found["no", "", ""] = listed(spec.no)
    found["repeat", "", ""] = listed(spec.repeat)
    for outcome, exit_ in spec.exits.items():
        found["exit", outcome, ""] = listed(exit_.phrases)
    return found


def names_of(spec: FlowSpec, slot: str) -> tuple[str, ...]:
    about = spec.slots[slot]
    named = listed(about.named) if isinstance(about, Slot) else ()
    return named or (slot.replace("_", " "),)


def understand(spec: FlowSpec, text: str, asked: str | None, known: Mapping[str, str]) -> Understood:
    """What `text` means while `asked` is the open slot, or a confirmation for None; `known` slots are filled."""
    words = normalise(text)
    found = spans(words, meanings(spec, asked, known))
    links = {word for link in listed(spec.links) for word in normalise(link)}
    values = [span for span in found if span.value[0] == "slot"]
    denied = [span for span in values if _is_denied(span, words, links)]
    fills = {span.value[1]: span.value[2] for span in values if span not in denied}
    return Understood(
        fills=fills,
        denied={span.value[1]: span.value[2] for span in denied},
        named=tuple(dict.fromkeys(_about(found, "named"))),
        answer=_answer(found, denied),
        exit=next(iter(_about(found, "exit")), None),
        repeat=bool(_about(found, "repeat")),
    )


def _about(found: list[Span[Meaning]], kind: Kind) -> list[str]:
    return [span.value[1] for span in found if span.value[0] == kind]


def _is_denied(span: Span[Meaning], words: Words, links: set[str]) -> bool:
    """Whether a "not" stands before it, with nothing but link words between ("not on Tuesday")."""
    at = span.begin - 1
    while at >= 0 and words[at] in links:
        at -= 1
    return at >= 0 and words[at] in DENIALS


def _answer(found: list[Span[Meaning]], denied: list[Span[Meaning]]) -> Literal["yes", "no"] | None:
    """Yes or no; None for neither and for both. A denial is a no."""
    said_no = bool(denied) or any(span.value[0] == "no" for span in found)
    said_yes = any(span.value[0] == "yes" for span in found)
    if said_no == said_yes:
        return None
    return "no" if said_no else "yes"


def pressed(spec: FlowSpec, digits: str, asked: str | None) -> Understood:
    """What keys mean: a choice of the open slot, or 1 and 2 for yes and no."""
    outcome = next((name for name, exit_ in spec.exits.items() if exit_.digits == digits), None)
    if outcome is not None:
        return Understood(exit=outcome)
    if asked is None or is_yes_no(spec, asked):
        return Understood(answer="yes" if digits == "1" else "no" if digits == "2" else None)
    values = choices_of(spec, spec.slots[asked])
    value = next((value for value, choice in values.items() if choice.digits == digits), None)
    return Understood(fills={asked: value} if value is not None else {})
