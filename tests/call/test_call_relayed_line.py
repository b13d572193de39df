"""A browser's line in the hallway: when it is answered, and what goes to its leg and to its carrier."""

from __future__ import annotations

import msgspec
import pytest
from hallway import NotingLeg

from gateway.call import commands as c
from gateway.call.relayed_line import RelayedLine
from gateway.media import commands as media

KEYS = media.Srtp("AES_CM_128_HMAC_SHA1_80", bytes(30), bytes(30))


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
    """Opened and connected at once, with the keys: there is nothing left to negotiate."""
    scene = Scene()
    scene.line.answer()
    scene.line.far_side_ready(KEYS)
    assert scene.leg.sent == [
        media.OpenLeg("c-1", "relayed", record="call.wav", trace="packets.trace", silent_after_s=5.0),
        msgspec.structs.replace(scene.agreed, srtp=KEYS),
    ]
    assert scene.line.wideband
    assert not Scene("PCMU").line.wideband


@pytest.mark.parametrize("browser_first", [True, False])
def test_it_is_answered_when_the_browser_can_hear_and_the_leg_is_there(browser_first: bool) -> None:
    """Whether the hallway answers before the browser can hear or behind: no greeting is played to nobody, and nothing
    leaves without keys."""
    scene = Scene()
    steps = [lambda: scene.line.far_side_ready(KEYS), scene.line.answer]
    first, second = steps if browser_first else steps[::-1]
    first()
    assert (scene.heard, scene.leg.sent) == ([], [])
    second()
    assert len(scene.leg.sent) == 2
    assert scene.heard == []
    scene.line.media_said(media.LegOpened(1.0, "c-1", 0, 7))
    assert scene.heard == [c.LineAnswered("opus")]


def test_packets_go_to_the_leg_and_its_packets_to_the_carrier() -> None:
    """None before the leg is there: a browser may be quicker than the hallway."""
    scene = Scene()
    scene.line.receive(b"early", 0.5)
    scene.line.far_side_ready(KEYS)
    scene.line.receive(b"early", 0.5)
    assert scene.leg.sent == []
    scene.line.answer()
    scene.line.receive(b"packet", 1.5)
    scene.line.press("1#")
    assert scene.leg.sent[2:] == [media.RelayPacket("c-1", b"packet", 1.5), media.SendDigits("c-1", "1#")]
    scene.line.media_said(media.PacketReady(2.0, "c-1", b"answer"))
    assert scene.carrier.sent == [b"answer"]


@pytest.mark.parametrize("gone", [media.LegFailed(1.0, "c-1", "full"), media.MediaDied(1.0, "c-1")])
def test_without_its_leg_the_line_ends(gone: media.AnyReport) -> None:
    """As our fault, and the browser is let go."""
    scene = Scene()
    scene.line.answer()
    scene.line.far_side_ready(KEYS)
    scene.line.media_said(gone)
    assert scene.heard == [c.LineEnded("error", "gateway")]
    assert scene.carrier.over


@pytest.mark.parametrize(("answered", "connected"), [(True, True), (True, False), (False, True)])
def test_its_leg_is_given_back(answered: bool, connected: bool) -> None:
    """If there was one; and whoever keeps the browser learns that the call is over."""
    scene = Scene()
    if answered:
        scene.line.answer()
    if connected:
        scene.line.far_side_ready(KEYS)
    opened = bool(scene.leg.sent)
    assert opened == (answered and connected)
    scene.line.release()
    assert scene.leg.sent[2:] == ([media.CloseLeg("c-1")] if opened else [])
    assert scene.left == ["c-1"]
