"""Offer and answer for one audio stream (RFC 3264): which codec, which payload numbers, which way, held or not."""

from __future__ import annotations

import ipaddress
from typing import Literal, NamedTuple

import msgspec

from gateway.core.errors import PeerError
from gateway.sip.sdp import (
    Attributes,
    Description,
    Direction,
    Media,
    Origin,
    find_attribute,
    parse_sdp,
    render_sdp,
)


class Codec(NamedTuple):
    """A static payload type (RFC 3551). `clock_hz` is RTP's, which for G722 is half of the sampling rate."""

    payload_type: int
    clock_hz: int


CODECS = {"PCMU": Codec(0, 8000), "PCMA": Codec(8, 8000), "G722": Codec(9, 8000)}
DTMF = "telephone-event"
OUR_DTMF_PAYLOAD_TYPE = 101
OUR_PTIME_MS = 20
_STATIC = {codec.payload_type: name for name, codec in CODECS.items()}
_PLAIN_RTP = ("RTP/AVP", "RTP/AVPF")
_NOWHERE = ("0.0.0.0", "::")


class LocalMedia(msgspec.Struct, frozen=True):
    """Our side of the stream. `codecs` in our order; `prefer` says whose order decides when we answer.

    `direction` is the most we want (sendonly or inactive puts the peer on hold).
    """

    host: str
    port: int
    codecs: tuple[str, ...] = ("PCMU", "PCMA")
    direction: Direction = "sendrecv"
    session_id: int = 1
    version: int = 1
    dtmf: bool = True
    prefer: Literal["theirs", "ours"] = "theirs"


class Negotiated(msgspec.Struct, frozen=True):
    """What both sides agreed on. `sdp` is ours, to be sent (after `accept`: as it was sent).

    `host` and `port` are where our packets go, `payload_type` and `dtmf_payload_type` the numbers they carry.
    `direction` is ours. `held` means that the peer will not listen.
    """

    sdp: bytes
    host: str
    port: int
    codec: str
    payload_type: int
    dtmf_payload_type: int | None
    ptime_ms: int
    direction: Direction
    rtcp_mux: bool
    held: bool


class _Choice(NamedTuple):
    codec: str
    payload_type: int
    dtmf_payload_type: int | None


def answer(offer: bytes, local: LocalMedia, previous: bytes | None = None) -> Negotiated:
    """Answer the first audio stream we can take; every other stream is refused with port 0.

    `previous` is the description we sent last in this session; it decides the o= version (see `versioned`). Raises
    `PeerError`: 400 for a malformed description, 488 for one with no audio or no codec in common.
    """
    theirs = parse_sdp(offer)
    index, choice = _first_usable(theirs, local)
    media = theirs.media[index]
    their_direction, held = _their_direction(theirs, media)
    direction = _meet(local.direction, _mirror(their_direction))
    mux = media.attribute("rtcp-mux") is not None
    sections = [_refused(section) for section in theirs.media]
    sections[index] = Media(media.kind, local.port, media.protocol, *_formats([choice], direction, mux=mux))
    sdp = versioned(_describe(local, sections), previous)
    return _negotiated(sdp, theirs, media, choice, direction, mux=mux, held=held)


def offer(local: LocalMedia, previous: bytes | None = None) -> bytes:
    """Our own offer: every codec of ours in our order."""
    dtmf = OUR_DTMF_PAYLOAD_TYPE if local.dtmf else None
    choices = [_Choice(name, CODECS[name].payload_type, dtmf) for name in local.codecs]
    section = Media("audio", local.port, "RTP/AVP", *_formats(choices, local.direction))
    return versioned(_describe(local, [section]), previous)


def accept(local: LocalMedia, answer: bytes, sent: bytes | None = None) -> Negotiated:
    """Take the peer's answer to our offer (`sent`, else what `offer(local)` gives). Raises `PeerError` as `answer`."""
    theirs = parse_sdp(answer)
    if not theirs.media or theirs.media[0].kind != "audio" or theirs.media[0].port == 0:
        raise PeerError("the answer refuses the audio", status_hint=488)
    media = theirs.media[0]
    choice = _choose(media, msgspec.structs.replace(local, prefer="theirs"))
    if choice is None:
        raise PeerError("the answer has no codec of our offer", status_hint=488)
    their_direction, held = _their_direction(theirs, media)
    direction = _meet(local.direction, _mirror(their_direction))
    return _negotiated(sent or offer(local), theirs, media, choice, direction, mux=False, held=held)


def versioned(description: Description, previous: bytes | None) -> bytes:
    """Render with the right o= version: the previous one's when nothing else changed, else one more (RFC 3264 8)."""
    if previous is None:
        return render_sdp(description)
    before = parse_sdp(previous).origin.version
    for version in (before, before + 1):
        description.origin = msgspec.structs.replace(description.origin, version=version)
        sdp = render_sdp(description)
        if sdp == previous:
            break
    return sdp


def _describe(local: LocalMedia, sections: list[Media]) -> Description:
    origin = Origin("-", str(local.session_id), local.version, local.host)
    return Description(origin, local.host, [], sections)


def _formats(choices: list[_Choice], direction: Direction, *, mux: bool = False) -> tuple[list[str], None, Attributes]:
    """The last three fields of a `Media`: formats, no address of its own, attributes."""
    attributes: Attributes = [("rtpmap", f"{c.payload_type} {c.codec}/{CODECS[c.codec].clock_hz}") for c in choices]
    formats = [str(c.payload_type) for c in choices]
    dtmf = choices[0].dtmf_payload_type
    if dtmf is not None:
        formats.append(str(dtmf))
        attributes += [("rtpmap", f"{dtmf} {DTMF}/8000"), ("fmtp", f"{dtmf} 0-15")]
    attributes += [("ptime", str(OUR_PTIME_MS)), (direction, None)]
    if mux:
        attributes.append(("rtcp-mux", None))
    return formats, None, attributes


def _refused(section: Media) -> Media:
    return Media(section.kind, 0, section.protocol, section.formats[:1])


def _first_usable(theirs: Description, local: LocalMedia) -> tuple[int, _Choice]:
    audio = False
    for index, media in enumerate(theirs.media):
        if media.kind != "audio" or media.port == 0 or media.protocol not in _PLAIN_RTP:
            continue
        audio = True
        choice = _choose(media, local)
        if choice is not None:
            return index, choice
    fault = "the offer has no codec of ours" if audio else "the offer has no audio we can take"
    raise PeerError(fault, status_hint=488)


def _choose(media: Media, local: LocalMedia) -> _Choice | None:
    """The codec to use, under the payload number the peer gave it."""
    named, dtmf = _named_formats(media)
    common = [name for name in named if name in local.codecs]
    if not common:
        return None
    if local.prefer == "ours":
        common.sort(key=local.codecs.index)
    return _Choice(common[0], named[common[0]], dtmf if local.dtmf else None)


def _named_formats(media: Media) -> tuple[dict[str, int], int | None]:
    """Codec names to payload numbers in the order of the m= line, and the number of telephone-event."""
    maps = media.rtpmaps()
    named: dict[str, int] = {}
    dtmf = None
    for text in media.formats:
        if not (text.isascii() and text.isdigit()) or int(text) > 127:
            continue
        number = int(text)
        mapped = maps.get(number)
        if mapped is None:
            name = _STATIC.get(number, "")
        elif mapped.encoding == DTMF:
            if mapped.clock_hz == 8000 and dtmf is None:
                dtmf = number
            continue
        else:
            name = mapped.encoding.upper()
            if name not in CODECS or mapped.clock_hz != CODECS[name].clock_hz or mapped.channels != 1:
                continue
        if name:
            named.setdefault(name, number)
    return named, dtmf


def _their_direction(theirs: Description, media: Media) -> tuple[Direction, bool]:
    """What the peer wants to do, and whether that means we are on hold (RFC 3264 8.4, old style 0.0.0.0 included)."""
    direction = theirs.direction_of(media)
    if theirs.host_of(media) in _NOWHERE:
        direction = _meet(direction, "sendonly")
    return direction, direction in ("sendonly", "inactive")


def _sends(direction: Direction) -> bool:
    return direction in ("sendrecv", "sendonly")


def _receives(direction: Direction) -> bool:
    return direction in ("sendrecv", "recvonly")


def _direction(*, send: bool, receive: bool) -> Direction:
    if send:
        return "sendrecv" if receive else "sendonly"
    return "recvonly" if receive else "inactive"


def _mirror(direction: Direction) -> Direction:
    """The same stream seen from the other end."""
    return _direction(send=_receives(direction), receive=_sends(direction))


def _meet(one: Direction, other: Direction) -> Direction:
    """What both allow."""
    return _direction(send=_sends(one) and _sends(other), receive=_receives(one) and _receives(other))


def _negotiated(
    sdp: bytes, theirs: Description, media: Media, choice: _Choice, direction: Direction, *, mux: bool, held: bool
) -> Negotiated:
    return Negotiated(
        sdp=sdp,
        host=_literal_host(theirs, media),
        port=media.port,
        codec=choice.codec,
        payload_type=choice.payload_type,
        dtmf_payload_type=choice.dtmf_payload_type,
        ptime_ms=_ptime_ms(media),
        direction=direction,
        rtcp_mux=mux,
        held=held,
    )


def _literal_host(theirs: Description, media: Media) -> str:
    host = theirs.host_of(media)
    if host is None:
        raise PeerError("session description has no c= line for its audio")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        # A name would have to be looked up on the media path, where nothing may block.
        raise PeerError("the media address is a name, not an address", status_hint=488) from None
    return host


def _ptime_ms(media: Media) -> int:
    """The packet length the peer asks for, as whole 20 ms ticks of ours, 60 at most."""
    text = find_attribute(media.attributes, "ptime") or ""
    wanted = int(text) if text.isascii() and text.isdigit() and len(text) < 5 else OUR_PTIME_MS
    return min(60, max(20, wanted // 20 * 20))
