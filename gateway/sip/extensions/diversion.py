"""Diversion (RFC 5806): who was called before the call was sent on to us, and why."""

from __future__ import annotations

import msgspec

from gateway.core.errors import PeerError
from gateway.sip.commands import Headers
from gateway.sip.extension import Extension
from gateway.sip.headers import NameAddr, parse_name_addr, render_params, unquote_string
from gateway.sip.message import Message, Request
from gateway.sip.uri import Uri

NAME = "diversion"


class Diversion(msgspec.Struct, frozen=True):
    """One hop. `reason` is a word of RFC 5806 (`user-busy`, `no-answer`, `unconditional`, ...) or any other text."""

    uri: Uri
    reason: str = "unknown"
    counter: int = 1
    privacy: str = ""

    def __str__(self) -> str:
        params: dict[str, str | None] = {"reason": self.reason, "counter": str(self.counter)}
        if self.privacy:
            params["privacy"] = self.privacy
        return f"<{self.uri}>{render_params(params)}"


def parse_diversions(message: Message) -> tuple[Diversion, ...]:
    """The latest diversion first, as it stands on the wire. Broken values are passed over."""
    diversions = []
    for value in message.values("Diversion"):
        try:
            diversions.append(_diversion(parse_name_addr(value)))
        except PeerError:
            continue
    return tuple(diversions)


def _diversion(address: NameAddr) -> Diversion:
    counter = address.params.get("counter") or "1"
    return Diversion(
        address.uri,
        unquote_string(address.params.get("reason") or "unknown"),
        int(counter) if counter.isascii() and counter.isdigit() and len(counter) < 4 else 1,
        unquote_string(address.params.get("privacy") or ""),
    )


class DiversionExtension(Extension):
    name = NAME

    def facts(self, invite: Request) -> Headers:
        diversions = parse_diversions(invite)
        if not diversions:
            return ()
        first, last = diversions[-1], diversions[0]
        return (("diverted-from", first.uri.user), ("diverted-by", last.uri.user), ("diverted-because", last.reason))


EXTENSION = DiversionExtension()
