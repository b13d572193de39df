from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from gateway.ops.http import HttpOffice, HttpOptions
from gateway.ops.parrot import ParrotDesk

GUARDED = ["/api/calls", "/api/sessions", "/metrics"]


class Door:
    """Asks one office, and returns statuses and headers."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session, self.port = session, port

    async def __call__(self, method: str, path: str, **headers: str) -> aiohttp.ClientResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self._session.request(method, url, headers=named) as response:
            await response.read()
            return response


@pytest.fixture
async def door(request: Any) -> AsyncIterator[Door]:
    desk = ParrotDesk()
    office = HttpOffice(desk, HttpOptions(**getattr(request, "param", {})))
    await office.start("127.0.0.1", 0)
    async with aiohttp.ClientSession() as session:
        yield Door(session, office.port)
    await office.close()
    await desk.close()


@pytest.mark.parametrize("path", GUARDED)
async def test_without_a_token_only_this_machine_is_answered(door: Door, path: str) -> None:
    """A proxy on this machine, or a foreign page that points its own name at 127.0.0.1, is not this machine."""
    assert (await door("GET", path)).status == 200
    assert (await door("GET", path, Host=f"localhost:{door.port}")).status == 200
    assert (await door("GET", path, Host="rebound.example:80")).status == 403
    assert (await door("GET", path, X_Forwarded_For="203.0.113.9")).status == 403
    assert (await door("GET", path, Forwarded="for=203.0.113.9")).status == 403


@pytest.mark.parametrize("door", [{"token": "s3cret"}], indirect=True)
@pytest.mark.parametrize("path", GUARDED)
async def test_with_a_token_it_is_needed_from_everywhere(door: Door, path: str) -> None:
    """Being local is no substitute, and the answer says how to send it."""
    refused = await door("GET", path)
    assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert (await door("GET", path, Authorization="Bearer wrong")).status == 401
    assert (await door("GET", path, Authorization="Bearer s3cret", Host="gateway.example")).status == 200


@pytest.mark.parametrize("door", [{"token": "s3cret"}], indirect=True)
async def test_the_page_and_health_need_no_token(door: Door) -> None:
    """Browsers and load balancers have none."""
    for path in ("/", "/api/routes", "/healthz", "/readyz", "/static/app.js"):
        assert (await door("GET", path)).status == 200, path


async def test_a_page_elsewhere_cannot_act(door: Door) -> None:
    """By default only our own page may call or end calls; `null` (a sandboxed frame, a file) is elsewhere too."""
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        assert (await door("DELETE", "/whip/sessions/x", Origin=origin)).status == 403
        assert (await door("POST", "/api/calls/x/hangup", Origin=origin)).status == 403
        assert (await door("OPTIONS", "/whip/parrot", Origin=origin)).status == 403
    ours = f"http://127.0.0.1:{door.port}"
    assert (await door("DELETE", "/whip/sessions/x", Origin=ours)).status == 404


@pytest.mark.parametrize("door", [{"origins": ("https://shop.example/",)}], indirect=True)
async def test_an_allowed_page_elsewhere_can_call_but_not_operate(door: Door) -> None:
    """CORS answers for the browser's door alone: the preflight passes, errors are readable, the API stays shut."""
    shop = "https://shop.example"
    preflight = await door("OPTIONS", "/whip/parrot", Origin=shop)
    assert preflight.status == 204
    assert preflight.headers["Access-Control-Allow-Origin"] == shop
    assert "X-Caller" in preflight.headers["Access-Control-Allow-Headers"]
    answer = await door("DELETE", "/whip/sessions/x", Origin=shop)
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (404, shop)
    assert answer.headers["Access-Control-Expose-Headers"] == "Location"
    assert "Access-Control-Allow-Origin" not in (await door("GET", "/api/calls", Origin=shop)).headers


async def test_the_page_may_run_only_what_we_serve(door: Door) -> None:
    """No foreign script, style, frame or connection; a new version of the gateway is not masked by a cache."""
    page = await door("GET", "/")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert (await door("GET", "/static/app.js")).headers["Cache-Control"] == "no-cache"
    assert (await door("GET", "/static/../http.py")).status == 404
    assert (await door("GET", "/static/%2e%2e/http.py")).status == 404
