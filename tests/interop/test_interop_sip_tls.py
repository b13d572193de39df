"""baresip, an independent user agent, calls us and is called over TLS, each side checking the other's certificate."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from baresip_phone import MODULES, needs_baresip
from certificates import make_certificate
from ports import free_pair

from gateway.core.clock import SystemClock
from gateway.core.ids import RandomIds
from gateway.sip.commands import Accept, HangUp, Place
from gateway.sip.events import AnySipEvent, CallAccepted, CallConfirmed, CallOffered
from gateway.sip.io import EndpointOptions, SipServer
from gateway.sip.offer_answer import LocalMedia, answer, offer
from gateway.sip.tls import client_context, server_context

pytestmark = [pytest.mark.interop, needs_baresip]

MEDIA = LocalMedia("127.0.0.1", 40_000)
BARESIPS = "theirs-both.pem"
"""Certificate and key in one file, as it wants them."""


class Baresip:
    """A running baresip, its microphone a loop to its own speaker; what it says can be waited for."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def says(self, text: str) -> None:
        assert self._process.stdout is not None
        said = b""
        async with asyncio.timeout(15):
            while text.encode() not in said:
                piece = await self._process.stdout.read(4096)
                assert piece, f"baresip ended without {text!r}: {said.decode(errors='replace')}"
                said += piece


@contextlib.asynccontextmanager
async def baresip(folder: Path, port: int, *arguments: str) -> AsyncIterator[Baresip]:
    lines = [
        "poll_method epoll",
        f"sip_listen 127.0.0.1:{port}",
        f"sip_certificate {folder / BARESIPS}",
        f"sip_cafile {folder / 'ours.pem'}",
        *(f"audio_{device} aubridge,nobody" for device in ("source", "player", "alert")),
        f"module_path {MODULES}",
        *(f"module {name}.so" for name in ("g711", "aubridge", "account", "menu")),
    ]
    (folder / "config").write_text("\n".join(lines) + "\n")
    account = "<sip:phone@127.0.0.1;transport=tls>;regint=0;answermode=auto;audio_codecs=PCMU/8000/1\n"
    (folder / "accounts").write_text(account)
    (folder / "contacts").write_text("")
    process = await asyncio.create_subprocess_exec(
        *("baresip", "-4", "-v", "-f", str(folder), *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    phone = Baresip(process)
    try:
        await phone.says("baresip is ready")
        yield phone
    finally:
        process.kill()
        await process.wait()


class Agent:
    """A `SipServer` with both TLS sides, answering every call; its events can be waited for."""

    def __init__(self, folder: Path) -> None:
        self.heard: asyncio.Queue[AnySipEvent] = asyncio.Queue()
        self.server = SipServer(
            EndpointOptions(),
            clock=SystemClock(),
            ids=RandomIds(),
            on_event=self._on_event,
            tls_server=server_context(folder / "ours.pem", folder / "ours.key"),
            tls_client=client_context(folder / "theirs.pem"),
        )

    def _on_event(self, event: AnySipEvent) -> None:
        self.heard.put_nowait(event)
        if isinstance(event, CallOffered) and event.sdp is not None:
            self.server.send(Accept(event.dialog, answer(event.sdp, MEDIA).sdp))

    async def next(self, kind: type[AnySipEvent]) -> AnySipEvent:
        async with asyncio.timeout(15):
            while not isinstance(event := await self.heard.get(), kind):
                pass
            return event


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    make_certificate(tmp_path, "ours")
    certificate, key = make_certificate(tmp_path, "theirs")
    (tmp_path / BARESIPS).write_bytes(key.read_bytes() + certificate.read_bytes())
    agent = Agent(tmp_path)
    await agent.server.start("127.0.0.1", 0, ("tls",))
    yield agent
    await agent.server.close()


async def test_baresip_is_called_over_tls(agent: Agent, tmp_path: Path) -> None:
    """Its certificate is checked against what we trust; the BYE goes by the same connection."""
    port = free_pair()
    async with baresip(tmp_path, port) as phone:
        flow = agent.server.flow_to("127.0.0.1", port + 1, "tls")
        uri = f"sip:phone@127.0.0.1:{port + 1};transport=tls"
        agent.server.send(Place("out", uri, flow, offer(MEDIA), "sip:desk@127.0.0.1"))
        accepted = await agent.next(CallAccepted)
        assert accepted.dialog == "out"
        await phone.says("audio: start")
        agent.server.send(HangUp("out"))
        await phone.says("session closed")


async def test_baresip_calls_over_tls(agent: Agent, tmp_path: Path) -> None:
    """It checks our certificate; our BYE finds it on the connection it made."""
    dial = f"/dial sip:desk@127.0.0.1:{agent.server.port};transport=tls"
    async with baresip(tmp_path, free_pair(), "-e", dial) as phone:
        offered = await agent.next(CallOffered)
        assert isinstance(offered, CallOffered)
        assert (offered.flow.transport, offered.caller) == ("tls", "phone")
        await agent.next(CallConfirmed)
        agent.server.send(HangUp(offered.dialog))
        await phone.says("session closed")
