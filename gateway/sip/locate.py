"""Where a domain's SIP servers are: NAPTR, then SRV, then addresses (RFC 3263 4), by priority and weight (RFC 2782).

Sans-IO: `locate` is a generator that yields questions to be asked together, takes their answers, and returns what it
found; `arranged` draws one order from it, anew for each call, so that the weights share the calls out.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from itertools import groupby
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from gateway.core.ids import Ids
from gateway.sip.flow import Transport
from gateway.sip.reach import DEFAULT_PORTS, literal
from gateway.sip.uri import bare

SERVICES: dict[str, Transport] = {"SIP+D2U": "udp", "SIP+D2T": "tcp", "SIPS+D2T": "tls"}
"""NAPTR services (RFC 3263 4.1) that we have a transport for."""
PREFIXES: dict[Transport, str] = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp"}
MOST_SERVERS, MOST_ADDRESSES = 16, 8
"""Of one domain, and of one server: a zone cannot make us call half the internet."""

Kind = Literal["NAPTR", "SRV", "A", "AAAA"]


class Question(NamedTuple):
    name: str
    kind: Kind


class Naptr(msgspec.Struct, frozen=True):
    order: int
    preference: int
    flags: str
    service: str
    replacement: str


class Srv(msgspec.Struct, frozen=True):
    """`host` is "." where the service is decidedly not offered (RFC 2782)."""

    priority: int
    weight: int
    port: int
    host: str


Record: TypeAlias = Naptr | Srv | str
"""An address record is its literal address."""
Answers: TypeAlias = Sequence[Sequence[Record]]
"""One for each question; empty where there are no such records."""


class Way(msgspec.Struct, frozen=True):
    """`host` is a literal address; `name` is whom a TLS certificate must be for (RFC 5922 7.1), "" for the address."""

    transport: Transport
    host: str
    port: int
    name: str = ""


class Server(msgspec.Struct, frozen=True):
    """Where to go, by `rank` first (lower is better), then by lot: `weight` is its part of its rank's calls."""

    rank: tuple[int, ...]
    weight: int
    ways: tuple[Way, ...]


Search: TypeAlias = Generator[tuple[Question, ...], Answers, list[Server]]


def locate(
    host: str, port: int | None, transport: Transport | None, *, usable: Sequence[Transport], address: Kind = "A"
) -> Search:
    """The servers of `host`; none when there is no such thing.

    `transport` None leaves it to the domain's NAPTR, or to `usable`, our transports in order of preference.
    `address` says which kind of address can be reached. A literal address and a named port are asked nothing for.
    """
    default: Transport = transport or ("udp" if "udp" in usable else usable[0])
    if literal(host) is not None:
        return [Server((0,), 0, (Way(default, bare(host), port or DEFAULT_PORTS[default]),))]
    if port is None:
        if transport is None:
            services = yield from _services(host, usable)
        else:
            services = [(transport, _service(transport, host))]
        listed = yield from _listed(services)
        if listed is not None:
            return (yield from _addressed(host, listed, address))
    plain: Listed = [((0,), default, Srv(0, 0, port or DEFAULT_PORTS[default], host))]
    return (yield from _addressed(host, plain, address))


Listed: TypeAlias = list[tuple[tuple[int, ...], Transport, Srv]]


def _service(transport: Transport, host: str) -> str:
    return f"{PREFIXES[transport]}.{host}"


def _services(
    host: str, usable: Sequence[Transport]
) -> Generator[tuple[Question, ...], Answers, list[tuple[Transport, str]]]:
    """What transports the domain offers, best first, and where each one's SRV records are."""
    (records,) = yield (Question(host, "NAPTR"),)
    offers = [
        record
        for record in records
        if isinstance(record, Naptr) and record.flags.lower() == "s" and SERVICES.get(record.service.upper()) in usable
    ]
    offers.sort(key=lambda record: (record.order, record.preference))
    if offers:
        return [(SERVICES[record.service.upper()], record.replacement) for record in offers]
    return [(transport, _service(transport, host)) for transport in usable]


def _listed(
    services: Sequence[tuple[Transport, str]],
) -> Generator[tuple[Question, ...], Answers, Listed | None]:
    """The SRV records of all services; None when there are none, and the addresses of the domain itself count."""
    answers = yield tuple(Question(name, "SRV") for _, name in services)
    found: Listed = [
        ((place, record.priority), transport, record)
        for place, ((transport, _), records) in enumerate(zip(services, answers, strict=True))
        for record in records
        if isinstance(record, Srv)
    ]
    if not found:
        return None
    found.sort(key=lambda entry: entry[0])
    return [entry for entry in found if entry[2].host.strip(".")][:MOST_SERVERS]


def _addressed(domain: str, listed: Listed, kind: Kind) -> Generator[tuple[Question, ...], Answers, list[Server]]:
    if not listed:
        return []
    hosts = tuple(dict.fromkeys(record.host for _, _, record in listed))
    answers = yield tuple(Question(host, kind) for host in hosts)
    addresses = dict(zip(hosts, answers, strict=True))
    servers = []
    for rank, transport, record in listed:
        ways = tuple(
            Way(transport, found, record.port, domain)
            for found in addresses[record.host][:MOST_ADDRESSES]
            if isinstance(found, str)
        )
        if ways:
            servers.append(Server(rank, record.weight, ways))
    return servers


def arranged(servers: Iterable[Server], ids: Ids) -> list[Way]:
    """All ways, in the order to try them."""
    by_rank = sorted(servers, key=lambda server: server.rank)
    return [
        way
        for _, group in groupby(by_rank, key=lambda server: server.rank)
        for server in _drawn(list(group), ids)
        for way in server.ways
    ]


def _drawn(rest: list[Server], ids: Ids) -> list[Server]:
    """RFC 2782: one after the other by lot, each with a chance as its weight; 0 has a very small one."""
    rest.sort(key=lambda server: server.weight > 0)
    drawn = []
    while len(rest) > 1:
        lot = ids.uint32() % (sum(server.weight for server in rest) + 1)
        for index, server in enumerate(rest):
            lot -= server.weight
            if lot <= 0:
                drawn.append(rest.pop(index))
                break
    return drawn + rest
