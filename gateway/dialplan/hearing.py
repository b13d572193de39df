"""What a flow's open question expects to hear: the grammar, the phrases, and how many digits."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.core.speech import Expectation
from gateway.dialplan import grammar
from gateway.dialplan.flow import FlowSpec, choices_of, listed
from gateway.dialplan.understanding import Meaning, is_yes_no, meanings

MOST_AT_ONCE = 4
"""Values that one utterance may hold; each more makes the grammar looser and the recogniser weaker."""
ASKED_WEIGHT = 6
"""How much likelier the value asked for is than one of another slot."""


def expectation(spec: FlowSpec, asked: str | None, known: Mapping[str, str]) -> Expectation:
    """For the open slot `asked`, or for a confirmation (None), when the slots `known` are filled."""
    by_meaning = meanings(spec, asked, known)
    wants_yes_no = asked is None or is_yes_no(spec, asked)
    if not wants_yes_no:
        # "No, Thursday" can be said to any question; a bare yes answers none but these.
        del by_meaning["yes", "", ""]
    return Expectation(
        phrases=tuple(dict.fromkeys(phrase for phrases in by_meaning.values() for phrase in phrases)),
        grammar=_grammar(spec, by_meaning, asked),
        digits_max=_digits(spec, asked),
        digits_end="",
        timeout_s=spec.timeout,
    )


def _digits(spec: FlowSpec, asked: str | None) -> int:
    ways_out = [exit_.digits for exit_ in spec.exits.values()]
    if asked is None or is_yes_no(spec, asked):
        keys = ["1", *ways_out]
    else:
        keys = [*(choice.digits for choice in choices_of(spec, spec.slots[asked]).values()), *ways_out]
    return max((len(key) for key in keys if key), default=0)


def _grammar(spec: FlowSpec, by_meaning: dict[Meaning, tuple[str, ...]], asked: str | None) -> str:
    """Whole sentences only where the order is free: values with link words, up to four, after an optional no."""
    slots = list(dict.fromkeys(about for kind, about, _ in by_meaning if kind == "slot"))
    rules = {
        "carrier": grammar.alternatives(listed(spec.carriers)),
        "link": grammar.alternatives(listed(spec.links)),
        "yes": grammar.alternatives(by_meaning.get(("yes", "", ""), ())),
        "no": grammar.alternatives([*by_meaning["no", "", ""]]),
        "aside": grammar.alternatives(_asides(by_meaning)),
        "name": grammar.alternatives(_of(by_meaning, "named")),
    }
    for number, slot in enumerate(slots):
        rules[f"slot{number}"] = grammar.alternatives(_of(by_meaning, "slot", slot))
    values = [(f"slot{number}", ASKED_WEIGHT if slot == asked else 1) for number, slot in enumerate(slots)]
    lead = f"{_maybe(rules, 'no')}{_maybe(rules, 'carrier')}"
    if values:
        weighted = " | ".join(f"/{weight}/ {_maybe(rules, 'link')}<{name}>" for name, weight in values if rules[name])
        rules["value"] = weighted
        rules["values"] = _up_to(MOST_AT_ONCE, "<value>")
    ways = [
        f"{lead}<values> [please]" if values else "",
        "<yes>" if rules["yes"] else "",
        "<no>" if rules["no"] else "",
        f"{lead}{_maybe(rules, 'link')}<name>" if rules["name"] else "",
        "<aside>" if rules["aside"] else "",
    ]
    rules["utterance"] = " | ".join(way for way in ways if way)
    return grammar.rules(rules)


def _of(by_meaning: dict[Meaning, tuple[str, ...]], kind: str, about: str | None = None) -> list[str]:
    return [
        phrase
        for (of_kind, of_what, _), phrases in by_meaning.items()
        if of_kind == kind and about in (None, of_what)
        for phrase in phrases
    ]


def _asides(by_meaning: dict[Meaning, tuple[str, ...]]) -> list[str]:
    return [*_of(by_meaning, "repeat"), *_of(by_meaning, "exit")]


def _maybe(rules: dict[str, str], name: str) -> str:
    return f"[<{name}>] " if rules[name] else ""


def _up_to(count: int, item: str) -> str:
    return item if count == 1 else f"{item} [{_up_to(count - 1, item)}]"
