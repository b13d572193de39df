"""Where recordings and traces go: a port so small that a thread, a test or a full disk can stand behind it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol


class FileNews(NamedTuple):
    """A file is complete and closed, or (with `error`) lost: nothing more will be written to it."""

    file: int
    error: str | None = None


class FileSink(Protocol):
    """Takes bytes for files known by number. No method blocks or raises; what goes wrong comes out of `poll`.

    Every opened file is answered by exactly one closing `FileNews` after its `close`, whether it failed before or not.
    """

    def open(self, file: int, path: str) -> None: ...

    def write(self, file: int, data: bytes) -> None: ...

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

    def open(self, file: int, path: str) -> None:
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._files[file] = Path(path).open("wb")  # noqa: SIM115 - it stays open for the length of a call
        except OSError as error:
            self._fail(file, error)

    def write(self, file: int, data: bytes) -> None:
        target = self._files.get(file)
        if target is None:
            return
        try:
            target.write(data)
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


class NoFiles:
    """Keeps nothing and never fails."""

    def __init__(self) -> None:
        self._news: list[FileNews] = []

    def open(self, file: int, path: str) -> None:
        pass

    def write(self, file: int, data: bytes) -> None:
        pass

    def close(self, file: int, head: bytes = b"") -> None:
        self._news.append(FileNews(file))

    def poll(self) -> list[FileNews]:
        news, self._news = self._news, []
        return news
