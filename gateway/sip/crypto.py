"""Keys for SRTP in session descriptions (SDES, RFC 4568): the a=crypto line, and which of them we can work with."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from gateway.core.errors import MisuseError, PeerError
from gateway.sip.sdp import Media

SrtpPolicy: TypeAlias = Literal["off", "optional", "required"]


class Suite(NamedTuple):
    """How many octets of master key and of master salt a crypto suite takes."""

    key: int
    salt: int


SUITES = {
    "AEAD_AES_256_GCM": Suite(32, 12),
    "AEAD_AES_128_GCM": Suite(16, 12),
    "AES_CM_128_HMAC_SHA1_80": Suite(16, 14),
    "AES_CM_128_HMAC_SHA1_32": Suite(16, 14),
}
"""RFC 4568 6.2 and RFC 7714 14, the strongest first."""

MASTER_OCTETS = sum(suite.key + suite.salt for suite in SUITES.values())
"""What one call needs of unguessable octets: a key and a salt of its own for every suite, so that no two share bits."""

_LINE = re.compile(r"([0-9]{1,9}) +([!-~]+) +([!-~]+)((?: +[!-~]+)*) *\Z")
_INLINE = re.compile(r"inline:([A-Za-z0-9+/]+={0,2})(\|(?:2\^)?[0-9]{1,15})?(\|[0-9]+:[0-9]+)?\Z", re.IGNORECASE)
_HARMLESS = re.compile(r"WSH=[0-9]+\Z|-.*", re.IGNORECASE)
"""A hint for the replay window, and extensions that say themselves that they may be passed over (RFC 4568 6.3)."""


class Crypto(msgspec.Struct, frozen=True):
    """One a=crypto line. `key` is the sender's master key and salt; `tag` ties the answer to the offer."""

    tag: int
    suite: str
    key: bytes

    def __repr__(self) -> str:
        return f"Crypto({self.tag}, {self.suite})"  # keys must not find their way into logs

    def render(self) -> str:
        return f"{self.tag} {self.suite} inline:{b64encode(self.key).decode()}"


class SrtpKeys(msgspec.Struct, frozen=True):
    """What both agreed on. Each side protects what it sends with a key of its own (then the salt)."""

    suite: str
    ours: bytes
    theirs: bytes

    def __repr__(self) -> str:
        return f"SrtpKeys({self.suite})"


def parse_crypto(value: str) -> Crypto:
    """Raises `PeerError` for a line that is malformed or asks for something we cannot do.

    That is: another suite, several keys, a master key identifier, and parameters that weaken or change the protection.
    A key's lifetime is passed over: it binds its owner, who has 2^48 packets by RFC 3711 9.2.
    """
    line = _LINE.match(value)
    if line is None:
        raise PeerError("malformed crypto attribute")
    tag, suite, keys, parameters = line.groups()
    needs = SUITES.get(suite.upper())
    if needs is None:
        raise PeerError("a crypto suite that we do not have", status_hint=488)
    inline = _INLINE.match(keys)
    if inline is None or inline[3]:
        raise PeerError("key parameters that we cannot use", status_hint=488)
    if not all(_HARMLESS.match(parameter) for parameter in parameters.split()):
        raise PeerError("crypto parameters that we cannot honour", status_hint=488)
    return Crypto(int(tag), suite.upper(), _decoded(inline[1], sum(needs)))


def _decoded(text: str, octets: int) -> bytes:
    stripped = text.rstrip("=")
    try:
        # Some phones leave the padding out.
        key = b64decode(stripped + "=" * (-len(stripped) % 4), validate=True)
    except binascii.Error:
        raise PeerError("a key that is not base64") from None
    if len(key) != octets:
        raise PeerError("a key that does not fit its suite")
    return key


def first_usable(media: Media) -> Crypto | None:
    """The line the peer likes best (RFC 4568 5.1.2) of those that we can work with."""
    for name, value in media.attributes:
        if name == "crypto" and value:
            try:
                return parse_crypto(value)
            except PeerError:
                continue
    return None


def our_lines(master: bytes) -> list[Crypto]:
    """What we offer: every suite with its own part of `master` as key. Raises `MisuseError` when that is too short."""
    if len(master) < MASTER_OCTETS:
        raise MisuseError(f"SRTP needs {MASTER_OCTETS} octets of key material, not {len(master)}")
    lines, at = [], 0
    for tag, (name, suite) in enumerate(SUITES.items(), 1):
        size = suite.key + suite.salt
        lines.append(Crypto(tag, name, master[at : at + size]))
        at += size
    return lines


def our_key(master: bytes, suite: str) -> bytes:
    """The same in every offer and answer of a dialog: a key that changed would start its packet count anew."""
    return next(line.key for line in our_lines(master) if line.suite == suite)


def take_answer(media: Media, master: bytes) -> SrtpKeys | None:
    """The keys after an answer to our offer; None when it takes none. Raises `PeerError` for one that does not fit."""
    value = media.attribute("crypto")
    if value is None:
        return None
    theirs = parse_crypto(value)
    for ours in our_lines(master):
        if (ours.tag, ours.suite) == (theirs.tag, theirs.suite):
            return SrtpKeys(theirs.suite, ours.key, theirs.key)
    raise PeerError("the answer takes a crypto line that we did not offer", status_hint=488)
