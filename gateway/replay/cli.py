"""`gateway replay`: send recorded calls through the pipeline, print what happened, and say what differs.

Exit codes: 0 the same (or nothing to compare with), 1 a difference, 2 misuse.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import msgspec
import structlog

from gateway.core.errors import ConfigError, GatewayError
from gateway.replay.capture import is_capture
from gateway.replay.compare import LIVE_TOLERANCE_S, Comparison, compare
from gateway.replay.describe import clock_face, timeline
from gateway.replay.far_side import far_side_of, unwritten
from gateway.replay.keep import accept, keep
from gateway.replay.reading import Recorded, read_bundle
from gateway.replay.run import Replayed, ReplayOptions, replay_bundle, replay_pcap, replay_wav
from gateway.replay.stage import Answers


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


def run(chosen: argparse.Namespace) -> int:
    """Raises `ConfigError` for what cannot be read, which `main` (and `gateway`) reports."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    path: Path = chosen.path
    if path.is_dir():
        return _run_bundle(path, chosen)
    if chosen.update or chosen.keep:
        raise ConfigError("only a bundle can be updated or kept", path=path)
    return _run_caller(path, chosen)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="gateway replay")
    add_arguments(parser)
    try:
        return run(parser.parse_args(arguments))
    except GatewayError as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 2


def _run_caller(path: Path, chosen: argparse.Namespace) -> int:
    options = ReplayOptions(route=chosen.route, dialplan=chosen.dialplan or chosen.default_dialplan, out=chosen.out)
    replay = replay_pcap if is_capture(path) else replay_wav
    _tell(replay(path, options), chosen)
    return 0


def _run_bundle(path: Path, chosen: argparse.Namespace) -> int:
    if chosen.keep is not None:
        keep(path, chosen.keep)
        print(f"kept in {chosen.keep}")
        return 0
    recorded = read_bundle(path)
    options = ReplayOptions(
        route=chosen.route,
        dialplan=chosen.dialplan,
        out=chosen.out,
        answers=chosen.answers or ("recorded-then-live" if chosen.dialplan or chosen.update else "recorded"),
    )
    if chosen.update:
        _tell(update(path, recorded, options), chosen)
        print(f"accepted: {path}")
        return 0
    replayed = replay_bundle(recorded, options)
    _tell(replayed, chosen)
    tolerance_s = None if chosen.tolerance_ms is None else chosen.tolerance_ms / 1000
    difference = against(recorded, replayed, tolerance_s)
    print(difference.render())
    if not difference.same:
        for at_s, seconds in unwritten(far_side_of(recorded)):
            print(f"{clock_face(at_s)}    a media worker died, and {seconds:.1f} s of the caller's packets with it")
    return 0 if difference.same else 1


def against(recorded: Recorded, replayed: Replayed, tolerance_s: float | None = None) -> Comparison:
    """Compare with the bundle's events; the tolerance, unless given, is the bundle's own."""
    if tolerance_s is None:
        tolerance_s = 0.0 if recorded.meta.exact else LIVE_TOLERANCE_S
    return compare(recorded.events, replayed.events, tolerance_s=tolerance_s, unanswered=replayed.unanswered)


def update(path: Path, recorded: Recorded, options: ReplayOptions) -> Replayed:
    """Replay, and let the outcome be what the bundle expects from now on. What live providers answered becomes part
    of it."""
    with tempfile.TemporaryDirectory(prefix="replay-") as scratch:
        out = options.out or Path(scratch) / "accepted"
        replayed = replay_bundle(recorded, msgspec.structs.replace(options, out=out))
        accept(path, out)
    return replayed


def _tell(replayed: Replayed, chosen: argparse.Namespace) -> None:
    if chosen.speed is None:
        for line in timeline(replayed.events):
            print(line)
    print(f"{replayed.duration_s:.1f} s of call in {replayed.wall_s:.2f} s: {replayed.speed:.0f} times real time")
