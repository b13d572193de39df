"""User-to-User information (RFC 7433): a few bytes from the caller's application to ours, such as a customer number."""

from __future__ import annotations

import msgspec

from gateway.core.errors import PeerError
from gateway.sip.commands import Headers
from gateway.sip.extension import Extension
from gateway.sip.headers import parse_params, render_params, unquote_string
from gateway.sip.message import Message, Request

NAME = "user-to-user"


class UserToUser(msgspec.Struct, frozen=True):
    """`data` decoded; `purpose` names the application it is for (RFC 7433 4.1)."""

    data: bytes
    purpose: str = ""

    def __str__(self) -> str:
        params: dict[str, str | None] = {"encoding": "hex"}
        if self.purpose:
            params["purpose"] = self.purpose
        return self.data.hex() + render_params(params)

    @property
    def text(self) -> str:
        """As text when it is text, else in hexadecimal digits."""
        try:
            text = self.data.decode()
        except UnicodeDecodeError:
            return self.data.hex()
        return text if text.isprintable() else self.data.hex()


def parse_user_to_user(message: Message) -> tuple[UserToUser, ...]:
    """Broken values are passed over."""
    found = []
    for value in message.values("User-to-User"):
        try:
            found.append(_parse(value))
        except (PeerError, ValueError):
            continue
    return tuple(found)


def _parse(value: str) -> UserToUser:
    text, rest = _cut(value)
    params = parse_params(rest)
    encoding = (params.get("encoding") or "hex").lower()
    data = bytes.fromhex(text) if encoding == "hex" else text.encode(errors="surrogateescape")
    return UserToUser(data, unquote_string(params.get("purpose") or ""))


def _cut(value: str) -> tuple[str, str]:
    """The data, which may be quoted and then hold anything, and the parameters after it."""
    if not value.startswith('"'):
        text, semicolon, rest = value.partition(";")
        return text.strip(), semicolon + rest
    text = unquote_string(value)
    end, escaped = 1, False
    while end < len(value) and (escaped or value[end] != '"'):
        escaped = value[end] == "\\" and not escaped
        end += 1
    return text, value[end + 1 :].lstrip()


class UserToUserExtension(Extension):
    name = NAME
    option_tag = "uui"

    def facts(self, invite: Request) -> Headers:
        return tuple(("user-to-user", item.text) for item in parse_user_to_user(invite)[:1])


EXTENSION = UserToUserExtension()
