"""The way a message came or shall go: transport, both addresses, and the connection where there is one."""

from __future__ import annotations

from typing import Literal

import msgspec

Transport = Literal["udp", "tcp", "tls"]


class Flow(msgspec.Struct, frozen=True):
    """`connection` numbers a TCP or TLS connection of the shell; 0 for UDP and for "connect if need be".

    Answers leave on the flow their request came by (RFC 3261 18.2.2). Hosts are literal addresses, never names.
    `name` is the domain that a TLS peer's certificate must be for; empty, it must be for the address.
    """

    transport: Transport
    local: tuple[str, int]
    remote: tuple[str, int]
    connection: int = 0
    name: str = ""
