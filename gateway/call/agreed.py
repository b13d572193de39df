"""What offer and answer agreed on, as the media leg is told it: the one place where SIP and media meet."""

from __future__ import annotations

from typing import cast

from gateway.media.commands import Codec, ConnectLeg, Srtp
from gateway.sip.offer_answer import Negotiated


def connect_leg(leg: str, agreed: Negotiated, *, inband_digits: bool = False) -> ConnectLeg:
    """The codecs are of those we offered or took."""
    keys = agreed.srtp
    return ConnectLeg(
        leg,
        host=agreed.host,
        port=agreed.port,
        codec=cast(Codec, agreed.codec),
        payload_type=agreed.payload_type,
        dtmf_payload_type=agreed.dtmf_payload_type,
        dtmf_clock_hz=agreed.dtmf_clock_hz,
        receives=cast(dict[int, Codec], agreed.receives),
        silence=agreed.comfort_noise,
        copies=agreed.copies,
        inband_digits=inband_digits,
        ptime_ms=agreed.ptime_ms,
        direction=agreed.direction,
        rtcp_mux=agreed.rtcp_mux,
        srtp=None if keys is None else Srtp(keys.suite, keys.ours, keys.theirs),
    )
