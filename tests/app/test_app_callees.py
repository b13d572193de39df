"""Whom `gateway call` calls, and by which ways."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dns_server import DnsServer

from gateway.app.callees import Target, TrunkTarget, Ways
from gateway.app.cli import main
from gateway.app.resolver import Resolver
from gateway.app.trunk_config import Address, Trunk
from gateway.call.sip_stream import SipLineOptions
from gateway.core.errors import ConfigError
from gateway.core.ids import SeededIds
from gateway.sip.commands import AnyCommand, Credentials
from gateway.sip.flow import Flow, Transport

ZONE = {
    ("_sip._udp.provider.test", "SRV"): ["10 0 5070 a.test.", "20 0 5070 b.test."],
    ("a.test", "A"): ["192.0.2.1"],
    ("b.test", "A"): ["192.0.2.2"],
}


class Wire:
    transports: tuple[Transport, ...] = ("udp", "tcp")

    def send(self, command: AnyCommand) -> None:
        raise AssertionError("nothing is sent while somebody is looked for")

    def flow_to(self, host: str, port: int, transport: Transport = "udp", *, name: str = "") -> Flow:
        return Flow(transport, ("192.0.2.9", 5060), (host, port), name=name)


@pytest.fixture
def ways() -> Iterator[Ways]:
    with DnsServer(dict(ZONE)) as names:
        yield Ways(Wire(), Resolver([names.address]), SeededIds("x"))


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("sip:desk@127.0.0.1:5070", Address("127.0.0.1", 5070)),
        ("desk@192.0.2.1", Address("192.0.2.1")),
        ("sip:desk@localhost", Address("127.0.0.1")),
        ("sip:desk@[2001:db8::1];transport=TCP", Address("2001:db8::1", None, "tcp")),
        ("sips:desk@pbx.example", Address("pbx.example", None, "tls")),
        ("sip:pbx.example", Address("pbx.example")),
    ],
)
def test_an_address_says_where_to_look(uri: str, address: Address) -> None:
    """The transport only where it is named; else the domain decides."""
    assert Target(uri).address == address


@pytest.mark.parametrize("uri", ["", "not a uri", "sip:", "sip:a@b:0", "sip:a@b c"])
def test_what_is_no_address(uri: str) -> None:
    """Said before anything is opened."""
    with pytest.raises(ConfigError, match="looks like"):
        Target(uri)


async def test_a_name_is_looked_up_and_all_its_servers_tried(ways: Ways) -> None:
    """RFC 3263: in the order of their priorities."""
    order = await Target("sip:desk@provider.test;transport=udp").order(ways, "1001")
    assert [attempt.flow.remote for attempt in order.attempts] == [("192.0.2.1", 5070), ("192.0.2.2", 5070)]
    assert (order.from_uri, order.failover_after_s) == ("sip:1001@192.0.2.9", 4.0)
    with pytest.raises(ConfigError, match=r"nowhere\.test cannot be looked up"):
        await Target("sip:desk@nowhere.test").order(ways, "1001")


async def test_a_number_goes_through_its_trunk(ways: Ways) -> None:
    """All targets, the trunk's password, its own number, its codecs."""
    trunk = Trunk(
        "provider", "provider.test", username="4711", failover=("192.0.2.7",), codecs=("PCMA",), ring_s=20, dtmf="info"
    )
    callee = TrunkTarget(trunk, "+4930", Credentials("4711", "secret"))
    order = await callee.order(ways, "")
    assert [attempt.flow.remote[0] for attempt in order.attempts] == ["192.0.2.1", "192.0.2.2", "192.0.2.7"]
    assert {attempt.credentials for attempt in order.attempts} == {Credentials("4711", "secret")}
    assert (order.attempts[0].uri, order.from_uri) == ("sip:+4930@provider.test", "sip:4711@provider.test")
    options = callee.options(SipLineOptions())
    assert (order.ring_s, options.codecs, options.dtmf) == (20, ("PCMA",), "info")
    with pytest.raises(ConfigError, match="not a number"):
        TrunkTarget(trunk, "4930@elsewhere", None)


def test_a_trunk_nobody_configured(capsys: pytest.CaptureFixture[str]) -> None:
    """The line says which there are, and how to name the file."""
    assert main(["call", "--trunk", "nobody", "4930"]) == 2
    assert "no trunk 'nobody' (known: none is configured); --config" in capsys.readouterr().err
