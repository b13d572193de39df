from __future__ import annotations

import pytest
from aiortc_browser import Ours

from gateway.app.browser import connecting
from gateway.media.commands import Codec


@pytest.mark.parametrize(("codec", "number", "copies"), [("opus", 111, True), ("PCMU", 0, False)])
def test_a_browsers_leg_is_told_all_that_was_agreed_on(codec: Codec, number: int, copies: bool) -> None:
    """Its codec and number, whether copies are of use there, and that Opus may take more than a telephone's."""
    peer = Ours().peer
    peer.codec, peer.payload_type, peer.copies = codec, number, copies
    told = connecting("c-1", peer)
    assert (told.leg, told.codec, told.payload_type, told.copies) == ("c-1", codec, number, copies)
    assert told.opus_bits_per_s == 48_000
    assert told.direction == "sendrecv"
    assert told.srtp is None
