"""Trunks by name, in pairs, behind an edge, and in trouble: whole gateways against Kamailio, sipp and a name server."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from socket import create_server

import numpy as np
import pytest
from callers import soon
from certificates import make_certificate
from dns_server import DnsServer
from gateway_process import CallBundle, GatewayProcess, rtp_ports
from kamailio_server import DOMAIN, PASSWORD, USER, Kamailio, free_port
from sip_answerer import SCENARIOS
from sounds import find, read_wav, silence, tone
from waiting import wait_until

from gateway.app.phone import PhoneLine, Target
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


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    return path


@pytest.fixture
def dialplan(tmp_path: Path) -> str:
    path = tmp_path / "plan.yaml"
    path.write_text(DIALPLAN)
    return str(path)


def trunk(name: str, **keys: object) -> str:
    return "[[trunk]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in {"name": name, **keys}.items())


def account(secret: Path) -> dict[str, object]:
    return {"domain": DOMAIN, "register": True, "username": USER, "password_file": str(secret), "options_interval_s": 1}


@contextlib.contextmanager
def sipp_callee(port: int, folder: Path, *scenario: str) -> Iterator[subprocess.Popen[bytes]]:
    """sipp answers one call; its exit code says whether all went by the scenario."""
    program = shutil.which("sipp")
    if program is None:
        pytest.skip("sipp is not installed (apt install sip-tester)")
    arguments = [*(scenario or ("-sn", "uas")), "-i", "127.0.0.1", "-p", str(port), "-m", "1", "-nostdin"]
    process = subprocess.Popen([program, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def order(gateway: GatewayProcess, trunk: str, to: str, route: str = "remind") -> CallBundle:
    body = json.dumps({"to": to, "trunk": trunk, "route": route}).encode()
    with urllib.request.urlopen(gateway.http_url.rstrip("/") + "/api/calls", data=body, timeout=10) as reply:
        call_id = json.load(reply)["call"]
    gateway.wait_log("call.started", call=call_id)
    return CallBundle(gateway.data / "calls" / call_id)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = [sys.executable, "-m", "gateway.app", *arguments]
    return subprocess.run(done, capture_output=True, text=True, timeout=60, check=False)


def shown(gateway: GatewayProcess) -> str:
    return command("trunks", "--http", gateway.http_url).stdout


async def test_a_registrar_that_dies_is_followed_by_the_next_of_its_name(
    tmp_path: Path, secret: Path, dialplan: str
) -> None:
    """SRV says which is first. When that one goes, registration and calls both ways go by the second."""
    outside = free_port()
    with (
        contextlib.ExitStack() as first_lives,
        Kamailio(tmp_path / "second", outside=outside) as second,
        sipp_callee(outside, tmp_path) as callee,
    ):
        first = first_lives.enter_context(Kamailio(tmp_path / "first", outside=outside))
        zone = {
            ("_sip._udp.provider.test", "SRV"): [f"20 0 {second.port} b.test.", f"10 0 {first.port} a.test."],
            ("a.test", "A"): ["127.0.0.1"],
            ("b.test", "A"): ["127.0.0.1"],
        }
        names = first_lives.enter_context(DnsServer(zone))
        config = f'dns_servers = ["{names.address}"]\n' + trunk("provider", host="provider.test", **account(secret))
        with GatewayProcess(tmp_path / "data", "--dialplan", dialplan, config=config) as gateway:
            assert gateway.wait_log("trunk.registered")["target"] == f"127.0.0.1:{first.port}"
            assert f"provider.test = 127.0.0.1:{second.port}" in shown(gateway)
            first_lives.close()
            moved = gateway.wait_log("trunk.registered", target=f"127.0.0.1:{second.port}", within_s=20)
            assert moved["trunk"] == "provider"
            async with PhoneLine("127.0.0.1", rtp_ports(1)) as line:
                phone = line.phone("5550101", lambda at, what: None)
                await phone.dial(Target(f"sip:{USER}@127.0.0.1:{second.port}"))
                await phone.hang_up()
            await soon(gateway.ended, await soon(gateway.call))
            ended = await soon(gateway.ended, await soon(order, gateway, "provider", "outside"))
            assert (ended["reason"], ended["by"]) == ("hangup", "bot"), gateway.tail()
            assert callee.wait(10) == 0
            assert re.search(rf"registered at 127\.0\.0\.1:{second.port}", shown(gateway))
            assert names.asked["_sip._udp.provider.test", "SRV"] == 1


async def test_a_proxy_may_stay_in_the_path(tmp_path: Path, secret: Path, dialplan: str) -> None:
    """The edge adds itself as Path, the registrar wants us to know of it, and its Service-Route leads calls there."""
    outside = free_port()
    with (
        Kamailio(tmp_path / "registrar", outside=outside) as registrar,
        Kamailio(tmp_path / "edge", registrar=registrar.port) as edge,
        sipp_callee(outside, tmp_path) as callee,
    ):
        config = trunk("provider", host="127.0.0.1", port=edge.port, **account(secret))
        with GatewayProcess(tmp_path / "data", "--dialplan", dialplan, config=config) as gateway:
            gateway.wait_log("trunk.registered")
            async with PhoneLine("127.0.0.1", rtp_ports(1)) as line:
                phone = line.phone("5550101", lambda at, what: None)
                await phone.dial(Target(f"sip:{USER}@127.0.0.1:{registrar.port}"))
                await phone.hang_up()
            call = await soon(gateway.call)
            assert (await soon(gateway.ended, call))["reason"] == "hangup"
            assert call.find("CallStarted")[0]["facts"]["trunk"] == "provider"
            ended = await soon(gateway.ended, await soon(order, gateway, "provider", "outside"))
            assert ended["reason"] == "hangup", gateway.tail()
            assert callee.wait(10) == 0
            routed = re.findall(r"INVITE to outside routed by: <sip:127\.0\.0\.1:(\d+);lr", edge.log())
            assert set(routed) == {str(edge.port)}, edge.log()
            assert not gateway.troubles()


def test_the_command_line_calls_through_a_trunk(tmp_path: Path, secret: Path) -> None:
    """Failed over, signed, early media heard and in the recording, PRACKed; the 200 that repeats nothing counts."""
    outside, dead = free_port(), free_port()
    voice = silence(0.2).then(tone(700, 1.5))
    (tmp_path / "voice.ulaw").write_bytes(bytes(g711.encode(np.rint(voice.samples).astype(np.int16))))
    file, heard = tmp_path / "gateway.toml", tmp_path / "heard.wav"
    with (
        Kamailio(tmp_path / "kamailio", outside=outside) as kamailio,
        sipp_callee(outside, tmp_path, "-sf", str(SCENARIOS / "callee_early_voice.xml")) as callee,
    ):
        provider = {"host": "127.0.0.1", "outbound_proxy": f"127.0.0.1:{dead}", **account(secret)}
        file.write_text(
            trunk("straight", failover=[f"127.0.0.1:{outside}"], **provider)
            + trunk("provider", failover=[f"127.0.0.1:{kamailio.port}"], **provider)
        )
        through = ("call", "--config", str(file), "--trunk", "provider")
        done = command(*through, "--trunk", "straight", "outside", "--duration", "3", "--record", str(heard))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "183 Session Progress, with early media" in done.stdout
        assert done.stdout.index("early media") < done.stdout.index("answered, PCMU")
        assert callee.wait(10) == 0
        theirs = read_wav(heard).channels()[0]
        assert find(tone(700, 1.0), theirs).likeness > 0.95
        busy = command(*through, "busy")
        assert (busy.returncode, busy.stdout.splitlines()[-1]) == (1, "not connected: 486 Busy Here (busy)")
        nobody = command(*through, "nobody")
        assert nobody.stdout.splitlines()[-1] == "not connected: 404 Not found (rejected)"
    gone = command(*through, "outside")
    assert gone.stdout.splitlines()[-1] == "not connected: 503 Connection refused (unreachable)"


def test_a_call_that_rings_too_long_is_cancelled(tmp_path: Path, dialplan: str) -> None:
    """CANCEL, 487 and its ACK, by sipp's book; the event says that nobody answered."""
    outside = free_port()
    with (
        sipp_callee(outside, tmp_path, "-sf", str(SCENARIOS / "callee_cancelled.xml")) as callee,
        GatewayProcess(
            tmp_path / "data",
            *("--dialplan", dialplan),
            config=trunk("provider", host="127.0.0.1", port=outside, options_interval_s=0, ring_s=2),
        ) as gateway,
    ):
        ended = gateway.ended(order(gateway, "provider", "outside"))
        assert (ended["reason"], ended["by"]) == ("no_answer", "caller"), gateway.tail()
        assert callee.wait(10) == 0
        assert not gateway.troubles()


def test_a_trunk_without_room_is_followed_by_the_next(tmp_path: Path, dialplan: str) -> None:
    """503 from the first, the call by the second; and two unreachable ones are `unreachable`."""
    full, roomy = free_port(), free_port()
    ways = {"failover": [f"127.0.0.1:{roomy}"], "failover_after_s": 1, "options_interval_s": 0}
    with (
        sipp_callee(full, tmp_path, "-sf", str(SCENARIOS / "callee_full.xml")) as first,
        sipp_callee(roomy, tmp_path) as second,
        GatewayProcess(
            tmp_path / "data",
            *("--dialplan", dialplan),
            config=trunk("provider", host="127.0.0.1", port=full, **ways),
        ) as gateway,
    ):
        ended = gateway.ended(order(gateway, "provider", "outside"))
        assert (ended["reason"], ended["by"]) == ("hangup", "bot"), gateway.tail()
        assert (first.wait(10), second.wait(10)) == (0, 0)
        ended = gateway.ended(order(gateway, "provider", "outside"))
        assert ended["reason"] == "unreachable", gateway.tail()


def test_what_is_agreed_with_a_trunk_is_on_the_wire_both_ways(tmp_path: Path, dialplan: str) -> None:
    """Codecs, keys by INFO, the session timer: sipp looks at what comes when it is called, and when it calls."""
    outside = free_port()
    agreed = {"codecs": ["PCMA"], "dtmf": "info", "session_expires_s": 600, "options_interval_s": 0}
    scenario = ("-sf", str(SCENARIOS / "callee_agreed.xml"))
    with (
        sipp_callee(outside, tmp_path, *scenario) as callee,
        GatewayProcess(
            tmp_path / "data",
            *("--dialplan", dialplan),
            config=trunk("provider", host="127.0.0.1", port=outside, **agreed),
        ) as gateway,
    ):
        assert gateway.ended(order(gateway, "provider", "outside", "keys"))["reason"] == "hangup", gateway.tail()
        assert callee.wait(10) == 0
        caller = ["-sf", str(SCENARIOS / "agreed.xml"), "-i", "127.0.0.1", "-m", "1", "-nostdin", "-s", "short"]
        program = shutil.which("sipp")
        assert program is not None
        done = subprocess.run(
            [program, f"127.0.0.1:{gateway.sip_port}", *caller],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout.decode(errors="replace")[-3000:]


def test_a_large_invite_finds_a_peer_that_has_tcp_only(tmp_path: Path, dialplan: str) -> None:
    """The trunk says UDP, where nobody listens; above 1300 octets the request goes over TCP (RFC 3261 18.1.1)."""
    outside = free_port()
    long_name = "a" * 180 + ".example"
    large = {"domain": long_name, "srtp": "optional", "options_interval_s": 0}
    with (
        sipp_callee(outside, tmp_path, "-sn", "uas", "-t", "t1") as callee,
        GatewayProcess(
            tmp_path / "data",
            *("--dialplan", dialplan),
            config=trunk("provider", host="127.0.0.1", port=outside, **large),
        ) as gateway,
    ):
        ended = gateway.ended(order(gateway, "provider", "outside"))
        assert (ended["reason"], ended["by"]) == ("hangup", "bot"), gateway.tail()
        assert callee.wait(10) == 0


def test_every_trouble_of_a_trunk_is_one_line_with_its_remedy(tmp_path: Path, secret: Path) -> None:
    """In the log, once however often it is tried, and in the table: who, what is wrong, what to do."""
    dead = free_port()
    port = free_port()
    certificate, key = make_certificate(tmp_path, days=-1)
    with DnsServer({}) as names, _tls_server(certificate, key, port):
        config = f'dns_servers = ["{names.address}"]\n' + "".join(
            (
                trunk("dead", host="127.0.0.1", port=dead, **account(secret)),
                trunk("lost", host="nowhere.test", options_interval_s=1),
                trunk("stale", host="127.0.0.1", port=port, transport="tls", **account(secret)),
                trunk("well", host="127.0.0.1", options_interval_s=0),
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
            # Asked every second; whatever is still so is not told again.
            gateway.get("/api/trunks")
            threading.Event().wait(3)
            for event in ("trunk.registrar_unreachable", "trunk.unreachable", "sip.connect_failed"):
                told = [line.get("trunk") or line["remote"][1] for line in gateway.find(event)]
                assert len(told) == len(set(told)), (event, told)
            assert len(gateway.find("trunk.unresolved")) == 1


@contextlib.contextmanager
def _tls_server(certificate: Path, key: Path, port: int) -> Iterator[None]:
    """Shakes hands, as far as it comes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                taken, _ = listening.accept()
                taken.settimeout(2)
                with context.wrap_socket(taken, server_side=True) as peer:
                    peer.recv(1)

    with create_server(("127.0.0.1", port)) as listening:
        listening.settimeout(0.2)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        over.set()
        thread.join(5)
