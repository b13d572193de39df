"""Connect the caller with somebody else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import msgspec

from gateway.dialplan.actions import Complaint, Next, branch
from gateway.dialplan.control import CallControl, TransferMode, TransferOutcome, TransferStep
from gateway.dialplan.kinds import File, Seconds, Template, interpolate
from gateway.dialplan.model import Branch, Document, Struct
from gateway.dialplan.places import did_you_mean
from gateway.dialplan.speaking import values

SHORTHAND = "to"
FINISHED = "finished"


class Options(Struct, frozen=True):
    """Connect the caller with a number or a `sip:` address: `transfer: 100`

    Where that fails the caller is taken back, and `{outcome}` says why.
    """

    to: Template
    mode: TransferMode = "blind"
    """`blind`: the caller's side is asked to call there. `attended`: we call there first, and the caller's telephone
    takes our place in that call. `bridge`: we call there, and pass the audio on until somebody hangs up."""
    trunk: Template = ""
    """To call there through, when not blind; the one the call came by when left out."""
    caller: Template = ""
    """The number to show there; the trunk's own when left out."""
    music: File | None = None
    """For the caller while it rings there; else they hear ringing."""
    ring: Seconds = 30.0
    """How long it may take until somebody answers."""
    bridge_if_refused: bool = True
    """Bridge for callers whose side does not do transfers."""
    then: dict[str, Branch] = msgspec.field(default_factory=dict)
    """Where to go on by the outcome: `busy`, `no_answer`, `rejected`, `unreachable`, `refused`; and `finished` when
    the party they were bridged with has hung up (without it the call ends then)."""
    otherwise: Branch | None = None
    """Where to go on after any other failure; the next step when left out."""


async def run(call: CallControl, options: Options) -> Next:
    known = values(call)
    step = TransferStep(
        interpolate(options.to, known),
        options.mode,
        interpolate(options.trunk, known),
        interpolate(options.caller, known),
        options.music,
        options.ring,
        options.bridge_if_refused,
    )
    outcome = await call.transfer(step)
    call.set("outcome", outcome)
    if outcome == FINISHED and FINISHED not in options.then:
        await call.hang_up()
    return branch(options.then.get(outcome, options.otherwise))


def examine(options: Options, document: Document) -> Iterator[Complaint]:
    known = get_args(TransferOutcome)
    for outcome in options.then:
        if outcome not in known:
            yield Complaint(("then", outcome), f"a transfer has no outcome `{outcome}`", did_you_mean(outcome, known))
    if not options.to:
        yield Complaint(("to",), "nobody to connect the caller with", "a number, or a sip: address")
