"""Trunks by name, in pairs, behind an edge, and in trouble: whole gateways against Kamailio, sipp and a name server."""

from __future__ import annotations

import contextlib
import re
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from socket import create_server
from typing import Any

import numpy as np
import pytest
from callers import dial, line, soon
from certificates import make_certificate
from dns_server import DnsServer
from gateway_process import NO_WORDS, GatewayProcess, command
from kamailio_server import USER, Kamailio, account, trunk
from ports import free_port
from sipp_program import scenario, sipp_called, sipp_calls
from sounds import find, read_wav, silence, tone
from waiting import wait_until

from gateway.media import g711

pytestmark = pytest.mark.interop

DIALPLAN = """
routes:
  short:
    match: {called: short}
    steps: [answer, {wait: 200ms}, hangup]
  ours:
    match: {trunk: "*"}
    steps: [echo]
  remind:
    steps: [answer, {wait: 500ms}, hangup]
  keys:
    steps: [answer, {press: "5#"}, {wait: 500ms}, hangup]
"""


def gateway_beside(port: int, folder: Path, dialplan: list[str], **more: object) -> GatewayProcess:
    """Its trunk `provider` is at this port of loopback."""
    config = trunk("provider", host="127.0.0.1", port=port, **more) + NO_WORDS
    return GatewayProcess(folder / "data", *dialplan, config=config)


def called_out(gateway: GatewayProcess, route: str = "remind") -> dict[str, Any]:
    """How a call to `outside` by the trunk `provider` ended."""
    return gateway.ended(gateway.calls_out("outside", trunk="provider", route=route))


def shown(gateway: GatewayProcess) -> str:
    return command("trunks", "--http", gateway.http_url).stdout


async def test_a_registrar_that_dies_is_followed_by_the_next_of_its_name(
    tmp_path: Path, secret: Path, dialplan: list[str]
) -> None:
    """SRV says which is first. When that one goes, registration and calls both ways go by the second."""
    outside = free_port()
    with (
        contextlib.ExitStack() as first_lives,
        Kamailio(tmp_path / "second", outside=outside) as second,
        sipp_called(port=outside) as (callee, _),
    ):
        first = first_lives.enter_context(Kamailio(tmp_path / "first", outside=outside))
        zone = {
            ("_sip._udp.provider.test", "SRV"): [f"20 0 {second.sip_port} b.test.", f"10 0 {first.sip_port} a.test."],
            ("a.test", "A"): ["127.0.0.1"],
            ("b.test", "A"): ["127.0.0.1"],
        }
        names = first_lives.enter_context(DnsServer(zone))
        config = f'dns_servers = ["{names.address}"]\n' + trunk("provider", host="provider.test", **account(secret))
        config += NO_WORDS
        with GatewayProcess(tmp_path / "data", *dialplan, config=config) as gateway:
            assert gateway.wait_log("trunk.registered")["target"] == f"127.0.0.1:{first.sip_port}"
            assert f"provider.test = 127.0.0.1:{second.sip_port}" in shown(gateway)
            first_lives.close()
            moved = gateway.wait_log("trunk.registered", target=f"127.0.0.1:{second.sip_port}", within_s=20)
            assert moved["trunk"] == "provider"
            async with line() as phones:
                phone = await dial(phones, second, USER)
                await phone.hang_up()
            await soon(gateway.ended, await soon(gateway.call))
            ended = await soon(called_out, gateway)
            assert (ended["reason"], ended["by"]) == ("hangup", "bot"), gateway.tail()
            callee.succeeds(within_s=10)
            assert re.search(rf"registered at 127\.0\.0\.1:{second.sip_port}", shown(gateway))
            assert names.asked["_sip._udp.provider.test", "SRV"] == 1


async def test_a_proxy_may_stay_in_the_path(tmp_path: Path, secret: Path, dialplan: list[str]) -> None:
    """The edge adds itself as Path, the registrar wants us to know of it, and its Service-Route leads calls there."""
    outside = free_port()
    with (
        Kamailio(tmp_path / "registrar", outside=outside) as registrar,
        Kamailio(tmp_path / "edge", registrar=registrar.sip_port) as edge,
        sipp_called(port=outside) as (callee, _),
        gateway_beside(edge.sip_port, tmp_path, dialplan, **account(secret)) as gateway,
    ):
        gateway.wait_log("trunk.registered")
        async with line() as phones:
            phone = await dial(phones, registrar, USER)
            await phone.hang_up()
        call = await soon(gateway.call)
        assert (await soon(gateway.ended, call))["reason"] == "hangup"
        assert call.find("CallStarted")[0]["facts"]["trunk"] == "provider"
        ended = await soon(called_out, gateway)
        assert ended["reason"] == "hangup", gateway.tail()
        callee.succeeds(within_s=10)
        routed = re.findall(r"INVITE to outside routed by: <sip:127\.0\.0\.1:(\d+);lr", edge.log())
        assert set(routed) == {str(edge.sip_port)}, edge.log()
        assert not gateway.troubles()


def test_the_command_line_calls_through_a_trunk(tmp_path: Path, secret: Path) -> None:
    """Failed over, signed, early media heard and in the recording, PRACKed; the 200 that repeats nothing counts."""
    outside, dead = free_port(), free_port()
    voice = silence(0.2).then(tone(700, 1.5))
    (tmp_path / "voice.ulaw").write_bytes(bytes(g711.encode(np.rint(voice.samples).astype(np.int16))))
    file, heard = tmp_path / "gateway.toml", tmp_path / "heard.wav"
    with (
        Kamailio(tmp_path / "kamailio", outside=outside) as kamailio,
        sipp_called(*scenario("callee_early_voice"), port=outside, folder=tmp_path) as (callee, _),
    ):
        provider = {"host": "127.0.0.1", "outbound_proxy": f"127.0.0.1:{dead}", **account(secret)}
        file.write_text(
            trunk("straight", failover=[f"127.0.0.1:{outside}"], **provider)
            + trunk("provider", failover=[f"127.0.0.1:{kamailio.sip_port}"], **provider)
        )
        through = ("call", "--config", str(file), "--trunk", "provider")
        done = command(*through, "--trunk", "straight", "outside", "--duration", "3", "--record", str(heard))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "183 Session Progress, with early media" in done.stdout
        assert done.stdout.index("early media") < done.stdout.index("answered, PCMU")
        callee.succeeds(within_s=10)
        theirs = read_wav(heard).channels()[0]
        assert find(tone(700, 1.0), theirs).likeness > 0.95
        busy = command(*through, "busy")
        assert (busy.returncode, busy.stdout.splitlines()[-1]) == (1, "not connected: 486 Busy Here (busy)")
        nobody = command(*through, "nobody")
        assert nobody.stdout.splitlines()[-1] == "not connected: 404 Not found (rejected)"
    gone = command(*through, "outside")
    assert gone.stdout.splitlines()[-1] == "not connected: 503 Connection refused (unreachable)"


def test_a_call_that_rings_too_long_is_cancelled(tmp_path: Path, dialplan: list[str]) -> None:
    """CANCEL, 487 and its ACK, by sipp's book; the event says that nobody answered."""
    outside = free_port()
    with (
        sipp_called(*scenario("callee_cancelled"), port=outside) as (callee, _),
        gateway_beside(outside, tmp_path, dialplan, options_interval_s=0, ring_s=2) as gateway,
    ):
        ended = called_out(gateway)
        assert (ended["reason"], ended["by"]) == ("no_answer", "caller"), gateway.tail()
        callee.succeeds(within_s=10)
        assert not gateway.troubles()


def test_a_trunk_without_room_is_followed_by_the_next(tmp_path: Path, dialplan: list[str]) -> None:
    """503 from the first, the call by the second; and two unreachable ones are `unreachable`."""
    full, roomy = free_port(), free_port()
    ways = {"failover": [f"127.0.0.1:{roomy}"], "failover_after_s": 1, "options_interval_s": 0}
    with (
        sipp_called(*scenario("callee_full"), port=full) as (first, _),
        sipp_called(port=roomy) as (second, _),
        gateway_beside(full, tmp_path, dialplan, **ways) as gateway,
    ):
        ended = called_out(gateway)
        assert (ended["reason"], ended["by"]) == ("hangup", "bot"), gateway.tail()
        first.succeeds(within_s=10)
        second.succeeds(within_s=10)
        ended = called_out(gateway)
        assert ended["reason"] == "unreachable", gateway.tail()


def test_what_is_agreed_with_a_trunk_is_on_the_wire_both_ways(tmp_path: Path, dialplan: list[str]) -> None:
    """Codecs, keys by INFO, the session timer: sipp looks at what comes when it is called, and when it calls."""
    outside = free_port()
    agreed = {"codecs": ["PCMA"], "dtmf": "info", "session_expires_s": 600, "options_interval_s": 0}
    with (
        sipp_called(*scenario("callee_agreed"), port=outside) as (callee, _),
        gateway_beside(outside, tmp_path, dialplan, **agreed) as gateway,
    ):
        assert called_out(gateway, "keys")["reason"] == "hangup", gateway.tail()
        callee.succeeds(within_s=10)
        sipp_calls(gateway.sip_port, *scenario("agreed"), called="short")


def test_a_large_invite_finds_a_peer_that_has_tcp_only(tmp_path: Path, dialplan: list[str]) -> None:
    """The trunk says UDP, where nobody listens; above 1300 octets the request goes over TCP (RFC 3261 18.1.1)."""
    outside = free_port()
    long_name = "a" * 180 + ".example"
    large = {"domain": long_name, "srtp": "optional", "options_interval_s": 0}
    with (
        sipp_called(*scenario("callee"), "-t", "t1", port=outside) as (callee, _),
        gateway_beside(outside, tmp_path, dialplan, **large) as gateway,
    ):
        ended = called_out(gateway)
        assert (ended["reason"], ended["by"]) == ("hangup", "bot"), gateway.tail()
        callee.succeeds(within_s=10)


def test_every_trouble_of_a_trunk_is_one_line_with_its_remedy(tmp_path: Path, secret: Path) -> None:
    """In the log, once however often it is tried, and in the table: who, what is wrong, what to do."""
    dead = free_port()
    port = free_port()
    certificate, key = make_certificate(tmp_path, days=-1)
    with DnsServer({}) as names, _tls_server(certificate, key, port) as visits:
        config = f'dns_servers = ["{names.address}"]\n' + "".join(
            (
                trunk("dead", host="127.0.0.1", port=dead, **account(secret)),
                trunk("lost", host="nowhere.test", options_interval_s=1),
                trunk("stale", host="127.0.0.1", port=port, transport="tls", **account(secret)),
                trunk("well", host="127.0.0.1", options_interval_s=0),
                NO_WORDS,
            )
        )
        under = GatewayProcess(tmp_path / "data", config=config)
        under.environment["SSL_CERT_FILE"] = str(certificate)
        with under as gateway:
            refused = gateway.wait_log("trunk.registrar_unreachable", trunk="dead")
            assert (refused["reason"], refused["level"]) == ("Connection refused", "error")
            assert refused["retry_in_s"] >= 15
            assert "DNS" in gateway.wait_log("trunk.unresolved", trunk="lost")["remedy"]
            stale = gateway.wait_log("trunk.registrar_unreachable", trunk="stale")
            assert stale["reason"] == "the peer's certificate has expired: it must be renewed there"
            wait_until(lambda: len(gateway.find("sip.connect_failed")) >= 1, within_s=5)
            table = shown(gateway)
            lines = {line.split()[0]: line for line in table.splitlines()[:5]}
            assert re.search(r"DOWN +failed .*\(Connection refused\)", lines["dead"]), table
            assert re.search(r"DOWN +off .*nowhere\.test \(no address\)", lines["lost"]), table
            assert re.search(r"DOWN +failed .*certificate has expired", lines["stale"]), table
            assert re.search(r"up +off .*\(not asked\)", lines["well"]), table
            assert "dead: 503 Connection refused: check host, port" in table
            assert "lost: nowhere.test cannot be looked up" in table
            # All are asked every second; whatever is still so is not told again.
            seen = len(visits)
            wait_until(lambda: len(visits) >= seen + 3, within_s=15)
            for event in ("trunk.registrar_unreachable", "trunk.unreachable", "sip.connect_failed"):
                told = [line.get("trunk") or line["remote"][1] for line in gateway.find(event)]
                assert len(told) == len(set(told)), (event, told)
            assert len(gateway.find("trunk.unresolved")) == 1


@contextlib.contextmanager
def _tls_server(certificate: Path, key: Path, port: int) -> Iterator[list[str]]:
    """Shakes hands, as far as it comes; who came is in the list."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    over = threading.Event()
    visits: list[str] = []

    def serve() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                taken, (host, _) = listening.accept()
                visits.append(host)
                taken.settimeout(2)
                with context.wrap_socket(taken, server_side=True) as peer:
                    peer.recv(1)

    with create_server(("127.0.0.1", port)) as listening:
        listening.settimeout(0.2)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield visits
        over.set()
        thread.join(5)
