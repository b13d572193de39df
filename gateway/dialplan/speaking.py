"""What the actions that speak and listen have in common: texts with the call's variables in them, and asking again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from gateway.core.speech import Expectation
from gateway.dialplan.control import BargeIn, CallControl, Heard, Prompt
from gateway.dialplan.kinds import interpolate

T = TypeVar("T")

BUILT_IN = ("caller", "called")
"""Variables that every call has."""


def values(call: CallControl) -> dict[str, str]:
    return {"caller": call.caller, "called": call.called, **call.variables}


def prompt(call: CallControl, text: str, file: str | None = None) -> Prompt:
    return Prompt(interpolate(text, values(call)), file)


async def ask_until(
    call: CallControl,
    question: Prompt,
    expectation: Expectation,
    understand: Callable[[Heard], T | None],
    *,
    tries: int,
    no_match: str,
    silence: str,
    barge_in: BargeIn,
) -> T | None:
    """Ask until the answer is understood, each time after the first with an excuse before the question."""
    asked = question
    for _ in range(tries):
        heard = await call.ask(asked, expectation, barge_in=barge_in)
        answer = None if heard.silent else understand(heard)
        if answer is not None:
            return answer
        excuse = prompt(call, silence if heard.silent else no_match)
        asked = Prompt(f"{excuse.text} {question.text}".strip(), None if excuse.text else question.file)
    return None
