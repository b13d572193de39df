"""How databases of other versions are met: migrated, or refused untouched."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, inspect
from store_backends import KINDS, NewUrl, new_url, postgres, redis

from gateway.core.errors import StoreError
from gateway.core.events import StepEntered
from gateway.store import Identity, Numbered, open_store, schema

__all__ = ["new_url", "postgres", "redis"]

LASTING = [kind for kind in KINDS if kind.values != ("memory",)]


def shape(connection: Connection) -> dict[str, object]:
    """What the tables of a database look like, as far as it concerns the queries."""
    inspector = inspect(connection)
    return {
        table: {
            "columns": {(c["name"], c["nullable"]) for c in inspector.get_columns(table)},
            "key": inspector.get_pk_constraint(table)["constrained_columns"],
            "indexes": {(i["name"], tuple(i["column_names"])) for i in inspector.get_indexes(table)},
            "cascades": [f["options"] for f in inspector.get_foreign_keys(table)],
        }
        for table in inspector.get_table_names()
    }


def test_the_migrations_lead_to_the_tables_the_queries_expect() -> None:
    """The history of the schema and its present description are written twice; this keeps them equal."""
    migrated, described = create_engine("sqlite://"), create_engine("sqlite://")
    with migrated.begin() as one, described.begin() as other:
        schema.migrate(one)
        schema.metadata.create_all(other)
        assert shape(one) == shape(other)


def test_only_what_is_missing_is_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older database gets the steps it lacks, in order and once each."""
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        schema.migrate(connection)
        later = (
            *schema.MIGRATIONS,
            ("ALTER TABLE sessions ADD COLUMN mood VARCHAR",),
            ("CREATE TABLE extra (a INTEGER)",),
        )
        monkeypatch.setattr(schema, "MIGRATIONS", later)
        monkeypatch.setattr(schema, "VERSION", len(later))
        schema.migrate(connection)
        schema.migrate(connection)

        assert connection.execute(schema.versions.select()).scalars().all() == [1, 2, 3]
        assert "mood" in {column["name"] for column in inspect(connection).get_columns("sessions")}


async def test_a_migration_that_fails_leaves_the_database_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that breaks half-way takes the steps before it back with it."""
    path = tmp_path / "sessions.db"
    monkeypatch.setattr(
        schema, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE fine (a INTEGER)", "CREATE NONSENSE"))
    )
    monkeypatch.setattr(schema, "VERSION", 2)
    with pytest.raises(StoreError, match="NONSENSE"):
        await open_store(f"sqlite:///{path}").open()

    with sqlite3.connect(path) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == []
    other.close()


async def test_a_database_of_a_newer_gateway_is_refused(tmp_path: Path) -> None:
    """Writing into tables we do not understand could spoil them: the gateway does not start, and says what to run."""
    path = tmp_path / "sessions.db"
    store = open_store(f"sqlite:///{path}")
    await store.open()
    await store.close()
    with sqlite3.connect(path) as other:
        other.execute("INSERT INTO schema_versions VALUES (999)")
    other.close()

    with pytest.raises(StoreError, match=r"schema version 999, this gateway knows .*; run the newer gateway"):
        await open_store(f"sqlite:///{path}").open()


@pytest.mark.parametrize("kind", LASTING)
async def test_gateways_may_start_on_an_empty_database_together(new_url: NewUrl) -> None:
    """Several gateways of one installation start at once: one makes the tables, all can use them."""
    url = new_url()
    stores = [open_store(url) for _ in range(4)]
    await asyncio.gather(*(store.open() for store in stores))
    anna = Identity("anna", "1")
    await stores[0].create("s1", anna, now=0.0)
    await stores[1].append("s1", [Numbered(1, StepEntered(at=0.0, call="c1", step="a"))], now=1.0)

    found = await stores[2].find_resumable(anna, now=2.0, window_s=60.0)
    assert found is not None
    assert found.events == 1
    await asyncio.gather(*(store.close() for store in stores))


@pytest.mark.parametrize("kind", LASTING)
async def test_two_gateways_never_write_one_number_twice(new_url: NewUrl) -> None:
    """A call moves to another gateway while the first still retries: each number is stored once, with one event."""
    url = new_url()
    one, other = open_store(url), open_store(url)
    await one.open()
    await other.open()
    await one.create("s1", Identity("anna", "1"), now=0.0)
    for number in range(1, 21):
        batches = [[Numbered(number, StepEntered(at=0.0, call="c1", step=f"{name}{number}"))] for name in "ab"]
        await asyncio.gather(one.append("s1", batches[0], now=1.0), other.append("s1", batches[1], now=1.0))

    events = (await one.load("s1")).events
    assert len(events) == 20
    assert events == (await other.load("s1")).events
    await one.close()
    await other.close()
