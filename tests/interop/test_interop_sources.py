"""Who may call a whole gateway: trunks by their networks, strangers as the operator says; and what is believed of them.

The trunk is 127.0.0.2, the stranger 127.0.0.1; both are sipp.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from gateway_process import GatewayProcess
from sip_answerer import SCENARIOS

SIPP = shutil.which("sipp")

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(SIPP is None, reason="sipp is not installed (apt install sip-tester)"),
]

TRUNK, STRANGER = "127.0.0.2", "127.0.0.1"
CONFIG = """
unknown_sources = "{unknown}"
digest_algorithms = ["MD5"]  # sipp knows no other
[[trunk]]
name = "pbx"
host = "127.0.0.2"
options_interval_s = 0
{more}
[[account]]
username = "alice"
password_file = "{secret}"
"""
DIALPLAN = """
routes:
  diverted:
    match: {facts: {diverted-from: "4930*", trunk: pbx}}
    steps:
      - answer
      - set:
          first: "{fact.diverted-from} {fact.diverted-because}"
          who: "{fact.asserted-identity}"
          told: "{fact.user-to-user}"
      - hangup
  by-account:
    match: {facts: {account: alice}}
    steps: [echo]
  plain:
    match: {called: plain}
    steps: [answer, {set: {first: "<{fact.diverted-from}>", who: "{caller}"}}, hangup]
  everybody:
    match: {}
    steps: [echo]
"""


def sipp(gateway: GatewayProcess, folder: Path, source: str, *arguments: str, called: str = "100") -> None:
    """One call from that address; the scenario must come out."""
    command = [str(SIPP), f"127.0.0.1:{gateway.sip_port}", "-i", source, "-nostdin", "-s", called, "-m", "1"]
    command += ["-trace_err", "-error_file", "errors", *arguments]
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=60
    )
    errors = folder / "errors"
    said = errors.read_text(errors="replace")[:3000] if errors.exists() else ""
    assert done.returncode == 0, f"{said}\n{done.stdout[-3000:]}\n{gateway.tail()}"


def scenario(name: str) -> tuple[str, str]:
    return "-sf", str(SCENARIOS / f"{name}.xml")


def gateway(folder: Path, unknown: str, *, trusted: bool = False) -> GatewayProcess:
    secret, plan = folder / "secret", folder / "plan.yaml"
    secret.write_text("secret\n")
    plan.write_text(DIALPLAN)
    more = "trusted = true" if trusted else ""
    config = CONFIG.format(unknown=unknown, secret=secret, more=more)
    return GatewayProcess(folder / "data", "--dialplan", str(plan), config=config)


CALL = ("-sn", "uac", "-d", "100")


def test_strangers_are_rejected(tmp_path: Path) -> None:
    """403 to them, service to the trunk."""
    with gateway(tmp_path, "reject") as under:
        sipp(under, tmp_path, STRANGER, *scenario("forbidden"))
        sipp(under, tmp_path, TRUNK, *CALL)
        assert len(under.find("call.started")) == 1
        assert not under.troubles()


def test_strangers_are_challenged(tmp_path: Path) -> None:
    """Who knows the account's password comes in, and the dialplan knows the account; the trunk needs none."""
    with gateway(tmp_path, "challenge") as under:
        sipp(under, tmp_path, STRANGER, *scenario("challenged"))
        assert under.ended(under.call())["reason"] == "hangup"
        started = under.find("call.started")
        assert [line["route"] for line in started] == ["by-account"]
        sipp(under, tmp_path, TRUNK, *CALL)
        assert under.wait_log("call.started", route="everybody")
        assert not under.troubles()


def test_strangers_are_accepted(tmp_path: Path) -> None:
    """As anybody."""
    with gateway(tmp_path, "accept") as under:
        sipp(under, tmp_path, STRANGER, *CALL)
        sipp(under, tmp_path, TRUNK, *CALL)
        assert [line["route"] for line in under.find("call.started")] == ["everybody", "everybody"]


def test_a_trusted_trunk_is_believed_who_called_first(tmp_path: Path) -> None:
    """Diversion, identity and user-to-user reach the dialplan, its route and its variables."""
    with gateway(tmp_path, "accept", trusted=True) as under:
        sipp(under, tmp_path, TRUNK, *scenario("diverted"))
        call = under.call()
        under.ended(call)
        started = call.find("CallStarted")[0]
        assert (started["route"], started["caller"]) == ("diverted", "+4930999")
        assert {event["name"]: event["value"] for event in call.find("VariableSet")} == {
            "first": "4930111 user-busy",
            "who": "+4930999",
            "told": "42",
        }


@pytest.mark.parametrize("source", [TRUNK, STRANGER])
def test_nobody_else_is(tmp_path: Path, source: str) -> None:
    """The same INVITE from a stranger beside the trusted trunk, or from a trunk that is not: a call like any other."""
    with gateway(tmp_path, "accept", trusted=source == STRANGER) as under:
        sipp(under, tmp_path, source, *scenario("diverted"), called="plain")
        call = under.call()
        under.ended(call)
        started = call.find("CallStarted")[0]
        assert (started["route"], started["caller"]) == ("plain", "sipp")
        assert "P-Asserted-Identity" not in started["headers"]
        assert started["facts"] == ({} if source == STRANGER else {"trunk": "pbx"})
        assert call.find("VariableSet", name="first")[0]["value"] == "<>"
