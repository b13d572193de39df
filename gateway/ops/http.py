"""The HTTP server: the page, the browser's door, the API, health and metrics, behind their guards."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from dataclasses import dataclass
from pathlib import Path

import structlog
from aiohttp import hdrs, web

from gateway.core.errors import ConfigError
from gateway.ops.answers import speak_json
from gateway.ops.api import Api
from gateway.ops.guard import Operators, Origins
from gateway.ops.ports import CallDesk
from gateway.ops.whip import WhipDoor
from gateway.webrtc.sdp import MAX_OFFER_BYTES

log = structlog.get_logger()

STATIC = Path(__file__).parent / "static"
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "Permissions-Policy": "microphone=(self)",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True, kw_only=True)
class HttpOptions:
    """Who may use the HTTP server."""

    token: str | None = None
    """The operator's token for `/api` and `/metrics`. Without one they answer this machine only."""
    origins: tuple[str, ...] = ()
    """Pages elsewhere that may call by browser, as `https://example.org`; `*` for all. Our own page always may."""


class HttpOffice:
    def __init__(self, desk: CallDesk, options: HttpOptions | None = None) -> None:
        options = options or HttpOptions()
        self._origins = Origins(tuple(options.origins))
        self._operators = Operators(options.token)
        self._whip, self._api = WhipDoor(desk), Api(desk)
        self._runner: web.AppRunner | None = None
        self._counting: asyncio.Task[None] | None = None
        self.port = 0

    def application(self) -> web.Application:
        app = web.Application(
            middlewares=[speak_json, self._origins.refuse_foreign_pages], client_max_size=MAX_OFFER_BYTES
        )
        whip, api, operators = self._whip, self._api, self._operators.only
        app.add_routes(
            [
                web.get("/", _page),
                web.static("/static", STATIC),
                web.post("/whip/{route}", whip.call),
                web.options("/whip/{route}", self._origins.preflight),
                web.delete("/whip/sessions/{id}", whip.hang_up),
                web.options("/whip/sessions/{id}", self._origins.preflight),
                web.get("/calls/{id}/events", whip.events),
                web.get("/api/routes", api.routes),
                web.get("/api/calls", operators(api.calls)),
                web.post("/api/calls", operators(api.place_call)),
                web.get("/api/calls/{id}", operators(api.call)),
                web.post("/api/calls/{id}/hangup", operators(api.hang_up)),
                web.post("/api/calls/{id}/transfer", operators(api.transfer)),
                web.get("/api/calls/{id}/recording", operators(api.recording)),
                web.get("/api/sessions", operators(api.sessions)),
                web.get("/api/sessions/{id}", operators(api.session)),
                web.get("/api/trunks", operators(api.trunks)),
                web.get("/healthz", api.healthz),
                web.get("/readyz", api.readyz),
                web.get("/metrics", operators(api.metrics)),
            ]
        )
        app.on_response_prepare.append(self._origins.mark)
        app.on_response_prepare.append(_add_page_headers)
        app.on_shutdown.append(lambda _: self._whip.close())
        return app

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 takes any free one, `self.port` tells which. Raises `ConfigError` when it cannot."""
        self._runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=2.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self.close()
            raise ConfigError(_why_not(error, host, port)) from error
        self.port = self._runner.addresses[0][1]
        self._counting = asyncio.create_task(self._api.count())
        log.info("http.listening", host=host, port=self.port)

    async def close(self) -> None:
        """Stop listening and end event streams. Safe at any time, also twice."""
        if self._counting is not None:
            self._counting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._counting
            self._counting = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None


async def _page(request: web.Request) -> web.FileResponse:
    return web.FileResponse(STATIC / "index.html")


async def _add_page_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(PAGE_HEADERS)
    # A gateway that is updated must not be used through yesterday's script; unchanged files cost a 304.
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-cache" if request.path.startswith("/static") else "no-store")


def _why_not(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"HTTP port {port} on {host} is in use; stop what uses it, or choose another with --http-port"
        case errno.EACCES:
            return f"HTTP port {port} needs privileges; choose one above 1023 with --http-port"
        case errno.EADDRNOTAVAIL:
            return f"{host} is no address of this machine; choose one of its own, or 0.0.0.0, with --bind"
    return f"cannot listen for HTTP on {host}:{port}: {error}"
