"""When the packets of a step leave: some at a time, at times that do not depend on how long it took to make them.

What a telephone hears as pacing is how much each call's packets differ from their own steady 20 ms. In a batch of
hundreds, the last one is as late as all before it took, and that changes with what else the machine does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

_BURST = 256
"""Packets that leave together. Each burst more costs another waking up."""

_PACKET_S = 5e-6
"""What a packet may take. On a machine that is slower than this, nothing waits: a burst follows the one before."""

_READY_S = 1e-3
"""After a step's time, when the packets of hundreds of legs are made."""

_WORTH_IT_S = 60e-6
"""A sleep is as much too long."""


def in_bursts(count: int, due: float) -> Iterator[slice]:
    """Which of `count` packets to send, each part at its time; `due` is the step's (s, monotonic)."""
    if count <= _BURST:
        yield slice(0, count)
        return
    for first in range(0, count, _BURST):
        left = due + _READY_S + first * _PACKET_S - time.monotonic()
        if left > _WORTH_IT_S:
            time.sleep(left - _WORTH_IT_S)
        yield slice(first, first + _BURST)
