"""Everything that is wrong with a dialplan, each fault with its place and a remedy."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

from yaml.nodes import Node, ScalarNode, SequenceNode

from gateway.dialplan import actions, check_flow, check_routes
from gateway.dialplan.convert import INVALID, Converter, Mention
from gateway.dialplan.facts import FACTS, PREFIX
from gateway.dialplan.kinds import variables_in
from gateway.dialplan.model import Document, Fault
from gateway.dialplan.places import Places, did_you_mean, fault_at
from gateway.dialplan.read import read
from gateway.dialplan.speaking import BUILT_IN
from gateway.dialplan.spoken import texts

RATES = (8000, 16000)


def check(path: Path) -> list[Fault]:
    """Every fault of a file or folder, in the order of the lines; empty when it is sound."""
    return examine(path)[1]


def examine(path: Path, copied_from: Path | None = None) -> tuple[Document | None, list[Fault]]:
    """What could be made of it, and every fault. With no error among the faults the document is whole.

    One that was copied from another folder, without its recordings, names them there, and they are not looked for.
    """
    root, faults = read(path)
    if root is None:
        return None, faults
    converter = Converter(copied_from)
    document = converter.convert(root, Document)
    faults += converter.faults
    faults += _meaning(converter, look_for_files=copied_from is None)
    if document is INVALID:
        return None, sorted(set(faults))
    faults += _timezone(document, converter.places)
    faults += _recordings(document, converter.places)
    faults += check_routes.faults(document, converter)
    faults += _complaints(document, converter)
    for name, spec in document.flows.items():
        faults += check_flow.faults(name, spec, converter.places)
    return document, sorted(set(faults))


def _meaning(converter: Converter, *, look_for_files: bool) -> Iterator[Fault]:
    """Names that must exist, files that must be there, variables that something sets, lists that may not be empty."""
    places, mentions = converter.places, converter.mentions
    routes, flows, variables = places.names("routes"), places.names("flows"), _variables(converter)
    for mention in mentions:
        if mention.kind == "route" and mention.value not in routes:
            yield fault_at(mention.node, f"no route `{mention.value}`", did_you_mean(mention.value, routes))
        elif mention.kind == "flow" and mention.value not in flows:
            yield fault_at(mention.node, f"no flow `{mention.value}`", did_you_mean(mention.value, flows))
        elif mention.kind == "file" and look_for_files:
            yield from _file(mention)
        elif mention.kind == "fact":
            yield from _unknown_fact(mention.node, mention.value)
        elif mention.kind in ("text", "template"):
            yield from _unknown_variables(mention, variables)
    used = {mention.value for mention in mentions if mention.kind == "flow"}
    for name in (name for name in flows if name not in used):
        remedy = f"add `- bot: {name}` to a route, or remove it"
        yield places.key_fault(("flows", name), f"flow `{name}` is used by no route", remedy, "warning")
    yield from _empty_lists(places)


def _variables(converter: Converter) -> set[str]:
    """What a text may name: the call's own, what steps set, and what flows find out."""
    places = converter.places
    set_by_steps = {mention.value for mention in converter.mentions if mention.kind == "sets"}
    slots = {slot for flow in places.names("flows") for slot in places.names("flows", flow, "slots")}
    return {*BUILT_IN, "outcome", *set_by_steps, *slots}


def _unknown_variables(mention: Mention, known: set[str]) -> Iterator[Fault]:
    if mention.place[0] == "flows" and mention.place[2:3] in (("recap",), ("understood",)):
        known = {*known, "slots"}
    for name in variables_in(mention.value):
        if name.startswith(PREFIX):
            yield from _unknown_fact(mention.node, name.removeprefix(PREFIX))
        elif name not in known:
            yield fault_at(mention.node, f"nothing sets `{{{name}}}`", did_you_mean(name, sorted(known)))


def _unknown_fact(node: Node, name: str) -> Iterator[Fault]:
    """Only a warning: an extension of somebody's may find it out."""
    if name not in FACTS:
        yield fault_at(node, f"the gateway itself finds out no `{name}`", did_you_mean(name, FACTS), "warning")


def _file(mention: Mention) -> Iterator[Fault]:
    path = Path(mention.value)
    try:
        with path.open("rb") as stream, wave.open(stream) as sound:
            channels, width, rate = sound.getnchannels(), sound.getsampwidth(), sound.getframerate()
    except FileNotFoundError:
        yield fault_at(mention.node, f"no file {path}", "files are named relative to the dialplan's folder")
    except (OSError, EOFError, ValueError, wave.Error) as error:
        yield fault_at(mention.node, f"{path} is no readable WAV file: {str(error) or 'it ends too soon'}")
    else:
        if (channels, width) != (1, 2) or rate not in RATES:
            found = f"{channels} channel{'s' * (channels > 1)}, {8 * width} bit, {rate} Hz"
            remedy = f"convert it: sox {path.name} -c 1 -b 16 -r 16000 new.wav"
            yield fault_at(mention.node, f"{path} has {found}; mono, 16 bit, 8000 or 16000 Hz is played", remedy)


def _empty_lists(places: Places) -> Iterator[Fault]:
    """An empty list of patterns would be no condition at all, which nobody means."""
    for place, node in places.nodes.items():
        if place[2:3] == ("match",) and len(place) == 4 and isinstance(node, SequenceNode) and not node.value:
            yield fault_at(node, f"`{place[3]}` is empty, so it would match anything", "name what it should match")


def _timezone(document: Document, places: Places) -> Iterator[Fault]:
    if document.timezone is None:
        return
    try:
        ZoneInfo(document.timezone)
    except (KeyError, ValueError, OSError):
        yield places.fault(("timezone",), f"no time zone `{document.timezone}`", "as in Europe/Berlin or UTC")


def _recordings(document: Document, places: Places) -> Iterator[Fault]:
    spoken = set(texts(document))
    for name in places.names("prompts"):
        text = places.nodes[("prompts", name)]
        if isinstance(text, ScalarNode) and text.value not in spoken:
            remedy = "make it the same to the letter as a text of a step or flow, or remove it"
            yield fault_at(text, "nothing says the text of this recording", remedy, "warning")


def _complaints(document: Document, converter: Converter) -> Iterator[Fault]:
    for place, step in converter.steps:
        action = actions.find(step.action)
        for complaint in action.examine(step.options, document) if action else ():
            yield converter.places.key_fault((*place, *complaint.at), complaint.message, complaint.remedy)
