"""A small user agent on `SipServer` for independent programs to call: it answers, holds, and counts what happened."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.core.clock import SystemClock
from gateway.core.errors import PeerError
from gateway.core.ids import RandomIds
from gateway.sip.commands import Accept, AnswerOffer, Credentials, HangUp, Place, Reject, Ring
from gateway.sip.events import AnySipEvent, CallAccepted, CallFailed, CallOffered, CallProgressed, OfferReceived
from gateway.sip.flow import Transport
from gateway.sip.io import EndpointOptions, SipServer
from gateway.sip.offer_answer import LocalMedia, answer, offer

SCENARIOS = Path(__file__).parent / "sipp"


class Answerer:
    """Rings and accepts every call; `busy` and `ring` (never answered) as called user parts do what they say.

    `early` gets early media, and is accepted once it has offered another session. `tls` protects connections.
    """

    def __init__(
        self, options: EndpointOptions | None = None, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self.host = host
        self.counts: Counter[str] = Counter()
        self.events: list[AnySipEvent] = []
        self.media = LocalMedia(host, 40_000)
        self._early: set[str] = set()
        self.server = SipServer(
            options or EndpointOptions(),
            clock=SystemClock(),
            ids=RandomIds(),
            on_event=self._on_event,
            tls_server=tls,
        )
        self._transports: tuple[Transport, ...] = ("tls",) if tls else ("udp", "tcp")

    async def __aenter__(self) -> Answerer:
        await self.server.start(self.host, 0, self._transports)
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
            if event.dialog in self._early:
                self._early.discard(event.dialog)
                self.server.send(Accept(event.dialog, sdp))

    def _offered(self, event: CallOffered) -> None:
        if event.called == "busy":
            self.server.send(Reject(event.dialog, 486))
            return
        if event.called == "early" and event.sdp:
            self._early.add(event.dialog)
            self.server.send(Ring(event.dialog, 183, answer(event.sdp, self.media).sdp))
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


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.bind(("::1", 0))
        return True
    return False


class Caller:
    """Places calls and says BYE `hold_s` after they are accepted; `outcomes` holds how each attempt ended."""

    def __init__(self, credentials: Credentials | None = None, hold_s: float = 0.0) -> None:
        self.credentials = credentials
        self.hold_s = hold_s
        self.outcomes: list[AnySipEvent] = []
        self.progress: Counter[int] = Counter()
        self._done = asyncio.Event()
        self._wanted = 0
        self.server = SipServer(EndpointOptions(), clock=SystemClock(), ids=RandomIds(), on_event=self._on_event)

    async def __aenter__(self) -> Caller:
        await self.server.start("127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.close()

    def _on_event(self, event: AnySipEvent) -> None:
        if isinstance(event, CallProgressed):
            self.progress[event.status] += 1
        elif isinstance(event, CallAccepted | CallFailed):
            self.outcomes.append(event)
            if isinstance(event, CallAccepted):
                asyncio.get_running_loop().call_later(self.hold_s, self.server.send, HangUp(event.dialog))
            if len(self.outcomes) == self._wanted:
                self._done.set()

    async def call(self, port: int, transport: Transport, calls: int, per_s: int = 50, within_s: float = 60) -> None:
        """Place `calls` calls and wait for all their outcomes."""
        self._wanted = calls
        flow = self.server.flow_to("127.0.0.1", port, transport)
        sdp = offer(LocalMedia("127.0.0.1", 40_000))
        uri = f"sip:bob@127.0.0.1:{port}" + ("" if transport == "udp" else f";transport={transport}")
        for number in range(calls):
            self.server.send(Place(f"out-{number}", uri, flow, sdp, "sip:desk@127.0.0.1", credentials=self.credentials))
            await asyncio.sleep(1 / per_s)
        await asyncio.wait_for(self._done.wait(), within_s)


@contextlib.asynccontextmanager
async def sipp_callee(*arguments: str, calls: int, within_s: float = 60) -> AsyncIterator[int]:
    """sipp answering `calls` calls on the port given; at the end its own verdict must be success."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    run = asyncio.create_task(_run_sipp("-p", str(port), *arguments, calls=calls, within_s=within_s))
    try:
        await asyncio.sleep(0.7)  # sipp says nowhere that it listens
        yield port
        await run
    finally:
        run.cancel()


async def sipp(
    port: int, *arguments: str, calls: int = 20, rate: int = 50, within_s: float = 60, host: str = "127.0.0.1"
) -> None:
    """Run sipp against `port`; a call that does not go by its scenario fails the test with sipp's own report."""
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    await _run_sipp(target, "-r", str(rate), *arguments, calls=calls, within_s=within_s, host=host)


async def _run_sipp(*arguments: str, calls: int, within_s: float, host: str = "127.0.0.1") -> None:
    program = shutil.which("sipp")
    if program is None:
        pytest.skip("sipp is not installed (apt install sip-tester)")
    with tempfile.TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            program,
            *("-i", host, "-m", str(calls), "-nostdin", "-trace_err", "-error_file", "errors"),
            *arguments,
            cwd=folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            report, _ = await asyncio.wait_for(process.communicate(), within_s)
        except TimeoutError:
            raise AssertionError(f"sipp did not finish within {within_s} s") from None
        finally:
            if process.returncode is None:
                process.kill()
        errors = Path(folder) / "errors"
        said = errors.read_text(errors="replace")[:4000] if errors.exists() else ""
        assert process.returncode == 0, f"{said}\n{report.decode(errors='replace')[-3000:]}"
