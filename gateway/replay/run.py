"""A replay: a call of before, or a WAV as a caller, through the whole house under a virtual clock.

Everything but the far side and the providers is the real thing: the desk, the dialplan, the conversation, the media
plane. It runs as fast as the machine computes, and two runs give the same bytes.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from datetime import datetime
from pathlib import Path

import msgspec

from gateway.call.ports import Incoming
from gateway.call.services import DeskOptions
from gateway.core import events as e
from gateway.core.errors import ConfigError
from gateway.core.ids import SeededIds
from gateway.core.loops import run_virtual
from gateway.dialplan import Dialplan, Offer, Plan
from gateway.dialplan import load as load_dialplan
from gateway.replay import layout
from gateway.replay.arguments import Answers
from gateway.replay.audio import caller_of, prompt_loader
from gateway.replay.bundle import Sources
from gateway.replay.captured import far_side_captured
from gateway.replay.far_side import FarSide, far_side_of, talking
from gateway.replay.reading import Recorded, read_bundle
from gateway.replay.stage import Live, Stage, perform


class ReplayOptions(msgspec.Struct, frozen=True):
    route: str | None = None
    """Take this route instead of the recorded one."""
    dialplan: Path | None = None
    """Use this dialplan, and route by it, instead of the one in the bundle."""
    out: Path | None = None
    """Leave what happened as a bundle in this new folder."""
    answers: Answers = "recorded"
    """Whose: the bundle's; a live provider's where the bundle has none; or live ones' throughout."""
    live: Live = Live()
    hang_up_after_s: float = 8.0
    """How long the caller of a WAV listens after its last sample, or that of a capture without a BYE."""
    caller: str = "replay"
    called: str = ""
    """The number that the caller of a WAV dials; empty: the route's name. A capture with an INVITE has its own."""
    desk: DeskOptions | None = None
    """None: as recorded, or the defaults."""


class Replayed(msgspec.Struct, frozen=True):
    """`wav` is the stereo recording, empty when the call was never answered; `unanswered` as `compare` takes it."""

    events: tuple[e.AnyEvent, ...]
    wav: bytes
    duration_s: float
    wall_s: float
    unanswered: tuple[tuple[float, str], ...] = ()

    @property
    def speed(self) -> float:
        """How many times faster than the call itself."""
        return self.duration_s / self.wall_s

    @property
    def log(self) -> bytes:
        """As `events.jsonl` holds it."""
        return b"".join(e.encode(event) + b"\n" for event in self.events)


def replay_bundle(bundle: Path | Recorded, options: ReplayOptions | None = None) -> Replayed:
    """Raises `ConfigError` for a bundle that cannot be read, and for a dialplan or route that is not there."""
    options = options or ReplayOptions()
    recorded = bundle if isinstance(bundle, Recorded) else read_bundle(bundle)
    meta = recorded.meta
    path = options.dialplan or recorded.dialplan
    if path is None:
        raise ConfigError("the bundle has no dialplan; give one with --dialplan", path=recorded.folder)
    sources = _sources(path)
    base = sources.base if options.dialplan else meta.dialplan
    route = options.route or (None if options.dialplan else meta.route or None)
    # Prompts go by the names they had where the dialplan was copied from.
    copied_from = None if options.dialplan else Path(meta.dialplan or layout.KEPT_DIALPLAN)
    stage = Stage(
        side=far_side_of(recorded),
        dialplan=_dialplan(path, route, copied_from),
        sources=msgspec.structs.replace(sources, base=base),
        load_prompt=prompt_loader(Path(base) if base else None),
        desk=options.desk or _desk_options(recorded),
        seed=meta.seed,
        answers=options.answers,
        live=options.live,
        media=meta.media,
        wall=meta.wall + recorded.events[0].at - meta.at,
        utc_offset_s=meta.utc_offset_s,
        recorded=recorded,
    )
    return _play(stage, options.out)


def replay_wav(path: Path, options: ReplayOptions) -> Replayed:
    """A caller who plays this WAV (of a stereo one, the left channel), answered by live providers.

    Raises `ConfigError`.
    """
    seconds = options.hang_up_after_s
    side = talking(caller_of(path), _incoming(options), SeededIds(path.name), hang_up_after_s=seconds)
    return _play_live(side, path, options)


def replay_pcap(path: Path, options: ReplayOptions) -> Replayed:
    """The caller in a packet capture (pcap or pcapng), with every packet as it came, answered by live providers.

    Raises `ConfigError`.
    """
    side = far_side_captured(path, _incoming(options), hang_up_after_s=options.hang_up_after_s)
    return _play_live(side, path, options)


def _incoming(options: ReplayOptions) -> Incoming:
    return Incoming("replay", options.caller, options.called or options.route or "")


def _play_live(side: FarSide, path: Path, options: ReplayOptions) -> Replayed:
    if options.dialplan is None:
        raise ConfigError("a caller without a bundle needs a dialplan to talk to")
    sources = _sources(options.dialplan)
    stage = Stage(
        side=side,
        dialplan=_dialplan(options.dialplan, options.route),
        sources=sources,
        load_prompt=prompt_loader(Path(sources.base)),
        desk=options.desk or DeskOptions(),
        seed=path.name,
        answers="live",
        live=options.live,
    )
    return _play(stage, options.out)


class _FixedRoute(Dialplan):
    """Sends every call the same way."""

    def __init__(self, dialplan: Dialplan, route: str) -> None:
        super().__init__(dialplan.document)
        self._route = route

    def route(self, offer: Offer, at: datetime) -> Plan:
        return self.plan(self._route)


def _sources(path: Path) -> Sources:
    try:
        return Sources.read(path)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=path) from error


def _dialplan(path: Path, route: str | None, copied_from: Path | None = None) -> Dialplan:
    dialplan = load_dialplan(path, copied_from)
    if route is None:
        return dialplan
    if route not in dialplan.routes:
        raise ConfigError(f"no route `{route}`; there are {', '.join(dialplan.routes)}", path=path)
    return _FixedRoute(dialplan, route)


def _desk_options(recorded: Recorded) -> DeskOptions:
    try:
        return msgspec.convert(recorded.meta.settings, DeskOptions)
    except msgspec.ValidationError as error:
        raise ConfigError(f"settings of another gateway: {error}", path=recorded.folder / layout.META) from error


def _play(stage: Stage, out: Path | None) -> Replayed:
    if out is not None and out.exists():
        raise ConfigError("is there already; a replay is left in a new folder", path=out)
    with tempfile.TemporaryDirectory(prefix="replay-") as scratch:
        begun = time.perf_counter()
        folder, unanswered = run_virtual(perform(stage, Path(scratch)))
        wall_s = time.perf_counter() - begun
        done = read_bundle(folder)
        recording = folder / layout.RECORDING
        sound = recording.read_bytes() if recording.exists() else b""
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(folder, out)
    duration_s = done.events[-1].at - done.events[0].at
    return Replayed(done.events, sound, duration_s, wall_s, tuple(unanswered))
