"""What is known of a browser's packets, told as of a telephone's: what aiortc counted, and what the browser reports."""

from __future__ import annotations

import math
from collections.abc import Iterable

from aiortc.stats import (
    RTCInboundRtpStreamStats,
    RTCOutboundRtpStreamStats,
    RTCRemoteInboundRtpStreamStats,
    RTCStats,
)

from gateway.media.commands import LegStats
from gateway.webrtc.sdp import WIDE_CODECS

_CODEC_NAMES = {"opus": "opus", "pcmu": "PCMU"}


def figures(report: Iterable[RTCStats], codec: str, *, late: int, malformed: int) -> LegStats:
    """No MOS: the E-model knows nothing of Opus that makes up for losses."""
    received = sent = lost = 0
    jitter_ms, round_trip_ms, remote_lost = 0.0, None, None
    clock_per_ms = 48 if codec in WIDE_CODECS else 8
    for one in report:
        match one:
            case RTCInboundRtpStreamStats():
                received, lost = one.packetsReceived, one.packetsLost
                jitter_ms = round(one.jitter / clock_per_ms, 2)
            case RTCOutboundRtpStreamStats():
                sent = one.packetsSent
            case RTCRemoteInboundRtpStreamStats():
                remote_lost = one.packetsLost
                # Known from the browser's second report on.
                round_trip_ms = None if one.roundTripTime is None else round(1000 * one.roundTripTime, 1)
    return LegStats(
        codec=_CODEC_NAMES.get(codec, codec),
        packets_received=received,
        packets_sent=sent,
        packets_lost=lost,
        packets_late=late,
        packets_malformed=malformed,
        jitter_ms=jitter_ms,
        round_trip_ms=round_trip_ms,
        remote_lost=remote_lost,
    )


def lost_percent(report: Iterable[RTCStats]) -> int:
    """Of our packets, of late, by the browser's latest report; rounded up."""
    fractions = [one.fractionLost for one in report if isinstance(one, RTCRemoteInboundRtpStreamStats)]
    return math.ceil(100 * max(fractions, default=0) / 256)
