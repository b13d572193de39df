"""How the gateway logs: one line per event, facts by key, times in UTC, and never a wait on the event loop.

Events are names such as `call.ended`; what varies stands under keys. Records of libraries, which are prose, come out
as the event `log.<library>` with the prose under `message`.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import queue
import sys
import threading
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

MAX_WAITING_LINES = 10_000
QUIET_LIBRARIES = ("aioice", "aiortc", "aiohttp", "asyncio", "aiosqlite", "sqlalchemy")
"""Their warnings matter to operators; their progress reports do not, and hold addresses of callers."""


class Outlet:
    """Writes lines from a thread of its own, so that a terminal or pipe that stalls does not stop the calls.

    When more than `MAX_WAITING_LINES` wait, further ones are dropped and counted; the count is logged when it flows
    again.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._begin()
        # A forked worker inherits the queue but not the thread that empties it.
        os.register_at_fork(after_in_child=self._begin)

    def msg(self, message: str) -> None:
        try:
            self._lines.put_nowait(message)
        except queue.Full:
            self._dropped += 1

    # structlog calls the logger's method of the level's name; the level is in the line already.
    log = debug = info = warn = warning = fatal = failure = err = error = critical = exception = msg

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what waits. Gives up on a file that takes nothing for `timeout_s`."""
        try:
            self._lines.put(None, timeout=timeout_s)
        except queue.Full:
            return
        self._thread.join(timeout_s)

    def _begin(self) -> None:
        self._lines: queue.Queue[str | None] = queue.Queue(MAX_WAITING_LINES)
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="log-outlet", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            if self._dropped:
                line, self._dropped = f'{line}\n{{"event": "log.dropped", "lines": {self._dropped}}}', 0
            self._write(line + "\n")
        self._write("")

    def _write(self, text: str) -> None:
        """Flushes when nothing more waits, so that a burst costs one system call."""
        # The reader of our output may be gone (OSError, ValueError). Calls matter more than their log.
        with contextlib.suppress(OSError, ValueError):
            self._file.write(text)
            if self._lines.empty():
                self._file.flush()


class _FromLibraries(logging.Handler):
    """Takes the standard library's records into the same stream."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            log = structlog.get_logger()
            name = f"log.{record.name.split('.')[0]}"
            log.log(max(record.levelno, logging.DEBUG), name, message=record.getMessage(), exc_info=record.exc_info)
        except Exception:
            self.handleError(record)


def configure(
    format: Literal["json", "console"] = "console", *, level: str = "INFO", file: TextIO | None = None
) -> Outlet:
    """Set up logging for the whole process; what waits is written at exit. Returns the outlet, for tests to close."""
    out = file or sys.stdout
    outlet = Outlet(out)
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            *_rendered(format, colors=out.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: outlet,
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_FromLibraries()], level=number, force=True)
    for name in QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    atexit.register(outlet.close)
    return outlet


def _rendered(format: Literal["json", "console"], *, colors: bool) -> list[Processor]:
    if format == "console":
        return [structlog.dev.ConsoleRenderer(colors=colors)]
    return [
        _time_and_event_first,
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
    ]


def _time_and_event_first(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """The keys people look for stand where the eye is."""
    first = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
    return {**first, **event}
