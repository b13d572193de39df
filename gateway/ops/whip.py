"""The browser's door: offer and answer by HTTP in the manner of WHIP (RFC 9725), and the call's events as a stream.

Unlike WHIP the media flows both ways, and candidates are not trickled: the answer is complete.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

from aiohttp import hdrs, web

from gateway.core.errors import CapacityError, PeerError
from gateway.core.events import AnyEvent
from gateway.ops.answers import as_json
from gateway.ops.ports import CallDesk
from gateway.webrtc.page import for_page

SDP = "application/sdp"
KEEP_ALIVE_S = 15.0
"""Proxies close a stream that stays silent for longer than a minute or so."""

_CALLER = re.compile(r"[A-Za-z0-9._~-]{1,64}")


class WhipDoor:
    def __init__(self, desk: CallDesk) -> None:
        self._desk = desk
        self._streams: set[asyncio.Task[None]] = set()

    async def call(self, request: web.Request) -> web.Response:
        """`POST /whip/{route}`: an offer in; 201, the call's own URL and the answer out."""
        if request.content_type != SDP:
            raise web.HTTPUnsupportedMediaType(text=f"send the offer as {SDP}", headers={"Accept-Post": SDP})
        if self._desk.draining():
            raise CapacityError("the gateway is shutting down", retry_after_s=30.0)
        offer = await _text(request)
        answer = await self._desk.browser_call(request.match_info["route"], offer, _caller(request))
        location = f"/whip/sessions/{answer.call_id}"
        return web.Response(status=201, text=answer.sdp, content_type=SDP, headers={hdrs.LOCATION: location})

    async def hang_up(self, request: web.Request) -> web.Response:
        """`DELETE /whip/sessions/{id}`."""
        if not await self._desk.browser_hangup(request.match_info["id"]):
            raise web.HTTPNotFound(text="no such call (any more)")
        return as_json({"ended": True})

    async def events(self, request: web.Request) -> web.StreamResponse:
        """`GET /calls/{id}/events`: what the data channel tells, as Server-Sent Events, from the call's start.

        For pages whose data channel does not open. Who knows the unguessable call id may listen. Events are numbered,
        so that a browser that reconnects (`Last-Event-ID`) goes on where it was.
        """
        call_id = request.match_info["id"]
        self._desk.events(call_id)  # raises for an unknown call, before a stream begins
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "text/event-stream", hdrs.CACHE_CONTROL: "no-store"})
        await response.prepare(request)
        stream = asyncio.create_task(self._stream(call_id, response, _first_unseen(request)))
        self._streams.add(stream)
        try:
            await stream
        except (ConnectionError, asyncio.CancelledError):
            # The browser went, or we are closing; both end the stream and nothing else.
            stream.cancel()
        finally:
            self._streams.discard(stream)
        return response

    async def close(self) -> None:
        for stream in self._streams:
            stream.cancel()

    async def _stream(self, call_id: str, response: web.StreamResponse, first: int) -> None:
        number = 0
        async for event in _with_pauses(self._desk.subscribe(call_id), KEEP_ALIVE_S):
            if event is None:
                await response.write(b": still here\n\n")
                continue
            message = for_page(event)
            if message is not None and number >= first:
                await response.write(b"id: %d\ndata: %s\n\n" % (number, message))
            number += 1
        await response.write(b"event: end\ndata: {}\n\n")


async def _with_pauses(events: AsyncIterator[AnyEvent], pause_s: float) -> AsyncIterator[AnyEvent | None]:
    """The same events, and None whenever none came for `pause_s`."""
    following: asyncio.Task[AnyEvent] | None = None
    try:
        while True:
            following = following or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait({following}, timeout=pause_s)
            if not done:
                yield None
                continue
            try:
                event = following.result()
            except StopAsyncIteration:
                return
            following = None
            yield event
    finally:
        if following is not None:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
                await following


async def _text(request: web.Request) -> str:
    try:
        return (await request.read()).decode()
    except UnicodeDecodeError:
        raise PeerError("the offer is not text in UTF-8") from None


def _caller(request: web.Request) -> str:
    """The page's own identity, kept in its storage. The prefix keeps it apart from every telephone number:
    no browser can claim one and take over the session of somebody who called from it."""
    given = request.headers.get("X-Caller") or request.query.get("caller", "")
    if not given:
        return ""
    if not _CALLER.fullmatch(given):
        raise PeerError("X-Caller takes up to 64 letters, digits and . _ ~ -")
    return f"web:{given}"


def _first_unseen(request: web.Request) -> int:
    last = request.headers.get("Last-Event-ID", "")
    return int(last) + 1 if last.isascii() and last.isdigit() and len(last) < 10 else 0
