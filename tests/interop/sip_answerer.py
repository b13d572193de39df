"""A small user agent on `SipServer` for independent programs to call: it answers, holds, and counts what happened."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from gateway.core.clock import SystemClock
from gateway.core.errors import PeerError
from gateway.core.ids import RandomIds
from gateway.sip.commands import Accept, AnswerOffer, Reject, Ring
from gateway.sip.events import AnySipEvent, CallOffered, OfferReceived
from gateway.sip.io import EndpointOptions, SipServer
from gateway.sip.offer_answer import LocalMedia, answer, offer

SCENARIOS = Path(__file__).parent / "sipp"


class Answerer:
    """Rings and accepts every call; `busy` and `ring` (never answered) as called user parts do what they say."""

    def __init__(self, options: EndpointOptions | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self.events: list[AnySipEvent] = []
        self.media = LocalMedia("127.0.0.1", 40_000)
        self.server = SipServer(
            options or EndpointOptions(), clock=SystemClock(), ids=RandomIds(), on_event=self._on_event
        )

    async def __aenter__(self) -> Answerer:
        await self.server.start("127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.close()

    def _on_event(self, event: AnySipEvent) -> None:
        self.counts[type(event).__name__] += 1
        self.events.append(event)
        if isinstance(event, CallOffered):
            self._offered(event)
        elif isinstance(event, OfferReceived):
            sdp = answer(event.sdp, self.media).sdp if event.sdp else offer(self.media)
            self.server.send(AnswerOffer(event.dialog, sdp))

    def _offered(self, event: CallOffered) -> None:
        if event.called == "busy":
            self.server.send(Reject(event.dialog, 486))
            return
        self.server.send(Ring(event.dialog))
        if event.called == "ring":
            return
        try:
            sdp = answer(event.sdp, self.media).sdp if event.sdp else offer(self.media)
        except PeerError as error:
            self.server.send(Reject(event.dialog, error.status_hint))
            return
        self.server.send(Accept(event.dialog, sdp))


async def sipp(port: int, *arguments: str, calls: int = 20, rate: int = 50, within_s: float = 60) -> None:
    """Run sipp against `port`; a call that does not go by its scenario fails the test with sipp's own report."""
    program = shutil.which("sipp")
    if program is None:
        pytest.skip("sipp is not installed (apt install sip-tester)")
    with tempfile.TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            program,
            f"127.0.0.1:{port}",
            *("-i", "127.0.0.1", "-m", str(calls), "-r", str(rate), "-nostdin", "-trace_err", "-error_file", "errors"),
            *arguments,
            cwd=folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            report, _ = await asyncio.wait_for(process.communicate(), within_s)
        except TimeoutError:
            process.kill()
            raise AssertionError(f"sipp did not finish within {within_s} s") from None
        errors = Path(folder) / "errors"
        said = errors.read_text(errors="replace")[:4000] if errors.exists() else ""
        assert process.returncode == 0, f"{said}\n{report.decode(errors='replace')[-3000:]}"
