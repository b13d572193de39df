"""History-Info (RFC 7044): every address a request was sent to on its way, in order, with reasons."""

from __future__ import annotations

import re
from urllib.parse import unquote

import msgspec

from gateway.core.errors import PeerError
from gateway.sip.commands import Headers
from gateway.sip.extension import Extension
from gateway.sip.headers import parse_name_addr, parse_params, render_params, unquote_string
from gateway.sip.message import Message, Request
from gateway.sip.uri import Uri

NAME = "history-info"

_INDEX = re.compile(r"[0-9]+(?:\.[0-9]+)*\Z")


class HistoryEntry(msgspec.Struct, frozen=True):
    """`index` is the place in the tree of retargetings, `cause` the status that made the request move on from here."""

    uri: Uri
    index: tuple[int, ...]
    cause: int | None = None

    def __str__(self) -> str:
        headers = f"Reason=SIP%3Bcause%3D{self.cause}" if self.cause is not None else ""
        uri = msgspec.structs.replace(self.uri, headers=headers)
        return f"<{uri}>{render_params({'index': '.'.join(map(str, self.index))})}"


def parse_history(message: Message) -> tuple[HistoryEntry, ...]:
    """In the order of their indices; broken entries are passed over."""
    entries = []
    for value in message.values("History-Info"):
        try:
            address = parse_name_addr(value)
        except PeerError:
            continue
        index = address.params.get("index") or ""
        if _INDEX.match(index) and len(index) < 64:
            uri = msgspec.structs.replace(address.uri, headers="")
            entries.append(HistoryEntry(uri, tuple(map(int, index.split("."))), _cause(address.uri.headers)))
    return tuple(sorted(entries, key=lambda entry: entry.index))


def _cause(headers: str) -> int | None:
    """The status in the Reason that an entry's address carries as an embedded header."""
    for header in headers.split("&"):
        name, _, value = header.partition("=")
        if name.lower() != "reason":
            continue
        protocol, semicolon, rest = unquote(value).partition(";")
        try:
            cause = unquote_string(parse_params(semicolon + rest).get("cause") or "")
        except PeerError:
            return None
        if protocol.strip().upper() == "SIP" and cause.isascii() and cause.isdigit() and len(cause) == 3:
            return int(cause)
    return None


class HistoryInfo(Extension):
    name = NAME
    option_tag = "histinfo"

    def facts(self, invite: Request) -> Headers:
        history = parse_history(invite)
        return (("first-called", history[0].uri.user),) if history else ()


EXTENSION = HistoryInfo()
