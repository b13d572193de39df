"""Worker processes: they answer, they may die, and they never stay behind."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import provider_engine
import pytest
from provider_engine import Reply, Request

from gateway.core.errors import MisuseError, ProviderError
from gateway.providers.jobs import InlineJobs, Job, Jobs
from gateway.providers.processes import ProcessJobs

ENGINE = "provider_engine"
SUPPORT = str(Path(provider_engine.__file__).parent)


@pytest.fixture(autouse=True)
def _workers_find_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", SUPPORT)


@asynccontextmanager
async def processes(size: int = 1, **options: Any) -> AsyncIterator[ProcessJobs]:
    jobs = ProcessJobs(ENGINE, options, processes=size)
    try:
        yield jobs
    finally:
        await jobs.close()


def inline() -> Jobs:
    return InlineJobs(ENGINE, {})


async def ask(job: Job, do: str = "say", argument: str = "", *, within_s: float = 10.0) -> Reply:
    job.send(Request(do, argument))
    reply: Reply = await job.receive(within_s=within_s)
    return reply


async def failure(job: Job, do: str, *, within_s: float = 10.0) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await ask(job, do, within_s=within_s)
    return caught.value


def gone(pid: int, within_s: float = 10.0) -> bool:
    """Whether the process ends in time, or has ended."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watched], [], [], within_s)[0])
    finally:
        os.close(watched)


async def test_jobs_go_side_by_side_and_keep_apart() -> None:
    """Each job gets its own replies in the order of its requests, though all share a process."""
    async with processes() as jobs:
        one, other = await jobs.begin(), await jobs.begin()
        for word in ("a", "b"):
            one.send(Request("say", word))
            other.send(Request("say", word.upper()))
        assert [(await one.receive()).said, (await one.receive()).said] == ["a", "a b"]
        assert [(await other.receive()).said, (await other.receive()).said] == ["A", "A B"]


async def test_no_more_processes_than_allowed_and_none_before_needed() -> None:
    """One process for each busy job up to the size; then they share."""
    async with processes(2) as jobs:
        first = await jobs.begin()
        alone = {(await ask(first)).pid}
        begun = [first, *[await jobs.begin() for _ in range(4)]]
        shared = {(await ask(job)).pid for job in begun}
    assert len(alone) == 1
    assert len(shared) == 2


@pytest.mark.parametrize("death", ["crash", "leave"])
async def test_a_crash_fails_its_jobs_and_the_next_one_gets_a_new_process(death: str) -> None:
    """Whatever a C library does to its process, the caller sees a `ProviderError` that is worth a retry."""
    async with processes() as jobs:
        victim, bystander = await jobs.begin(), await jobs.begin()
        before = (await ask(bystander)).pid
        error = await failure(victim, death)
        with pytest.raises(ProviderError):
            await bystander.receive(within_s=10)
        after = (await ask(await jobs.begin())).pid
    assert (error.category, error.retryable) == ("internal", True)
    assert before != after


async def test_a_hanging_process_is_killed() -> None:
    """No answer in time is a time-out, and the process that owes it is replaced."""
    async with processes() as jobs:
        job = await jobs.begin()
        pid = (await ask(job)).pid
        error = await failure(job, "hang", within_s=0.2)
        assert await asyncio.to_thread(gone, pid)
        assert (await ask(await jobs.begin())).pid != pid
    assert (error.category, error.retryable) == ("timeout", True)


@pytest.mark.parametrize("where", [inline, lambda: ProcessJobs(ENGINE, {}, processes=1)], ids=["inline", "process"])
async def test_an_error_fails_one_job_only(where: Callable[[], Jobs]) -> None:
    """What the engine raises comes out of `receive`, of this job, from then on; the same in both places."""
    jobs = where()
    job, bystander = await jobs.begin(), await jobs.begin()
    error = await failure(job, "refuse")
    assert (str(error), error.category, error.retryable) == ("not today", "quota", True)
    assert "ZeroDivisionError: by nothing" in str(await failure(await jobs.begin(), "raise"))
    with pytest.raises(ProviderError, match="not today"):
        await job.receive(within_s=1)
    assert (await ask(bystander, "say", "x")).said == "x"
    bystander.end()
    bystander.end()
    with pytest.raises(ProviderError):
        await bystander.receive(within_s=1)
    await jobs.close()
    await jobs.close()
    with pytest.raises(MisuseError):
        await jobs.begin()


@pytest.mark.parametrize(
    "where", [lambda: InlineJobs(ENGINE, {"missing": True}), lambda: ProcessJobs(ENGINE, {"missing": True})]
)
async def test_an_engine_that_cannot_load_says_why(where: Callable[[], Jobs]) -> None:
    """The engine's own words, with the remedy, at the first job and at every one after."""
    jobs = where()
    for _ in range(2):
        with pytest.raises(ProviderError, match="remedy: install it") as caught:
            await jobs.begin()
        assert (caught.value.category, caught.value.retryable) == ("unavailable", False)
    await jobs.close()


async def test_what_a_library_prints_does_not_disturb_the_replies() -> None:
    """Standard output belongs to the frames; prints, of Python and of C, go elsewhere."""
    async with processes() as jobs:
        job = await jobs.begin()
        assert (await ask(job, "print", "a")).said == "a"
        assert (await ask(job, "print", "b")).said == "a b"


async def test_a_request_that_cannot_be_packed_fails_its_job() -> None:
    """`send` never raises: the mistake comes out where replies do."""
    async with processes() as jobs:
        job = await jobs.begin()
        with pytest.raises(ProviderError, match="surrogates"):
            await ask(job, "say", "\ud83d")


async def test_signals_for_the_gateway_leave_the_workers_working() -> None:
    """A gateway that drains after SIGTERM or Ctrl-C still needs its recogniser."""
    async with processes() as jobs:
        job = await jobs.begin()
        pid = (await ask(job)).pid
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
        assert (await ask(job)).pid == pid
        assert os.getsid(pid) != os.getsid(0)


async def test_close_leaves_nothing_running() -> None:
    """Also when a worker is in the middle of something and does not look at its input."""
    async with processes(2) as jobs:
        idle, busy = await jobs.begin(), await jobs.begin()
        pids = [(await ask(idle)).pid, (await ask(busy)).pid]
        busy.send(Request("hang"))
        await jobs.close()
        assert [await asyncio.to_thread(gone, pid, 0) for pid in pids] == [True, True]
        with pytest.raises(ProviderError):
            await busy.receive(within_s=1)


@pytest.mark.parametrize("meanwhile", ["say", "hang"])
def test_no_worker_outlives_a_killed_gateway(meanwhile: str) -> None:
    """kill -9 of the parent takes the workers along, idle or busy."""
    script = f"""
import asyncio
from provider_engine import Request
from gateway.providers.processes import ProcessJobs

async def main():
    jobs = ProcessJobs({ENGINE!r}, {{}}, processes=1)
    job = await jobs.begin()
    job.send(Request("say"))
    print((await job.receive()).pid, flush=True)
    job.send(Request({meanwhile!r}))
    await asyncio.Event().wait()

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
    assert gone(worker)
