"""TLS and IPv6 on real sockets: calls, mutual certificates, and what an operator may get wrong."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from certificates import make_certificate
from sip_phone import Phone
from sip_wire import OUR_SDP as SDP

from gateway.core.errors import ConfigError
from gateway.sip.commands import HangUp, Place
from gateway.sip.events import AnySipEvent, CallAccepted, CallEnded, CallFailed, CallOffered
from gateway.sip.tls import client_context, server_context


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    make_certificate(folder, "server")
    make_certificate(folder, "client")
    return folder


async def call(caller: Phone, callee: Phone) -> list[AnySipEvent]:
    """Place a TLS call; what both heard until it failed, or was accepted and hung up by the callee."""
    await callee.server.start("127.0.0.1", 0, ("tls",))
    await caller.server.start("127.0.0.1", 0, ("udp",))
    try:
        flow = caller.server.flow_to("127.0.0.1", callee.server.port, "tls")
        caller.server.send(Place("out", "sips:desk@127.0.0.1", flow, SDP, "sip:caller@127.0.0.1"))
        outcome = await caller.next()
        if not isinstance(outcome, CallAccepted):
            return [outcome]
        offered = await callee.next()
        confirmed = await callee.next()
        assert isinstance(offered, CallOffered)
        assert offered.flow.transport == "tls"
        callee.server.send(HangUp(offered.dialog))
        return [offered, confirmed, await caller.next()]
    finally:
        await caller.server.close()
        await callee.server.close()


async def test_a_call_over_tls(folder: Path) -> None:
    """INVITE to BYE in both directions on one connection, the certificate checked by name."""
    callee = Phone("callee", tls_server=server_context(folder / "server.pem", folder / "server.key"))
    heard = await call(Phone("caller", tls_client=client_context(folder / "server.pem")), callee)
    assert isinstance(heard[-1], CallEnded)


async def test_a_server_we_do_not_trust_is_a_failed_call(folder: Path) -> None:
    """Nothing is said to it."""
    callee = Phone("callee", tls_server=server_context(folder / "server.pem", folder / "server.key"))
    (failed,) = await call(Phone("caller", tls_client=client_context(folder / "client.pem")), callee)
    assert isinstance(failed, CallFailed)
    assert failed.status == 503


async def test_a_connection_is_used_again_only_for_the_name_it_was_checked_for(folder: Path) -> None:
    """Two domains on one address (RFC 5923 8.1): what is meant for the second never goes to the first's connection."""
    callee = Phone("callee", tls_server=server_context(folder / "server.pem", folder / "server.key"))
    caller = Phone("caller", tls_client=client_context(folder / "server.pem"))
    await callee.server.start("127.0.0.1", 0, ("tls",))
    await caller.server.start("127.0.0.1", 0, ("udp",))
    try:
        outcomes = {}
        for name in ("", "other.example", ""):
            flow = caller.server.flow_to("127.0.0.1", callee.server.port, "tls", name=name)
            dialog = f"{name}-{len(outcomes)}"
            caller.server.send(Place(dialog, "sips:desk@127.0.0.1", flow, SDP, "sip:caller@127.0.0.1"))
            outcomes[dialog] = type(await caller.next())
        assert outcomes == {"-0": CallAccepted, "other.example-1": CallFailed, "-2": CallAccepted}
    finally:
        await caller.server.close()
        await callee.server.close()


async def test_mutual_tls_lets_in_who_has_a_certificate(folder: Path) -> None:
    """And nobody else."""
    guarded = server_context(folder / "server.pem", folder / "server.key", folder / "client.pem")
    known = client_context(folder / "server.pem", certificate=folder / "client.pem", key=folder / "client.key")
    heard = await call(Phone("caller", tls_client=known), Phone("callee", tls_server=guarded))
    assert isinstance(heard[-1], CallEnded)
    (failed,) = await call(
        Phone("caller", tls_client=client_context(folder / "server.pem")), Phone("callee", tls_server=guarded)
    )
    assert isinstance(failed, CallFailed)


def test_an_operators_mistakes_are_named(folder: Path, tmp_path: Path) -> None:
    """The file, and what is wrong with it."""
    certificate, key = folder / "server.pem", folder / "server.key"
    with pytest.raises(ConfigError, match=r"missing\.pem: cannot be read"):
        server_context(tmp_path / "missing.pem", key)
    with pytest.raises(ConfigError, match=r"server\.pem: no certificate with its key"):
        server_context(certificate, folder / "client.key")
    (tmp_path / "rubbish.pem").write_text("rubbish")
    with pytest.raises(ConfigError, match=r"rubbish\.pem: no certificates in it"):
        client_context(tmp_path / "rubbish.pem")
    encrypted = tmp_path / "encrypted.key"
    openssl("ec", "-in", key, "-aes128", "-passout", "pass:x", "-out", encrypted)
    with pytest.raises(ConfigError, match="unencrypted"):
        server_context(certificate, encrypted)


async def test_a_start_that_fails_half_way_leaves_no_port_taken(folder: Path) -> None:
    """So that the next attempt finds it free."""
    context = server_context(folder / "server.pem", folder / "server.key")
    first, second = Phone("first", tls_server=context), Phone("second", tls_server=context)
    await first.server.start("127.0.0.1", 0, ("tls",))
    with pytest.raises(ConfigError, match="in use"):
        await second.server.start("127.0.0.1", 0, ("udp", "tcp", "tls"), tls_port=first.server.port)
    third = Phone("third")
    await third.server.start("127.0.0.1", second.server.port)
    for phone in (first, third):
        await phone.server.close()


async def test_tls_without_a_certificate_does_not_start() -> None:
    """It would accept nobody."""
    with pytest.raises(ConfigError, match="certificate"):
        await Phone("one").server.start("127.0.0.1", 0, ("tls",))


async def test_a_call_over_ipv6() -> None:
    """Brackets in Via and Contact, none towards the socket."""
    caller, callee = Phone("caller"), Phone("callee")
    try:
        await callee.server.start("::1", 0)
    except ConfigError:
        pytest.skip("this machine has no IPv6")
    await caller.server.start("::1", 0)
    flow = caller.server.flow_to("::1", callee.server.port)
    caller.server.send(Place("out", "sip:desk@[::1]", flow, SDP, "sip:caller@[::1]"))
    assert isinstance(await caller.next(), CallAccepted)
    offered = await callee.next()
    assert isinstance(offered, CallOffered)
    contact = dict(offered.headers)["Contact"]
    assert contact == f"<sip:caller@[::1]:{caller.server.port}>"
    await callee.next()
    callee.server.send(HangUp(offered.dialog))
    assert isinstance(await caller.next(), CallEnded)
    await caller.server.close()
    await callee.server.close()
