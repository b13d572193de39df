"""What crosses the plane's edge: datagrams in and out, and what a tick makes of them."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import msgspec

from gateway.media.ports import Said

Address: TypeAlias = tuple[str, int]
"""Host (a literal address) and port."""


class Received(msgspec.Struct, frozen=True, gc=False):
    """A datagram for `leg`, RTP or RTCP, that arrived at `at` on the clock of `now`."""

    leg: str
    data: bytes
    source: Address
    at: float


class ToSend(msgspec.Struct, frozen=True, gc=False):
    """A datagram to leave from the leg's RTP port, or (`control`) from its RTCP port."""

    leg: str
    data: bytes
    destination: Address
    control: bool = False


class Tick(NamedTuple):
    to_send: list[ToSend]
    said: list[Said]
