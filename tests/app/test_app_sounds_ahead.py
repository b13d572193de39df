"""The dialplan's prompts and music are read before the first call, so that no call waits while a long file is read."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from gateway.app import prompts
from gateway.app.callees import Target
from gateway.app.config import GatewayConfig
from gateway.app.gateway import Gateway
from gateway.app.phone import PhoneLine
from gateway.app.prompts import PromptShelf
from gateway.app.reading_agent import ReadingAgent
from gateway.providers.wav import read_wav, write_wav
from gateway.replay.layout import PromptPlayed
from gateway.replay.reading import read_bundle
from gateway.session.options import ConversationOptions
from gateway.session.ports import AgentAct, Context, Opened, Prompted, Say

SOUND = b"\1\2" * 16000
OTHER = b"\3\4" * 8000

PLAN = """
prompts:
  hello.wav: Hello.
routes:
  desk:
    match: {}
    steps:
      - answer
      - music: music.wav
      - say: Hello.
      - play: welcome.wav
      - hangup
"""


class Reading:
    """Which files were read at which rate, by the loop's thread and by others."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.by_the_loop: list[tuple[str, int]] = []
        self.by_others: list[tuple[str, int]] = []
        self._loops = threading.get_ident()
        monkeypatch.setattr(prompts, "read_wav", self._read)

    def _read(self, path: Path, rate: int) -> bytes:
        log = self.by_the_loop if threading.get_ident() == self._loops else self.by_others
        log.append((path.name, rate))
        return read_wav(path, rate)


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Reading:
    return Reading(monkeypatch)


async def test_no_call_reads_what_the_dialplan_plays(tmp_path: Path, reading: Reading) -> None:
    """Music, a prompt, a recording that stands for a text, and what the conversation names, all at both rates. They
    are played all the same."""
    for name in ("music", "hello", "welcome"):
        write_wav(tmp_path / f"{name}.wav", SOUND, 16000)
    (tmp_path / "prompts").mkdir()
    write_wav(tmp_path / "prompts" / "apology.wav", SOUND, 16000)
    (tmp_path / "plan.yaml").write_text(PLAN)
    scripted = {"kind": "scripted"}
    config = GatewayConfig(
        bind="127.0.0.1", sip_port=0, http_port=0, rtp_ports="28100-28199", data=str(tmp_path / "data"),
        dialplan=str(tmp_path / "plan.yaml"), stt=scripted, tts=scripted, vad={"kind": "energy"},
    )  # fmt: skip
    gateway = Gateway(config)
    await gateway.start()
    try:
        assert reading.by_the_loop == []
        files = ("apology.wav", "hello.wav", "music.wav", "welcome.wav")
        assert sorted(reading.by_others) == [(name, rate) for name in files for rate in (8000, 16000)]
        async with PhoneLine(rtp_ports=(28200, 28219)) as line:
            phone = line.phone("1001", lambda at_s, what: None)
            await phone.dial(Target(f"sip:desk@127.0.0.1:{gateway.sip.port}"))
            assert await phone.until_ended(within_s=20)
        await gateway.drain()
        assert reading.by_the_loop == []
    finally:
        await gateway.close()
    (bundle,) = (tmp_path / "data" / "calls").iterdir()
    played = [one for one in read_bundle(bundle).answers if isinstance(one, PromptPlayed) and one.audio]
    assert {Path(one.name).name for one in played} == {"hello.wav", "music.wav", "welcome.wav"}


async def test_a_file_is_found_as_it_is_when_it_is_first_asked_for(tmp_path: Path, reading: Reading) -> None:
    """However it was when it was read ahead: changed since then, not there yet, or no more. Then that stays."""
    for name in ("same", "changed", "deleted"):
        write_wav(tmp_path / f"{name}.wav", SOUND, 8000)
    shelf = PromptShelf(tmp_path)
    await asyncio.to_thread(shelf.read_ahead, ["same", "changed", "deleted", "late"])
    write_wav(tmp_path / "changed.wav", OTHER, 8000)
    write_wav(tmp_path / "late.wav", OTHER, 8000)
    (tmp_path / "deleted.wav").unlink()
    first = [shelf(name) for name in ("same", "changed", "deleted", "late")]
    assert first == [SOUND, OTHER, None, OTHER]
    assert reading.by_the_loop == [("changed.wav", 8000), ("late.wav", 8000)]
    for name in ("same", "changed", "deleted", "late"):
        write_wav(tmp_path / f"{name}.wav", b"\5\6" * 800, 8000)
    assert [shelf(name) for name in ("same", "changed", "deleted", "late")] == first


def test_a_file_rewritten_to_the_same_length_is_another(tmp_path: Path, reading: Reading) -> None:
    """The time of writing tells, or the place on the disk."""
    path = tmp_path / "one.wav"
    write_wav(path, SOUND, 8000)
    shelf = PromptShelf(tmp_path)
    shelf.read_ahead(["one"])
    written = path.stat().st_mtime_ns
    write_wav(path, SOUND[::-1], 8000)
    os.utime(path, ns=(written + 1, written + 1))
    assert shelf("one") == SOUND[::-1]


def test_what_cannot_be_read_ahead_is_told_when_it_is_asked_for(tmp_path: Path, reading: Reading) -> None:
    """And does not keep the gateway from starting, nor the other files from being read."""
    (tmp_path / "broken.wav").write_bytes(b"RIFF, but nothing else")
    (tmp_path / "folder.wav").mkdir()
    write_wav(tmp_path / "good.wav", SOUND, 8000)
    shelf = PromptShelf(tmp_path)
    shelf.read_ahead(["broken", "folder", "nowhere", "good", "good.wav"])
    reading.by_the_loop.clear()
    assert [shelf(name) for name in ("broken", "folder", "nowhere", "good", "good.wav")] == [
        None, None, None, SOUND, SOUND
    ]  # fmt: skip
    assert reading.by_the_loop == [("broken.wav", 8000)]


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("samples", [16000, 15999])
def test_the_same_sound_is_given_to_every_call(tmp_path: Path, ahead: bool, samples: int) -> None:
    """Not a copy, of whatever length it is: copying minutes for each call, and comparing them, takes time, too."""
    write_wav(tmp_path / "one.wav", SOUND[: 2 * samples], 16000)
    shelf = PromptShelf(tmp_path)
    if ahead:
        shelf.read_ahead(["one"])
    narrow, wide = shelf("one"), shelf.wide("one")
    assert narrow is not None
    assert wide is not None
    assert len(wide) == 2 * len(narrow)
    assert shelf("one") is narrow
    assert shelf.wide("one") is wide


def test_every_file_of_the_conversation_is_known() -> None:
    """Whatever setting names one."""
    names = [name for name in ConversationOptions.__struct_fields__ if name.endswith("_file")]
    options = msgspec.structs.replace(ConversationOptions(), **{name: f"{name}.wav" for name in names})
    assert sorted(options.files) == sorted(f"{name}.wav" for name in names)
    none = msgspec.structs.replace(ConversationOptions(), **dict.fromkeys(names))
    assert none.files == ()


class Names:
    """An agent that says a recording twice, and one that is not there."""

    async def respond(self, prompted: Prompted, context: Context) -> AsyncIterator[AgentAct]:
        for name in ("hello.wav", "hello.wav", "nowhere"):
            yield Say("Hello.", name)

    async def close(self) -> None: ...


async def test_what_only_an_agent_names_is_read_before_it_is_said(tmp_path: Path, reading: Reading) -> None:
    """At both rates, once, and by another thread than the one that all calls share."""
    write_wav(tmp_path / "hello.wav", SOUND, 8000)
    shelf = PromptShelf(tmp_path)
    given = []
    async for act in ReadingAgent(Names(), shelf).respond(Opened(), Context("c-1", "alice", "desk")):
        assert isinstance(act, Say)
        assert act.prompt is not None
        given.append((shelf(act.prompt), bool(shelf.wide(act.prompt))))
    assert given == [(SOUND, True), (SOUND, True), (None, False)]
    assert reading.by_the_loop == []
    assert reading.by_others == [("hello.wav", 8000), ("hello.wav", 16000)]


async def test_every_call_gets_its_agent_so(tmp_path: Path) -> None:
    """Whichever it asks for."""
    scripted = {"kind": "scripted"}
    config = GatewayConfig(
        bind="127.0.0.1",
        sip_port=0,
        http_port=0,
        data=str(tmp_path),
        stt=scripted,
        tts=scripted,
        vad={"kind": "energy"},
    )
    services = Gateway(config)._services()
    assert isinstance(services.agent("scripted"), ReadingAgent)
