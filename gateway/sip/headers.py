"""Typed header values: Via, name-addr, CSeq, and the comma and semicolon lists they stand in (RFC 3261 25)."""

from __future__ import annotations

import re
from typing import TypeAlias

import msgspec

from gateway.core.errors import PeerError
from gateway.sip.uri import Uri, checked_host, parse_uri

Params: TypeAlias = dict[str, str | None]

_TOKEN = r"[A-Za-z0-9\-.!%*_+`'~]+"
_VIA = re.compile(
    rf"SIP\s*/\s*2\.0\s*/\s*({_TOKEN})\s+(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?:\s*:\s*([0-9]{{1,5}}))?\s*(?=;|\Z)",
    re.IGNORECASE,
)
_TOKEN_ONLY = re.compile(_TOKEN + r"\Z")
_CSEQ = re.compile(rf"([0-9]+)\s+({_TOKEN})\Z")
# Possessive: what does not end is found so at once, and no way back is kept.
_WITHIN_QUOTES = r'[^"\\]*+(?:\\.[^"\\]*+)*+'
_QUOTED = re.compile(rf'"({_WITHIN_QUOTES})"')
_AT_COMMA = re.compile(rf'"{_WITHIN_QUOTES}"|<[^<>]*+>|[,"]')
_AT_SEMICOLON = re.compile(rf'"{_WITHIN_QUOTES}"|<[^<>]*+>|[;"]')
_UNESCAPE = re.compile(r"\\(.)", re.DOTALL)
MAX_VALUES = 128
COOKIE = "z9hG4bK"
"""How a branch starts that is unique in space and time (RFC 3261 8.1.1.7)."""


def is_token(text: str) -> bool:
    return _TOKEN_ONLY.match(text) is not None


def split_commas(text: str) -> list[str]:
    """Cut at the commas that stand outside quotes and angle brackets; empty pieces vanish."""
    if "," not in text:
        return [text] if text else []
    pieces = _split(text, _AT_COMMA) if '"' in text or "<" in text else text.split(",")
    if len(pieces) > MAX_VALUES:
        raise PeerError("too many values in one header")
    return [stripped for piece in pieces if (stripped := piece.strip())]


def _split(text: str, cut: re.Pattern[str]) -> list[str]:
    pieces, start = [], 0
    for found in cut.finditer(text):
        matched = found.group()
        if matched == '"':
            raise PeerError("a quotation does not end")
        if len(matched) == 1:
            pieces.append(text[start : found.start()])
            start = found.end()
    pieces.append(text[start:])
    return pieces


def parse_params(text: str) -> Params:
    """`;name=value;flag` with names in lower case, values as they stand (quotes kept), None for a flag."""
    if not text:
        return {}
    first, *pieces = _split(text, _AT_SEMICOLON) if '"' in text else text.split(";")
    if first.strip():
        raise PeerError(f"unexpected text before parameters: {first[:40]!r}")
    params: Params = {}
    for piece in pieces:
        name, equals, value = piece.partition("=")
        name = name.strip().lower()
        if name:
            params[name] = value.strip() if equals else None
        elif len(pieces) > 1:
            # One semicolon too many at the end is met in practice, more of them only in attacks.
            raise PeerError("an empty parameter")
    return params


def render_params(params: Params) -> str:
    return "".join(f";{name}" if value is None else f";{name}={value}" for name, value in params.items())


def unquote_string(text: str) -> str:
    """What a quoted-string says; an unquoted token says itself."""
    if text.startswith('"'):
        found = _QUOTED.match(text)
        if found is None:
            raise PeerError("a quotation does not end")
        return _UNESCAPE.sub(r"\1", found.group(1))
    return text


def quote_string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Via(msgspec.Struct):
    """One hop. `transport` in lower case, `host` as written (IPv6 in brackets)."""

    transport: str
    host: str
    port: int | None
    params: Params

    @property
    def branch(self) -> str:
        return self.params.get("branch") or ""

    def __str__(self) -> str:
        port = f":{self.port}" if self.port is not None else ""
        return f"SIP/2.0/{self.transport.upper()} {self.host}{port}{render_params(self.params)}"


def parse_via(text: str) -> Via:
    found = _VIA.match(text)
    if found is None:
        raise PeerError(f"malformed Via: {text[:80]!r}")
    transport, host, port = found.groups()
    if port and not 0 < int(port) < 65536:
        raise PeerError(f"port {port} in Via")
    host = checked_host(host)
    return Via(transport.lower(), host, int(port) if port else None, parse_params(text[found.end() :]))


class NameAddr(msgspec.Struct):
    """An address with an optional display name and header parameters (From, To, Contact, Route, ...)."""

    uri: Uri
    display: str = ""
    params: Params = {}

    @property
    def tag(self) -> str:
        return self.params.get("tag") or ""

    def __str__(self) -> str:
        name = quote_string(self.display) + " " if self.display else ""
        return f"{name}<{self.uri}>{render_params(self.params)}"


def parse_name_addr(text: str) -> NameAddr:
    """Either form; without angle brackets all parameters are the header's, not the address's (RFC 3261 20)."""
    text = text.strip()
    display = ""
    if text.startswith('"'):
        quoted = _QUOTED.match(text)
        if quoted is None:
            raise PeerError("a quotation does not end")
        display = _UNESCAPE.sub(r"\1", quoted.group(1))
        text = text[quoted.end() :].lstrip()
        if not text.startswith("<"):
            raise PeerError("a display name without an address")
    before, opened, rest = text.partition("<")
    if not opened:
        address, semicolon, params = text.partition(";")
        if "," in address or "?" in address:
            # RFC 3261 20: these need the brackets.
            raise PeerError("an address with , or ? needs angle brackets")
        return NameAddr(parse_uri(address.strip()), "", parse_params(semicolon + params))
    address, closed, params = rest.partition(">")
    if not closed:
        raise PeerError("an angle bracket does not close")
    if before:
        # Names that should be quoted and are not come from real exchanges (RFC 4475 3.1.2.15 allows taking them).
        if '"' in before:
            raise PeerError(f"a display name that needs quotes: {before[:40]!r}")
        display = before.strip()
    return NameAddr(parse_uri(address), display, parse_params(params.lstrip()))


class CSeq(msgspec.Struct, frozen=True):
    number: int
    method: str

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


def parse_cseq(text: str) -> CSeq:
    found = _CSEQ.match(text)
    # RFC 3261 8.1.1.5: less than 2**31. The length guards `int` against a megabyte of digits.
    if found is None or len(found.group(1)) > 10 or int(found.group(1)) >= 2**31:
        raise PeerError(f"malformed CSeq: {text[:40]!r}")
    return CSeq(int(found.group(1)), found.group(2))
