"""Who may ask for what over HTTP: origins for the browser's door, a token or loopback for the operator's."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import hdrs, web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

UNSAFE = frozenset({hdrs.METH_POST, hdrs.METH_PUT, hdrs.METH_PATCH, hdrs.METH_DELETE})
FOR_PAGES = ("/whip/", "/calls/", "/api/routes")
PREFLIGHT = {
    hdrs.ACCESS_CONTROL_ALLOW_METHODS: "POST, DELETE, GET, OPTIONS",
    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "Content-Type, X-Caller, Authorization, Last-Event-ID",
    hdrs.ACCESS_CONTROL_MAX_AGE: "600",
}


class Origins:
    """Which pages may use the browser's door: those we serve, and those of the `allowed` origins (`*`: all)."""

    def __init__(self, allowed: tuple[str, ...] = ()) -> None:
        self._allowed = frozenset(origin.rstrip("/").lower() for origin in allowed)

    def permits(self, request: web.Request) -> bool:
        """True without an Origin header: that is no browser, or a page of ours asking for something harmless."""
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None or "*" in self._allowed or origin.lower() in self._allowed:
            return True
        # Host alone is compared: behind a proxy that ends TLS we do not know the scheme the browser used.
        return urlsplit(origin).netloc.lower() == request.host.lower() != ""

    @web.middleware
    async def refuse_foreign_pages(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """A page elsewhere must not act through the browser of somebody who can reach us."""
        if request.method in UNSAFE and not self.permits(request):
            raise web.HTTPForbidden(text="this origin is not allowed here; the operator can add it to http.origins")
        return await handler(request)

    async def mark(self, request: web.Request, response: web.StreamResponse) -> None:
        """Let an allowed page elsewhere read the answer."""
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and request.path.startswith(FOR_PAGES) and self.permits(request):
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = "Location"
            response.headers.add(hdrs.VARY, hdrs.ORIGIN)

    async def preflight(self, request: web.Request) -> web.Response:
        if not self.permits(request):
            raise web.HTTPForbidden(text="this origin is not allowed here")
        return web.Response(status=204, headers=PREFLIGHT)


class Operators:
    """Who may read and end calls: whoever has the token; without one configured, this machine alone."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def only(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            self._check(request)
            return await handler(request)

        return guarded

    def _check(self, request: web.Request) -> None:
        if self._token is not None:
            given = request.headers.get(hdrs.AUTHORIZATION, "")
            if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
                raise web.HTTPUnauthorized(
                    text="this needs the operator's token: Authorization: Bearer ...",
                    headers={hdrs.WWW_AUTHENTICATE: "Bearer"},
                )
        elif not is_local(request):
            raise web.HTTPForbidden(text="without a configured http.token this answers requests from this machine only")


def is_local(request: web.Request) -> bool:
    """From this machine, by a browser that knows it: not through a proxy, and not by DNS rebinding.

    A page elsewhere can make its own name resolve to 127.0.0.1; the Host header then holds that name. A proxy on
    this machine makes all the world look local; it adds a forwarding header, or passes on the public name.
    """
    if not _is_loopback(request.remote or "") or any(name in request.headers for name in _FORWARDED):
        return False
    host = urlsplit(f"//{request.host}").hostname or ""
    return host == "localhost" or _is_loopback(host)


_FORWARDED = (hdrs.FORWARDED, hdrs.X_FORWARDED_FOR)


def _is_loopback(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback
