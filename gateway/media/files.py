"""Where recordings and traces go: a port so small that a thread, a test or a full disk can stand behind it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO, NamedTuple, Protocol

MOST_WAITING = 64 << 20
"""Octets that may wait for the disk before it is called too slow."""


class FileNews(NamedTuple):
    """A file is complete and closed, or (with `error`) lost: nothing more will be written to it."""

    file: int
    error: str | None = None


class FileSink(Protocol):
    """Takes bytes for files known by number. No method blocks or raises; what goes wrong comes out of `poll`.

    Every opened file is answered by exactly one closing `FileNews` after its `close`, whether it failed before or not.
    """

    def open(self, file: int, path: str, at: int = 0) -> None:
        """Write a new file, or go on from octet `at` of one that is there; what it lacks before that is zeros."""
        ...

    def write(self, file: int, data: bytes, head: bytes = b"") -> None:
        """Add `data`, and then put `head` over the file's beginning, which may tell how long it is so far."""
        ...

    def close(self, file: int, head: bytes = b"") -> None:
        """Finish the file, with `head` written over its beginning."""
        ...

    def poll(self) -> list[FileNews]:
        """What happened since the last time."""
        ...


class DirectFiles:
    """Writes at once, in the caller's own time: for replay and tests, and inside the live worker's writing thread."""

    def __init__(self) -> None:
        self._files: dict[int, BinaryIO] = {}
        self._news: list[FileNews] = []

    def open(self, file: int, path: str, at: int = 0) -> None:
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            there = at > 0 and Path(path).exists()
            opened = Path(path).open("r+b") if there else Path(path).open("wb")  # noqa: SIM115
            self._files[file] = opened  # for the length of a call
            if at:
                opened.truncate(at)
                opened.seek(at)
        except OSError as error:
            self._fail(file, error)

    def write(self, file: int, data: bytes, head: bytes = b"") -> None:
        target = self._files.get(file)
        if target is None:
            return
        try:
            target.write(data)
            target.flush()  # what a process that is killed has not handed over is lost
            if head:
                os.pwrite(target.fileno(), head, 0)
        except OSError as error:
            self._fail(file, error)

    def close(self, file: int, head: bytes = b"") -> None:
        target = self._files.get(file)
        if target is not None:
            try:
                target.seek(0)
                target.write(head)
                target.close()
                del self._files[file]
            except OSError as error:
                self._fail(file, error)
        self._news.append(FileNews(file))

    def poll(self) -> list[FileNews]:
        news, self._news = self._news, []
        return news

    def _fail(self, file: int, error: OSError) -> None:
        target = self._files.pop(file, None)
        if target is not None:
            # Closing writes what is still buffered, and fails for the reason we are telling already.
            with contextlib.suppress(OSError):
                target.close()
        self._news.append(FileNews(file, error.strerror or str(error)))


class QueuedFiles:
    """Leaves the disk's work to whoever calls `run`, a thread in the live worker: the tick never waits for it.

    A disk that cannot keep up costs the file. The two counters have one writer each, so no lock is needed.
    """

    def __init__(self, most_waiting: int = MOST_WAITING) -> None:
        self._direct = DirectFiles()
        self._most_waiting = most_waiting
        self._work: SimpleQueue[tuple[Callable[[], None], int]] = SimpleQueue()
        self._news: SimpleQueue[FileNews] = SimpleQueue()
        self._given_up: set[int] = set()
        self._taken = 0  # octets, by the tick
        self._done = 0  # by the disk

    def open(self, file: int, path: str, at: int = 0) -> None:
        self._work.put((lambda: self._direct.open(file, path, at), 0))

    def write(self, file: int, data: bytes, head: bytes = b"") -> None:
        if file in self._given_up:
            return
        if self._taken - self._done > self._most_waiting:
            self._given_up.add(file)
            self._news.put(FileNews(file, "the disk is too slow"))
            return
        self._taken += len(data)
        self._work.put((lambda: self._direct.write(file, data, head), len(data)))

    def close(self, file: int, head: bytes = b"") -> None:
        self._given_up.discard(file)
        self._work.put((lambda: self._direct.close(file, head), 0))

    def poll(self) -> list[FileNews]:
        news = []
        while not self._news.empty():
            news.append(self._news.get_nowait())
        return news

    def run(self) -> None:
        """Work for ever."""
        while True:
            self.work()

    def work(self) -> None:
        """Do the next thing, when there is one."""
        do, octets = self._work.get()
        do()
        self._done += octets
        for news in self._direct.poll():
            self._news.put(news)


class NoFiles:
    """Keeps nothing and never fails."""

    def __init__(self) -> None:
        self._news: list[FileNews] = []

    def open(self, file: int, path: str, at: int = 0) -> None:
        pass

    def write(self, file: int, data: bytes, head: bytes = b"") -> None:
        pass

    def close(self, file: int, head: bytes = b"") -> None:
        self._news.append(FileNews(file))

    def poll(self) -> list[FileNews]:
        news, self._news = self._news, []
        return news
