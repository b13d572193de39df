"""A captured call as a far side: who called, what they sent, when they hung up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from gateway.call.ports import Incoming
from gateway.core.errors import ConfigError, PeerError
from gateway.media import rtp
from gateway.media.trace import TICK_S, Traced
from gateway.replay.capture import Address, Datagram, read_capture
from gateway.replay.far_side import FarSide, payload_types
from gateway.sip.message import Request, parse
from gateway.sip.sdp import parse_sdp

FEWEST_PACKETS = 10
"""Fewer packets of one source are no call."""


def far_side_captured(path: Path, incoming: Incoming, *, hang_up_after_s: float) -> FarSide:
    """The caller of the capture's first INVITE; without one, who sends most G.711. Raises `ConfigError`.

    `incoming` says who called which number when there is no INVITE. The caller hangs up as captured, or
    `hang_up_after_s` after their last packet.
    """
    captured = read_capture(path)
    offered = _first_invite(captured)
    source = _caller(captured, offered)
    if source is None:
        raise ConfigError("the capture holds no stream of G.711 packets", path=path)
    packets = [one for one in captured if one.source == source and not rtp.is_rtcp(one.data)]
    begun = packets[0].at_s
    datagrams = tuple(_traced(one, begun) for one in packets)
    bye_at = _bye_at(captured, offered)
    over = bye_at - begun if bye_at is not None else datagrams[-1].at_s + hang_up_after_s
    audio, digits = payload_types(datagrams)
    return FarSide(
        incoming if offered is None else _incoming(offered[1], incoming),
        codec="PCMA" if audio == 8 else "PCMU",
        payload_type=audio,
        dtmf_payload_type=digits,
        datagrams=datagrams,
        hangs_up_s=over,
    )


def _first_invite(captured: Sequence[Datagram]) -> tuple[Datagram, Request] | None:
    return next(_requests(captured, b"INVITE "), None)


def _bye_at(captured: Sequence[Datagram], offered: tuple[Datagram, Request] | None) -> float | None:
    """When either side of the offered call said goodbye; other calls may be in the capture."""
    if offered is None:
        return None
    call_id = offered[1].first("Call-ID")
    byes = _requests(captured, b"BYE ")
    return next((datagram.at_s for datagram, bye in byes if bye.first("Call-ID") == call_id), None)


def _requests(captured: Sequence[Datagram], method: bytes) -> Iterator[tuple[Datagram, Request]]:
    for datagram in captured:
        if datagram.data.startswith(method):
            with suppress(PeerError):
                request = parse(datagram.data)
                if isinstance(request, Request):
                    yield datagram, request


def _incoming(invite: Request, otherwise: Incoming) -> Incoming:
    try:
        return msgspec.structs.replace(otherwise, caller=invite.from_.uri.user, called=invite.target.user)
    except PeerError:
        return otherwise


def _caller(captured: Sequence[Datagram], offered: tuple[Datagram, Request] | None) -> Address | None:
    """The source of the caller's audio: at the address of the INVITE if there is one, by its SDP's port if it sends."""
    counts = Counter(one.source for one in captured if _is_g711(one.data))
    streams = {source: count for source, count in counts.items() if count >= FEWEST_PACKETS}
    if offered is not None:
        invite, request = offered
        port = _audio_port(request.sdp() or b"")
        for source in streams:
            if source == (invite.source[0], port):
                return source
        theirs = [source for source in streams if source[0] == invite.source[0]]
        if theirs:
            return max(theirs, key=lambda source: streams[source])
    return max(streams, key=lambda source: streams[source], default=None)


def _audio_port(sdp: bytes) -> int | None:
    try:
        return next((media.port for media in parse_sdp(sdp).media if media.kind == "audio"), None)
    except PeerError:
        return None


def _is_g711(data: bytes) -> bool:
    return len(data) > rtp.HEADER and data[0] >> 6 == 2 and data[1] & 0x7F in (0, 8) and not rtp.is_rtcp(data)


def _traced(datagram: Datagram, begun: float) -> Traced:
    """Timed as if the leg had opened one tick before the first packet."""
    at_s = round(datagram.at_s - begun + TICK_S, 6)
    return Traced(int(at_s / TICK_S) + 1, at_s, datagram.source, datagram.data)
