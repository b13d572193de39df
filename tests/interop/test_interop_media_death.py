"""kill -9 at the process that carries a call's audio: phones notice a moment of silence, and nothing else."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from baresip_phone import BaresipPhone, needs_baresip
from call_bundle import CallBundle
from callers import WHAT_TO_DO, WHICH_DAY, WHICH_SERVICE, slots
from gateway_process import GatewayProcess
from pjsua2_phone import Pjsua2Phone, needs_pjsua2
from replays import expect_replay
from sounds import Sound, likeness_in_pieces, speech

pytestmark = pytest.mark.interop

Phone: TypeAlias = BaresipPhone | Pjsua2Phone

SUITE = "AES_CM_128_HMAC_SHA1_80"
BREAK_S = 3.0
"""The longest break. A quarter of a second is usual; a busy machine takes its time to start a process."""

LOSSES = ("worker_deaths", "legs_restored", "legs_given_up")

LATE_S = 0.25
"""A machine full of tests is late with its timers; what happens, and in which order, it must get right all the same."""


@pytest.fixture
def mortal(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[GatewayProcess]:
    """One worker, so that it is clear whom to kill, and a bot that speaks slowly enough to be met in its words."""
    config = "media_workers = 1\n" + ("srtp = 'required'\n" if "srtp" in request.node.name else "")
    with GatewayProcess(tmp_path / "data", config=config) as gateway:
        yield gateway


def baresip(folder: Path, number: str) -> Phone:
    return BaresipPhone(folder, number)


def baresip_srtp(folder: Path, number: str) -> Phone:
    return BaresipPhone(folder, number, mediaenc="srtp-mand")


def pjsua2_srtp(folder: Path, number: str) -> Phone:
    return Pjsua2Phone(folder, number, suites=(SUITE,))


def kill_worker(gateway: GatewayProcess, number: int) -> None:
    """The `number`-th there was."""
    os.kill(gateway.wait_log("media.worker_started", count=number)["pid"], signal.SIGKILL)


def bots_voice(call: CallBundle, text: str) -> Sound:
    """A clip as it was sent: what the recording has of it, in one piece or two, is judged by what the phone heard."""
    played = next(event for event in call.find("UtterancePlayed") if event["heard"].endswith(text))
    started = next(event for event in call.find("UtteranceStarted") if event["clip"] == played["clip"])
    begin = call.second(started["at"])
    return call.recording()[1].cut(begin, call.second(played["at"]))


@pytest.mark.parametrize(
    "phone_of",
    [
        pytest.param(baresip, marks=needs_baresip),
        pytest.param(baresip_srtp, marks=needs_baresip),
        pytest.param(pjsua2_srtp, marks=needs_pjsua2),
    ],
)
def test_a_call_outlives_its_media_worker(
    mortal: GatewayProcess, tmp_path: Path, number: str, phone_of: Callable[[Path, str], Phone]
) -> None:
    """Once in the bot's question, which the caller hears to its end, and once while nobody speaks: the phone is
    heard and understood after each, hears the next question, and has had no word about it by SIP."""
    gateway = mortal
    with phone_of(tmp_path / "phone", number) as phone:
        call = gateway.called_by(phone, "desk")
        call.wait("UtteranceStarted")
        phone.listen(0.7)
        kill_worker(gateway, 1)
        first = call.wait("AudioInterrupted")
        call.wait_asked(WHAT_TO_DO)
        phone.say(speech("I would like to book an appointment"))
        call.wait_asked(WHICH_SERVICE)
        phone.listen(0.3)
        kill_worker(gateway, 2)
        second = call.wait("AudioInterrupted", count=2)
        phone.say(speech("a haircut please"))
        call.wait_asked(WHICH_DAY)
        phone.listen(0.5)
        phone.hang_up()
        ended = gateway.ended(call)
    assert max(first["for_s"], second["for_s"]) < BREAK_S
    assert "haircut" in slots(call).values()
    assert (ended["reason"], ended["by"], ended["packets_forged"]) == ("hangup", "caller", 0)
    assert all(event["complete"] for event in call.find("UtterancePlayed"))
    assert gateway.find("media.worker_died", given_up=True) == []
    heard, recorded = phone.heard(), call.recording()[1]
    for question in (WHAT_TO_DO, WHICH_SERVICE, WHICH_DAY):
        assert likeness_in_pieces(bots_voice(call, question), heard) > 0.9
    break_at = call.second(first["at"])
    interrupted = next(event for event in call.find("UtterancePlayed") if event["at"] > first["at"])
    assert 0 <= first["goes_on_at_s"] < interrupted["played_s"]
    assert likeness_in_pieces(recorded.cut(break_at, call.second(interrupted["at"])), heard) > 0.9
    assert recorded.cut(break_at - first["for_s"] + 0.05, break_at - 0.05).rms() == 0
    expect_replay(call, tolerance_s=LATE_S)


@needs_baresip
def test_a_worker_that_cannot_live_ends_its_calls(mortal: GatewayProcess, tmp_path: Path, number: str) -> None:
    """The third death in a minute is the call's, too: it says goodbye, its session is kept, and the next call works."""
    gateway = mortal
    with BaresipPhone(tmp_path / "phone", number) as phone:
        call = gateway.called_by(phone, "desk")
        call.wait_asked(WHAT_TO_DO)
        for death in (1, 2):
            kill_worker(gateway, death)
            call.wait("AudioInterrupted", count=death)
        kill_worker(gateway, 3)
        ended = gateway.ended(call)
        assert phone.wait("CALL_CLOSED")
    counted = {name: gateway.metrics()[f"gateway_media_{name}_total"] for name in LOSSES}
    assert counted == {"worker_deaths": 3, "legs_restored": 2, "legs_given_up": 1}
    assert (ended["reason"], ended["by"]) == ("error", "gateway")
    assert "packets_sent" in ended
    assert gateway.stored(call.find("SessionStarted")[0]["session"])
    gateway.wait_log("media.worker_started", count=4)
    with BaresipPhone(tmp_path / "again", number) as phone:
        phone.dial(gateway.uri("echo"))
        phone.hang_up()
        assert gateway.ended(gateway.call(2))["reason"] == "hangup"
