"""Phones that will not talk in the open: baresip and pjsua2 with SRTP required, over UDP and over TLS."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from baresip_phone import BaresipPhone, needs_baresip
from call_bundle import CallBundle
from callers import WHAT_TO_DO, WHICH_SERVICE
from gateway_process import QUICK, GatewayProcess
from pjsua2_phone import Pjsua2Phone, expect_the_milliwatt, hear_the_milliwatt_over_a_hold, needs_pjsua2
from replays import expect_replay
from sounds import likeness_in_pieces, speech

pytestmark = pytest.mark.interop


class House(NamedTuple):
    gateway: GatewayProcess
    tls_port: int
    certificate: Path


@pytest.fixture(scope="module")
def open_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """With a certificate of its own for 127.0.0.1, and no call without SRTP."""
    folder = tmp_path_factory.mktemp("secure")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 90 -subj /CN=127.0.0.1 "
        "-addext subjectAltName=IP:127.0.0.1,DNS:127.0.0.1 -keyout sip.key -out sip.pem"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    config = (
        f"srtp = 'required'\ntls_port = 0\ntls_certificate = '{folder}/sip.pem'\ntls_key = '{folder}/sip.key'\n{QUICK}"
    )
    with GatewayProcess(folder / "data", config=config) as gateway:
        tls_port = gateway.wait_log("sip.listening", transport="tls")["port"]
        yield House(gateway, tls_port, folder / "sip.pem")


@pytest.fixture
def house(open_house: House) -> House:
    open_house.gateway.forget()
    return open_house


def check_genuine(gateway: GatewayProcess, call: CallBundle, *, in_the_open: Sequence[int] = (0,)) -> None:
    """Every packet either way was protected, and found to be what it was sent as."""
    ended = gateway.ended(call)
    assert ended["reason"] == "hangup"
    assert ended["packets_received"] > 30
    assert (ended["packets_forged"], ended["packets_lost"]) == (0, 0)
    assert ended["packets_malformed"] in in_the_open
    assert gateway.troubles() == []


def hang_up_baresip(phone: BaresipPhone, gateway: GatewayProcess, call: CallBundle) -> None:
    """It does not protect the RTCP "PING" with which it begins, nor the RTCP goodbye with which it ends: that one comes
    while our leg is still there, or after it. All between is."""
    figures = gateway.get(f"/api/calls/{call.id}")["media"]
    assert (figures["packets_forged"], figures["packets_malformed"], figures["packets_lost"]) == (0, 1, 0)
    phone.hang_up()
    check_genuine(gateway, call, in_the_open=(1, 2))


@needs_baresip
@pytest.mark.parametrize("transport", ["udp", "tls"])
def test_baresip_hears_itself_through_srtp(house: House, tmp_path: Path, number: str, transport: str) -> None:
    """There and back under two keys: the echo is the caller's own sentence, and the recording is in the clear."""
    gateway = house.gateway
    sentence = speech("The quick brown fox jumps over the lazy dog.")
    authority = house.certificate if transport == "tls" else None
    port = house.tls_port if transport == "tls" else gateway.sip_port
    with BaresipPhone(tmp_path / "phone", number, mediaenc="srtp-mand", authority=authority) as phone:
        phone.dial(f"sip:echo@127.0.0.1:{port};transport={transport}")
        call = gateway.call()
        phone.say(sentence)
        phone.listen(sentence.seconds + 1.0)
        hang_up_baresip(phone, gateway, call)
    assert likeness_in_pieces(sentence, phone.heard()) > 0.95
    assert likeness_in_pieces(sentence, call.recording()[0]) > 0.95


@needs_baresip
def test_a_protected_call_replays_without_its_keys(house: House, tmp_path: Path, number: str) -> None:
    """What a bundle keeps of the line is plain, so a replay needs no keys; and no file of it has them."""
    gateway = house.gateway
    with BaresipPhone(tmp_path / "phone", number, mediaenc="srtp-mand") as phone:
        call = gateway.called_by(phone, "desk")
        call.wait_asked(WHAT_TO_DO)
        phone.say(speech("I would like to book an appointment"))
        call.wait_asked(WHICH_SERVICE)
        phone.listen(0.5)  # not within the question's last frames: a replay's ticks may fall otherwise
        hang_up_baresip(phone, gateway, call)
    expect_replay(call)
    assert not [path for path in call.folder.rglob("*") if path.is_file() and b"inline:" in path.read_bytes()]
    assert "inline:" not in "".join(gateway.raw)


@needs_pjsua2
@pytest.mark.parametrize("suite", ["AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"])  # its wheel has no GCM
def test_the_milliwatt_is_one_in_every_suite(house: House, tmp_path: Path, number: str, suite: str) -> None:
    """1004 Hz at 0 dBm0, before a hold and after it: the re-offers left both keys and their counts alone."""
    gateway = house.gateway
    with Pjsua2Phone(tmp_path / "phone", number, suites=(suite,)) as phone:
        check_genuine(gateway, hear_the_milliwatt_over_a_hold(phone, gateway))
    expect_the_milliwatt(phone)


@needs_baresip
def test_nobody_gets_in_without(house: House, tmp_path: Path, number: str) -> None:
    """A phone with plain RTP is told 488 by a gateway that requires SRTP."""
    with BaresipPhone(tmp_path / "phone", number) as phone:
        phone.do("dial", f"sip:echo@127.0.0.1:{house.gateway.sip_port}")
        assert phone.wait("CALL_CLOSED")["param"].startswith("488")
    assert house.gateway.find("call.started") == []


@needs_pjsua2
def test_a_gateway_without_srtp_refuses_what_it_cannot_protect(gateway: GatewayProcess, tmp_path: Path) -> None:
    """The default: 488, and no call that would be noise to both."""
    with Pjsua2Phone(tmp_path / "phone", "5550999", suites=("AES_CM_128_HMAC_SHA1_80",)) as phone:
        phone.call(gateway.uri("milliwatt"))
        assert phone.wait("state", state="DISCONNECTED")["status"] == 488
    assert gateway.find("call.started") == []
