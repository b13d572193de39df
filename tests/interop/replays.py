"""A call of other people's phones, played again without them."""

from __future__ import annotations

from call_bundle import CallBundle

from gateway.replay.cli import against
from gateway.replay.reading import read_bundle
from gateway.replay.run import replay_bundle


def expect_replay(call: CallBundle, *, tolerance_s: float | None = None) -> None:
    """Its bundle's replay has the same events, at times that differ by no more than is allowed of a live call."""
    call.wait("CallEnded")  # the last that is written
    recorded = read_bundle(call.folder)
    difference = against(recorded, replay_bundle(recorded), tolerance_s)
    assert difference.same, difference.render()
