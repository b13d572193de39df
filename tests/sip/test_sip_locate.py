"""Finding a domain's servers (RFC 3263), and sharing calls out among them (RFC 2782)."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.ids import SeededIds
from gateway.sip.flow import Transport
from gateway.sip.locate import (
    MOST_ADDRESSES,
    MOST_SERVERS,
    Kind,
    Naptr,
    Question,
    Record,
    Server,
    Srv,
    Way,
    arranged,
    locate,
)

Zone = dict[tuple[str, str], list[Record]]
ALL: tuple[Transport, ...] = ("udp", "tcp", "tls")

# The example of RFC 3263 4.1, with a second server behind UDP.
EXAMPLE: Zone = {
    ("example.com", "NAPTR"): [
        Naptr(100, 50, "s", "SIP+D2U", "_sip._udp.example.com"),
        Naptr(50, 50, "s", "SIPS+D2T", "_sips._tcp.example.com"),
        Naptr(90, 50, "s", "SIP+D2T", "_sip._tcp.example.com"),
        Naptr(10, 50, "u", "E2U+sip", ""),
    ],
    ("_sip._udp.example.com", "SRV"): [Srv(20, 1, 5070, "b.example.com"), Srv(10, 1, 5060, "a.example.com")],
    ("_sip._tcp.example.com", "SRV"): [Srv(1, 1, 5060, "a.example.com")],
    ("_sips._tcp.example.com", "SRV"): [Srv(1, 1, 5061, "a.example.com")],
    ("a.example.com", "A"): ["192.0.2.1"],
    ("b.example.com", "A"): ["192.0.2.2", "192.0.2.3"],
    ("example.com", "A"): ["192.0.2.9"],
    ("a.example.com", "AAAA"): ["2001:db8::1"],
}


def find(
    host: str,
    port: int | None = None,
    transport: Transport | None = None,
    *,
    zone: Zone = EXAMPLE,
    usable: tuple[Transport, ...] = ALL,
    address: Kind = "A",
) -> tuple[list[Server], list[Question]]:
    """What is found, and all that was asked for it."""
    search, asked = locate(host, port, transport, usable=usable, address=address), []
    try:
        questions = next(search)
        while True:
            asked += questions
            questions = search.send([zone.get(question, []) for question in questions])
    except StopIteration as found:
        return found.value, asked


def ways(servers: list[Server]) -> list[tuple[str, str, int]]:
    return [(way.transport, way.host, way.port) for way in arranged(servers, SeededIds("x"))]


@pytest.mark.parametrize(
    ("host", "port", "transport", "expected"),
    [
        ("192.0.2.1", None, None, ("udp", "192.0.2.1", 5060)),
        ("192.0.2.1", None, "tls", ("tls", "192.0.2.1", 5061)),
        ("192.0.2.1", 5080, "tcp", ("tcp", "192.0.2.1", 5080)),
        ("[2001:db8::1]", None, None, ("udp", "2001:db8::1", 5060)),
    ],
)
def test_a_literal_address_is_asked_nothing_for(
    host: str, port: int | None, transport: Transport | None, expected: tuple[str, str, int]
) -> None:
    """RFC 3263 4.2: it is where it is."""
    servers, asked = find(host, port, transport)
    assert (ways(servers), asked) == ([expected], [])


def test_a_port_that_is_named_leaves_only_the_address_to_find() -> None:
    """RFC 3263 4.1 and 4.2: no NAPTR, no SRV."""
    servers, asked = find("example.com", 5080)
    assert (ways(servers), asked) == ([("udp", "192.0.2.9", 5080)], [("example.com", "A")])


def test_a_transport_that_is_named_leaves_naptr_out() -> None:
    """The SRV records of that transport, by priority."""
    servers, asked = find("example.com", None, "udp")
    assert ways(servers) == [("udp", "192.0.2.1", 5060), ("udp", "192.0.2.2", 5070), ("udp", "192.0.2.3", 5070)]
    assert asked[0] == ("_sip._udp.example.com", "SRV")
    assert Question("example.com", "NAPTR") not in asked


def test_the_domain_says_which_transports_it_would_have() -> None:
    """By order and preference, of those we have; what is no SIP is passed over."""
    servers, _ = find("example.com")
    assert [way[0] for way in ways(servers)] == ["tls", "tcp", "udp", "udp", "udp"]
    servers, _ = find("example.com", usable=("udp", "tcp"))
    assert [way[0] for way in ways(servers)] == ["tcp", "udp", "udp", "udp"]


def test_without_naptr_our_own_order_of_transports_counts() -> None:
    """Each one's SRV records are looked for."""
    zone = {key: records for key, records in EXAMPLE.items() if key[1] != "NAPTR"}
    servers, asked = find("example.com", zone=zone)
    assert [way[0] for way in ways(servers)] == ["udp", "udp", "udp", "tcp", "tls"]
    assert len([question for question in asked if question.kind == "SRV"]) == 3


def test_without_srv_the_domains_own_address_is_the_server() -> None:
    """At the transport's own port."""
    servers, _ = find("b.example.com", None, "tls")
    assert ways(servers) == [("tls", "192.0.2.2", 5061), ("tls", "192.0.2.3", 5061)]


def test_a_service_that_is_decidedly_not_there_is_not_called() -> None:
    """RFC 2782: the target "."; its own address is then no way round it."""
    zone: Zone = {("_sip._udp.x.test", "SRV"): [Srv(0, 0, 0, ".")], ("x.test", "A"): ["192.0.2.1"]}
    assert find("x.test", None, "udp", zone=zone)[0] == []


def test_a_name_that_leads_nowhere_finds_nothing() -> None:
    """Nor does a server without an address take anything from the others."""
    assert find("nowhere.test")[0] == []
    zone: Zone = {
        ("_sip._udp.x.test", "SRV"): [Srv(0, 0, 5060, "gone.test"), Srv(1, 0, 5060, "here.test")],
        ("here.test", "A"): ["192.0.2.1"],
    }
    assert ways(find("x.test", None, "udp", zone=zone)[0]) == [("udp", "192.0.2.1", 5060)]


def test_a_certificate_must_be_for_the_domain_that_was_asked_for() -> None:
    """RFC 5922 7.1: not for the server that an unsigned answer named."""
    servers, _ = find("example.com", None, "tls")
    assert servers[0].ways == (Way("tls", "192.0.2.1", 5061, "example.com"),)


def test_only_addresses_that_we_can_reach_are_asked_for() -> None:
    """A gateway on IPv6 calls no IPv4."""
    servers, asked = find("example.com", None, "tcp", address="AAAA")
    assert ways(servers) == [("tcp", "2001:db8::1", 5060)]
    assert not [question for question in asked if question.kind == "A"]


def test_a_zone_cannot_make_us_call_half_the_internet() -> None:
    """Servers and addresses are counted."""
    zone: Zone = {("_sip._udp.x.test", "SRV"): [Srv(n, 0, 5060, f"s{n}.test") for n in range(500)]}
    zone |= {(f"s{n}.test", "A"): [f"192.0.2.{k}" for k in range(200)] for n in range(500)}
    servers, asked = find("x.test", None, "udp", zone=zone)
    assert len(servers) == MOST_SERVERS
    assert {len(server.ways) for server in servers} == {MOST_ADDRESSES}
    assert len(asked) <= 1 + MOST_SERVERS


def server(weight: int, host: str, rank: int = 0) -> Server:
    return Server((rank,), weight, (Way("udp", host, 5060),))


def test_weights_share_the_calls_out() -> None:
    """RFC 2782: within a priority three times the weight is three times the calls; 0 is for when the others fail."""
    servers = [server(0, "zero"), server(25, "one"), server(75, "three"), server(99, "backup", rank=1)]
    ids = SeededIds("weights")
    first = Counter(arranged(servers, ids)[0].host for _ in range(4000))
    assert 2800 < first["three"] < 3200
    assert 800 < first["one"] < 1200
    assert first["zero"] < 100
    assert "backup" not in first


ranked = st.builds(server, st.integers(0, 65535), st.text("abc", min_size=1), st.integers(0, 3))


@given(st.lists(ranked, max_size=12), st.integers())
def test_the_lot_loses_nobody_and_keeps_priorities(servers: list[Server], seed: int) -> None:
    """Whatever the weights, all zero among them."""
    drawn = arranged(servers, SeededIds(seed))
    assert Counter(drawn) == Counter(way for one in servers for way in one.ways)
    rank_of = {}
    for one in servers:
        rank_of.setdefault(one.ways[0], []).append(one.rank)
    lowest = [min(rank_of[way]) for way in dict.fromkeys(drawn)]
    assert lowest == sorted(lowest)
