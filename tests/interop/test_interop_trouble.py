"""The whole gateway in trouble: guests that fail, disks that are full, and being told to stop."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from call_bundle import CallBundle
from callers import WHAT_TO_DO, WHICH_SERVICE, a_call_beside, dial, line, say, slots, soon
from gateway_process import QUICK, GatewayProcess
from raw_caller import RawCaller
from sounds import read_wav
from waiting import wait_until

pytestmark = pytest.mark.interop

PRLIMIT = shutil.which("prlimit")

# A third party's package with agents that are all bad in their own way.

RAISES = """
class Agent:
    async def respond(self, prompted, context):
        raise ZeroDivisionError("a bug in somebody's bot")
        yield

    async def close(self): ...

def build(options):
    return Agent()
"""
HANGS = RAISES.replace('raise ZeroDivisionError("a bug in somebody\'s bot")', "await __import__('asyncio').Future()")
RAMBLES = RAISES.replace('raise ZeroDivisionError("a bug in somebody\'s bot")', "yield 42")
BREAKS_OFF = """
from gateway.session.ports import Say
from gateway.core.errors import ProviderError

class Agent:
    async def respond(self, prompted, context):
        yield Say("I can tell you that")
        raise ProviderError("no more words today", category="quota", retryable=False)

    async def close(self): ...

def build(options):
    return Agent()
"""
AGENTS = {"raises": RAISES, "hangs": HANGS, "rambles": RAMBLES, "breaks_off": BREAKS_OFF}
NO_VOICE = """
class Voice:
    sample_rate = 8000

    async def speak(self, text):
        raise RuntimeError("no voice today")
        yield

    async def close(self): ...

def build(options):
    return Voice()
"""


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the package is installed in."""
    folder = tmp_path_factory.mktemp("packages")
    about = folder / "troubled-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: troubled\nVersion: 1.0\n")
    points = ["[voicebot_gateway.agent]", *(f"{name} = troubled_{name}" for name in AGENTS)]
    points += ["[voicebot_gateway.tts]", "mute = troubled_mute"]
    (about / "entry_points.txt").write_text("\n".join(points) + "\n")
    for name, source in (AGENTS | {"mute": NO_VOICE}).items():
        (folder / f"troubled_{name}.py").write_text(source)
    return folder


@pytest.fixture(scope="module")
def troubled_gateway(troubled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A route for each of those agents, and one to measure with."""
    folder = tmp_path_factory.mktemp("troubled")
    routes = [f"  {name}: {{match: {{called: {name}}}, steps: [bot: {{agent: {name}}}]}}" for name in AGENTS]
    routes.append("  milliwatt: {match: {called: milliwatt}, steps: [answer, milliwatt]}")
    (folder / "plan.yaml").write_text("routes:\n" + "\n".join(routes) + "\n")
    config = f"{QUICK}[conversation]\nreply_within_s = 1.0\n" + "".join(
        f"[agents.{name}]\nkind = '{name}'\n" for name in AGENTS
    )
    plan = ["--dialplan", str(folder / "plan.yaml")]
    with GatewayProcess(folder / "data", *plan, config=config, packages=[troubled]) as gateway:
        yield gateway


@pytest.mark.parametrize("agent", AGENTS)
async def test_a_bot_that_fails_costs_its_call_alone(
    agent: str, troubled_gateway: GatewayProcess, tmp_path: Path, number: str
) -> None:
    """The caller hears an apology, after the second failure a farewell, and the call ends; others go on."""
    gateway = troubled_gateway
    gateway.forget()
    async with a_call_beside(gateway, tmp_path), line() as phones:
        phone = await dial(phones, gateway, agent, number, record=tmp_path / "heard.wav")
        call = await soon(gateway.call, 2)
        await soon(call.wait_asked, "Please say that again.")
        await say(phone, "hello")
        await soon(call.wait_asked, "Please call again later.")
        assert await phone.until_ended(within_s=10)
        await phone.hang_up()
        ended = await soon(gateway.ended, call)
    assert (ended["reason"], ended["by"]) == ("hangup", "bot")
    assert [event["value"] for event in call.find("VariableSet", name="outcome")] == ["failed"]
    assert ended["errors"] >= 2
    assert {failure["what"].partition(".")[0] for failure in call.find("ProviderFailed")} == {"agent"}
    expect_heard(call, tmp_path / "heard.wav")


def expect_heard(call: CallBundle, recording: Path) -> None:
    """Where the events say that the bot spoke, the caller heard something."""
    heard = read_wav(recording).channels()[0]
    assert all(heard.cut(begun + 0.1, over - 0.1).loud().mean() > 0.3 for begun, over in call.bot_spoke())


async def test_without_a_voice_it_still_apologises(troubled: Path, tmp_path: Path, number: str) -> None:
    """The apology and the farewell are stored as sound: a voice that fails leaves nobody in silence."""
    with GatewayProcess(tmp_path / "data", config="[tts]\nkind = 'mute'\n", packages=[troubled]) as gateway:
        async with line() as phones:
            phone = await dial(phones, gateway, "desk", number, record=tmp_path / "heard.wav")
            call = await soon(gateway.call)
            await soon(call.wait_asked, "Please say that again.")
            await phone.press("1")
            await soon(call.wait_asked, "Please call again later.")
            assert await phone.until_ended(within_s=10)
            await phone.hang_up()
        assert (await soon(gateway.ended, call))["by"] == "bot"
        assert gateway.find("voice.unavailable"), "nobody was told at the start"
        assert not gateway.find("call.task_failed")
    assert {failure["what"].partition(".")[0] for failure in call.find("ProviderFailed")} == {"tts"}
    expect_heard(call, tmp_path / "heard.wav")


async def test_recordings_that_cannot_be_made_cost_nothing_else(tmp_path: Path, number: str) -> None:
    """A file where the recordings' folder should be: the dialogue goes on, the session is kept, the log says why."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "calls").write_text("not a folder")
    with GatewayProcess(data, config=QUICK) as gateway:
        async with line() as phones:
            phone = await dial(phones, gateway, "desk", number)
            started = await soon(gateway.wait_log, "call.started")
            await soon(wait_for, gateway, started["session"], "UtteranceStarted")
            await phone.press("1")
            kept = await soon(wait_for, gateway, started["session"], "AgentRemembered", 2)
            assert kept["state"]["slots"] == {"task": "book"}
            await phone.hang_up()
            ended = await soon(gateway.wait_log, "call.ended")
        assert (ended["reason"], ended["by"]) == ("hangup", "caller")
        assert ended["recording"] is None
        assert str(data / "calls") in gateway.find("bundle.incomplete", call=ended["call"])[0]["lost"]


def wait_for(gateway: GatewayProcess, session: str, kind: str, count: int = 1) -> dict[str, object]:
    """The `count`-th event of a kind, once it is in the store."""

    def found() -> dict[str, object] | None:
        events = [event for event in gateway.stored(session) if event["type"] == kind]
        return events[count - 1] if len(events) >= count else None

    return wait_until(found, within_s=10)


def make_room(gateway: GatewayProcess) -> None:
    subprocess.run([str(PRLIMIT), "--pid", str(gateway.pid), "--fsize=unlimited:"], check=True)


@pytest.mark.skipif(PRLIMIT is None, reason="prlimit is not installed (apt install util-linux)")
async def test_a_full_disk_costs_no_call_and_no_session(tmp_path: Path, number: str) -> None:
    """Nothing can be written any more: the call goes on, the log says so; once there is room, nothing is missing."""
    with GatewayProcess(tmp_path / "data", config=QUICK, under=[str(PRLIMIT), "--fsize=130000:"]) as gateway:
        async with line() as phones:
            phone = await dial(phones, gateway, "desk", number)
            full = await soon(gateway.call)
            await soon(gateway.wait_log, "session.write_failed", within_s=20)
            await phone.press("1")
            await soon(full.wait_asked, WHICH_SERVICE)
            await phone.hang_up()
            await soon(gateway.wait_log, "call.ended", reason="hangup")
            await soon(make_room, gateway)
            phone = await dial(phones, gateway, "desk", number)
            call = await soon(gateway.call, 2)
            await soon(call.wait_replied, WHICH_SERVICE)
            assert slots(call) == {"task": "book"}
            assert call.find("SessionResumed")[0]["session"] == full.find("SessionStarted")[0]["session"]


async def test_told_to_stop_it_lets_calls_end_by_themselves(tmp_path: Path, number: str) -> None:
    """The first SIGTERM: new calls get 503 and a time to try again, the live one goes on, and its end is the end."""
    with GatewayProcess(tmp_path / "data", config=QUICK, leave=True) as gateway:
        async with line() as phones:
            phone = await dial(phones, gateway, "desk", number)
            call = await soon(gateway.call)
            gateway.terminate()
            await soon(gateway.wait_log, "gateway.draining", calls=1)
            with RawCaller(gateway.sip_port, "echo") as caller:
                reply = await soon(caller.ask, caller.request("INVITE", caller.sdp(9)))
            assert reply is not None
            assert (reply.status, reply.header("Retry-After").isdigit()) == (503, True)
            await soon(call.wait_asked, WHAT_TO_DO)
            await phone.press("1")
            await soon(call.wait_asked, WHICH_SERVICE)
            assert gateway.process is not None
            assert gateway.process.poll() is None
            await phone.hang_up()
            assert await soon(gateway.wait) == 0
    assert gateway.find("call.ended")[0]["reason"] == "hangup"
    assert not gateway.orphans()


async def test_told_twice_it_stops_at_once_and_keeps_the_session(tmp_path: Path, number: str) -> None:
    """The second SIGTERM: callers get their BYE, and are resumed by the next gateway."""
    with GatewayProcess(tmp_path / "data", config=QUICK, leave=True) as gateway:
        async with line() as phones:
            phone = await dial(phones, gateway, "desk", number)
            call = await soon(gateway.call)
            await soon(call.wait, "UtteranceStarted")
            await phone.press("1")
            await soon(call.wait_replied, WHICH_SERVICE)
            gateway.terminate()
            await soon(gateway.wait_log, "gateway.draining", calls=1)
            gateway.terminate()
            assert await phone.until_ended(within_s=5)
            assert await soon(gateway.wait) == 0
    assert gateway.find("call.ended")[0]["reason"] == "shutdown"
    assert not gateway.orphans()
    with GatewayProcess(tmp_path / "data", config=QUICK) as gateway:
        async with line() as phones:
            await dial(phones, gateway, "desk", number)
            call = await soon(gateway.call)
            await soon(call.wait_replied, WHICH_SERVICE)
            assert slots(call) == {"task": "book"}
