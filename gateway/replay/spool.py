"""Files written behind the event loop's back, so that a slow or full disk never holds a call up."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

Failed = Callable[[str], None]
"""Told once a job failed, with what and why. Called on the writing thread."""
Job = Callable[[], None]

MAX_WAITING = 20_000
"""Jobs that may wait for a disk that hangs before further ones are refused."""


PATIENCE_S = 1.0
"""How long the event loop may wait for the disk, once, before this counts as hanging. A busy machine may well take a
tenth of it to begin a thread, and a call that is not recorded for nothing is worse than answers a second late."""

TOO_SLOW = "the disk is too slow"


class Spool(Protocol):
    """Does jobs in the order they came. A job that raises `OSError` is told to its `failed`, and costs nothing else."""

    def put(self, job: Job, failed: Failed) -> None: ...

    def at_once(self, job: Job) -> str | None:
        """Return when this is done, before everything that waits; or why it is not."""
        ...

    def close(self) -> None:
        """Return when all jobs are done."""
        ...


class InlineSpool:
    """At once, on the caller's thread: for replays, which have time and must repeat exactly."""

    def put(self, job: Job, failed: Failed) -> None:
        _do(job, failed)

    def at_once(self, job: Job) -> str | None:
        return _reason(job)

    def close(self) -> None:
        pass


class ThreadSpool:
    """One thread for all bundles of a process. It starts with its first job."""

    def __init__(self, *, max_waiting: int = MAX_WAITING, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._urgent: threading.Thread | None = None
        self._jobs: queue.Queue[tuple[Job, Failed] | None] = queue.Queue(max_waiting)
        self._thread: threading.Thread | None = None

    def put(self, job: Job, failed: Failed) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="bundles", daemon=True)
            self._thread.start()
        try:
            self._jobs.put_nowait((job, failed))
        except queue.Full:
            failed(TOO_SLOW)

    def at_once(self, job: Job) -> str | None:
        """Nobody waits for a disk that was found to hang, until it has done what it was asked then."""
        if self._urgent is not None and self._urgent.is_alive():
            return TOO_SLOW
        reasons: list[str | None] = []
        self._urgent = threading.Thread(target=lambda: reasons.append(_reason(job)), name="bundle", daemon=True)
        self._urgent.start()
        self._urgent.join(self._patience_s)
        return reasons[0] if reasons else TOO_SLOW

    def close(self) -> None:
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (task := self._jobs.get()) is not None:
            _do(*task)


def _do(job: Job, failed: Failed) -> None:
    try:
        job()
    except OSError as error:
        what = Path(str(error.filename)).name if error.filename else "write"
        failed(f"{what}: {error.strerror or error}")


def _reason(job: Job) -> str | None:
    """Why it failed."""
    try:
        job()
    except OSError as error:
        return error.strerror or str(error)
    return None


class Appender:
    """A file that grows by whole lines. Each write goes straight to the system, so that kill -9 tears at most one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def write(self, data: bytes) -> None:
        if self._file is None:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            error.filename = str(self._path)
            raise

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def write_whole(path: Path, data: bytes) -> None:
    """Replace the file at once: a reader sees the old content or the new, never a part."""
    waiting = path.with_name(path.name + ".part")
    waiting.write_bytes(data)
    waiting.replace(path)
