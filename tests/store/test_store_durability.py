"""What a store has acknowledged survives: the process killed, the disk full, the database restarted."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import store_writer
from postgres_server import PostgresServer
from sqlalchemy import event
from sqlalchemy.pool import Pool
from store_backends import KINDS, NewUrl, new_url, postgres, redis

from gateway.core.errors import StoreError
from gateway.store import Identity, Numbered, open_store

__all__ = ["new_url", "postgres", "redis"]

ANSWER_WITHIN_S = 30.0
LASTING = [kind for kind in KINDS if kind.values != ("memory",)]


async def start_writer(url: str, *limits: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, store_writer.__file__, url, *limits, stdout=asyncio.subprocess.PIPE
    )


async def next_line(writer: asyncio.subprocess.Process) -> str:
    assert writer.stdout is not None
    return (await asyncio.wait_for(writer.stdout.readline(), ANSWER_WITHIN_S)).decode()


def stored_sequences(output: str) -> list[int]:
    """Whole lines only: the last may have been cut off by the kill."""
    return [int(line.split()[1]) for line in output.splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.parametrize("kind", LASTING)
async def test_kill_9_loses_nothing_acknowledged(new_url: NewUrl) -> None:
    """Once `append` has returned, the events are there whatever happens to the process; batches are never torn."""
    url = new_url()
    writer = await start_writer(url)
    for _ in range(40):
        await next_line(writer)
    writer.kill()
    rest, _ = await writer.communicate()
    acknowledged = max([120, *stored_sequences(rest.decode())])

    store = open_store(url)
    await store.open()
    session = await store.load(store_writer.SESSION)
    assert session.info.events == len(session.events) >= acknowledged
    assert len(session.events) % store_writer.BATCH == 0
    assert session.events == tuple(store_writer.event(number + 1) for number in range(len(session.events)))
    found = await store.find_resumable(store_writer.CALLER, now=session.info.touched_at, window_s=60.0)
    assert found == session.info
    await store.close()


async def test_a_file_that_cannot_grow_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    """The disk fills up in mid-call: the append says so with a remedy, and the session before it stays readable."""
    url = f"sqlite:///{tmp_path}/sessions.db"
    writer = await start_writer(url, str(256 * 1024))
    acknowledged, line = 0, "stored 0"
    while line.startswith("stored"):
        acknowledged = int(line.split()[1])
        line = await next_line(writer)
    await writer.communicate()

    assert line.startswith(f"refused session store {tmp_path}/sessions.db: the disk")
    assert "free some space" in line
    store = open_store(url)
    await store.open()
    assert len((await store.load(store_writer.SESSION)).events) == acknowledged > 0
    await store.close()


@pytest.fixture
def full_disk() -> Iterator[None]:
    """SQLite's own limit on the pages of a database stands in for a full disk, with the same error."""

    def limit(connection: Any, record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA max_page_count = 12")
        cursor.close()

    event.listen(Pool, "connect", limit)
    yield
    event.remove(Pool, "connect", limit)


async def test_a_full_disk_changes_nothing_and_passes(full_disk: None, tmp_path: Path) -> None:
    """An append that does not fit leaves no part of itself; once there is room, the same append succeeds."""
    store = open_store(f"sqlite:///{tmp_path}/sessions.db")
    await store.open()
    await store.create("s1", Identity("anna", "1"), now=0.0)
    await store.append("s1", [Numbered(1, store_writer.event(1))], now=1.0)
    too_much = [Numbered(number, store_writer.event(number)) for number in range(2, 400)]
    with pytest.raises(StoreError, match="disk is full; free some space"):
        await store.append("s1", too_much, now=2.0)

    session = await store.load("s1")
    assert (session.info.events, session.info.touched_at, len(session.events)) == (1, 1.0, 1)
    await store.append("s1", [Numbered(2, store_writer.event(2))], now=3.0)
    assert (await store.load("s1")).info.events == 2
    await store.close()


@pytest.mark.xdist_group("servers")
async def test_a_restarted_server_is_used_again(postgres: PostgresServer) -> None:
    """While PostgreSQL is away each call says so; when it is back the store goes on without being reopened."""
    url = postgres.new_database()
    store = open_store(url)
    await store.open()
    await store.create("s1", Identity("anna", "1"), now=0.0)
    await store.append("s1", [Numbered(1, store_writer.event(1))], now=1.0)

    postgres.stop()
    try:
        with pytest.raises(StoreError, match="check that it runs"):
            await store.append("s1", [Numbered(2, store_writer.event(2))], now=2.0)
    finally:
        postgres.start()
    await store.append("s1", [Numbered(2, store_writer.event(2))], now=3.0)
    assert (await store.load("s1")).events == (store_writer.event(1), store_writer.event(2))
    await store.close()
