"""Kamailio as the provider: our gateway registers with it, and calls go both ways through it."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from callers import soon
from gateway_process import CallBundle, GatewayProcess, rtp_ports
from kamailio_server import DOMAIN, PASSWORD, USER, Kamailio, free_port
from waiting import wait_until

from gateway.app.phone import PhoneLine, Target

pytestmark = pytest.mark.interop

DIALPLAN = """
routes:
  from-the-trunk:
    match: {trunk: kamailio}
    steps: [answer, {say: We are open from nine to five.}, echo]
  others:
    match: {}
    steps: [{reject: 403}]
"""


def trunk(kamailio: Kamailio, secret: Path, **more: object) -> str:
    keys = {
        "name": "kamailio",
        "host": "127.0.0.1",
        "port": kamailio.port,
        "domain": DOMAIN,
        "register": True,
        "username": USER,
        "password_file": str(secret),
        "options_interval_s": 1,
        **more,
    }
    return "[[trunk]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())


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


def shown(gateway: GatewayProcess) -> tuple[int, str]:
    """What `gateway trunks` says, and its exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway.app", "trunks", "--http", gateway.http_url],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


async def test_a_registered_gateway_is_called_through_its_trunk(tmp_path: Path, secret: Path, dialplan: str) -> None:
    """REGISTER with Kamailio's digest; an INVITE to the account comes to us, and speech is heard both ways.

    The ACK and the BYE come by Kamailio's Record-Route, as it stays in the path. At the end the registration is gone.
    """
    with Kamailio(tmp_path / "kamailio") as kamailio:
        with GatewayProcess(
            tmp_path / "data", "--dialplan", dialplan, config=trunk(kamailio, secret, max_calls=1)
        ) as gateway:
            registered = gateway.wait_log("trunk.registered", trunk="kamailio")
            assert registered["expires_s"] == 3600
            wait_until(lambda: gateway.get("/api/trunks")[0]["targets"][0]["reachable"], within_s=5)
            code, table = shown(gateway)
            assert code == 0, table
            assert re.search(r"kamailio +up +registered at [0-9.:]+ +0/1 ", table), table
            async with PhoneLine("127.0.0.1", rtp_ports(1)) as line:
                phone = line.phone("5550101", lambda at, what: None)
                await phone.dial(Target(f"sip:{USER}@127.0.0.1:{kamailio.port}"))
                call = await soon(gateway.call)
                await soon(call.wait, "CallAnswered")
                assert gateway.get("/api/trunks")[0]["calls"] == 1
                assert await phone.far_side_finishes(within_s=15)
                await phone.press("5")
                await soon(gateway.wait_log, "call.digit", digit="5")
                await phone.hang_up()
                assert (await soon(gateway.ended, call))["reason"] == "hangup"
            assert call.find("CallStarted")[0]["route"] == "from-the-trunk"
            wait_until(lambda: gateway.get("/api/trunks")[0]["calls"] == 0, within_s=5)
            assert PASSWORD not in "".join(gateway.raw)
            assert not gateway.troubles()
        async with PhoneLine("127.0.0.1", rtp_ports(1)) as line:
            phone = line.phone("5550101", lambda at, what: None)
            with pytest.raises(Exception, match="404"):
                await phone.dial(Target(f"sip:{USER}@127.0.0.1:{kamailio.port}"))


def test_a_wrong_password_is_one_clear_line(tmp_path: Path, secret: Path) -> None:
    """With the remedy, without the password, and not again and again; `gateway trunks` says the same."""
    secret.write_text("close-sesame\n")
    with (
        Kamailio(tmp_path / "kamailio") as kamailio,
        GatewayProcess(tmp_path / "data", config=trunk(kamailio, secret)) as gateway,
    ):
        refused = gateway.wait_log("trunk.credentials_refused")
        assert (refused["level"], refused["status"], refused["trunk"]) == ("error", 401, "kamailio")
        assert str(secret) in refused["remedy"]
        assert refused["retry_in_s"] >= 15
        code, table = shown(gateway)
        assert code == 1
        assert re.search(r"kamailio +DOWN +failed", table), table
        assert "check username" in table
        assert len(gateway.find("trunk.credentials_refused")) == 1
        assert "close-sesame" not in "".join(gateway.raw)


def test_a_registrar_that_is_not_there_is_one_clear_line(tmp_path: Path, secret: Path) -> None:
    """Nothing listens: the gateway serves everybody else, and says what to check."""
    kamailio = Kamailio(tmp_path / "kamailio")
    with GatewayProcess(tmp_path / "data", config=trunk(kamailio, secret)) as gateway:
        told = gateway.wait_log("trunk.unreachable", within_s=40)
        assert "firewall" in told["remedy"]
        assert shown(gateway)[0] == 1


REMINDER = """
routes:
  remind:
    steps: [answer, {wait: 500ms}, {press: "5"}, hangup]
"""


@pytest.fixture
def reminder(tmp_path: Path) -> str:
    path = tmp_path / "reminder.yaml"
    path.write_text(REMINDER)
    return str(path)


def order(gateway: GatewayProcess, to: str) -> CallBundle:
    """Place a call over the API, and follow it by its bundle."""
    body = json.dumps({"to": to, "trunk": "kamailio", "route": "remind"}).encode()
    with urllib.request.urlopen(gateway.http_url.rstrip("/") + "/api/calls", data=body, timeout=10) as reply:
        assert reply.status == 202
        call_id = json.load(reply)["call"]
    gateway.wait_log("call.started", call=call_id)
    return CallBundle(gateway.data / "calls" / call_id)


@contextlib.contextmanager
def sipp_callee(port: int, folder: Path, calls: int) -> Iterator[subprocess.Popen[bytes]]:
    """sipp's own callee: rings, answers, waits for the BYE; its exit code says whether all went by the book."""
    program = shutil.which("sipp")
    if program is None:
        pytest.skip("sipp is not installed (apt install sip-tester)")
    arguments = ["-sn", "uas", "-i", "127.0.0.1", "-p", str(port), "-m", str(calls), "-nostdin"]
    process = subprocess.Popen([program, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_the_gateway_calls_out_through_its_trunk(tmp_path: Path, secret: Path, reminder: str) -> None:
    """Kamailio wants a password (407) and stays in the path; sipp is called, straight and by a redirection.

    The first target of the trunk is dead, so that every call has to fail over first.
    """
    outside, dead = free_port(), free_port()
    with (
        Kamailio(tmp_path / "kamailio", outside=outside) as kamailio,
        sipp_callee(outside, tmp_path, 2) as callee,
        GatewayProcess(
            tmp_path / "data",
            *("--dialplan", reminder),
            config=trunk(
                kamailio,
                secret,
                register=False,
                options_interval_s=0,
                outbound_proxy=f"127.0.0.1:{dead}",
                failover=[f"127.0.0.1:{kamailio.port}"],
                failover_after_s=0.5,
            ),
        ) as gateway,
    ):
        for number in ("outside", "moved"):
            ended = gateway.ended(order(gateway, number))
            assert (ended["reason"], ended["by"]) == ("hangup", "bot"), gateway.tail()
            assert ended["step"] == "remind/3:hangup"
        assert callee.wait(10) == 0
        for number, reason in (("busy", "busy"), ("nobody", "rejected")):
            assert gateway.ended(order(gateway, number))["reason"] == reason
        assert gateway.get("/api/trunks")[0]["calls"] == 0
        assert not gateway.troubles()
