"""Work that an engine does for a caller: requests in, replies out, the same in another process and in this one.

An engine is a module with `Request` and `Reply` (unions of msgspec Structs) and `create(options)` that gives its
`Engine`. Nothing in it knows where it runs: `processes.ProcessJobs` runs it in worker processes, `InlineJobs` at once
in this one, which has no threads and no waiting, as a replay under a virtual clock needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, Protocol

from gateway.core.errors import ConfigError, MisuseError, ProviderError


class Engine(Protocol):
    """Several jobs go on at a time, told apart by a number; calls come one after another."""

    def handle(self, job: int, request: Any) -> Iterable[Any]:
        """Do the next piece of work of a job. What it raises fails the job, and only that."""
        ...

    def end(self, job: int) -> None:
        """Forget the job; also for one that never asked for anything."""
        ...


class Job(Protocol):
    """One caller's use of an engine."""

    def send(self, request: object) -> None:
        """Hand over work; never blocks and never fails: failures come out of `receive`."""
        ...

    async def receive(self, *, within_s: float | None = None) -> Any:
        """The next reply. Raises `ProviderError` when the job failed, or when no reply came in time."""
        ...

    def end(self) -> None:
        """No more of it is wanted. Safe to call twice, and needed once."""
        ...


class Jobs(Protocol):
    async def begin(self) -> Job: ...

    async def warm(self) -> None:
        """Start what the first job would have to wait for."""
        ...

    async def close(self) -> None:
        """Fail the jobs that are left, and stop. Safe to call twice."""
        ...


class InlineJobs:
    """Runs the engine within `send`. For replay, tests and one call at a time; a live gateway would stutter."""

    def __init__(self, module: str, options: Mapping[str, Any]) -> None:
        self._module, self._options = module, dict(options)
        self._engine: Engine | None = None
        self._begun = 0
        self._closed = False

    async def begin(self) -> Job:
        if self._closed:
            raise MisuseError("this provider is closed")
        if self._engine is None:
            self._engine = create_engine(self._module, self._options)
        self._begun += 1
        return _InlineJob(self._engine, self._begun)

    async def warm(self) -> None:
        (await self.begin()).end()

    async def close(self) -> None:
        self._closed, self._engine = True, None


class _InlineJob:
    def __init__(self, engine: Engine, number: int) -> None:
        self._engine, self._number = engine, number
        self._replies = Replies()
        self._ended = False

    def send(self, request: object) -> None:
        if self._ended:
            return
        try:
            for reply in self._engine.handle(self._number, request):
                self._replies.put(reply)
        except Exception as error:
            self._replies.put(as_provider_error(error))

    async def receive(self, *, within_s: float | None = None) -> Any:
        return await self._replies.get(within_s)

    def end(self) -> None:
        if not self._ended:
            self._ended = True
            self._engine.end(self._number)
            self._replies.put(ended_error())


class Replies:
    """A job's replies in order. The first error among them stays: it is all that comes from then on."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self._failed = False

    def put(self, reply: Any) -> None:
        if not self._failed:
            self._failed = isinstance(reply, ProviderError)
            self._queue.put_nowait(reply)

    async def get(self, within_s: float | None) -> Any:
        try:
            async with asyncio.timeout(within_s):
                reply = await self._queue.get()
        except TimeoutError:
            raise ProviderError(f"no answer within {within_s} s", category="timeout", retryable=True) from None
        if isinstance(reply, ProviderError):
            self._queue.put_nowait(reply)
            raise reply
        return reply


def create_engine(module: str, options: dict[str, Any]) -> Engine:
    """Raises `ProviderError` for whatever the engine cannot do without (a library, a model)."""
    try:
        engine: Engine = import_module(module).create(options)
    except Exception as error:
        raise as_provider_error(error) from error
    return engine


def as_provider_error(error: Exception) -> ProviderError:
    if isinstance(error, ProviderError):
        return error
    if isinstance(error, ConfigError):
        return ProviderError(str(error), category="bad_request", retryable=False)
    return ProviderError(f"{type(error).__name__}: {error}", category="internal", retryable=False)


def ended_error() -> ProviderError:
    return ProviderError("the job was ended", category="internal", retryable=False)
