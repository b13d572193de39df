"""Ask for digits or words, into a variable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from gateway.core.speech import Expectation
from gateway.dialplan import grammar
from gateway.dialplan.actions import Complaint, Next, branch
from gateway.dialplan.control import BargeIn, CallControl, Heard
from gateway.dialplan.flow import listed
from gateway.dialplan.kinds import File, Phrase, Seconds, Sets, Text
from gateway.dialplan.model import Branch, Document, Struct
from gateway.dialplan.phrases import chosen
from gateway.dialplan.speaking import ask_until, prompt


class Options(Struct, frozen=True):
    """Ask, and keep the answer in a variable: `gather: {say: Your PIN?, into: pin, digits: 4}`

    With neither `digits` nor `phrases`, whatever the caller says is kept.
    """

    say: Text
    into: Sets
    file: File | None = None
    digits: Annotated[int, Meta(ge=0, le=64)] = 0
    """How many digits at most; fewer are ended by `#` or a pause."""
    digits_min: Annotated[int, Meta(ge=1, le=64)] = 1
    phrases: tuple[Phrase, ...] | dict[str, Phrase | tuple[Phrase, ...]] = ()
    """What can be said; with `value: phrases` the variable takes the value."""
    tries: Annotated[int, Meta(ge=1, le=20)] = 3
    no_match: Text = "Sorry, I did not understand."
    silence: Text = "I did not hear anything."
    timeout: Seconds = 8.0
    barge_in: BargeIn = "on"
    otherwise: Branch | None = None
    """Where to go on when no try brought an answer; the next step when left out, with the variable empty."""


def choices(options: Options) -> dict[str, tuple[str, ...]]:
    """The values that can be spoken, with their phrases."""
    if isinstance(options.phrases, dict):
        return {value: listed(phrases) for value, phrases in options.phrases.items()}
    return {phrase: (phrase,) for phrase in options.phrases}


def understand(options: Options, heard: Heard) -> str | None:
    if heard.digits:
        return heard.digits if options.digits_min <= len(heard.digits) <= max(options.digits, 1) else None
    if options.phrases:
        return chosen(heard.text, choices(options))
    return heard.text or None if not options.digits else None


def expectation(options: Options) -> Expectation:
    phrases = tuple(phrase for spoken in choices(options).values() for phrase in spoken)
    return Expectation(phrases, grammar.one_of(phrases), digits_max=options.digits, timeout_s=options.timeout)


async def run(call: CallControl, options: Options) -> Next:
    answer = await ask_until(
        call,
        prompt(call, options.say, options.file),
        expectation(options),
        lambda heard: understand(options, heard),
        tries=options.tries,
        no_match=options.no_match,
        silence=options.silence,
        barge_in=options.barge_in,
    )
    call.set(options.into, answer or "")
    return branch(options.otherwise) if answer is None else None


def examine(options: Options, document: Document) -> Iterator[Complaint]:
    if options.digits and options.digits_min > options.digits:
        yield Complaint(("digits_min",), f"`digits_min` is more than the {options.digits} digits awaited")
