"""The four transaction machines of RFC 3261 17 with RFC 6026's corrections, as tables.

A row reads: in this state, at this event, do this and be in that state. A pair without a row is ignored. A timer that
has no row in the new state stops.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from gateway.sip.timers import Timing

State: TypeAlias = Literal["calling", "trying", "proceeding", "completed", "accepted", "confirmed", "terminated"]
Effect: TypeAlias = Literal[
    "send",  # transmit the message at hand, and keep it for repetition
    "repeat",  # transmit again what was sent last
    "acknowledge",  # ACK a refusal, hop by hop (17.1.1.3)
    "tell",  # the user must see the message at hand
    "fail",  # the user must learn that the other side is silent
]


class Row(NamedTuple):
    state: State
    effects: tuple[Effect, ...] = ()
    start: tuple[str, ...] = ()


Table: TypeAlias = dict[tuple[State, str], Row]

INVITE_CLIENT: Table = {
    ("calling", "send"): Row("calling", ("send",), ("A", "B")),
    ("calling", "A"): Row("calling", ("repeat",), ("A",)),
    ("calling", "B"): Row("terminated", ("fail",)),
    ("calling", "1xx"): Row("proceeding", ("tell",)),
    ("calling", "2xx"): Row("accepted", ("tell",), ("M",)),
    ("calling", "refusal"): Row("completed", ("acknowledge", "tell"), ("D",)),
    ("proceeding", "1xx"): Row("proceeding", ("tell",)),
    ("proceeding", "2xx"): Row("accepted", ("tell",), ("M",)),
    ("proceeding", "refusal"): Row("completed", ("acknowledge", "tell"), ("D",)),
    ("completed", "refusal"): Row("completed", ("acknowledge",)),
    ("completed", "D"): Row("terminated"),
    # RFC 6026 7.2: repeated and forked 2xx reach the user until M ends it.
    ("accepted", "2xx"): Row("accepted", ("tell",)),
    ("accepted", "M"): Row("terminated"),
}

PLAIN_CLIENT: Table = {
    ("trying", "send"): Row("trying", ("send",), ("E", "F")),
    ("trying", "E"): Row("trying", ("repeat",), ("E",)),
    ("trying", "F"): Row("terminated", ("fail",)),
    ("trying", "1xx"): Row("proceeding", ("tell",)),
    ("trying", "2xx"): Row("completed", ("tell",), ("K",)),
    ("trying", "refusal"): Row("completed", ("tell",), ("K",)),
    ("proceeding", "E"): Row("proceeding", ("repeat",), ("E at T2",)),
    ("proceeding", "E at T2"): Row("proceeding", ("repeat",), ("E at T2",)),
    ("proceeding", "F"): Row("terminated", ("fail",)),
    ("proceeding", "1xx"): Row("proceeding", ("tell",)),
    ("proceeding", "2xx"): Row("completed", ("tell",), ("K",)),
    ("proceeding", "refusal"): Row("completed", ("tell",), ("K",)),
    ("completed", "K"): Row("terminated"),
}

INVITE_SERVER: Table = {
    ("proceeding", "request"): Row("proceeding", ("repeat",)),
    ("proceeding", "1xx"): Row("proceeding", ("send",)),
    ("proceeding", "2xx"): Row("accepted", ("send",), ("L",)),
    ("proceeding", "refusal"): Row("completed", ("send",), ("G", "H")),
    ("completed", "request"): Row("completed", ("repeat",)),
    ("completed", "G"): Row("completed", ("repeat",), ("G",)),
    ("completed", "H"): Row("terminated"),
    ("completed", "ack"): Row("confirmed", (), ("I",)),
    # RFC 3261 17.2.1: the ACK's own repetitions end here, until I.
    ("confirmed", "ack"): Row("confirmed"),
    ("confirmed", "I"): Row("terminated"),
    # RFC 6026 7.1: absorb the INVITE's repetitions; the user repeats its 2xx itself.
    ("accepted", "2xx"): Row("accepted", ("send",)),
    ("accepted", "ack"): Row("accepted", ("tell",)),
    ("accepted", "L"): Row("terminated"),
}

PLAIN_SERVER: Table = {
    ("trying", "1xx"): Row("proceeding", ("send",)),
    ("trying", "2xx"): Row("completed", ("send",), ("J",)),
    ("trying", "refusal"): Row("completed", ("send",), ("J",)),
    ("proceeding", "request"): Row("proceeding", ("repeat",)),
    ("proceeding", "1xx"): Row("proceeding", ("send",)),
    ("proceeding", "2xx"): Row("completed", ("send",), ("J",)),
    ("proceeding", "refusal"): Row("completed", ("send",), ("J",)),
    ("completed", "request"): Row("completed", ("repeat",)),
    ("completed", "J"): Row("terminated"),
}

# Which timers repeat, and up to which interval they double.
DOUBLING = frozenset("AEG")
# On a reliable transport nothing is repeated, and nothing needs to be absorbed.
NEVER_ON_STREAMS = frozenset(("A", "E", "E at T2", "G"))
AT_ONCE_ON_STREAMS = frozenset("DIJK")


def first_interval(name: str, timing: Timing) -> float:
    """Seconds until the timer goes off for the first time, on an unreliable transport."""
    match name:
        case "A" | "E" | "G":
            return timing.t1
        case "E at T2":
            return timing.t2
        case "I" | "K":
            return timing.t4
        case "D":
            # RFC 3261 17.1.1.2: at least 32 s, so that every repetition of the refusal finds its ACK.
            return max(32.0, timing.patience)
        case _:
            return timing.patience


def event_of(status: int) -> str:
    """What a response's status means to a table."""
    return "1xx" if status < 200 else "2xx" if status < 300 else "refusal"
