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

import msgspec
import structlog

from gateway.core.errors import ConfigError, GatewayError
from gateway.replay.arguments import add_arguments
from gateway.replay.capture import is_capture
from gateway.replay.compare import LIVE_TOLERANCE_S, Comparison, compare
from gateway.replay.describe import clock_face, timeline
from gateway.replay.far_side import far_side_of, unwritten
from gateway.replay.keep import accept, keep
from gateway.replay.reading import Recorded, read_bundle
from gateway.replay.run import Replayed, ReplayOptions, replay_bundle, replay_pcap, replay_wav


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
