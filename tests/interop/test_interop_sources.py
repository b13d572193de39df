"""Who may call a whole gateway: trunks by their networks, strangers as the operator says; and what is believed of them.

The trunk is 127.0.0.2, the stranger 127.0.0.1; both are sipp.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_process import NO_WORDS, GatewayProcess
from sipp_program import needs_sipp, scenario, sipp_calls

pytestmark = [pytest.mark.interop, needs_sipp]

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


def gateway(folder: Path, unknown: str, *, trusted: bool = False) -> GatewayProcess:
    secret, plan = folder / "secret", folder / "plan.yaml"
    secret.write_text("secret\n")
    plan.write_text(DIALPLAN)
    more = "trusted = true" if trusted else ""
    config = CONFIG.format(unknown=unknown, secret=secret, more=more) + NO_WORDS
    return GatewayProcess(folder / "data", "--dialplan", str(plan), config=config)


@pytest.fixture(scope="module")
def _open_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with gateway(tmp_path_factory.mktemp("open"), "accept") as running:
        yield running


@pytest.fixture(scope="module")
def _trusting_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with gateway(tmp_path_factory.mktemp("trusting"), "accept", trusted=True) as running:
        yield running


@pytest.fixture
def open_house(_open_house: GatewayProcess) -> GatewayProcess:
    """It takes everybody's calls, and believes nobody."""
    _open_house.forget()
    return _open_house


@pytest.fixture
def trusting_house(_trusting_house: GatewayProcess) -> GatewayProcess:
    """It takes everybody's calls, and believes its trunk."""
    _trusting_house.forget()
    return _trusting_house


CALL = ("-sn", "uac", "-d", "100")


def test_strangers_are_rejected(tmp_path: Path) -> None:
    """403 to them, service to the trunk."""
    with gateway(tmp_path, "reject") as under:
        sipp_calls(under.sip_port, *scenario("forbidden"), host=STRANGER, called="100")
        sipp_calls(under.sip_port, *CALL, host=TRUNK, called="100")
        assert len(under.find("call.started")) == 1
        assert not under.troubles()


def test_strangers_are_challenged(tmp_path: Path) -> None:
    """Who knows the account's password comes in, and the dialplan knows the account; the trunk needs none."""
    with gateway(tmp_path, "challenge") as under:
        sipp_calls(under.sip_port, *scenario("challenged"), host=STRANGER, called="100")
        assert under.ended(under.call())["reason"] == "hangup"
        started = under.find("call.started")
        assert [line["route"] for line in started] == ["by-account"]
        sipp_calls(under.sip_port, *CALL, host=TRUNK, called="100")
        assert under.wait_log("call.started", route="everybody")
        assert not under.troubles()


def test_strangers_are_accepted(open_house: GatewayProcess) -> None:
    """As anybody."""
    sipp_calls(open_house.sip_port, *CALL, host=STRANGER, called="100")
    sipp_calls(open_house.sip_port, *CALL, host=TRUNK, called="100")
    assert [line["route"] for line in open_house.find("call.started")] == ["everybody", "everybody"]


def test_a_trusted_trunk_is_believed_who_called_first(trusting_house: GatewayProcess) -> None:
    """Diversion, identity and user-to-user reach the dialplan, its route and its variables."""
    sipp_calls(trusting_house.sip_port, *scenario("diverted"), host=TRUNK, called="100")
    call = trusting_house.call()
    trusting_house.ended(call)
    started = call.find("CallStarted")[0]
    assert (started["route"], started["caller"]) == ("diverted", "+4930999")
    assert {event["name"]: event["value"] for event in call.find("VariableSet")} == {
        "first": "4930111 user-busy",
        "who": "+4930999",
        "told": "42",
    }


@pytest.mark.parametrize("source", [TRUNK, STRANGER])
def test_nobody_else_is(open_house: GatewayProcess, trusting_house: GatewayProcess, source: str) -> None:
    """The same INVITE from a stranger beside the trusted trunk, or from a trunk that is not: a call like any other."""
    under = trusting_house if source == STRANGER else open_house
    sipp_calls(under.sip_port, *scenario("diverted"), host=source, called="plain")
    call = under.call()
    under.ended(call)
    started = call.find("CallStarted")[0]
    assert (started["route"], started["caller"]) == ("plain", "sipp")
    assert "P-Asserted-Identity" not in started["headers"]
    assert started["facts"] == ({} if source == STRANGER else {"trunk": "pbx"})
    assert call.find("VariableSet", name="first")[0]["value"] == "<>"
