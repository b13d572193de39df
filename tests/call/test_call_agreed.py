"""What a session description agrees on, as the media leg is told it."""

from __future__ import annotations

import pytest

from gateway.call.agreed import connect_leg
from gateway.media.commands import Srtp
from gateway.sip.crypto import SrtpKeys
from gateway.sip.offer_answer import Negotiated


@pytest.mark.parametrize("copies", [True, False])
def test_the_leg_is_told_all_that_was_agreed_on(copies: bool) -> None:
    """Each by its own value, so that none is left out or taken for another."""
    keys = SrtpKeys("AES_CM_128_HMAC_SHA1_80", b"o" * 30, b"t" * 30)
    told = connect_leg(
        "leg",
        Negotiated(
            b"sdp",
            "192.0.2.9",
            4000,
            "opus",
            107,
            102,
            40,
            "recvonly",
            rtcp_mux=True,
            held=True,
            srtp=keys,
            receives={107: "opus", 9: "G722"},
            dtmf_clock_hz=48000,
            comfort_noise=not copies,
            copies=copies,
        ),
        inband_digits=copies,
    )
    assert (told.leg, told.host, told.port, told.codec, told.payload_type) == ("leg", "192.0.2.9", 4000, "opus", 107)
    assert (told.dtmf_payload_type, told.dtmf_clock_hz, told.ptime_ms) == (102, 48000, 40)
    assert (told.direction, told.rtcp_mux, told.receives) == ("recvonly", True, {107: "opus", 9: "G722"})
    assert told.srtp == Srtp(keys.suite, keys.ours, keys.theirs)
    assert (told.copies, told.silence, told.inband_digits) == (copies, not copies, copies)
