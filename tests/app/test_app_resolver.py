"""Looking names up with a real name server: caching by time to live, failures told apart, the loop never held up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from dns_server import DnsServer
from waiting import turns

from gateway.app import resolver as resolving
from gateway.app.resolver import Resolver, Unresolved
from gateway.app.trunk_config import Address, name_server
from gateway.core.errors import ConfigError
from gateway.core.ids import SeededIds
from gateway.sip.locate import Server, arranged

ZONE = {
    ("provider.test", "NAPTR"): [
        '20 10 "s" "SIP+D2U" "" _sip._udp.provider.test.',
        '10 10 "s" "SIP+D2T" "" _sip._tcp.provider.test.',
    ],
    ("_sip._udp.provider.test", "SRV"): ["20 0 5070 two.provider.test.", "10 0 5060 one.provider.test."],
    ("_sip._tcp.provider.test", "SRV"): ["10 0 5060 one.provider.test."],
    ("one.provider.test", "A"): ["192.0.2.1"],
    ("one.provider.test", "AAAA"): ["2001:db8::1"],
    ("two.provider.test", "A"): ["192.0.2.2"],
}


@pytest.fixture
def names() -> Iterator[DnsServer]:
    with DnsServer(dict(ZONE)) as server:
        yield server


def ways(servers: list[Server]) -> list[str]:
    return [f"{way.transport} {way.host}:{way.port}" for way in arranged(servers, SeededIds("x"))]


async def test_naptr_srv_and_addresses_lead_to_the_servers(names: DnsServer) -> None:
    """In the domain's own order; and again at once, without asking, for as long as the answers are good."""
    resolver = Resolver([names.address])
    found = await resolver.locate(Address("provider.test"), ("udp", "tcp"))
    assert ways(found) == ["tcp 192.0.2.1:5060", "udp 192.0.2.1:5060", "udp 192.0.2.2:5070"]
    asked = sum(names.asked.values())
    assert await resolver.locate(Address("provider.test"), ("udp", "tcp")) == found
    assert sum(names.asked.values()) == asked


async def test_an_answer_is_good_for_its_time_to_live(names: DnsServer) -> None:
    """One of no time at all is asked for anew."""
    names.ttl_s = 0
    resolver = Resolver([names.address])
    for count in (1, 2):
        await resolver.locate(Address("one.provider.test", 5060), ("udp",))
        assert names.asked["one.provider.test", "A"] == count


async def test_a_gateway_on_ipv6_looks_for_ipv6(names: DnsServer) -> None:
    """And finds what has such an address only."""
    found = await Resolver([names.address], ipv6=True).locate(Address("provider.test", None, "udp"), ("udp",))
    assert ways(found) == ["udp 2001:db8::1:5060"]


async def test_a_literal_address_is_not_looked_up(names: DnsServer) -> None:
    """Not even when the name server is away."""
    names.silent = True
    assert ways(await Resolver([names.address]).locate(Address("192.0.2.7"), ("udp",))) == ["udp 192.0.2.7:5060"]
    assert not names.asked


async def test_a_name_that_is_not_there_is_told_from_a_server_that_is_not(
    names: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is gone is gone; what could not be asked may serve on as it was known."""
    monkeypatch.setattr(resolving, "WITHIN_S", 0.4)
    with pytest.raises(Unresolved) as fault:
        await Resolver([names.address]).locate(Address("nowhere.test", None, "udp"), ("udp",))
    assert fault.value.gone
    names.broken = True
    with pytest.raises(Unresolved, match="could tell") as fault:
        await Resolver([names.address]).locate(Address("provider.test", None, "udp"), ("udp",))
    assert not fault.value.gone
    names.silent = True
    with pytest.raises(Unresolved, match="answers") as fault:
        await Resolver([names.address]).locate(Address("provider.test", None, "udp"), ("udp",))
    assert not fault.value.gone


async def test_the_loop_goes_on_while_a_name_server_says_nothing(
    names: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other tasks run to their end meanwhile; a blocking look-up would let none of them."""
    monkeypatch.setattr(resolving, "WITHIN_S", 0.4)
    names.silent = True
    looking = asyncio.create_task(Resolver([names.address]).locate(Address("provider.test", 5060), ("udp",)))
    assert await asyncio.to_thread(names.heard.wait, 5)
    await turns(1000)
    assert not looking.done()
    with pytest.raises(Unresolved):
        await looking


async def test_what_the_system_knows_besides_is_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of /etc/hosts are in no name server."""
    with DnsServer({}) as names:
        resolver = Resolver()
        resolver._resolver.nameservers = Resolver([names.address])._resolver.nameservers
        found = await resolver.locate(Address("localhost", 5060), ("udp",))
    assert ways(found) == [f"udp {socket.gethostbyname('localhost')}:5060"]


async def test_a_name_of_our_own_network_needs_no_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's resolver that cannot ask outside fails for SRV; the container's address is known all the same."""
    monkeypatch.setattr(resolving, "WITHIN_S", 0.4)
    with DnsServer({}) as names:
        names.broken = True
        resolver = Resolver()
        resolver._resolver.nameservers = Resolver([names.address])._resolver.nameservers
        found = await resolver.locate(Address("localhost", None, "udp"), ("udp",))
        assert ways(found) == [f"udp {socket.gethostbyname('localhost')}:5060"]
        with pytest.raises(Unresolved):
            await resolver.locate(Address("sip.provider.test", None, "udp"), ("udp",))


async def test_a_machine_without_name_servers_knows_its_own_names() -> None:
    """And nothing else."""
    resolver = Resolver()
    resolver._resolver.nameservers = []
    found = await resolver.locate(Address("localhost", None, "udp"), ("udp",))
    assert ways(found) == [f"udp {socket.gethostbyname('localhost')}:5060"]


def test_a_name_server_is_an_address() -> None:
    """Its name could not be looked up."""
    assert name_server("192.0.2.53") == ("192.0.2.53", 53)
    assert name_server("[2001:db8::53]:5353") == ("2001:db8::53", 5353)
    with pytest.raises(ConfigError, match="dns_servers"):
        name_server("ns.example")
