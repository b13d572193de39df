"""Plays scripted flows: the agent that needs no network. The flow comes in `context.options["flow"]`.

All that it knows of a caller is in `context.state`, so a dropped line loses nothing: the call back is greeted as a
return and hears the same open question. The texts and rules of a flow are in `gateway/dialplan/flow.py`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import msgspec

from gateway.core.errors import ProviderError
from gateway.dialplan.flow import (
    FAILED,
    Ask,
    Confirm,
    Finish,
    FlowSpec,
    Wordings,
    choices_of,
    listed,
    slot_of,
    successor,
)
from gateway.dialplan.hearing import expectation
from gateway.dialplan.kinds import interpolate
from gateway.dialplan.understanding import Understood, pressed, understand
from gateway.session.ports import AgentAct, CallerSaid, CallerSilent, Context, Expect, Opened, Prompted, Remember, Say
from gateway.session.ports import Finish as Finished

_KEPT_SPECS = 64


class Options(msgspec.Struct, forbid_unknown_fields=True):
    """Has none: everything is in the flow."""


class Progress(msgspec.Struct):
    """Where a caller stands; what `Remember` keeps."""

    slots: dict[str, str] = {}
    confirmed: list[str] = []
    changing: bool = False
    """The confirmation was refused, and what to change is the open question."""
    misses: int = 0
    """Answers in a row that were not understood."""
    silences: int = 0
    """Times in a row that no answer came."""


class FlowAgent:
    """One for all calls: it keeps nothing of any."""

    def __init__(self) -> None:
        self._specs: OrderedDict[int, tuple[Any, FlowSpec]] = OrderedDict()

    async def respond(self, prompted: Prompted, context: Context) -> AsyncIterator[AgentAct]:
        """Raises `ProviderError` for a context without a flow that could be played."""
        dialogue = Dialogue(self._spec(context.options), _progress(context.state), context)
        for act in dialogue.turn(prompted):
            yield act

    async def close(self) -> None:
        """Nothing is open."""

    def _spec(self, options: Mapping[str, Any]) -> FlowSpec:
        """Converted once for each flow; the written form is kept beside it, so that its id stays its own."""
        written = options.get("flow")
        kept = self._specs.get(id(written))
        if kept is None:
            kept = self._specs[id(written)] = (written, _convert(written))
            while len(self._specs) > _KEPT_SPECS:
                self._specs.popitem(last=False)
        return kept[1]


def build(options: Options | None = None) -> FlowAgent:
    return FlowAgent()


def _convert(written: Any) -> FlowSpec:
    try:
        return msgspec.convert(written, FlowSpec)
    except msgspec.ValidationError as error:
        raise ProviderError(f"no flow to play: {error}", category="bad_request", retryable=False) from None


def _progress(state: Mapping[str, Any]) -> Progress:
    """What was kept; a state of another kind (an older gateway, another agent) begins anew."""
    try:
        return msgspec.convert(dict(state), Progress)
    except msgspec.ValidationError:
        return Progress()


class Dialogue:
    """One turn of a flow: what to say to what the caller said, given where they stand."""

    def __init__(self, spec: FlowSpec, progress: Progress, context: Context) -> None:
        self._spec, self._progress = spec, progress
        self._recordings: Mapping[str, str] = context.options.get("recordings", {})
        self._variables = {"caller": context.caller, "called": context.called, **context.variables}
        self._values = {slot: choices_of(spec, about) for slot, about in spec.slots.items()}
        self._drop_unknown()

    def turn(self, prompted: Prompted) -> Iterator[AgentAct]:
        if isinstance(prompted, Opened):
            return self._opened(prompted)
        if isinstance(prompted, CallerSilent):
            return self._silent()
        return self._said(prompted)

    def _drop_unknown(self) -> None:
        """The flow may have been edited since the state was kept: only what still has a meaning counts."""
        kept = self._progress
        kept.slots = {slot: value for slot, value in kept.slots.items() if value in self._values.get(slot, {})}
        kept.confirmed = [name for name in kept.confirmed if isinstance(self._spec.nodes.get(name), Confirm)]
        kept.changing = kept.changing and isinstance(self._open()[1], Confirm)

    # What can happen

    def _opened(self, opened: Opened) -> Iterator[AgentAct]:
        if not opened.resumed:
            self._progress = Progress()
            return self._go_on(self._spec.greeting)
        self._progress.misses = self._progress.silences = 0
        known = self._listed(self._progress.slots)
        return self._go_on(self._spec.welcome_back, self._text(self._spec.recap, slots=known) if known else "")

    def _silent(self) -> Iterator[AgentAct]:
        self._progress.silences += 1
        node = self._open()[1]
        own = node.silence if isinstance(node, Ask | Confirm) else ()
        return self._again(own or self._spec.silence, self._progress.silences, "silence")

    def _said(self, said: CallerSaid) -> Iterator[AgentAct]:
        asked = self._asked()
        if said.digits:
            understood = pressed(self._spec, said.digits, asked)
        else:
            # A recogniser that rejected what it heard says so by a confidence of 0.
            text = said.text if said.confidence > 0 else ""
            understood = understand(self._spec, text, asked, self._progress.slots)
        if understood.exit is not None:
            return self._finish(understood.exit, self._spec.exits[understood.exit].say)
        return self._take(understood, asked)

    # What an answer does

    def _take(self, understood: Understood, asked: str | None) -> Iterator[AgentAct]:
        name, node = self._open()
        before = dict(self._progress.slots)
        news = {slot: value for slot, value in understood.fills.items() if before.get(slot) != value}
        if news or self._takes_back(understood):
            return self._changed(understood, news, asked)
        if isinstance(node, Confirm):
            return self._answer_to_confirm(name, understood)
        if asked is not None and understood.answer and understood.answer in self._values[asked]:
            return self._changed(understood, {asked: understood.answer}, asked)
        if understood.fills:
            return self._go_on()  # nothing new, but understood: the question comes again without an excuse
        return self._go_on() if understood.repeat else self._missed()

    def _takes_back(self, understood: Understood) -> list[str]:
        """Known slots that the caller denies or wants to change without saying to what."""
        kept = self._progress.slots
        denied = [slot for slot, value in understood.denied.items() if kept.get(slot) == value]
        named = [slot for slot in understood.named if slot in kept and slot not in understood.fills]
        return [slot for slot in (*denied, *named) if slot not in understood.fills]

    def _changed(self, understood: Understood, news: dict[str, str], asked: str | None) -> Iterator[AgentAct]:
        self._progress.slots.update(news)
        for slot in self._takes_back(understood):
            self._progress.slots.pop(slot, None)
        self._progress.confirmed, self._progress.changing = [], False
        self._progress.misses = self._progress.silences = 0
        besides = {slot: value for slot, value in news.items() if slot != asked}
        confirms_next = not isinstance(self._open()[1], Ask)
        known = "" if confirms_next else self._listed(besides)
        return self._go_on(self._text(self._spec.understood, slots=known) if known else "")

    def _answer_to_confirm(self, name: str, understood: Understood) -> Iterator[AgentAct]:
        progress = self._progress
        if understood.answer == "yes":
            progress.confirmed.append(name)
            progress.changing, progress.misses, progress.silences = False, 0, 0
        elif understood.answer == "no" and not progress.changing:
            progress.changing, progress.misses, progress.silences = True, 0, 0
        elif not understood.repeat:
            return self._missed()
        return self._go_on()

    def _missed(self) -> Iterator[AgentAct]:
        self._progress.misses += 1
        node = self._open()[1]
        own = node.no_match if isinstance(node, Ask | Confirm) else ()
        return self._again(own or self._spec.no_match, self._progress.misses, "no_match")

    # What to say

    def _again(self, excuses: Wordings, count: int, reason: str) -> Iterator[AgentAct]:
        """Ask once more, with the excuse for this time, or give up."""
        if self._progress.misses + self._progress.silences >= self._spec.tries:
            return self._finish(FAILED, self._spec.failed, reason=reason)
        wordings = listed(excuses)
        return self._go_on(wordings[min(count, len(wordings)) - 1] if wordings else "")

    def _go_on(self, *before: str) -> Iterator[AgentAct]:
        """Whatever is to be said first, then the open question, or the end."""
        _, node = self._open()
        if isinstance(node, Finish):
            return self._finish(node.finish, *before, node.say)
        return self._question(node, before)

    def _question(self, node: Ask | Confirm, before: tuple[str, ...]) -> Iterator[AgentAct]:
        yield Remember(msgspec.to_builtins(self._progress))
        yield from self._say(*before, self._wording(node))
        yield Expect(expectation(self._spec, self._asked(), self._progress.slots))

    def _wording(self, node: Ask | Confirm) -> str:
        if isinstance(node, Ask):
            return node.ask
        return node.change if self._progress.changing else node.confirm

    def _finish(self, outcome: str, *texts: str, **facts: str) -> Iterator[AgentAct]:
        yield Remember(msgspec.to_builtins(self._progress))
        yield from self._say(*texts)
        yield Finished(outcome, {**self._progress.slots, **facts})

    def _say(self, *texts: str) -> Iterator[AgentAct]:
        """Each text that has a recording by itself, the others joined."""
        joined: list[str] = []
        for text in filter(None, map(self._text, texts)):
            recording = self._recordings.get(text)
            if recording is None:
                joined.append(text)
                continue
            if joined:
                yield Say(" ".join(joined))
                joined = []
            yield Say(text, recording)
        if joined:
            yield Say(" ".join(joined))

    def _text(self, text: str, **more: str) -> str:
        spoken = {slot: self._spoken(slot, value) for slot, value in self._progress.slots.items()}
        return interpolate(text, {**self._variables, **spoken, **more})

    def _listed(self, slots: Mapping[str, str]) -> str:
        return ", ".join(self._spoken(slot, slots[slot]) for slot in self._spec.slots if slot in slots)

    def _spoken(self, slot: str, value: str) -> str:
        return self._values[slot][value].say or value

    # Where the caller stands

    def _open(self) -> tuple[str, Ask | Confirm | Finish]:
        """The first node on the way that is not settled yet. A way that breaks off or goes round fails."""
        name: str | None = next(iter(self._spec.nodes), None)
        for _ in self._spec.nodes:
            node = self._spec.nodes.get(name) if name is not None else None
            if name is None or node is None:
                break
            settled, value = self._settled(name, node)
            if not settled:
                return name, node
            name = successor(self._spec, name, value)
        return "", Finish(finish=FAILED, say=self._spec.failed)

    def _settled(self, name: str, node: Ask | Confirm | Finish) -> tuple[bool, str | None]:
        if isinstance(node, Ask):
            value = self._progress.slots.get(slot_of(name, node))
            return value is not None, value
        return isinstance(node, Confirm) and name in self._progress.confirmed, "yes"

    def _asked(self) -> str | None:
        """The open slot; None when a confirmation is open."""
        name, node = self._open()
        return slot_of(name, node) if isinstance(node, Ask) else None
