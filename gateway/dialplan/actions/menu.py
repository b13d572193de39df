"""Ask, and go where the answer says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from gateway.core.speech import Expectation
from gateway.dialplan import grammar
from gateway.dialplan.actions import Complaint, Next, branch
from gateway.dialplan.control import BargeIn, CallControl, Heard
from gateway.dialplan.flow import listed
from gateway.dialplan.kinds import Digits, File, Phrase, Seconds, Text
from gateway.dialplan.model import Branch, Document, Struct
from gateway.dialplan.phrases import chosen, normalise
from gateway.dialplan.speaking import ask_until, prompt


class Choice(Struct, frozen=True):
    """One way through a menu, by a key, by speech or both."""

    then: Branch
    digits: Digits | None = None
    phrases: Phrase | tuple[Phrase, ...] = ()


class Options(Struct, frozen=True):
    """Ask, and go on where the pressed key or the spoken words say."""

    say: Text
    choices: tuple[Choice, ...]
    file: File | None = None
    tries: Annotated[int, Meta(ge=1, le=20)] = 3
    no_match: Text = "Sorry, I did not understand."
    silence: Text = "I did not hear anything."
    timeout: Seconds = 8.0
    barge_in: BargeIn = "on"
    otherwise: Branch | None = None
    """Where to go on when no try brought a choice; the next step when left out."""


def understand(options: Options, heard: Heard) -> Choice | None:
    if heard.digits:
        return next((choice for choice in options.choices if choice.digits == heard.digits), None)
    found = chosen(heard.text, {str(index): listed(choice.phrases) for index, choice in enumerate(options.choices)})
    return options.choices[int(found)] if found is not None else None


def expectation(options: Options) -> Expectation:
    phrases = tuple(phrase for choice in options.choices for phrase in listed(choice.phrases))
    longest = max((len(choice.digits or "") for choice in options.choices), default=0)
    # A choice may hold the very key that ends others early: then no key does.
    ends = "" if any("#" in (choice.digits or "") for choice in options.choices) else "#"
    return Expectation(phrases, grammar.one_of(phrases), digits_max=longest, digits_end=ends, timeout_s=options.timeout)


async def run(call: CallControl, options: Options) -> Next:
    choice = await ask_until(
        call,
        prompt(call, options.say, options.file),
        expectation(options),
        lambda heard: understand(options, heard),
        tries=options.tries,
        no_match=options.no_match,
        silence=options.silence,
        barge_in=options.barge_in,
    )
    return branch(choice.then if choice else options.otherwise)


def examine(options: Options, document: Document) -> Iterator[Complaint]:
    if not options.choices:
        yield Complaint(("choices",), "a menu needs a choice", "add `- {digits: 1, then: a_route}`")
    taken: dict[tuple[str, ...], int] = {}
    for index, choice in enumerate(options.choices):
        if choice.digits is None and not choice.phrases:
            yield Complaint(("choices", index), "nothing leads to this choice", "give it `digits` or `phrases`")
        said = [(phrase, normalise(phrase)) for phrase in listed(choice.phrases)]
        for shown, key in [*said, *([(choice.digits, (choice.digits,))] if choice.digits else [])]:
            if taken.setdefault(key, index) != index:
                where = "digits" if shown == choice.digits else "phrases"
                yield Complaint(("choices", index, where), f"`{shown}` is another choice already", "make them differ")
