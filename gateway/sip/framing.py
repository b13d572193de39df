"""Cutting a byte stream into SIP messages by their Content-Length (RFC 3261 18.3)."""

from __future__ import annotations

import re

from gateway.core.errors import PeerError
from gateway.sip.message import MAX_HEAD

MAX_BODY = 65_536

_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\n(?:content-length|l)[ \t]*:[ \t]*([0-9]{1,9})[ \t]*\r\n", re.IGNORECASE)


class Framer:
    """One stream's buffer. It never holds more than one message's worth beyond what `feed` was given."""

    __slots__ = ("_buffer", "_searched", "_wanted")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._wanted = 0

    @property
    def pending(self) -> bool:
        """A message has begun, and is not complete."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are complete now, keep-alives (a double CRLF) among them.

        Raises `PeerError` when the stream cannot be cut any more; close it.
        """
        self._buffer += data
        messages = []
        while (message := self._next()) is not None:
            messages.append(message)
        return messages

    def _next(self) -> bytes | None:
        if not self._wanted and not self._measure():
            return self._keep_alive()
        if len(self._buffer) < self._wanted:
            return None
        message = bytes(self._buffer[: self._wanted])
        del self._buffer[: self._wanted]
        self._wanted = self._searched = 0
        return message

    def _keep_alive(self) -> bytes | None:
        if self._buffer[:4] == _END:
            del self._buffer[:4]
            return _END
        return None

    def _measure(self) -> bool:
        """Find the length of the message at hand; False while its headers are incomplete."""
        if self._buffer[:2] == b"\r\n":
            if len(self._buffer) < 4 or self._buffer[:4] == _END:
                return False
            del self._buffer[:2]
        end = self._buffer.find(_END, max(0, self._searched - 3))
        if end < 0:
            self._searched = len(self._buffer)
            if self._searched > MAX_HEAD:
                raise PeerError("no end of headers within the limit", status_hint=513)
            return False
        found = _LENGTH.search(self._buffer, 0, end + 2)
        if found is None:
            raise PeerError("no Content-Length on a stream")
        length = int(found.group(1))
        if length > MAX_BODY or end > MAX_HEAD:
            raise PeerError("message too large", status_hint=513)
        self._wanted = end + 4 + length
        return True
