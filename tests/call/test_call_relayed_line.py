"""A browser's line in the hallway: when it is answered, and what goes to its leg and to its carrier."""

from __future__ import annotations

import pytest
from hallway import NotingLeg

from gateway.call import commands as c
from gateway.call.relayed_line import RelayedLine
from gateway.media import commands as media


class Carrier:
    def __init__(self) -> None:
        self.sent, self.over = list[bytes](), False

    def send(self, packet: bytes) -> None:
        self.sent.append(packet)

    def hang_up(self) -> None:
        self.over = True


class Scene:
    def __init__(self, codec: media.Codec = "opus") -> None:
        self.carrier, self.leg, self.heard, self.left = Carrier(), NotingLeg(), list[object](), list[str]()
        self.agreed = media.ConnectLeg("c-1", "", 0, codec, 111, copies=True, opus_bits_per_s=48_000)
        self.line = RelayedLine(
            self.agreed,
            self.carrier,
            leg=self.leg,
            tell=self.heard.append,
            record="call.wav",
            trace="packets.trace",
            gone=lambda: self.left.append("c-1"),
        )


def test_the_leg_is_told_all_that_offer_and_answer_agreed_on() -> None:
    """Opened and connected at once: there is nothing left to negotiate."""
    scene = Scene()
    scene.line.answer()
    assert scene.leg.sent == [
        media.OpenLeg("c-1", "relayed", record="call.wav", trace="packets.trace", silent_after_s=5.0),
        scene.agreed,
    ]
    assert scene.line.wideband
    assert not Scene("PCMU").line.wideband


@pytest.mark.parametrize("browser_first", [True, False])
def test_it_is_answered_when_leg_and_browser_are_ready(browser_first: bool) -> None:
    """Whichever comes first: no greeting is played to nobody."""
    scene = Scene()
    scene.line.answer()
    steps = [scene.line.far_side_ready, lambda: scene.line.media_said(media.LegOpened(1.0, "c-1", 0, 7))]
    first, second = steps if browser_first else steps[::-1]
    first()
    assert scene.heard == []
    second()
    assert scene.heard == [c.LineAnswered("opus")]


def test_packets_and_reports_go_to_the_leg_and_its_packets_to_the_carrier() -> None:
    """None before the leg is there: a browser may be quicker than the hallway."""
    scene = Scene()
    scene.line.receive(b"early", 0.5)
    scene.line.note_report(1, 1, None)
    assert scene.leg.sent == []
    scene.line.answer()
    scene.line.receive(b"packet", 1.5)
    scene.line.note_report(12, 7, 0.08)
    scene.line.press("1#")
    assert scene.leg.sent[2:] == [
        media.RelayPacket("c-1", b"packet", 1.5),
        media.NoteReport("c-1", 12, 7, 0.08),
        media.SendDigits("c-1", "1#"),
    ]
    scene.line.media_said(media.PacketReady(2.0, "c-1", b"answer"))
    assert scene.carrier.sent == [b"answer"]


@pytest.mark.parametrize("gone", [media.LegFailed(1.0, "c-1", "full"), media.MediaDied(1.0, "c-1")])
def test_without_its_leg_the_line_ends(gone: media.AnyReport) -> None:
    """As our fault, and the browser is let go."""
    scene = Scene()
    scene.line.answer()
    scene.line.media_said(gone)
    assert scene.heard == [c.LineEnded("error", "gateway")]
    assert scene.carrier.over


@pytest.mark.parametrize("answered", [True, False])
def test_its_leg_is_given_back(answered: bool) -> None:
    """If there was one; and whoever keeps the browser learns that the call is over."""
    scene = Scene()
    if answered:
        scene.line.answer()
    scene.line.release()
    assert scene.leg.sent[2:] == ([media.CloseLeg("c-1")] if answered else [])
    assert scene.left == ["c-1"]
