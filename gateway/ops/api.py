"""The operator's door: what goes on, what went on, and an end to it. JSON throughout."""

from __future__ import annotations

import asyncio

import msgspec
import structlog
from aiohttp import hdrs, web

from gateway.core.errors import PeerError
from gateway.ops.answers import as_json
from gateway.ops.metrics import CONTENT_TYPE, Metrics
from gateway.ops.ports import CallDesk

log = structlog.get_logger()

MAX_SESSIONS = 500


class CallOrder(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /api/calls`."""

    to: str
    trunk: str
    route: str
    caller: str = ""


class TransferOrder(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /api/calls/{id}/transfer`."""

    to: str


class Api:
    def __init__(self, desk: CallDesk) -> None:
        self._desk = desk
        self._metrics = Metrics()

    async def routes(self, request: web.Request) -> web.Response:
        """`GET /api/routes`: what a browser may call. Open to all, since the page needs it."""
        return as_json(self._desk.routes())

    async def calls(self, request: web.Request) -> web.Response:
        return as_json(self._desk.live_calls())

    async def place_call(self, request: web.Request) -> web.Response:
        """`POST /api/calls`: dial out; how it went is told by the call's events. The answer comes before theirs."""
        try:
            order = msgspec.json.decode(await request.read(), type=CallOrder)
        except msgspec.DecodeError as error:
            raise PeerError(f"a call is ordered as {{to, trunk, route}}: {error}") from error
        call_id = self._desk.place_call(order.to, order.trunk, order.route, order.caller)
        log.info("api.call_placed", call=call_id, trunk=order.trunk, route=order.route)
        return as_json({"call": call_id}, 202)

    async def call(self, request: web.Request) -> web.Response:
        """`GET /api/calls/{id}`: the summary and its audio's statistics while it lives, and its events so far."""
        call_id = request.match_info["id"]
        events = self._desk.events(call_id)
        live = next((call for call in self._desk.live_calls() if call.id == call_id), None)
        media = await self._desk.stats(call_id) if live else {}
        return as_json({"call": live, "media": media, "events": events})

    async def hang_up(self, request: web.Request) -> web.Response:
        call_id = request.match_info["id"]
        self._desk.hang_up(call_id)
        log.info("api.hung_up", call=call_id)
        return as_json({"ended": True})

    async def transfer(self, request: web.Request) -> web.Response:
        """`POST /api/calls/{id}/transfer`: send the caller elsewhere; the call's events tell how it goes."""
        try:
            order = msgspec.json.decode(await request.read(), type=TransferOrder)
        except msgspec.DecodeError as error:
            raise PeerError(f"a transfer is ordered as {{to}}: {error}") from error
        call_id = request.match_info["id"]
        self._desk.transfer(call_id, order.to)
        log.info("api.transfer_ordered", call=call_id)
        return as_json({"call": call_id}, 202)

    async def recording(self, request: web.Request) -> web.StreamResponse:
        path = self._desk.recording(request.match_info["id"])
        if path is None or not await asyncio.to_thread(path.is_file):
            raise web.HTTPNotFound(text="this call has no recording (yet)")
        return web.FileResponse(path, headers={hdrs.CONTENT_TYPE: "audio/wav"})

    async def sessions(self, request: web.Request) -> web.Response:
        return as_json(await self._desk.sessions(_limit(request)))

    async def session(self, request: web.Request) -> web.Response:
        return as_json(await self._desk.session(request.match_info["id"]))

    async def trunks(self, request: web.Request) -> web.Response:
        """`GET /api/trunks`: which are registered, and which answer."""
        return as_json(self._desk.trunks())

    async def healthz(self, request: web.Request) -> web.Response:
        """Alive: the event loop turns."""
        return as_json({"alive": True})

    async def readyz(self, request: web.Request) -> web.Response:
        """Whether to send new calls here; a load balancer's question."""
        if self._desk.draining():
            return as_json({"ready": False, "why": "draining"}, 503)
        if not self._desk.ready():
            return as_json({"ready": False, "why": "not all rooms are open"}, 503)
        return as_json({"ready": True})

    async def metrics(self, request: web.Request) -> web.Response:
        return web.Response(
            text=self._metrics.render(self._desk.media_losses()), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE}
        )

    async def count(self) -> None:
        """Feed the metrics, until cancelled."""
        while True:
            async for event in self._desk.subscribe("*"):
                self._metrics.observe(event)
            log.warning("metrics.fell_behind")
            await asyncio.sleep(1.0)


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", "50")
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MAX_SESSIONS):
        raise PeerError(f"limit is a number from 1 to {MAX_SESSIONS}")
    return int(text)
