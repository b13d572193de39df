"""A store that cannot work says what is wrong and what to do, in words an operator can act on."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
from postgres_server import PostgresServer
from store_backends import postgres, redis

from gateway.core.errors import StoreError
from gateway.core.events import StepEntered
from gateway.store import Identity, Numbered, SessionStore, open_store

__all__ = ["postgres", "redis"]

ANNA = Identity("anna", "1")


async def filled(url: str, events: int = 1) -> SessionStore:
    store = open_store(url)
    await store.open()
    await store.create("s1", ANNA, now=0.0)
    batch = [Numbered(n, StepEntered(at=0.0, call="c1", step="x" * 100)) for n in range(1, events + 1)]
    await store.append("s1", batch, now=1.0)
    return store


async def opened_and_loaded(url: str) -> None:
    store = open_store(url)
    await store.open()
    try:
        await store.load("s1")
    finally:
        await store.close()


async def refusal_to_open(url: str) -> str:
    with pytest.raises(StoreError) as refusal:
        await open_store(url).open()
    return str(refusal.value)


async def test_a_locked_database_is_waited_for_and_then_reported(tmp_path: Path) -> None:
    """Another program in a long transaction delays an append up to the timeout; then it is named, and it passes."""
    path = tmp_path / "sessions.db"
    store = await filled(f"sqlite:///{path}?timeout=0.05")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="another process keeps it locked; close whatever"):
        await store.append("s1", [Numbered(2, StepEntered(at=0.0, call="c1", step="y"))], now=2.0)
    assert (await store.load("s1")).info.events == 1, "reading goes on beside a writer"
    other.execute("ROLLBACK")
    other.close()

    await store.append("s1", [Numbered(2, StepEntered(at=0.0, call="c1", step="y"))], now=3.0)
    assert (await store.load("s1")).info.events == 2
    await store.close()


async def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    """A damaged head (or somebody else's file) is refused at start and not written to."""
    path = tmp_path / "sessions.db"
    path.write_bytes(b"these are the minutes of the meeting\n" * 200)
    before = path.read_bytes()

    assert "no SQLite file; restore a backup, or move it away" in await refusal_to_open(f"sqlite:///{path}")
    assert path.read_bytes() == before


async def test_a_damaged_page_is_reported_as_damage(tmp_path: Path) -> None:
    """Rubbish in the middle of the file comes out as an error with a remedy, never as a session with holes."""
    path = tmp_path / "sessions.db"
    await (await filled(f"sqlite:///{path}", events=400)).close()
    with path.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(os.urandom(4) * (path.stat().st_size // 4 - 3 * 1024))
    with pytest.raises(StoreError, match=r"damaged; restore a backup, or save what is left"):
        await opened_and_loaded(f"sqlite:///{path}")


async def test_a_truncated_database_is_reported_as_damage(tmp_path: Path) -> None:
    """A file cut short, as by a copy that ran out of disk, is damage too."""
    path = tmp_path / "sessions.db"
    await (await filled(f"sqlite:///{path}", events=400)).close()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(StoreError, match="damaged"):
        await opened_and_loaded(f"sqlite:///{path}")


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A path that leads through a file, as after a typo, names the path."""
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "deeper" / "sessions.db"
    assert str(path) in await refusal_to_open(f"sqlite:///{path}")


async def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    """A path that is a folder names the path."""
    assert str(tmp_path) in await refusal_to_open(f"sqlite:///{tmp_path}")


async def test_missing_folders_are_made_and_the_file_is_private(tmp_path: Path) -> None:
    """The first start needs nothing prepared; what callers said is readable for the gateway's user alone."""
    path = tmp_path / "data" / "deeper" / "sessions.db"
    store = await filled(f"sqlite:///{path}")
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    await store.close()

    assert modes == {"sessions.db": 0o600, "sessions.db-wal": 0o600, "sessions.db-shm": 0o600}


async def test_an_event_of_a_later_version_is_named(tmp_path: Path) -> None:
    """After a downgrade, a session with events we do not know says which event, and other sessions are unharmed."""
    path = tmp_path / "sessions.db"
    store = await filled(f"sqlite:///{path}", events=2)
    await store.create("s2", ANNA, now=2.0)
    with sqlite3.connect(path) as other:
        other.execute("""UPDATE events SET body = '{"type":"Teleported","at":1,"call":"c"}' WHERE sequence = 2""")
    other.close()

    with pytest.raises(StoreError, match=r"event 2 of session 's1' cannot be read .*Teleported.*newer gateway"):
        await store.load("s1")
    assert (await store.load("s2")).events == ()
    await store.close()


async def test_an_unreachable_server_is_a_clear_error(tmp_path: Path) -> None:
    """No PostgreSQL at the address: said within seconds, with the address and without the password."""
    pytest.importorskip("asyncpg")
    message = await refusal_to_open("postgresql://anna:secret@127.0.0.1:1/calls")
    assert "postgresql://anna:***@127.0.0.1:1/calls: it cannot be reached" in message
    assert "secret" not in message
    message = await refusal_to_open(f"postgresql://anna:secret@/calls?host={tmp_path}")
    assert f"at {tmp_path}: it cannot be reached" in message


@pytest.mark.xdist_group("servers")
async def test_a_wrong_database_or_user_is_a_clear_error(postgres: PostgresServer) -> None:
    """The two commonest faults of a new installation name their remedies."""
    assert "does not exist; create it with createdb" in await refusal_to_open(postgres.url("nowhere"))
    url = postgres.new_database()
    assert "check the URL and pg_hba.conf" in await refusal_to_open(url.replace("gateway@", "stranger@"))


@pytest.mark.xdist_group("servers")
async def test_a_user_without_rights_is_a_clear_error(postgres: PostgresServer) -> None:
    """PostgreSQL 15 and later let ordinary users create nothing in `public`: the remedy says what to grant."""
    url = postgres.new_database()
    postgres.execute(url, "CREATE ROLE guest LOGIN")
    assert "lacks a right; let it own the database" in await refusal_to_open(url.replace("gateway@", "guest@"))


@pytest.mark.xdist_group("servers")
async def test_a_read_only_standby_is_a_clear_error(postgres: PostgresServer) -> None:
    """A URL that leads to a standby is readable; the first write says to use the primary, and nothing is lost."""
    url = postgres.new_database()
    await (await filled(url)).close()
    database = url.partition("@/")[2].partition("?")[0]
    postgres.execute(url, f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    store = open_store(url)
    await store.open()

    assert (await store.load("s1")).info.events == 1
    with pytest.raises(StoreError, match="read-only standby; point the URL at the primary"):
        await store.append("s1", [], now=2.0)
    await store.close()
