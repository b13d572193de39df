"""JSGF for what is expected: rule definitions without header, the public rule being `<utterance>`.

Carrier words ("I'd like ...", "... please") are allowed around the answer, so that callers may speak as people do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gateway.dialplan.phrases import normalise

CARRIERS = ("i'd like", "i'd like to", "i would like", "i want", "i want to", "please", "the", "a", "to")


def alternatives(phrases: Iterable[str]) -> str:
    """`one | another one`; empty when no phrase has a word in it."""
    texts = dict.fromkeys(" ".join(normalise(phrase)) for phrase in phrases)
    return " | ".join(text for text in texts if text)


def one_of(phrases: Iterable[str], carriers: Sequence[str] = CARRIERS) -> str | None:
    """A grammar for exactly one of the phrases, with carrier words around it. None without phrases."""
    answers = alternatives(phrases)
    if not answers:
        return None
    return rules({"utterance": "[<carrier>] <answer> [please]", "carrier": alternatives(carriers), "answer": answers})


def rules(bodies: Mapping[str, str]) -> str:
    """Rule definitions, `<utterance>` public."""
    return "\n".join(
        f"{'public ' if name == 'utterance' else ''}<{name}> = {body};" for name, body in bodies.items() if body
    )
