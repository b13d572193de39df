"""`sip:`, `sips:` and `tel:` addresses (RFC 3261 19.1, RFC 3966). Others are kept as they are and never called."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import unquote

import msgspec

from gateway.core.errors import PeerError

MAX_URI = 2048

# Looser than the grammar in the user part (phones send raw `#` and `|`), strict in what routes: host and port.
_SIP = re.compile(
    r"(?:([^@<>\"\s]*)@)?"
    r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9.])?)"
    r"(?::([0-9]{1,5}))?"
    r"((?:;[^;?@<>\"\s]+)*)"
    r"(?:\?([^@<>\"\s]*))?\Z"
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*\Z")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TO_ESCAPE = re.compile(r"[^A-Za-z0-9\-_.!~*'()&=+$,;?/]")


class Uri(msgspec.Struct, frozen=True):
    """A parsed address. `userinfo`, `params` and `headers` are in wire form, escapes and all.

    For `tel:` the number stands in `userinfo` and `host` is empty; for an unknown scheme `userinfo` holds all of it.
    """

    scheme: str
    userinfo: str = ""
    host: str = ""
    port: int | None = None
    params: str = ""
    headers: str = ""

    @property
    def user(self) -> str:
        """The user part without password, unescaped; the number of a `tel:`."""
        user = self.userinfo.partition(":")[0]
        return unquote(user) if "%" in user else user

    @property
    def is_sip(self) -> bool:
        return self.scheme in ("sip", "sips")

    def param(self, name: str) -> str | None:
        """The value of a parameter, "" when it stands without one, None when it is absent. Names ignore case."""
        for piece in self.params.split(";")[1:] if self.params else ():
            key, _, value = piece.partition("=")
            if key.lower() == name:
                return value
        return None

    def with_param(self, name: str, value: str) -> Uri:
        return msgspec.structs.replace(self, params=f"{self.params};{name}={value}")

    def __str__(self) -> str:
        if not self.is_sip:
            return f"{self.scheme}:{self.userinfo}{self.params}"
        at = f"{self.userinfo}@" if self.userinfo else ""
        port = f":{self.port}" if self.port is not None else ""
        headers = f"?{self.headers}" if self.headers else ""
        return f"{self.scheme}:{at}{self.host}{port}{self.params}{headers}"


def parse_uri(text: str) -> Uri:
    """Raises `PeerError` 400 for what no reading of the grammar allows, 414 for an endless one."""
    if len(text) > MAX_URI:
        raise PeerError("address is too long", status_hint=414)
    scheme, colon, rest = text.partition(":")
    if not colon or not _SCHEME.match(scheme):
        raise PeerError(f"not an address: {text[:80]!r}")
    scheme = scheme.lower()
    if scheme in ("sip", "sips"):
        return _parse_sip(scheme, rest)
    if any(c in rest for c in ' <>"\t\r\n'):
        raise PeerError(f"not an address: {text[:80]!r}")
    if scheme == "tel":
        number, semicolon, params = rest.partition(";")
        return Uri("tel", number, params=semicolon + params)
    return Uri(scheme, rest)


def _parse_sip(scheme: str, rest: str) -> Uri:
    found = _SIP.match(rest)
    if found is None:
        raise PeerError(f"not an address: {scheme}:{rest[:80]!r}")
    userinfo, host, port, params, headers = found.groups()
    if "%" in rest and _BAD_ESCAPE.search(rest):
        raise PeerError("broken escape in an address")
    number = int(port) if port else None
    if number is not None and not 0 < number < 65536:
        raise PeerError(f"port {number} in an address")
    return Uri(scheme, userinfo or "", checked_host(host), number, params, headers or "")


def checked_host(host: str) -> str:
    """The host; raises `PeerError` for an IPv6 reference that is no address.

    The third colon that RFC 3261's grammar lets in by mistake is taken out (RFC 5118 4.10).
    """
    if not host.startswith("["):
        return host
    host = host.replace(":::", "::")
    try:
        ipaddress.IPv6Address(host[1:-1])
    except ValueError:
        raise PeerError(f"not an IPv6 address: {host[:60]}") from None
    return host


def escape_user(text: str) -> str:
    """`text` as the user part of an address."""
    return _TO_ESCAPE.sub(lambda c: "".join(f"%{byte:02X}" for byte in c.group().encode()), text)


def bracketed(host: str) -> str:
    """A host as it stands in addresses and Via: IPv6 in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def bare(host: str) -> str:
    """A host as sockets want it: IPv6 without brackets."""
    return host[1:-1] if host.startswith("[") else host
