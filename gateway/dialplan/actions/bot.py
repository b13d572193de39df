"""A conversation with a bot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.dialplan.actions import Complaint, Next, branch
from gateway.dialplan.control import BargeIn, BotStep, CallControl
from gateway.dialplan.flow import FAILED, Finish
from gateway.dialplan.kinds import AgentName, FlowName
from gateway.dialplan.model import Branch, Document, Struct

SHORTHAND = "flow"


class Options(Struct, frozen=True):
    """Hand the caller to a scripted flow of this dialplan (`bot: desk`), or to another agent.

    Afterwards `{outcome}` and what the bot found out are variables of the call.
    """

    flow: FlowName | None = None
    agent: AgentName | None = None
    """The name of an agent provider, as configured."""
    options: dict[str, Any] = msgspec.field(default_factory=dict)
    """What this agent understands; passed on as it is."""
    barge_in: BargeIn = "on"
    then: dict[str, Branch] = msgspec.field(default_factory=dict)
    """Where to go on by the bot's outcome; the next step for outcomes left out."""


def link(options: Options, document: Document) -> Options:
    """Give the agent the flow itself, as plain values of JSON: it knows no dialplan."""
    if options.flow is None:
        return options
    spec = msgspec.json.decode(msgspec.json.encode(document.flows[options.flow]))
    return msgspec.structs.replace(options, agent=options.agent or "flow", options={**options.options, "flow": spec})


async def run(call: CallControl, options: Options) -> Next:
    result = await call.converse(BotStep(options.agent or "flow", options.options, options.barge_in))
    for name, value in {**result.data, "outcome": result.outcome}.items():
        if isinstance(value, str | int | float):
            call.set(name, str(value))
    return branch(options.then.get(result.outcome))


def examine(options: Options, document: Document) -> Iterator[Complaint]:
    if options.flow is None and options.agent is None:
        yield Complaint((), "a bot needs a `flow` or an `agent`", "as in `bot: desk`")
    spec = document.flows.get(options.flow or "")
    if spec is None:
        return
    outcomes = {node.finish for node in spec.nodes.values() if isinstance(node, Finish)} | {*spec.exits, FAILED}
    for outcome in options.then:
        if outcome not in outcomes:
            known = ", ".join(sorted(outcomes))
            yield Complaint(("then", outcome), f"flow `{options.flow}` has no outcome `{outcome}`", f"it has: {known}")
