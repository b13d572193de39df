"""Sessions in one SQLite file, the embedded default: `sqlite:///relative/path` or `sqlite:////absolute/path`.

After `?`: `timeout=5` is how many seconds to wait while another process writes; `synchronous=full` makes each
append survive a power cut as well, for one flush of the disk each. Without it an append survives any end of the
gateway, kill -9 included, and a power cut may take the last moments with it but never damages the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gateway.core.errors import ConfigError
from gateway.store.sqlalchemy import SqlStore

_SYNCHRONOUS = {"normal", "full"}

_REMEDIES = {
    "SQLITE_FULL": "the disk is full; free some space",
    "SQLITE_IOERR": "the disk failed or has no room left; free some space or look into the kernel's log",
    "SQLITE_BUSY": "another process keeps it locked; close whatever else has it open",
    "SQLITE_LOCKED": "another process keeps it locked; close whatever else has it open",
    "SQLITE_READONLY": "it may only be read; give the gateway's user the right to write the file and its folder",
    "SQLITE_CANTOPEN": "it cannot be opened; check that the folder exists and the gateway's user may write there",
    "SQLITE_PERM": "it cannot be opened; check that the gateway's user may write there",
    "SQLITE_CORRUPT": "it is damaged; restore a backup, or save what is left with `sqlite3 FILE .recover`",
    "SQLITE_NOTADB": "it is damaged or no SQLite file; restore a backup, or move it away to start afresh",
}


class SqliteFile:
    """Implements `Database`."""

    faults: tuple[type[Exception], ...] = (sqlite3.Error,)

    def __init__(self, path: Path, *, timeout_s: float, synchronous: str) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._synchronous = synchronous

    async def prepare(self) -> None:
        await asyncio.to_thread(self._make_file)

    def engine(self) -> AsyncEngine:
        # One connection: SQLite has one writer at a time anyhow, and the pool's queue is fair where its
        # busy handler (which sleeps and tries again) is not.
        engine = create_async_engine(
            URL.create("sqlite+aiosqlite", database=str(self._path)),
            pool_size=1,
            max_overflow=0,
            pool_timeout=max(30.0, 2 * self._timeout_s),
            connect_args={"timeout": self._timeout_s},
        )
        event.listen(engine.sync_engine, "connect", self._configure)
        event.listen(engine.sync_engine, "begin", _begin)
        return engine

    async def lock_schema(self, connection: AsyncConnection) -> None:
        """BEGIN IMMEDIATE has done it."""

    def explain(self, error: Exception) -> str:
        cause = getattr(error, "orig", None) or error
        name = getattr(cause, "sqlite_errorname", "")
        primary = "_".join(name.split("_")[:2])
        if isinstance(cause, OSError):
            return f"session store {self._path} cannot be made: {cause.strerror}: {cause.filename}"
        remedy = _REMEDIES.get(primary, str(cause))
        return f"session store {self._path}: {remedy}" + (f" ({cause}, {name})" if name else "")

    def _make_file(self) -> None:
        """What callers said is nobody else's to read: the file is its owner's alone, and SQLite's -wal follows suit."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            # Exclusively, for a file that exists must not be touched: closing it would drop, for this whole process,
            # the locks SQLite holds on it.
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        self._write_ahead()

    def _write_ahead(self) -> None:
        """The file remembers that it keeps a write-ahead log. While others are just opening it the switch fails at
        once, without the wait that every other statement grants them: so the waiting is done here."""
        until = time.monotonic() + self._timeout_s
        connection = sqlite3.connect(self._path, timeout=self._timeout_s)
        try:
            while True:
                try:
                    connection.execute("PRAGMA journal_mode = WAL")
                    return
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                        raise
                time.sleep(0.01)
        finally:
            connection.close()

    def _configure(self, connection: Any, record: Any) -> None:
        connection.isolation_level = None  # the driver begins no transactions by itself, `_begin` does
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA synchronous = {self._synchronous}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()


def _begin(connection: Connection) -> None:
    """A transaction that will write says so first: one that starts as a reader may find it cannot become a writer."""
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def build(url: str) -> SqlStore:
    try:
        parsed = make_url(url)
        timeout_s = float(str(parsed.query.get("timeout", 5.0)))
    except (ArgumentError, ValueError) as error:
        raise ConfigError(f"store URL {url!r}: {error}") from error
    synchronous = str(parsed.query.get("synchronous", "normal")).lower()
    unknown = sorted(set(parsed.query) - {"timeout", "synchronous"})
    if unknown or synchronous not in _SYNCHRONOUS:
        raise ConfigError(f"store URL {url!r}: after ? only timeout=SECONDS and synchronous=normal|full are known")
    if not parsed.database or parsed.host:
        raise ConfigError(f"store URL {url!r}: write sqlite:///relative/path or sqlite:////absolute/path")
    return SqlStore(SqliteFile(Path(parsed.database), timeout_s=timeout_s, synchronous=synchronous))
