"""What `gateway replay` can be told. By itself, so that the other commands need not load what a replay takes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from gateway.replay.compare import LIVE_TOLERANCE_S

Answers: TypeAlias = Literal["recorded", "recorded-then-live", "live"]
"""Whose answers are played: the bundle's, live ones where it has none, or only live ones."""


def add_arguments(parser: argparse.ArgumentParser, *, dialplan: Path | None = None) -> None:
    """`dialplan` is the one a caller without a bundle talks to when none is given."""
    add = parser.add_argument
    add("path", metavar="BUNDLE|WAV|PCAP", type=Path, help="a bundle's folder, or a recording or packet capture "
        "to be played as the caller")  # fmt: skip
    add("--route", metavar="NAME", help="take this route instead of the recorded one")
    add("--dialplan", metavar="PATH", type=Path, help="use this dialplan instead of the recorded one, and route by it")
    add("--answers", choices=get_args(Answers), help="whose answers to play: the bundle's, live ones where it has "
        "none, or only live ones; the default is recorded, with --dialplan or --update recorded-then-live")  # fmt: skip
    add("--tolerance-ms", metavar="N", type=float, help=f"how far times may move: {LIVE_TOLERANCE_S * 1000:.0f} for a "
        "bundle recorded live, 0 for an accepted one")  # fmt: skip
    add("--update", action="store_true", help="accept what happened: it becomes what the bundle expects")
    add("--out", metavar="DIR", type=Path, help="leave the replay's own bundle, with its recording, in this new folder")
    add("--keep", metavar="DIR", type=Path, help="copy the bundle, made small, into this new folder as a test")
    add("--speed", choices=("report",), help="print only how fast it ran")
    parser.set_defaults(default_dialplan=dialplan)
