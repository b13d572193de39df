"""Offer and answer for one audio stream (RFC 3264): which codec, which payload numbers, which way, held or not."""

from __future__ import annotations

import ipaddress
from typing import Literal, NamedTuple

import msgspec

from gateway.core.errors import PeerError
from gateway.sip.codecs import (
    CODECS,
    PTIME_MS,
    Events,
    Formats,
    describe,
    our_formats,
    ptime_of,
    read_formats,
    wants_copies,
)
from gateway.sip.crypto import Crypto, SrtpKeys, SrtpPolicy, first_usable, our_key, our_lines, take_answer
from gateway.sip.sdp import (
    Attributes,
    Description,
    Direction,
    Media,
    Origin,
    parse_sdp,
    render_sdp,
)

_PLAIN_RTP = ("RTP/AVP", "RTP/AVPF")
_SECURE_RTP = ("RTP/SAVP", "RTP/SAVPF")
_NOWHERE = ("0.0.0.0", "::")


class LocalMedia(msgspec.Struct, frozen=True):
    """Our side of the stream. `codecs` in our order; `prefer` says whose order decides when we answer. `ptime_ms` is
    the packet length we ask for; an answer goes by the peer's. `comfort_noise` offers and takes RFC 3389.

    `direction` is the most we want (sendonly or inactive puts the peer on hold).
    `srtp`: `off` takes and offers plain RTP only, `required` never; `optional` offers both in one (RTP/AVP with keys)
    and prefers what is protected. Unless it is off, `master` holds `MASTER_OCTETS` for our keys, those of the whole
    dialog: descriptions made from the same octets keep their keys.
    """

    host: str
    port: int
    codecs: tuple[str, ...] = ("PCMU", "PCMA")
    direction: Direction = "sendrecv"
    session_id: int = 1
    version: int = 1
    dtmf: bool = True
    ptime_ms: int = PTIME_MS
    comfort_noise: bool = False
    prefer: Literal["theirs", "ours"] = "theirs"
    srtp: SrtpPolicy = "off"
    master: bytes = b""

    def __repr__(self) -> str:
        return f"LocalMedia({self.host}:{self.port}, {self.codecs}, {self.direction}, srtp={self.srtp})"


class Negotiated(msgspec.Struct, frozen=True):
    """What both sides agreed on. `sdp` is ours, to be sent (after `accept`: as it was sent).

    `host` and `port` are where our packets go, `payload_type` and `dtmf_payload_type` the numbers they carry;
    `receives` names the codec of every number that may come, for the peer need not send what we do.
    `direction` is ours. `held` means that the peer will not listen. `srtp` is None for plain RTP.
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
    srtp: SrtpKeys | None = None
    receives: dict[int, str] = {}
    dtmf_clock_hz: int = 8000
    comfort_noise: bool = False
    """Silence may go as a packet that tells its level now and then."""

    copies: bool = False
    """The peer can make use of copies of lost packets."""


class _Choice(NamedTuple):
    codec: str
    payload_type: int
    events: Events | None
    comfort_noise: bool
    receives: dict[int, str]

    @property
    def formats(self) -> Formats:
        """The section of an answer that takes this."""
        return Formats({self.codec: self.payload_type}, (self.events,) if self.events else (), self.comfort_noise)


class _Usable(NamedTuple):
    """A section of an offer that we can take, and the crypto line we take of it."""

    place: int
    choice: _Choice
    crypto: Crypto | None


def answer(offer: bytes, local: LocalMedia, previous: bytes | None = None) -> Negotiated:
    """Answer the first audio stream we can take; every other stream is refused with port 0.

    `previous` is the description we sent last in this session; it decides the o= version (see `versioned`). Raises
    `PeerError`: 400 for a malformed description, 488 for one with no audio, no codec in common, or no protection
    that both sides allow.
    """
    theirs = parse_sdp(offer)
    place, choice, crypto = _first_usable(theirs, local)
    media = theirs.media[place]
    their_direction, held = _their_direction(theirs, media)
    direction = _meet(local.direction, _mirror(their_direction))
    mux = media.attribute("rtcp-mux") is not None
    sections = [_refused(section) for section in theirs.media]
    keys = None if crypto is None else SrtpKeys(crypto.suite, our_key(local.master, crypto.suite), crypto.key)
    lines = [] if crypto is None or keys is None else [Crypto(crypto.tag, crypto.suite, keys.ours)]
    formats = _formats(choice.formats, ptime_of(media), direction, lines, mux=mux)
    sections[place] = Media(media.kind, local.port, media.protocol, *formats)
    sdp = versioned(_describe(local, sections), previous)
    return _negotiated(sdp, theirs, media, choice, direction, keys, mux=mux, held=held)


def offer(local: LocalMedia, previous: bytes | None = None) -> bytes:
    """Our own offer: every codec of ours in our order."""
    formats = our_formats(local.codecs, dtmf=local.dtmf, comfort_noise=local.comfort_noise)
    lines = [] if local.srtp == "off" else our_lines(local.master)
    protocol = "RTP/SAVP" if local.srtp == "required" else "RTP/AVP"
    section = Media("audio", local.port, protocol, *_formats(formats, local.ptime_ms, local.direction, lines))
    return versioned(_describe(local, [section]), previous)


def accept(local: LocalMedia, answer: bytes, sent: bytes | None = None) -> Negotiated:
    """Take the peer's answer to our offer (`sent`, else what `offer(local)` gives). Raises `PeerError` as `answer`."""
    theirs = parse_sdp(answer)
    if not theirs.media or theirs.media[0].kind != "audio" or theirs.media[0].port == 0:
        raise PeerError("the answer refuses the audio", status_hint=488)
    media = theirs.media[0]
    keys = None if local.srtp == "off" else take_answer(media, local.master)
    if keys is None and not _may_be_plain(media, local):
        raise PeerError("the answer does not protect the audio as we asked", status_hint=488)
    choice = _choose(media, msgspec.structs.replace(local, prefer="theirs"))
    if choice is None:
        raise PeerError("the answer has no codec of our offer", status_hint=488)
    offered = our_formats(local.codecs, dtmf=local.dtmf, comfort_noise=local.comfort_noise)
    choice = choice._replace(receives={number: name for name, number in offered.codecs.items()} | choice.receives)
    their_direction, held = _their_direction(theirs, media)
    direction = _meet(local.direction, _mirror(their_direction))
    return _negotiated(sent or offer(local), theirs, media, choice, direction, keys, mux=False, held=held)


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


def _formats(
    formats: Formats, ptime_ms: int, direction: Direction, crypto: list[Crypto], *, mux: bool = False
) -> tuple[list[str], None, Attributes]:
    """The last three fields of a `Media`: formats, no address of its own, attributes."""
    numbers, attributes = describe(formats, ptime_ms)
    attributes.append((direction, None))
    attributes += [("crypto", line.render()) for line in crypto]
    if mux:
        attributes.append(("rtcp-mux", None))
    return numbers, None, attributes


def _refused(section: Media) -> Media:
    return Media(section.kind, 0, section.protocol, section.formats[:1])


def _first_usable(theirs: Description, local: LocalMedia) -> _Usable:
    """The first section that we can take, those with keys before those without."""
    audio, found = False, []
    for place, media in enumerate(theirs.media):
        if media.kind != "audio" or media.port == 0 or media.protocol not in _PLAIN_RTP + _SECURE_RTP:
            continue
        crypto = None if local.srtp == "off" else first_usable(media)
        if crypto is None and not _may_be_plain(media, local):
            continue
        audio = True
        choice = _choose(media, local)
        if choice is not None:
            found.append(_Usable(place, choice, crypto))
    if not found:
        fault = "the offer has no codec of ours" if audio else "the offer has no audio we can take"
        raise PeerError(fault, status_hint=488)
    return next((usable for usable in found if usable.crypto), found[0])


def _may_be_plain(media: Media, local: LocalMedia) -> bool:
    return local.srtp != "required" and media.protocol in _PLAIN_RTP


def _choose(media: Media, local: LocalMedia) -> _Choice | None:
    """The codec to use, under the payload number the peer gave it."""
    formats = read_formats(media)
    common = [name for name in formats.codecs if name in local.codecs]
    if not common:
        return None
    if local.prefer == "ours":
        common.sort(key=local.codecs.index)
    codec = common[0]
    return _Choice(
        codec,
        formats.codecs[codec],
        formats.events_of(codec) if local.dtmf else None,
        formats.comfort_noise and local.comfort_noise and CODECS[codec].clock_hz == 8000,
        {formats.codecs[name]: name for name in common},
    )


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
    sdp: bytes,
    theirs: Description,
    media: Media,
    choice: _Choice,
    direction: Direction,
    keys: SrtpKeys | None,
    *,
    mux: bool,
    held: bool,
) -> Negotiated:
    return Negotiated(
        sdp=sdp,
        host=_literal_host(theirs, media),
        port=media.port,
        codec=choice.codec,
        payload_type=choice.payload_type,
        dtmf_payload_type=choice.events.payload_type if choice.events else None,
        ptime_ms=ptime_of(media),
        direction=direction,
        rtcp_mux=mux,
        held=held,
        srtp=keys,
        receives=choice.receives,
        dtmf_clock_hz=choice.events.clock_hz if choice.events else 8000,
        comfort_noise=choice.comfort_noise,
        copies=choice.codec == "opus" and wants_copies(media, choice.payload_type),
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
