"""Session descriptions (RFC 8866): lines to structure and back. What they mean to a call is `offer_answer`'s."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

import msgspec

from gateway.core.errors import PeerError

MAX_SDP = 16_384
MAX_LINES = 512
MAX_MEDIA = 16
MAX_FORMATS = 64

Direction: TypeAlias = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
Attributes: TypeAlias = list[tuple[str, str | None]]

DIRECTIONS: tuple[Direction, ...] = ("sendrecv", "sendonly", "recvonly", "inactive")

_MEDIA = re.compile(r"([!-~]+) ([0-9]{1,5})(?:/[0-9]{1,5})? ([!-~]+) ([!-~]+(?: +[!-~]+)*) *\Z")
_CONNECTION = re.compile(r"IN IP[46] ([!-~]+)\Z", re.IGNORECASE)
_RTPMAP = re.compile(r"([0-9]{1,3}) +([!-.0-~]+)/([0-9]{1,6})(?:/([0-9]{1,3}))?\s*\Z")


class Origin(msgspec.Struct, frozen=True):
    """The o= line: who describes, and the `version` that grows with every change."""

    username: str
    session_id: str
    version: int
    host: str


class RtpMap(msgspec.Struct, frozen=True):
    encoding: str
    clock_hz: int
    channels: int = 1


class Media(msgspec.Struct):
    """One m= section. `host` is its own c= line's, None when the session's holds."""

    kind: str
    port: int
    protocol: str
    formats: list[str]
    host: str | None = None
    attributes: Attributes = []

    def attribute(self, name: str) -> str | None:
        return find_attribute(self.attributes, name)

    def rtpmaps(self) -> dict[int, RtpMap]:
        """The encodings its attributes name, by payload type; lines that say nothing clear are passed over."""
        maps = {}
        for name, value in self.attributes:
            found = _RTPMAP.match(value) if name == "rtpmap" and value else None
            if found:
                number, encoding, clock, channels = found.groups()
                maps[int(number)] = RtpMap(encoding.lower(), int(clock), int(channels or 1))
        return maps


class Description(msgspec.Struct):
    origin: Origin
    host: str | None = None
    attributes: Attributes = []
    media: list[Media] = []

    def host_of(self, media: Media) -> str | None:
        return media.host or self.host

    def direction_of(self, media: Media) -> Direction:
        """The section's own, else the session's, else sendrecv (RFC 8866 6.7)."""
        for attributes in (media.attributes, self.attributes):
            for name, _ in attributes:
                for direction in DIRECTIONS:
                    if name == direction:
                        return direction
        return "sendrecv"


def find_attribute(attributes: Attributes, name: str) -> str | None:
    """The first value under that name, "" for a bare flag, None when there is none."""
    for key, value in attributes:
        if key == name:
            return value or ""
    return None


def parse_sdp(data: bytes) -> Description:
    """Raises `PeerError` 400. Lenient where it does no harm: bare line feeds, missing s= and t=, unknown lines."""
    if len(data) > MAX_SDP:
        raise PeerError("session description is too long", status_hint=400)
    lines = data.decode("utf-8", "replace").replace("\r\n", "\n").rstrip("\n").split("\n")
    if len(lines) > MAX_LINES:
        raise PeerError("session description has too many lines")
    if lines[0].rstrip() != "v=0":
        raise PeerError("session description does not start with v=0")
    origin: Origin | None = None
    host: str | None = None
    attributes: Attributes = []
    media: list[Media] = []
    for line in lines[1:]:
        if line[1:2] != "=":
            raise PeerError(f"not a line of a session description: {line[:40]!r}")
        kind, value = line[0], line[2:].strip()
        if kind == "o":
            origin = _origin(value)
        elif kind == "c":
            if media:
                media[-1].host = _connection(value)
            else:
                host = _connection(value)
        elif kind == "a":
            name, colon, detail = value.partition(":")
            (media[-1].attributes if media else attributes).append((name, detail if colon else None))
        elif kind == "m":
            media.append(_media(value))
            if len(media) > MAX_MEDIA:
                raise PeerError("session description has too many media")
    if origin is None:
        raise PeerError("session description has no origin")
    return Description(origin, host, attributes, media)


def _origin(value: str) -> Origin:
    fields = value.split()
    if len(fields) != 6 or not fields[2].isascii() or not fields[2].isdigit() or len(fields[2]) > 20:
        raise PeerError(f"malformed o= line: {value[:60]!r}")
    return Origin(fields[0], fields[1], int(fields[2]), fields[5])


def _connection(value: str) -> str:
    found = _CONNECTION.match(value)
    if found is None:
        raise PeerError(f"malformed c= line: {value[:60]!r}")
    return found.group(1).partition("/")[0]


def _media(value: str) -> Media:
    found = _MEDIA.match(value)
    if found is None or int(found.group(2)) > 65535:
        raise PeerError(f"malformed m= line: {value[:60]!r}")
    formats = found.group(4).split()
    if len(formats) > MAX_FORMATS:
        raise PeerError("a media section has too many formats")
    return Media(found.group(1).lower(), int(found.group(2)), found.group(3).upper(), formats)


def render_sdp(description: Description) -> bytes:
    origin = description.origin
    lines = [
        "v=0",
        f"o={origin.username} {origin.session_id} {origin.version} {_address(origin.host)}",
        "s=-",
    ]
    if description.host is not None:
        lines.append(f"c={_address(description.host)}")
    lines.append("t=0 0")
    lines += _attribute_lines(description.attributes)
    for media in description.media:
        lines.append(f"m={media.kind} {media.port} {media.protocol} {' '.join(media.formats)}")
        if media.host is not None:
            lines.append(f"c={_address(media.host)}")
        lines += _attribute_lines(media.attributes)
    return ("\r\n".join(lines) + "\r\n").encode()


def _attribute_lines(attributes: Attributes) -> list[str]:
    return [f"a={name}" if value is None else f"a={name}:{value}" for name, value in attributes]


def _address(host: str) -> str:
    return f"IN IP6 {host}" if ":" in host else f"IN IP4 {host}"
