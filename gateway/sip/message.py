"""Requests and responses: from bytes to header lines and back. Values are understood only when asked for."""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import islice
from typing import Any, TypeAlias

from gateway.core.errors import PeerError
from gateway.sip.headers import CSeq, NameAddr, Via, is_token, parse_cseq, parse_name_addr, parse_via, split_commas
from gateway.sip.names import COMMA_SEPARATED, LONG, long_name
from gateway.sip.status import phrase
from gateway.sip.uri import Uri, parse_uri

MAX_HEAD = 32_768
MAX_LINES = 256

Lines: TypeAlias = list[tuple[str, str]]

_FOLD = re.compile(r"\r\n[ \t]+")
_STRAY = re.compile(r"[\r\n]+")
_HEAD_END = b"\r\n\r\n"


class Malformed(PeerError):
    """Not a message, or one that must be refused. `request` is what could be read of it, for an answer."""

    def __init__(self, message: str, *, status_hint: int = 400, request: Request | None = None) -> None:
        super().__init__(message, status_hint=status_hint)
        self.request = request


class Message:
    """Header lines in wire order under their long names, and a body.

    Typed views (`via`, `from_`, `cseq`, ...) are parsed at first use and kept; they raise `PeerError` when the line
    is missing or malformed. They are for reading: changes go through `set`, `add` and `remove`.
    `clean` is False when bytes were not UTF-8 (kept as surrogates, they go out as they came) or NUL (which RFC 3261
    allows in quotations, and databases do not).
    """

    __slots__ = ("_views", "body", "clean", "headers")

    def __init__(self, headers: Lines, body: bytes = b"") -> None:
        self.headers = headers
        self.body = body
        self.clean = True
        self._views: dict[str, Any] = {}

    def first(self, name: str) -> str | None:
        """The first line of that (long) name; an extension's name ignores case."""
        for key, value in self.headers:
            if key == name:
                return value
        if name in LONG:
            return None
        lowered = name.lower()
        for key, value in self.headers:
            if key.lower() == lowered:
                return value
        return None

    def all(self, name: str) -> list[str]:
        if name in LONG:
            return [value for key, value in self.headers if key == name]
        lowered = name.lower()
        return [value for key, value in self.headers if key.lower() == lowered]

    def values(self, name: str) -> list[str]:
        """All values: of every line, cut at commas where the grammar has a list. A line that cannot be cut has none."""
        lines = self.all(name)
        if name not in COMMA_SEPARATED:
            return lines
        values = []
        for line in lines:
            with suppress(PeerError):
                values += split_commas(line)
        return values

    def listed(self, name: str) -> list[str]:
        """As `values`, for lists that may not be misread: raises `PeerError` 400 when a line cannot be cut."""
        return [value for line in self.all(name) for value in split_commas(line)]

    def tokens(self, name: str) -> frozenset[str]:
        """The option tags, methods or types of a list header, lower case, without parameters."""
        return frozenset(value.partition(";")[0].strip().lower() for value in self.values(name))

    def add(self, name: str, value: str) -> None:
        self.headers.append((name, value))

    def set(self, name: str, value: str) -> None:
        """Replace all lines of that name by one, in the place of the first."""
        self._views.clear()
        for index, (key, _) in enumerate(self.headers):
            if key == name:
                rest = [line for line in self.headers[index + 1 :] if line[0] != name]
                self.headers[index:] = [(name, value), *rest]
                return
        self.headers.append((name, value))

    def remove(self, name: str) -> None:
        self._views.clear()
        self.headers = [line for line in self.headers if line[0] != name]

    def required(self, name: str) -> str:
        value = self.first(name)
        if value is None:
            raise PeerError(f"no {name}")
        return value

    @property
    def vias(self) -> list[str]:
        """Raises `PeerError`."""
        return self.listed("Via")

    @property
    def via(self) -> Via:
        """The topmost Via."""
        view = self._views.get("Via")
        if view is None:
            top = split_commas(self.required("Via"))
            if not top:
                raise PeerError("no Via")
            view = self._views["Via"] = parse_via(top[0])
        return view

    @property
    def from_(self) -> NameAddr:
        return self._address("From")

    @property
    def to(self) -> NameAddr:
        return self._address("To")

    def _address(self, name: str) -> NameAddr:
        view = self._views.get(name)
        if view is None:
            view = self._views[name] = parse_name_addr(self.required(name))
        return view

    @property
    def cseq(self) -> CSeq:
        view = self._views.get("CSeq")
        if view is None:
            view = self._views["CSeq"] = parse_cseq(self.required("CSeq"))
        return view

    @property
    def call_id(self) -> str:
        call_id = self.required("Call-ID")
        if not call_id:
            raise PeerError("empty Call-ID")
        return call_id

    @property
    def contact(self) -> NameAddr | None:
        """The first Contact; `*` and absence are None."""
        values = self.values("Contact")
        return parse_name_addr(values[0]) if values and values[0] != "*" else None

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters; "" when there is none."""
        return (self.first("Content-Type") or "").partition(";")[0].strip().lower()

    def sdp(self) -> bytes | None:
        """The session description the body is or contains; None when there is none."""
        if not self.body:
            return None
        kind = self.content_type
        if kind in ("application/sdp", ""):
            return self.body
        return _sdp_part(self) if kind.startswith("multipart/") else None

    def set_body(self, content_type: str, body: bytes) -> None:
        self.set("Content-Type", content_type)
        self.body = body

    def _head(self) -> str:
        raise NotImplementedError

    def to_bytes(self) -> bytes:
        """The whole message. Content-Length is always ours."""
        lines = [f"{name}: {value}\r\n" for name, value in self.headers if name != "Content-Length"]
        text = f"{self._head()}\r\n{''.join(lines)}Content-Length: {len(self.body)}\r\n\r\n"
        if text.count("\n") != len(lines) + 3 or text.count("\r") != len(lines) + 3:
            text = _one_line_each(self._head(), self.headers, len(self.body))
        try:
            return text.encode() + self.body
        except UnicodeEncodeError:
            return text.encode(errors="surrogateescape") + self.body


class Request(Message):
    """`uri` is the Request-URI as it stands; `target` the parsed one."""

    __slots__ = ("method", "uri")

    def __init__(self, method: str, uri: str, headers: Lines, body: bytes = b"") -> None:
        super().__init__(headers, body)
        self.method = method
        self.uri = uri

    @property
    def target(self) -> Uri:
        view = self._views.get("uri")
        if view is None:
            view = self._views["uri"] = parse_uri(self.uri)
        return view

    def _head(self) -> str:
        return f"{self.method} {self.uri} SIP/2.0"

    def __repr__(self) -> str:
        return f"<{self.method} {self.uri}>"


class Response(Message):
    """`local` marks one that no peer sent: 408 for silence, 503 for a transport that failed (RFC 3261 8.1.3.1)."""

    __slots__ = ("local", "reason", "status")

    def __init__(self, status: int, reason: str, headers: Lines, body: bytes = b"", *, local: bool = False) -> None:
        super().__init__(headers, body)
        self.status = status
        self.reason = reason
        self.local = local

    def _head(self) -> str:
        return f"SIP/2.0 {self.status} {self.reason}"

    def __repr__(self) -> str:
        return f"<{self.status} {self.reason}>"


def respond(request: Request, status: int, reason: str | None = None, *, to_tag: str = "") -> Response:
    """A response with the lines every response copies (RFC 3261 8.2.6.2). `to_tag` is added where there is none.

    One that makes a dialog hands the route back as well (12.1.1): else the caller would go past the proxies.
    """
    headers: Lines = []
    routed = request.method == "INVITE" and 100 < status < 300
    for line in request.headers:
        name = line[0]
        if name == "To" and to_tag and not request.to.tag:
            headers.append(("To", f"{line[1]};tag={to_tag}"))
        elif name in _COPIED or (name == "Timestamp" and status == 100) or (routed and name == "Record-Route"):
            headers.append(line)
    return Response(status, reason or phrase(status), headers)


def readable(text: str) -> str:
    """Bytes that were not UTF-8, and NUL, come out as replacement characters, so that any store takes the event."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode(errors="surrogateescape").decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _one_line_each(head: str, headers: Lines, length: int) -> str:
    """Line ends within a value become spaces: what a caller or a dialplan wrote cannot add headers to a message."""
    lines = [head, *(f"{name}: {value}" for name, value in headers if name != "Content-Length")]
    return "\r\n".join((*(_STRAY.sub(" ", line) for line in lines), f"Content-Length: {length}", "", ""))


_COPIED = frozenset(("Via", "From", "To", "Call-ID", "CSeq"))


def parse(data: bytes, *, stream: bool = False) -> Request | Response:
    """One whole message. On a `stream` the Content-Length is binding, in a datagram it may be missing.

    Raises `Malformed`; with its `request` set when enough was readable to refuse it politely.
    """
    end = data.find(_HEAD_END, 0, MAX_HEAD)
    if end < 0:
        raise Malformed("no end of headers within the limit", status_hint=513)
    lines, clean = _lines(data[:end])
    message, fault = _start(lines[0])
    message.clean = clean
    try:
        _read_headers(message, lines)
        message.body = _body(message, data, end + 4, stream)
    except Malformed as error:
        fault = fault or error
    if fault is not None:
        fault.request = message if isinstance(message, Request) else None
        raise fault
    return message


def _lines(head: bytes) -> tuple[list[str], bool]:
    """The lines unfolded, and whether they are fit for anybody."""
    clean = b"\0" not in head
    try:
        text = head.decode()
    except UnicodeDecodeError:
        clean = False
        text = head.decode(errors="surrogateescape")
    # Echoed into a response, a bare CR or LF would start a header of the sender's making.
    ends = text.count("\n")
    if ends > MAX_LINES or ends != text.count("\r\n") or text.count("\r") != ends:
        raise Malformed("stray line ends, or too many lines")
    if "\r\n " in text or "\r\n\t" in text:
        text = _FOLD.sub(" ", text)
    return text.split("\r\n"), clean


def _start(line: str) -> tuple[Request | Response, Malformed | None]:
    """The message that starts so, and what is wrong with the line when it can still be told apart."""
    if line.startswith("SIP/2.0 "):
        code, _, reason = line[8:].partition(" ")
        if len(code) != 3 or not (code.isascii() and code.isdigit()) or not 100 <= int(code) < 700:
            raise Malformed(f"status {code[:12]!r}")
        return Response(int(code), readable(reason), []), None
    method, _, rest = line.partition(" ")
    if not is_token(method) or "SIP/" not in rest.upper():
        raise Malformed("neither a request nor a response")
    uri, _, version = rest.rpartition(" ")
    request = Request(method, uri, [])
    if version.upper() != "SIP/2.0":
        status = 505 if version.upper().startswith("SIP/") else 400
        return request, Malformed(f"version {version[:12]!r}", status_hint=status)
    if not uri or " " in uri or "\t" in uri:
        return request, Malformed("white space in the request line")
    return request, None


def _read_headers(message: Message, lines: list[str]) -> None:
    headers = message.headers
    fault = None
    for line in islice(lines, 1, None):
        name, colon, value = line.partition(":")
        known = LONG.get(name)
        if known is None or not colon:
            name = name.rstrip()
            if not colon or not is_token(name):
                fault = fault or line
                continue
            known = long_name(name)
        headers.append((known, value.strip()))
    if fault:
        raise Malformed(f"malformed header line: {fault[:40]!r}")


def _body(message: Message, data: bytes, start: int, stream: bool) -> bytes:
    lengths = {value for name, value in message.headers if name == "Content-Length"}
    if not lengths:
        if stream:
            raise Malformed("no Content-Length on a stream")
        return data[start:]
    length = lengths.pop()
    if lengths or not length.isascii() or not length.isdigit() or len(length) > 9:
        raise Malformed(f"Content-Length {length[:20]!r}")
    body = data[start : start + int(length)]
    if len(body) < int(length):
        raise Malformed("the body is shorter than its Content-Length")
    return body


def _sdp_part(message: Message) -> bytes | None:
    """The application/sdp part of a multipart body (RFC 5621)."""
    found = re.search(r'boundary\s*=\s*(?:"([^"]{1,70})"|([^\s;"]{1,70}))', message.first("Content-Type") or "", re.I)
    if found is None:
        return None
    boundary = b"--" + (found.group(1) or found.group(2)).encode(errors="surrogateescape")
    for part in message.body.split(boundary, 16)[1:]:
        head, _, body = part.removeprefix(b"\r\n").partition(_HEAD_END)
        if re.search(rb"(?im)^content-type\s*:\s*application/sdp", head):
            return body.removesuffix(b"\r\n")
    return None
