"""Kamailio as the provider: our gateway registers with it, and calls go both ways through it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from callers import dial, line, soon
from gateway_process import NO_WORDS, GatewayProcess, command
from kamailio_server import PASSWORD, USER, Kamailio, account, trunk
from ports import free_port
from sipp_program import sipp_called
from waiting import wait_until

from gateway.app.phone import CallRefused

pytestmark = pytest.mark.interop

DIALPLAN = """
routes:
  remind:
    steps: [answer, {wait: 500ms}, {press: "5"}, hangup]
  from-the-trunk:
    match: {trunk: kamailio}
    steps: [answer, {say: We are open from nine to five.}, echo]
  others:
    match: {}
    steps: [{reject: 403}]
"""


def config(kamailio: Kamailio, secret: Path, **more: object) -> str:
    return trunk("kamailio", **{"host": "127.0.0.1", "port": kamailio.sip_port, **account(secret), **more})


def shown(gateway: GatewayProcess) -> tuple[int, str]:
    """What `gateway trunks` says, and its exit code."""
    done = command("trunks", "--http", gateway.http_url)
    return done.returncode, done.stdout + done.stderr


async def test_a_registered_gateway_is_called_through_its_trunk(
    tmp_path: Path, secret: Path, dialplan: list[str]
) -> None:
    """REGISTER with Kamailio's digest; an INVITE to the account comes to us, and speech is heard both ways.

    The ACK and the BYE come by Kamailio's Record-Route, as it stays in the path. At the end the registration is gone.
    """
    with Kamailio(tmp_path / "kamailio") as kamailio:
        with GatewayProcess(tmp_path / "data", *dialplan, config=config(kamailio, secret, max_calls=1)) as gateway:
            registered = gateway.wait_log("trunk.registered", trunk="kamailio")
            assert registered["expires_s"] == 3600
            wait_until(lambda: gateway.get("/api/trunks")[0]["targets"][0]["reachable"], within_s=5)
            code, table = shown(gateway)
            assert code == 0, table
            assert re.search(r"kamailio +up +registered at [0-9.:]+ +0/1 ", table), table
            async with line() as phones:
                phone = await dial(phones, kamailio, USER)
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
        async with line() as phones:
            with pytest.raises(CallRefused, match="404"):
                await dial(phones, kamailio, USER)


def test_a_wrong_password_is_one_clear_line(tmp_path: Path, secret: Path) -> None:
    """With the remedy, without the password, and not again and again; `gateway trunks` says the same."""
    secret.write_text("close-sesame\n")
    with (
        Kamailio(tmp_path / "kamailio") as kamailio,
        GatewayProcess(tmp_path / "data", config=NO_WORDS + config(kamailio, secret)) as gateway,
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
    with GatewayProcess(tmp_path / "data", config=NO_WORDS + config(kamailio, secret)) as gateway:
        told = gateway.wait_log("trunk.unreachable", within_s=40)
        assert "firewall" in told["remedy"]
        assert shown(gateway)[0] == 1


def test_the_gateway_calls_out_through_its_trunk(tmp_path: Path, secret: Path, dialplan: list[str]) -> None:
    """Kamailio wants a password (407) and stays in the path; sipp is called, straight and by a redirection.

    The first target of the trunk is dead, so that every call has to fail over first.
    """
    outside, dead = free_port(), free_port()
    with (
        Kamailio(tmp_path / "kamailio", outside=outside) as kamailio,
        sipp_called(port=outside, calls=2) as (callee, _),
        GatewayProcess(
            tmp_path / "data",
            *dialplan,
            config=NO_WORDS
            + config(
                kamailio,
                secret,
                register=False,
                options_interval_s=0,
                outbound_proxy=f"127.0.0.1:{dead}",
                failover=[f"127.0.0.1:{kamailio.sip_port}"],
                failover_after_s=0.5,
            ),
        ) as gateway,
    ):
        for number in ("outside", "moved"):
            ended = gateway.ended(gateway.calls_out(number, trunk="kamailio", route="remind"))
            assert (ended["reason"], ended["by"]) == ("hangup", "bot"), gateway.tail()
            assert ended["step"] == "remind/3:hangup"
        callee.succeeds(within_s=10)
        for number, reason in (("busy", "busy"), ("nobody", "rejected")):
            assert gateway.ended(gateway.calls_out(number, trunk="kamailio", route="remind"))["reason"] == reason
        assert gateway.get("/api/trunks")[0]["calls"] == 0
        assert not gateway.troubles()
