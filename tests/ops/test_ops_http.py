from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest

from gateway.core import events as e
from gateway.core.errors import CapacityError, ConfigError, PeerError, SessionError, StoreError
from gateway.media.relapses import Losses
from gateway.ops.http import HttpOffice, HttpOptions
from gateway.ops.ports import BrowserAnswer, CallSummary, RouteInfo, TargetInfo, TrunkInfo
from gateway.store.ports import Identity, Session, SessionInfo

SDP = {"Content-Type": "application/sdp"}
LOG: list[e.AnyEvent] = [
    e.CallStarted(1.0, "c1", "browser", "web:ann", "desk", "desk"),
    e.CallAnswered(1.1, "c1", "opus"),
    e.TranscriptHeard(2.0, "c1", 1, "hello", True),
    e.CallEnded(3.0, "c1", "hangup", "caller", 2.0, {"mos": 4.1}),
]
INFO = SessionInfo("s1", Identity("web:ann", "desk"), 1.0, 2.0)


class DeskOnPaper:
    """A `CallDesk` that has one call and one session, and writes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.failing: Exception | None = None
        self.is_draining = False
        self.is_ready = True
        self.wav: Path | None = None

    async def browser_call(self, route: str, offer_sdp: str, caller: str) -> BrowserAnswer:
        self.asked.append(("call", route, offer_sdp, caller))
        if self.failing is not None:
            raise self.failing
        return BrowserAnswer("c1", "v=0\r\nanswer\r\n")

    async def browser_hangup(self, call_id: str) -> bool:
        return call_id == "c1"

    def routes(self) -> list[RouteInfo]:
        return [RouteInfo("desk", "Appointment desk", default=True)]

    def live_calls(self) -> list[CallSummary]:
        return [CallSummary("c1", "browser", "web:ann", "desk", "desk", "listening", 1.0)]

    async def stats(self, call_id: str) -> dict[str, object]:
        return {"codec": "PCMA", "packets_lost": 3, "mos": 4.1}

    def events(self, call_id: str) -> list[e.AnyEvent]:
        if call_id != "c1":
            raise PeerError("no such call", status_hint=404)
        return LOG

    async def subscribe(self, call_id: str) -> AsyncIterator[e.AnyEvent]:
        for event in LOG:
            yield event
        if call_id == "*":
            await asyncio.Event().wait()

    def hang_up(self, call_id: str) -> None:
        self.events(call_id)
        self.asked.append(("hang_up", call_id))

    def transfer(self, call_id: str, to: str) -> None:
        self.events(call_id)
        self.asked.append(("transfer", call_id, to))

    def recording(self, call_id: str) -> Path | None:
        return self.wav

    async def sessions(self, limit: int) -> list[SessionInfo]:
        if self.failing is not None:
            raise self.failing
        return [INFO][:limit]

    async def session(self, session_id: str) -> Session:
        if session_id != "s1":
            raise SessionError("no such session", code="session_not_found")
        return Session(INFO, tuple(LOG))

    def place_call(self, to: str, trunk: str, route: str, caller: str) -> str:
        self.asked.append(("place", to, trunk, route, caller))
        return "c2"

    def trunks(self) -> list[TrunkInfo]:
        return [TrunkInfo("provider", False, "failed", "udp", (TargetInfo("192.0.2.1:5060", True, 3.2),), fault="no")]

    def media_losses(self) -> Losses:
        return Losses(worker_deaths=2)

    def ready(self) -> bool:
        return self.is_ready

    def draining(self) -> bool:
        return self.is_draining


class Client:
    """Requests to an office, and what came back."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session, self.base = session, base

    async def __call__(self, method: str, path: str, **more: object) -> tuple[int, aiohttp.ClientResponse, bytes]:
        async with self._session.request(method, self.base + path, **more) as response:  # type: ignore[arg-type]
            return response.status, response, await response.read()


@pytest.fixture
def desk() -> DeskOnPaper:
    return DeskOnPaper()


@pytest.fixture
def options() -> HttpOptions:
    return HttpOptions()


@pytest.fixture
async def ask(desk: DeskOnPaper, options: HttpOptions) -> AsyncIterator[Client]:
    office = HttpOffice(desk, options)
    await office.start("127.0.0.1", 0)
    async with aiohttp.ClientSession() as session:
        yield Client(session, f"http://127.0.0.1:{office.port}")
    await office.close()


def message(body: bytes) -> str:
    return msgspec.json.decode(body)["error"]


async def test_an_offer_gets_an_answer_and_a_place_to_hang_up(ask: Client, desk: DeskOnPaper) -> None:
    """RFC 9725: 201, the answer as application/sdp, and the call's own URL in Location, which takes DELETE."""
    status, response, body = await ask("POST", "/whip/desk", data="v=0\r\n", headers={**SDP, "X-Caller": "ann"})
    assert (status, body) == (201, b"v=0\r\nanswer\r\n")
    assert response.content_type == "application/sdp"
    assert response.headers["Location"] == "/whip/sessions/c1"
    assert desk.asked == [("call", "desk", "v=0\r\n", "web:ann")]
    assert (await ask("DELETE", response.headers["Location"]))[0] == 200
    assert (await ask("DELETE", "/whip/sessions/c2"))[0] == 404


async def test_a_page_cannot_pretend_to_be_a_telephone(ask: Client, desk: DeskOnPaper) -> None:
    """A browser's identity is its own name space, so it never resumes the session of a telephone number."""
    await ask("POST", "/whip/desk", data="v=0\r\n", headers={**SDP, "X-Caller": "4930123"})
    await ask("POST", "/whip/desk?caller=ben", data="v=0\r\n", headers=SDP)
    await ask("POST", "/whip/desk", data="v=0\r\n", headers=SDP)
    assert [asked[3] for asked in desk.asked] == ["web:4930123", "web:ben", ""]
    status, _, body = await ask("POST", "/whip/desk", data="v=0\r\n", headers={**SDP, "X-Caller": "a b"})
    assert (status, "X-Caller" in message(body)) == (400, True)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PeerError("the body is not SDP"), 400),
        (PeerError("there is no route 'x'", status_hint=404), 404),
        (PeerError("the offer has no audio", status_hint=488), 406),
        (PeerError("rejected", status_hint=603), 403),
        (PeerError("busy", status_hint=486), 503),
        (PeerError("odd", status_hint=302), 400),
        (CapacityError("all lines are taken", retry_after_s=7.2), 503),
        (StoreError("disk full"), 503),
        (RuntimeError("secret detail"), 500),
    ],
)
async def test_every_fault_has_its_status_and_a_sentence(
    ask: Client, desk: DeskOnPaper, error: Exception, status: int
) -> None:
    """The page can tell its user what happened; an unforeseen error tells nobody anything but us."""
    desk.failing = error
    got, response, body = await ask("POST", "/whip/x", data="v=0\r\n", headers=SDP)
    assert got == status
    if isinstance(error, CapacityError):
        assert response.headers["Retry-After"] == "8"
    assert "secret" not in message(body)
    assert message(body)


async def test_what_is_no_offer_never_reaches_the_desk(ask: Client, desk: DeskOnPaper) -> None:
    """Wrong type, wrong encoding, too long, wrong method: refused at the door, with the status that says so."""
    assert (await ask("POST", "/whip/desk", data="{}", headers={"Content-Type": "application/json"}))[0] == 415
    assert (await ask("POST", "/whip/desk", data=b"\xff\xfe", headers=SDP))[0] == 400
    assert (await ask("POST", "/whip/desk", data="a" * 70_000, headers=SDP))[0] == 413
    status, response, _ = await ask("PATCH", "/whip/sessions/c1")
    assert (status, "DELETE" in response.headers["Allow"]) == (405, True)
    assert (await ask("GET", "/nowhere"))[0] == 404
    assert desk.asked == []


async def test_a_draining_gateway_takes_no_call_and_says_it_is_not_ready(ask: Client, desk: DeskOnPaper) -> None:
    """A load balancer and a page both learn to go elsewhere, while liveness stays true."""
    assert (await ask("GET", "/readyz"))[0] == 200
    desk.is_draining = True
    status, response, _ = await ask("POST", "/whip/desk", data="v=0\r\n", headers=SDP)
    assert (status, "Retry-After" in response.headers) == (503, True)
    assert (await ask("GET", "/readyz"))[0] == 503
    assert (await ask("GET", "/healthz"))[0] == 200
    desk.is_draining, desk.is_ready = False, False
    assert (await ask("GET", "/readyz"))[0] == 503


async def test_a_calls_events_stream_from_its_start_and_can_be_taken_up_again(ask: Client) -> None:
    """What the page may see, numbered, ending with the call; a reconnecting browser gets only what it missed."""
    status, response, body = await ask("GET", "/calls/c1/events")
    assert (status, response.content_type) == (200, "text/event-stream")
    assert body.count(b"data: {") == 4  # answered, transcript, ended, and the end itself
    assert b"CallStarted" not in body
    assert b"mos" not in body
    _, _, rest = await ask("GET", "/calls/c1/events", headers={"Last-Event-ID": "2"})
    assert rest.startswith(b'id: 3\ndata: {"type":"CallEnded"')
    assert (await ask("GET", "/calls/c2/events"))[0] == 404


async def test_the_api_shows_calls_and_sessions(ask: Client, desk: DeskOnPaper, tmp_path: Path) -> None:
    """Everything an operator may look at, as JSON; ids nobody knows are 404, nonsense is 400."""
    assert msgspec.json.decode((await ask("GET", "/api/routes"))[2])[0]["name"] == "desk"
    assert msgspec.json.decode((await ask("GET", "/api/calls"))[2])[0]["state"] == "listening"
    call = msgspec.json.decode((await ask("GET", "/api/calls/c1"))[2])
    assert (call["call"]["id"], call["events"][0]["type"]) == ("c1", "CallStarted")
    assert call["media"] == {"codec": "PCMA", "packets_lost": 3, "mos": 4.1}
    assert msgspec.json.decode((await ask("GET", "/api/sessions?limit=1"))[2])[0]["id"] == "s1"
    assert msgspec.json.decode((await ask("GET", "/api/sessions/s1"))[2])["info"]["identity"]["caller"] == "web:ann"
    for path in ("/api/calls/c2", "/api/sessions/s2", "/api/calls/c1/recording"):
        assert (await ask("GET", path))[0] == 404
    for limit in ("0", "501", "-1", "x", "9" * 5000):
        assert (await ask("GET", f"/api/sessions?limit={limit}"))[0] == 400
    desk.wav = tmp_path / "c1.wav"
    desk.wav.write_bytes(b"RIFF")
    assert (await ask("GET", "/api/calls/c1/recording"))[2] == b"RIFF"
    desk.failing = StoreError("disk full")
    assert (await ask("GET", "/api/sessions"))[0] == 503


async def test_an_operator_can_end_a_call(ask: Client, desk: DeskOnPaper) -> None:
    """Any door's call can be ended by id."""
    assert (await ask("POST", "/api/calls/c1/hangup"))[0] == 200
    assert desk.asked == [("hang_up", "c1")]
    assert (await ask("POST", "/api/calls/c2/hangup"))[0] == 404


async def test_an_operator_can_send_a_caller_elsewhere(ask: Client, desk: DeskOnPaper) -> None:
    """202: how it goes is told by the call's events."""
    assert (await ask("POST", "/api/calls/c1/transfer", json={"to": "100"}))[0] == 202
    assert desk.asked == [("transfer", "c1", "100")]
    assert (await ask("POST", "/api/calls/c2/transfer", json={"to": "100"}))[0] == 404
    for wrong in ({}, {"to": 1}, {"to": "1", "mode": "x"}):
        assert (await ask("POST", "/api/calls/c1/transfer", json=wrong))[0] == 400


async def test_metrics_count_what_the_calls_log(ask: Client) -> None:
    """Prometheus reads the same events that the record holds."""
    _, response, body = await ask("GET", "/metrics")
    assert response.content_type == "text/plain"
    assert b'gateway_calls_total{reason="hangup"} 1' in body
    assert b'gateway_calls_active{door="browser"} 0' in body
    assert b"gateway_media_worker_deaths_total 2\n" in body


async def test_a_port_in_use_is_said_with_its_remedy(desk: DeskOnPaper) -> None:
    """The operator reads which port, and which option to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        office = HttpOffice(desk)
        with pytest.raises(ConfigError, match=rf"port {port} .* in use.*--http-port"):
            await office.start("127.0.0.1", port)
        await office.close()


async def test_closing_does_not_wait_for_listeners(desk: DeskOnPaper) -> None:
    """An open event stream must not hold up the gateway's end."""
    office = HttpOffice(desk)
    desk.subscribe = lambda _: never()  # type: ignore[method-assign, assignment]
    await office.start("127.0.0.1", 0)
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{office.port}/calls/c1/events"):
        await asyncio.wait_for(office.close(), 1.5)


async def never() -> AsyncIterator[e.AnyEvent]:
    await asyncio.Event().wait()
    yield LOG[0]


async def test_an_operator_sees_the_trunks_and_calls_out(ask: Client, desk: DeskOnPaper) -> None:
    """202: that the call was placed, not that somebody answered; a faulty order is told by its key."""
    _, _, body = await ask("GET", "/api/trunks")
    assert msgspec.json.decode(body)[0]["targets"][0] == {
        "address": "192.0.2.1:5060",
        "name": "",
        "reachable": True,
        "round_trip_ms": 3.2,
        "fault": "",
    }
    status, _, body = await ask("POST", "/api/calls", data=b'{"to": "100", "trunk": "provider", "route": "desk"}')
    assert (status, msgspec.json.decode(body)) == (202, {"call": "c2"})
    assert desk.asked == [("place", "100", "provider", "desk", "")]
    for order, word in ((b'{"to": "100"}', "trunk"), (b"rubbish", "malformed"), (b'{"too": 1}', "too")):
        status, _, body = await ask("POST", "/api/calls", data=order)
        assert status == 400
        assert word in message(body)
