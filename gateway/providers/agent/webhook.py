"""`kind: webhook`: your own program answers each turn, over HTTP, in any language.

The gateway POSTs JSON (`Question` below) and takes acts back, either as one JSON object `{"acts": [...]}` or one act
a line as `application/x-ndjson`, each spoken as it arrives. Acts are those of `gateway.session.ports`, by `type`:

    {"type": "Say", "text": "Which day?"}
    {"type": "Expect", "expectation": {"phrases": ["monday", "tuesday"], "digits_max": 1, "timeout_s": 8}}
    {"type": "Remember", "state": {"asked": "day"}}
    {"type": "Finish", "outcome": "booked", "data": {"day": "monday"}}

When the caller interrupts, the request is dropped. State that was asked to be remembered comes back as `state`, on a
call back after a dropped line too; nothing else needs to be kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import aiohttp
import msgspec
from msgspec import Meta

from gateway.core.errors import ProviderCategory, ProviderError
from gateway.session.ports import AgentAct, Context, Message, Prompted

NDJSON: Final = "application/x-ndjson"
MAX_LINE_BYTES: Final = 1_000_000


class Options(msgspec.Struct, frozen=True):
    url: Annotated[str, Meta(pattern="^https?://")] = "http://127.0.0.1:9000/turn"
    """Where your program listens."""
    authorization: str = ""
    """Sent as the header of this name, as in `Bearer s3cret`; none when empty."""
    connect_within_s: Annotated[float, Meta(gt=0)] = 3.0
    reply_within_s: Annotated[float, Meta(gt=0)] = 10.0
    """How long it may say nothing at all before the turn fails."""


class Question(msgspec.Struct, frozen=True):
    """What is POSTed. `turn` is `Opened`, `CallerSaid` or `CallerSilent` of the ports, with its `type`."""

    call: str
    caller: str
    called: str
    turn: Prompted
    history: list[Message]
    state: dict[str, Any]
    variables: dict[str, str]
    options: dict[str, Any]


class Answer(msgspec.Struct, frozen=True):
    acts: list[AgentAct]


_answer: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)
_act: msgspec.json.Decoder[AgentAct] = msgspec.json.Decoder(AgentAct)


class WebhookAgent:
    """Implements `Agent`. Keeps its connections open between turns."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._session: aiohttp.ClientSession | None = None

    async def respond(self, prompted: Prompted, context: Context) -> AsyncIterator[AgentAct]:
        question = Question(
            context.call, context.caller, context.called, prompted, context.history, context.state, context.variables,
            context.options,
        )  # fmt: skip
        try:
            async with self._http().post(self._options.url, data=msgspec.json.encode(question)) as response:
                _refuse(response.status)
                if response.content_type != NDJSON:
                    for act in _answer.decode(await response.read()).acts:
                        yield act
                    return
                async for line in response.content:
                    if line.strip():
                        yield _act.decode(line)
        except msgspec.DecodeError as error:
            message = f"the webhook's answer is no list of acts: {error}"
            raise ProviderError(message, category="bad_request", retryable=False) from error
        except TimeoutError as error:
            raise ProviderError("the webhook did not answer in time", category="timeout", retryable=True) from error
        except (aiohttp.ClientError, ValueError) as error:
            raise ProviderError(f"webhook: {error}", category="network", retryable=True) from error

    def _http(self) -> aiohttp.ClientSession:
        """Made within the loop that uses it."""
        if self._session is None:
            options = self._options
            headers = {"Content-Type": "application/json", "Accept": f"application/json, {NDJSON}"}
            if options.authorization:
                headers["Authorization"] = options.authorization
            self._session = aiohttp.ClientSession(
                headers=headers,
                timeout=aiohttp.ClientTimeout(
                    total=None, connect=options.connect_within_s, sock_read=options.reply_within_s
                ),
                read_bufsize=MAX_LINE_BYTES,
            )
        return self._session

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _refuse(status: int) -> None:
    """An HTTP status as the fault it stands for. A 5xx or a 429 may pass; the others will not."""
    if status < 300:
        return
    category: ProviderCategory = "unavailable" if status >= 500 else "bad_request"
    category = _CATEGORIES.get(status, category)
    retryable = category in ("quota", "timeout", "unavailable")
    raise ProviderError(f"the webhook answered {status}", category=category, retryable=retryable)


_CATEGORIES: Final[dict[int, ProviderCategory]] = {
    401: "auth", 403: "auth", 407: "auth", 408: "timeout", 429: "quota", 504: "timeout",
}  # fmt: skip


def build(options: Options) -> WebhookAgent:
    return WebhookAgent(options)
