"""What the far side did is told apart from what the gateway did: only the former is played again."""

from __future__ import annotations

import wave
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest

from gateway.call import commands as c
from gateway.call.moving import progress
from gateway.call.ports import Incoming
from gateway.core import events as e
from gateway.core.errors import ConfigError
from gateway.core.ids import SeededIds
from gateway.media import rtp
from gateway.media.trace import Traced
from gateway.replay import layout
from gateway.replay.far_side import FarSide, Interruption, far_side_of, payload_types, talking, unwritten
from gateway.replay.reading import Recorded

META = layout.Meta(format=layout.FORMAT, gateway="0", call="c-1", wall=0.0, at=10.0)
SOURCE = ("192.0.2.9", 4000)
STARTED = e.CallStarted(10.0, "c-1", "sip", "alice", "200", "desk", {"X-Tenant": "blue"}, {"trunk": "pbx"})
OPENED = e.RecordingStarted(10.5, "c-1", "call.wav")
ANSWERED = e.CallAnswered(10.7, "c-1", "PCMA")


def packet(kind: int, size: int, tick: int = 1) -> Traced:
    return Traced(tick, tick * 0.02, SOURCE, rtp.build(rtp.RtpPacket(kind, tick, 0, 1, bytes(size))))


def recorded(*events: e.AnyEvent, folder: Path = Path("nowhere"), rtp_leg: bool = True) -> Recorded:
    datagrams = (packet(8, 160), packet(101, 4), packet(8, 160, 2)) if rtp_leg else ()
    return Recorded(folder, META, (STARTED, OPENED, ANSWERED, *events), datagrams=datagrams)


def test_the_caller_comes_as_they_came() -> None:
    """By the same door, with the same headers, answered as long after the offer, confirmed as long after that."""
    side = far_side_of(recorded())
    assert side.incoming == Incoming("sip", "alice", "200", {"X-Tenant": "blue"}, "pbx", facts={"trunk": "pbx"})
    assert (side.codec, side.payload_type, side.dtmf_payload_type) == ("PCMA", 8, 101)
    assert (side.opens_s, side.answer_s) == (0.5, 0.2)


@pytest.mark.parametrize(("door", "silent_after_s"), [("sip", 2.0), ("browser", 5.0)])
def test_a_line_is_taken_for_silent_as_soon_as_it_was(door: e.Door, silent_after_s: float) -> None:
    """A browser's is waited for longer, though its packets were kept as a telephone's are."""
    started = msgspec.structs.replace(STARTED, door=door)
    side = far_side_of(Recorded(Path("nowhere"), META, (started, OPENED, ANSWERED), datagrams=(packet(0, 160),)))
    assert side.is_rtp
    assert side.silent_after_s == silent_after_s


def test_payload_types_are_read_off_the_packets() -> None:
    """The trace holds no negotiation: audio is what comes most, RFC 4733 is dynamic and four octets long."""
    assert payload_types((packet(0, 160), packet(8, 160), packet(8, 160))) == (8, None)
    assert payload_types((packet(96, 4), packet(0, 160))) == (0, 96)
    garbage = Traced(1, 0.02, SOURCE, b"x")
    report = Traced(1, 0.02, SOURCE, bytes([0x80, 200, 0, 6]) + bytes(12))
    assert payload_types((garbage, report, packet(111, 4000))) == (0, None)


@pytest.mark.parametrize(
    ("reason", "by", "told"),
    [
        ("hangup", "caller", c.LineEnded("hangup", "caller")),
        ("cancelled", "caller", c.LineEnded("cancelled", "caller")),
        ("timeout", "caller", c.LineEnded("timeout", "caller")),
        ("line_lost", "caller", c.LineEnded("line_lost", "caller")),
        ("shutdown", "gateway", c.Stop("shutdown", "gateway")),
        ("hangup", "gateway", c.Stop("hangup", "gateway")),
        ("hangup", "bot", None),
        ("rejected", "bot", None),
        ("limit", "gateway", None),
        ("error", "gateway", None),
    ],
)
def test_only_endings_from_outside_are_played(reason: e.EndReason, by: e.Side, told: object) -> None:
    """The bot's own goodbye, a limit, a broken step: these must come about again by themselves."""
    side = far_side_of(recorded(e.CallEnded(20.0, "c-1", reason, by, 10.0)))
    assert side.told == (((10.0, told),) if told is not None else ())


def test_the_far_side_hung_up_when_the_conversation_ended() -> None:
    """`CallEnded` is written after everything was closed, which took a while live."""
    side = far_side_of(
        recorded(e.StateChanged(19.6, "c-1", "speaking", "ended"), e.CallEnded(20.0, "c-1", "hangup", "caller", 10.0))
    )
    assert side.told[0][0] == pytest.approx(9.6)


def test_a_line_silent_for_long_enough_is_given_up_by_our_own_clock() -> None:
    """The gateway itself did that after its 20 s. Earlier, or after the silence ended, somebody else must have: a call
    back that took the session over."""
    silent, lost = e.LineFellSilent(12.0, "c-1", 2.01), e.CallEnded(32.0, "c-1", "line_lost", "caller", 22.0)
    side = far_side_of(recorded(silent, lost))
    assert (side.told, side.silent_after_s) == ((), 2.0)
    assert far_side_of(recorded(silent, e.LineRecovered(13.0, "c-1"), lost)).told != ()
    taken_over = e.CallEnded(16.0, "c-1", "line_lost", "caller", 6.0)
    assert far_side_of(recorded(silent, taken_over)).told == ((6.0, c.LineEnded("line_lost", "caller")),)


def test_holds_and_digits_of_the_signalling_come_again() -> None:
    """Digits in RTP are in the packets already."""
    info = e.DigitPressed(13.0, "c-1", "5", 160, "info")
    side = far_side_of(
        recorded(e.CallHeld(11.0, "c-1"), e.CallRetrieved(12.0, "c-1"), info, e.DigitPressed(14.0, "c-1", "6", 100))
    )
    assert side.told == ((1.0, c.LineHeld(True)), (2.0, c.LineHeld(False)), (3.0, info))


def test_texts_come_again() -> None:
    """They came by the signalling alone."""
    side = far_side_of(recorded(e.TextReceived(13.0, "c-1", "on thursday")))
    assert side.told == ((3.0, c.TextCame("on thursday")),)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_browsers_voice_is_taken_from_the_recording(tmp_path: Path, rate: int) -> None:
    """A PCM leg has no packets; the recording's left channel is what the bot heard, at the recording's rate, and
    silences stay silent."""
    with wave.open(str(tmp_path / layout.RECORDING), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.stack([np.arange(rate // 10), np.zeros(rate // 10)], axis=1).astype("<i2").tobytes())
    fell, recovered = e.LineFellSilent(10.55, "c-1", 0.03), e.LineRecovered(10.575, "c-1")
    side = far_side_of(recorded(fell, recovered, folder=tmp_path, rtp_leg=False))
    assert [frame is not None for frame in side.frames] == [True, False, False, False, True]
    assert side.frames[0] == np.arange(rate // 50).astype("<i2").tobytes()
    assert side.wideband == (rate == 16000)
    with pytest.raises(ConfigError, match="caller's audio"):
        far_side_of(recorded(folder=tmp_path / "elsewhere", rtp_leg=False))


def test_a_call_that_was_never_answered_has_no_audio() -> None:
    """Only its offer, and its ending if it came from outside."""
    ended = e.CallEnded(12.0, "c-1", "cancelled", "caller", 2.0)
    side = far_side_of(Recorded(Path("nowhere"), META, (STARTED, ended)))
    assert (side.datagrams, side.frames, side.told) == ((), (), ((2.0, c.LineEnded("cancelled", "caller")),))


def test_a_recording_becomes_packets_and_a_goodbye() -> None:
    """20 ms each, in sequence, the last one filled up; the same packets for the same seed."""
    side = talking(bytes(2 * 400), Incoming("replay", "a", "b"), SeededIds("x"), hang_up_after_s=1.0)
    packets = [rtp.parse(datagram.data) for datagram in side.datagrams]
    assert len(packets) == 3 + 50
    assert {len(one.payload) for one in packets} == {160}
    steps = {(b.sequence - a.sequence) % 65536 for a, b in pairwise(packets)}
    assert steps == {1}
    assert side.hangs_up_s == pytest.approx(53 * 0.02)
    assert side == talking(bytes(2 * 400), Incoming("replay", "a", "b"), SeededIds("x"), hang_up_after_s=1.0)


def test_what_died_with_a_media_process_is_known() -> None:
    """Packets wait for a while before they are written: what a replay cannot hear is told."""
    breaks = (Interruption(10.0, 10.3), Interruption(10.9, 11.2))
    packets = [Traced(tick, tick * 0.02, ("192.0.2.1", 4000), b"") for tick in (0, 455, 520)]
    side = FarSide(Incoming("sip", "1", "2"), opens_s=2.0, datagrams=tuple(packets), interruptions=breaks)
    told = [(round(at_s, 2), round(seconds, 2)) for at_s, seconds in unwritten(side)]
    assert told == [(12.0, 0.9), (12.9, 0.5)]


def test_how_a_transfer_went_is_told_again() -> None:
    """The peers' part of it; what the gateway concluded from that it must conclude again."""

    def news(of: str, status: int, reason: str = "", refused: bool = False) -> e.TransferProgressed:
        return e.TransferProgressed(11.0, "c-1", of, status, reason, refused)  # type: ignore[arg-type]

    inputs: list[c.AnyInput] = [
        c.TransferTold(100),
        c.TransferTold(405, refused=True),
        c.TargetRang(183),
        c.TargetAnswered(),
        c.TargetEnded("busy"),
        c.SuccessorRang(180),
        c.SuccessorEnded("no_answer"),
    ]
    events = [progress(received, 11.0, "c-1") for received in inputs]
    side = far_side_of(
        recorded(
            e.TransferStarted(11.0, "c-1", "blind", "100", "bot"),
            e.TransferStarted(11.0, "c-1", "move", "sip:200@192.0.2.9", "caller"),
            *events,
            e.TransferEnded(11.0, "c-1", "busy"),
            e.CallMoved(12.0, "c-1", "replaces", "PCMU", "300"),
        )
    )
    assert [told for _, told in side.told] == [
        c.TransferAsked("sip:200@192.0.2.9"), *inputs, c.LineMoved("replaces", "PCMU", "300"),
    ]  # fmt: skip
    assert events[1] == news("referred", 405, refused=True)
    assert events[4] == news("target", 0, "busy")
