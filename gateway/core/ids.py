"""Where names and numbers that must not repeat come from. Seeded, they repeat exactly: replay needs that."""

from __future__ import annotations

import random
import secrets
from typing import Protocol

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_EVEN = bytes(ord(_ALPHABET[octet % 32]) for octet in range(256))
"""Octets to 32 of the letters, each as likely as the others: one call for a whole token, not one a letter."""


class Ids(Protocol):
    """A source of tokens (branches, tags, session and call ids) and of 32-bit numbers (SSRCs, sequence starts)."""

    def token(self, length: int = 12) -> str: ...

    def uint32(self) -> int: ...


class RandomIds:
    """From the operating system's entropy: unguessable, as RFC 3261 19.3 asks of tags."""

    def token(self, length: int = 12) -> str:
        return secrets.token_bytes(length).translate(_EVEN).decode("ascii")

    def uint32(self) -> int:
        return secrets.randbits(32)


class SeededIds:
    """The same sequence for the same seed, for tests and replay. Never for the wire of a live gateway."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)

    def token(self, length: int = 12) -> str:
        return "".join(self._random.choices(_ALPHABET, k=length))

    def uint32(self) -> int:
        return self._random.getrandbits(32)
