"""Whom the command-line phone calls: a SIP address looked up like any other, or a number through a configured trunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from gateway.app.outbound import check_numbers, order_through
from gateway.app.resolver import Resolver, Unresolved
from gateway.app.trunk_config import Address, Trunk
from gateway.app.trunks import Signalling, rules_of
from gateway.call.outbound_line import Attempt, Order
from gateway.call.sip_stream import SipLineOptions
from gateway.core.errors import ConfigError, PeerError
from gateway.core.ids import Ids
from gateway.sip.commands import Credentials, Headers
from gateway.sip.flow import Flow
from gateway.sip.locate import arranged
from gateway.sip.reach import literal, transport_of
from gateway.sip.uri import bare, escape_user, parse_uri

PATIENCE_S = 32.0
"""How long a single address may say nothing: as long as RFC 3261 has it."""


class Ways(msgspec.Struct, frozen=True):
    """What finding somebody takes."""

    signalling: Signalling
    resolver: Resolver
    ids: Ids

    async def to(self, addresses: Sequence[Address]) -> list[Flow]:
        """In the order to try them. Raises `ConfigError` when none leads anywhere."""
        flows: list[Flow] = []
        faults = []
        for address in addresses:
            try:
                servers = await self.resolver.locate(address, self.signalling.transports)
            except Unresolved as fault:
                faults.append(f"{address} cannot be looked up: {fault}")
                continue
            flows += [
                self.signalling.flow_to(way.host, way.port, way.transport, name=way.name)
                for way in arranged(servers, self.ids)
            ]
        if not flows:
            raise ConfigError("; ".join(faults))
        return list(dict.fromkeys(flows))


class Callee(Protocol):
    uri: str
    """For people."""
    domain: str
    """The host part of numbers that a redirection names."""

    def options(self, usual: SipLineOptions) -> SipLineOptions: ...

    async def order(self, ways: Ways, caller: str) -> Order:
        """Raises `ConfigError` when it leads nowhere."""
        ...


class Target:
    """A SIP address. Raises `ConfigError` for what is none."""

    def __init__(self, uri: str, *, headers: Headers = ()) -> None:
        try:
            address = parse_uri(uri if uri.startswith(("sip:", "sips:")) else f"sip:{uri}")
        except PeerError:
            raise ConfigError(f"not a SIP URI: {uri!r}; it looks like sip:desk@127.0.0.1:5060") from None
        self.uri, self.headers = str(address), headers
        self.domain = "127.0.0.1" if address.host == "localhost" else address.host
        named = address.param("transport") is not None or address.scheme == "sips"
        self.address = Address(bare(self.domain), address.port, transport_of(address) if named else None)

    @property
    def is_here(self) -> bool:
        """On this machine, so that nobody else need reach us."""
        host = literal(self.address.host)
        return host is not None and host.is_loopback

    def options(self, usual: SipLineOptions) -> SipLineOptions:
        return usual

    async def order(self, ways: Ways, caller: str) -> Order:
        flows = await ways.to([self.address])
        return Order(
            tuple(Attempt(self.uri, flow) for flow in flows),
            from_uri=f"sip:{escape_user(caller)}@{_shown(flows[0])}",
            headers=self.headers,
            failover_after_s=PATIENCE_S if len(flows) == 1 else 4.0,
        )


class TrunkTarget:
    """A number through a trunk, by the trunk's own rules. Raises `ConfigError` for a number that is none."""

    def __init__(self, trunk: Trunk, number: str, credentials: Credentials | None) -> None:
        try:
            check_numbers(number, "")
        except PeerError as error:
            raise ConfigError(str(error)) from None
        self._trunk, self._number, self._credentials = trunk, number, credentials
        self.uri = f"{number} through {trunk.name}"
        self.domain = trunk.realm

    def options(self, usual: SipLineOptions) -> SipLineOptions:
        return usual.for_trunk(rules_of(self._trunk))

    async def order(self, ways: Ways, caller: str) -> Order:
        flows = await ways.to(self._trunk.targets)
        return order_through(self._trunk, flows, self._number, caller, credentials=self._credentials)


def _shown(flow: Flow) -> str:
    host = flow.local[0]
    return f"[{host}]" if ":" in host else host
