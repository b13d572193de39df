"""The far side of a replayed call: what it sends and does, and when, as a plain value."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TypeAlias, cast

import msgspec
import numpy as np

from gateway.call import commands as c
from gateway.call import relayed_line
from gateway.call.call import CallOptions
from gateway.call.ports import Incoming
from gateway.call.sip_line import SipLineOptions
from gateway.core import events as e
from gateway.core.errors import ConfigError
from gateway.core.ids import Ids
from gateway.media import g711, rtp
from gateway.media.codecs import WIDE
from gateway.media.commands import Codec
from gateway.media.trace import TICK_S, LeftOut, Traced
from gateway.replay import layout
from gateway.replay.audio import caller_in_recording
from gateway.replay.reading import Recorded

FRAME_BYTES = 320
"""20 ms of 8 kHz PCM."""
WIDE_FRAME_BYTES = 2 * FRAME_BYTES
"""20 ms of 16 kHz PCM."""
FRAME_SAMPLES = 160
_ABOUT_S = 0.5

CALLER_ADDRESS = ("192.0.2.1", 4000)
"""Where a made-up caller sends from (RFC 5737: for documentation)."""

Told: TypeAlias = c.AnyInput | e.DigitPressed


class Interruption(msgspec.Struct, frozen=True):
    """When a media process of ours dies and when another takes over, in whole ticks from the leg's opening; and at
    which second the clip goes on that was being played, None where that is not known."""

    lost_s: float
    restored_s: float
    goes_on_at_s: float | None = None


class FarSide(msgspec.Struct, frozen=True):
    """Either `datagrams` for an RTP leg, timed from the leg's opening, or, where no packets were kept, 20 ms `frames`
    of 8 or 16 kHz for a PCM leg (None: the far side was silent then). `told` is what comes by signalling, timed from
    the call's start."""

    incoming: Incoming
    codec: str = "PCMU"
    payload_type: int = 0
    dtmf_payload_type: int | None = None
    opens_s: float = 0.0
    """When the leg opens, since the call's start; later when the call is answered later."""
    answer_s: float = 0.0
    """From the leg's opening to the far side's confirmation."""
    keys_as_tones: bool = False
    """Whether there are keys by their sound in its audio, which its trunk had the gateway listen for."""
    silent_after_s: float = SipLineOptions().silent_after_s
    datagrams: tuple[Traced, ...] = ()
    frames: tuple[bytes | None, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    """Ticks of ours that do not come, counted from the leg's opening."""
    interruptions: tuple[Interruption, ...] = ()
    told: tuple[tuple[float, Told], ...] = ()
    hangs_up_s: float | None = None
    """From the leg's opening to the caller's goodbye; None leaves it to `told`."""

    @property
    def audio_codec(self) -> Codec:
        """What came under `payload_type`."""
        static: dict[int, Codec] = {0: "PCMU", 8: "PCMA", 9: "G722"}
        return static.get(self.payload_type, "opus")

    @property
    def is_rtp(self) -> bool:
        return not self.frames

    @property
    def wideband(self) -> bool:
        if self.is_rtp:
            return self.audio_codec in WIDE
        return any(frame is not None and len(frame) == WIDE_FRAME_BYTES for frame in self.frames)


def _incoming(started: e.CallStarted) -> Incoming:
    trunk = started.facts.get("trunk", "")
    return Incoming(started.door, started.caller, started.called, started.headers, trunk, facts=started.facts)


def far_side_of(recorded: Recorded) -> FarSide:
    """The one that called when the bundle was recorded. Raises `ConfigError` when its audio is missing."""
    events = recorded.events
    started = next((event for event in events if isinstance(event, e.CallStarted)), None)
    if started is None:
        raise ConfigError("no call started in it", path=recorded.folder / layout.EVENTS)
    answered = next((event for event in events if isinstance(event, e.CallAnswered)), None)
    opened = next((event for event in events if isinstance(event, e.RecordingStarted)), answered)
    side = FarSide(
        _incoming(started),
        told=tuple(_told(events, started.at, _patience_s(recorded))),
    )
    if answered is None or opened is None:
        return side
    silences = [event.for_s for event in events if isinstance(event, e.LineFellSilent)]
    default = relayed_line.SILENT_AFTER_S if started.door == "browser" else SipLineOptions().silent_after_s
    side = msgspec.structs.replace(
        side,
        codec=answered.codec,
        # To the microsecond, so that a replay of a replay computes with the same numbers.
        opens_s=round(opened.at - started.at, 6),
        answer_s=round(max(0.0, answered.at - opened.at), 6),
        keys_as_tones=any(isinstance(event, e.DigitPressed) and event.method == "inband" for event in events),
        silent_after_s=round(silences[0], 1) if silences else default,
        left_out=recorded.left_out,
        interruptions=tuple(_interruptions(events, opened.at)),
    )
    if recorded.datagrams:
        audio, digits = payload_types(recorded.datagrams, answered.codec)
        return msgspec.structs.replace(side, datagrams=recorded.datagrams, payload_type=audio, dtmf_payload_type=digits)
    return msgspec.structs.replace(side, frames=tuple(_frames(recorded, opened.at)))


def payload_types(datagrams: tuple[Traced, ...], codec: str = "PCMU") -> tuple[int, int | None]:
    """Of the audio, whichever comes most, and of RFC 4733 events: dynamic, of four octets.

    Beside G.711 and G.722, which have numbers of their own, a dynamic number is that of an Opus call's audio.
    """
    counts = {0: 0, 8: 0}
    if codec == "G722":
        counts[9] = 0
    digits: int | None = None
    for datagram in datagrams:
        kind = datagram.data[1] & 0x7F if len(datagram.data) > rtp.HEADER else -1
        if kind in counts:
            counts[kind] += 1
        elif 96 <= kind <= 127 and not rtp.is_rtcp(datagram.data) and len(datagram.data) == rtp.HEADER + 4:
            digits = kind
        elif codec == "opus" and 96 <= kind <= 127 and not rtp.is_rtcp(datagram.data):
            counts[kind] = counts.get(kind, 0) + 1
    return max(counts, key=lambda kind: counts[kind]), digits


def _interruptions(events: tuple[e.AnyEvent, ...], opened_at: float) -> Iterator[Interruption]:
    """To the tick: the trace of the second process counts on in whole ones."""
    for event in events:
        if isinstance(event, e.AudioInterrupted):
            restored = round((event.at - opened_at) / TICK_S)
            lost = restored - max(1, round(event.for_s / TICK_S))
            yield Interruption(lost * TICK_S, restored * TICK_S, event.goes_on_at_s)


def unwritten(side: FarSide) -> Iterator[tuple[float, float]]:
    """When a media process died, since the call's start, and how many seconds of the caller before that died with it:
    no packet of them was on disk yet."""
    since_s = 0.0
    for one in side.interruptions:
        written = [each.at_s for each in side.datagrams if since_s <= each.at_s < one.lost_s]
        yield side.opens_s + one.lost_s, one.lost_s - max(written, default=since_s)
        since_s = one.restored_s


def _patience_s(recorded: Recorded) -> float:
    """How long a silent line was waited for."""
    options = recorded.meta.settings.get("call", {})
    return float(options.get("line_lost_after_s", CallOptions().line_lost_after_s))


def _told(events: tuple[e.AnyEvent, ...], start: float, patience_s: float) -> Iterator[tuple[float, Told]]:
    """What reached the call from outside. What the gateway did by itself it must do again by itself."""
    ended_at: float | None = None
    silent_since = float("inf")
    for event in events:
        match event:
            case e.CallHeld(at=at):
                yield at - start, c.LineHeld(True)
            case e.CallRetrieved(at=at):
                yield at - start, c.LineHeld(False)
            case e.DigitPressed(at=at, method="info" | "page"):
                yield at - start, event
            case e.TextReceived(at=at, text=text):
                yield at - start, c.TextCame(text)
            case e.TransferStarted(at=at, by="caller", to=to):
                yield at - start, c.TransferAsked(to)
            case e.TransferStarted(at=at, by="gateway", to=to):
                yield at - start, c.TransferOrdered(to)
            case e.TransferProgressed(at=at):
                yield at - start, _progressed(event)
            case e.CallMoved(at=at, by=by, codec=codec, caller=caller):
                yield at - start, c.LineMoved(by, codec, caller)
            case e.LineFellSilent(at=at):
                silent_since = at
            case e.LineRecovered():
                silent_since = float("inf")
            case e.StateChanged(at=at, state="ended"):
                ended_at = at
            case e.CallEnded(at=at):
                gave_up = at - silent_since > patience_s - _ABOUT_S
                ending = _ending(event, gave_up)
                if ending is not None:
                    yield (ended_at if ended_at is not None else at) - start, ending
            case _:
                pass


def _progressed(event: e.TransferProgressed) -> Told:
    """The inverse of `gateway.call.moving.progress`."""
    reason = cast(e.EndReason, event.reason)
    match event.of, event.status:
        case "referred", status:
            return c.TransferTold(status, event.refused)
        case "target", 0:
            return c.TargetEnded(reason)
        case "target", 200:
            return c.TargetAnswered()
        case "target", status:
            return c.TargetRang(status)
        case _, 0:
            return c.SuccessorEnded(reason)
        case _, status:
            return c.SuccessorRang(status)


def _ending(ended: e.CallEnded, gave_up: bool) -> c.LineEnded | c.Stop | None:
    """None when the gateway ended the call of its own accord: the bot was done, a limit was reached, or it gave a
    silent line up. (A line lost before that was taken over by a call back, or a browser went away.)"""
    match ended.reason, ended.by:
        case "line_lost", _ if gave_up:
            return None
        case (("hangup" | "cancelled" | "timeout" | "line_lost"), "caller"):
            return c.LineEnded(ended.reason, "caller")
        case "shutdown", by:
            return c.Stop("shutdown", by)
        case "hangup", "gateway":
            return c.Stop("hangup", "gateway")
        case _:
            return None


def _frames(recorded: Recorded, opened_at: float) -> Iterator[bytes | None]:
    """A browser's audio, from the left channel of the recording; None while its line was silent."""
    path = recorded.folder / layout.RECORDING
    if not path.exists():
        raise ConfigError(
            f"neither {layout.TRACE} nor {layout.RECORDING} holds the caller's audio", path=recorded.folder
        )
    pcm, rate = caller_in_recording(path)
    size = round(2 * rate * TICK_S)
    silences = list(_silences(recorded.events))
    for index in range(len(pcm) // size):
        middle = opened_at + (index + 0.5) * TICK_S
        if any(since <= middle < until for since, until in silences):
            yield None
        else:
            yield pcm[index * size : (index + 1) * size]


def _silences(events: tuple[e.AnyEvent, ...]) -> Iterator[tuple[float, float]]:
    changes = [event for event in events if isinstance(event, e.LineFellSilent | e.LineRecovered)]
    ends = [*changes, None]
    for event, following in pairwise(ends):
        if isinstance(event, e.LineFellSilent):
            yield event.at - event.for_s, following.at if following is not None else float("inf")


def talking(pcm: bytes, incoming: Incoming, ids: Ids, *, hang_up_after_s: float) -> FarSide:
    """A caller who plays 8 kHz PCM as PCMU in packets of 20 ms, listens for `hang_up_after_s` more, and hangs up."""
    silence = bytes(round(hang_up_after_s * 8000) * 2)
    samples = np.frombuffer(pcm + bytes(-len(pcm) % FRAME_BYTES) + silence, "<i2")
    codes = g711.encode(samples.astype(np.int16))
    sequence, timestamp, ssrc = ids.uint32() & 0xFFFF, ids.uint32(), ids.uint32()
    packets = []
    for index in range(len(codes) // FRAME_SAMPLES):
        payload = codes[index * FRAME_SAMPLES : (index + 1) * FRAME_SAMPLES].tobytes()
        at = timestamp + index * FRAME_SAMPLES
        packet = rtp.RtpPacket(0, (sequence + index) & 0xFFFF, at & 0xFFFFFFFF, ssrc, payload, index == 0)
        # Half-way between two ticks: whatever rounding does, a packet belongs to one of them.
        tick = index + 1
        packets.append(Traced(tick, (tick - 0.5) * TICK_S, CALLER_ADDRESS, rtp.build(packet)))
    return FarSide(
        incoming,
        datagrams=tuple(packets),
        dtmf_payload_type=101,
        hangs_up_s=len(packets) * TICK_S,
    )
