"""A small pool of worker processes that share the jobs of one engine. Engines in C hold the interpreter's lock, and
some can crash: neither is felt here.

Processes start when jobs need them, one more for each job until there are enough, and again after a death. A dead
process fails its jobs with a `ProviderError` that may be retried. No worker outlives the gateway, however it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

import msgspec
import structlog

from gateway.core.errors import MisuseError, ProviderError
from gateway.providers.frames import LENGTH, Do, End, Failed, Ready, ToWorker, frame, from_worker, raw
from gateway.providers.jobs import Job, Replies, as_provider_error, ended_error

log = structlog.get_logger()

START_WITHIN_S: Final = 20.0
STOP_WITHIN_S: Final = 2.0


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ProcessJobs:
    """Implements `Jobs`. Belongs to the event loop in which it is first used. `processes` 0 means one per core."""

    def __init__(self, module: str, options: Mapping[str, Any], *, processes: int = 0) -> None:
        self._module, self._options = module, dict(options)
        self._size = processes or cores()
        self._workers: list[_Worker] = []
        self._closed = False

    async def begin(self) -> Job:
        if self._closed:
            raise MisuseError("this provider is closed")
        worker = self._least_busy()
        job = worker.begin()
        try:
            await worker.started()
        except BaseException:
            job.end()
            raise
        return job

    def _least_busy(self) -> _Worker:
        self._workers = [worker for worker in self._workers if not worker.over]
        alive = [worker for worker in self._workers if worker.alive]
        idle = min(alive, key=lambda worker: worker.load, default=None)
        if idle is not None and (idle.load == 0 or len(alive) >= self._size):
            return idle
        self._workers.append(_Worker(self._module, self._options))
        return self._workers[-1]

    async def warm(self) -> None:
        alive = [worker for worker in self._workers if worker.alive]
        started = [_Worker(self._module, self._options) for _ in range(self._size - len(alive))]
        self._workers += started
        await asyncio.gather(*(worker.started() for worker in (*alive, *started)))

    async def close(self) -> None:
        self._closed = True
        workers, self._workers = self._workers, []
        await asyncio.gather(*(worker.close() for worker in workers))


class _Worker:
    """One process from start to end, and the jobs it has."""

    def __init__(self, module: str, options: Mapping[str, Any]) -> None:
        self._module, self._options = module, options
        self._reply = msgspec.msgpack.Decoder(import_module(module).Reply)
        self._numbers = itertools.count(1)
        self._jobs: dict[int, Replies] = {}
        self._process: Process | None = None
        self._waiting: list[bytes] = []
        self.alive = True
        self._running = asyncio.create_task(self._run())
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ready.add_done_callback(lambda ready: ready.cancelled() or ready.exception())

    @property
    def load(self) -> int:
        return len(self._jobs)

    @property
    def over(self) -> bool:
        """The process is gone, and waited for."""
        return self._running.done()

    def begin(self) -> Job:
        number = next(self._numbers)
        self._jobs[number] = Replies()
        return _ProcessJob(self, number, self._jobs[number])

    async def started(self) -> None:
        """Returns when the engine is loaded; raises what kept it from that."""
        await asyncio.shield(self._ready)

    def send(self, message: ToWorker) -> None:
        if self._process is None:
            self._waiting.append(frame(message))
        elif self.alive and self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(frame(message))

    def end(self, number: int) -> None:
        if self._jobs.pop(number, None) is not None:
            self.send(End(number))

    def kill(self) -> None:
        """It hangs. Its jobs fail as its output ends."""
        self.alive = False
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def close(self) -> None:
        self.alive = False
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_WITHIN_S):
                await asyncio.shield(self._running)
        except TimeoutError:
            self.kill()
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        error: ProviderError | None = None
        try:
            await self._start()
            async with asyncio.timeout(START_WITHIN_S) as until:
                error = await self._listen(until)
        except TimeoutError:
            error = ProviderError("the worker process did not start in time", category="timeout", retryable=True)
            self.kill()
        except OSError as trouble:
            error = ProviderError(f"no worker process: {trouble}", category="unavailable", retryable=True)
        finally:
            await self._over(error or ProviderError("the worker process died", category="internal", retryable=True))

    async def _start(self) -> None:
        # A session of its own: Ctrl-C in a terminal goes to the whole foreground group, and is meant for the gateway.
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway.providers.worker", self._module, json.dumps(self._options),
            stdin=PIPE, stdout=PIPE, stderr=None if sys.stderr else DEVNULL, start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.writelines(self._waiting)
        self._process = process
        self._waiting.clear()
        if not self.alive:
            process.stdin.close()

    async def _listen(self, until: asyncio.Timeout) -> ProviderError | None:
        """Pass replies on until the output ends. The error, if it was the engine's own word."""
        assert self._process is not None
        assert self._process.stdout is not None
        output = self._process.stdout
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                (length,) = LENGTH.unpack(await output.readexactly(LENGTH.size))
                match from_worker.decode(await output.readexactly(length)):
                    case Ready():
                        until.reschedule(None)
                        self._ready.set_result(None)
                    case Failed(job, message, category, retryable):
                        error = ProviderError(message, category=category, retryable=retryable)
                        if job == 0:
                            return error
                        self._pass_on(job, error)
                    case reply:
                        self._pass_on(reply.job, self._reply.decode(reply.reply))
        return None

    def _pass_on(self, job: int, reply: Any) -> None:
        if job in self._jobs:
            self._jobs[job].put(reply)

    async def _over(self, error: ProviderError) -> None:
        expected = not self.alive
        self.alive = False
        if not self._ready.done():
            self._ready.set_exception(error)
        for replies in self._jobs.values():
            replies.put(error)
        self._jobs.clear()
        if self._process is not None:
            self.kill()
            status = await self._process.wait()
            if not expected:
                log.warning("provider.worker_died", engine=self._module, status=status, reason=str(error))


class _ProcessJob:
    def __init__(self, worker: _Worker, number: int, replies: Replies) -> None:
        self._worker, self._number, self._replies = worker, number, replies
        self._ended = False

    def send(self, request: object) -> None:
        if self._ended:
            return
        try:
            self._worker.send(Do(self._number, raw(request)))
        except (TypeError, ValueError) as error:  # something in it cannot be packed
            self._replies.put(as_provider_error(error))

    async def receive(self, *, within_s: float | None = None) -> Any:
        try:
            return await self._replies.get(within_s)
        except ProviderError as error:
            if error.category == "timeout":
                self._worker.kill()
            raise

    def end(self) -> None:
        if not self._ended:
            self._ended = True
            self._worker.end(self._number)
            self._replies.put(ended_error())
