"""How results and errors look over HTTP: JSON, with the status that says who is at fault."""

from __future__ import annotations

import math
import time
from typing import Any

import msgspec
import structlog
from aiohttp import hdrs, web

from gateway.core.errors import CapacityError, GatewayError, PeerError, SessionError, StoreError
from gateway.ops.guard import Handler

log = structlog.get_logger()

SIP_TO_HTTP = {480: 503, 486: 503, 488: 406, 503: 503, 600: 503, 603: 403, 606: 406}
"""What the dialplan or the offer was refused with, where HTTP has no such status or another meaning for it."""


def as_json(value: Any, status: int = 200) -> web.Response:
    """Any value msgspec can encode, structs above all."""
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def refusal(message: str, status: int, headers: dict[str, str] | None = None) -> web.Response:
    response = as_json({"error": message}, status)
    response.headers.update(headers or {})
    return response


@web.middleware
async def speak_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error leaves as `{"error": "..."}`; the unexpected ones as a bare 500, with the trace in our log."""
    began = time.monotonic()
    try:
        response = await handler(request)
    except web.HTTPException as error:
        kept = {k: v for k, v in error.headers.items() if k not in (hdrs.CONTENT_TYPE, hdrs.CONTENT_LENGTH)}
        response = refusal(error.text or error.reason, error.status, kept)
    except GatewayError as error:
        response = _answer_to(error)
    except Exception:
        log.exception("http.failed", method=request.method, route=_route(request))
        response = refusal("something went wrong on our side; the log has it", 500)
    # The route, not the path: paths and queries hold call ids and callers.
    log.debug(
        "http.answered",
        method=request.method,
        route=_route(request),
        status=response.status,
        took_ms=round((time.monotonic() - began) * 1000, 1),
    )
    return response


def _answer_to(error: GatewayError) -> web.Response:
    match error:
        case PeerError(status_hint=hint):
            return refusal(str(error), _http_status(hint))
        case CapacityError(retry_after_s=seconds):
            return refusal(str(error), 503, {hdrs.RETRY_AFTER: str(math.ceil(seconds))})
        case SessionError(code="session_not_found"):
            return refusal(str(error), 404)
        case StoreError() | SessionError(retryable=True):
            return refusal(str(error), 503, {hdrs.RETRY_AFTER: "5"})
    log.error("http.failed", error=repr(error))
    return refusal("something went wrong on our side; the log has it", 500)


def _http_status(hint: int) -> int:
    status = SIP_TO_HTTP.get(hint, hint)
    return status if 400 <= status < 600 else 400


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "-"
