"""The arithmetic and the grammar of digest authentication (RFC 7616, RFC 8760)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import msgspec

from gateway.core.errors import PeerError
from gateway.sip.headers import quote_string, unquote_string

Fields: TypeAlias = dict[str, str]

# RFC 8760 2.1: algorithm names are tokens, MD5 is meant when none is named.
ALGORITHMS = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}

_FIELD = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=\s*(\"[^\"\\]*+(?:\\.[^\"\\]*+)*+\"|[^\s,\"]++)\s*(?:,|\Z)")
# Quoted wherever they stand (RFC 7616 3.4); the others must not be.
_QUOTED_FIELDS = frozenset(("username", "realm", "nonce", "uri", "response", "cnonce", "opaque", "domain"))


class Challenge(msgspec.Struct, frozen=True):
    """One WWW-Authenticate or Proxy-Authenticate line. `qop` is what we would use: auth, auth-int, or "" for none."""

    realm: str
    nonce: str
    algorithm: str = "MD5"
    qop: str = ""
    opaque: str | None = None
    stale: bool = False

    @property
    def hash_name(self) -> str | None:
        return ALGORITHMS.get(self.algorithm.upper().removesuffix("-SESS"))


class Subject(NamedTuple):
    """What is signed: the request and its body."""

    method: str
    uri: str
    body: bytes = b""


def parse_fields(line: str) -> Fields:
    """`Digest name=value, ...` as a dictionary with lower-case names. Raises `PeerError` 400."""
    scheme, _, rest = line.strip().partition(" ")
    if scheme.lower() != "digest":
        raise PeerError(f"authentication scheme {scheme[:20]!r}")
    fields: Fields = {}
    position = 0
    rest = rest.strip()
    while position < len(rest):
        found = _FIELD.match(rest, position)
        if found is None:
            raise PeerError("malformed digest")
        fields[found.group(1).lower()] = unquote_string(found.group(2))
        position = found.end()
    return fields


def render_fields(fields: Fields) -> str:
    parts = (f"{name}={quote_string(value) if name in _QUOTED_FIELDS else value}" for name, value in fields.items())
    return "Digest " + ", ".join(parts)


def parse_challenge(line: str) -> Challenge:
    fields = parse_fields(line)
    if "realm" not in fields or "nonce" not in fields:
        raise PeerError("a challenge without realm or nonce")
    offered = [token.strip().lower() for token in fields.get("qop", "").split(",")]
    return Challenge(
        realm=fields["realm"],
        nonce=fields["nonce"],
        algorithm=fields.get("algorithm", "MD5"),
        qop=next((qop for qop in ("auth", "auth-int") if qop in offered), ""),
        opaque=fields.get("opaque"),
        stale=fields.get("stale", "").lower() == "true",
    )


def hasher(name: str) -> Callable[[str | bytes], str]:
    """Hexadecimal digest of text or bytes, by a hash of `hashlib`."""

    def digest(data: str | bytes) -> str:
        raw = data.encode(errors="surrogateescape") if isinstance(data, str) else data
        # Not for secrecy of ours: the algorithm is the peer's choice (RFC 8760 keeps MD5 alive).
        return hashlib.new(name, raw, usedforsecurity=False).hexdigest()

    return digest


def response_value(
    challenge: Challenge, subject: Subject, username: str, password: str, cnonce: str, count: str
) -> str:
    """The `response` field (RFC 7616 3.4.1). `count` is the nc as eight hexadecimal digits. None of it is checked."""
    name = challenge.hash_name
    if name is None:
        raise PeerError(f"digest algorithm {challenge.algorithm[:20]!r}")
    digest = hasher(name)
    secret = digest(f"{username}:{challenge.realm}:{password}")
    if challenge.algorithm.upper().endswith("-SESS"):
        secret = digest(f"{secret}:{challenge.nonce}:{cnonce}")
    signed = f"{subject.method}:{subject.uri}"
    if challenge.qop == "auth-int":
        signed += f":{digest(subject.body)}"
    if not challenge.qop:
        return digest(f"{secret}:{challenge.nonce}:{digest(signed)}")
    return digest(f"{secret}:{challenge.nonce}:{count}:{cnonce}:{challenge.qop}:{digest(signed)}")
