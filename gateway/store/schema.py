"""The tables of the SQL stores, and how a database of any earlier version becomes one of this version."""

from __future__ import annotations

from sqlalchemy import Column, Double, ForeignKey, Index, Integer, MetaData, String, Table, Text, inspect, text
from sqlalchemy.engine import Connection

from gateway.core.errors import StoreError

metadata = MetaData()

versions = Table(
    "schema_versions",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", String, primary_key=True),
    Column("caller", String, nullable=False),
    Column("called", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("touched_at", Double, nullable=False),
    Column("status", String, nullable=False),
    Column("events", Integer, nullable=False),
    Index("sessions_by_identity", "caller", "called", "touched_at"),
    Index("sessions_by_touch", "touched_at"),
)

events = Table(
    "events",
    metadata,
    Column("session", String, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("body", Text, nullable=False),
)

# Each entry leads from the version before it to its own; entry 1 starts from an empty database. Written as plain
# SQL that all dialects take, because the tables above move on while a migration must stay what it was.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE sessions (
            id VARCHAR NOT NULL PRIMARY KEY,
            caller VARCHAR NOT NULL,
            called VARCHAR NOT NULL,
            created_at DOUBLE PRECISION NOT NULL,
            touched_at DOUBLE PRECISION NOT NULL,
            status VARCHAR NOT NULL,
            events INTEGER NOT NULL
        )""",
        "CREATE INDEX sessions_by_identity ON sessions (caller, called, touched_at)",
        "CREATE INDEX sessions_by_touch ON sessions (touched_at)",
        """CREATE TABLE events (
            session VARCHAR NOT NULL,
            sequence INTEGER NOT NULL,
            body TEXT NOT NULL,
            PRIMARY KEY (session, sequence),
            FOREIGN KEY (session) REFERENCES sessions (id) ON DELETE CASCADE
        )""",
    ),
)
VERSION = len(MIGRATIONS)


def migrate(connection: Connection) -> None:
    """Bring the database to `VERSION`, within the transaction of `connection` and therefore wholly or not at all.

    Raises `StoreError` for a database that a newer gateway has already moved on.
    """
    present = _version(connection)
    if present > VERSION:
        raise StoreError(
            f"the database has schema version {present}, this gateway knows {VERSION}; "
            "run the newer gateway, or give this one a database of its own"
        )
    for version in range(present + 1, VERSION + 1):
        for statement in MIGRATIONS[version - 1]:
            connection.execute(text(statement))
        connection.execute(versions.insert().values(version=version))


def _version(connection: Connection) -> int:
    if not inspect(connection).has_table(versions.name):
        versions.create(connection)
        return 0
    applied = connection.execute(versions.select()).scalars()
    return max(applied, default=0)
