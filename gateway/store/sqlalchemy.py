"""Sessions in a SQL database. `sqlite.py` and `postgresql.py` say what is particular to each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.core.errors import MisuseError, StoreError
from gateway.store.codec import pack, unpack
from gateway.store.ports import Identity, Numbered, Session, SessionInfo
from gateway.store.rules import already_there, complete, not_found, storable, unseen
from gateway.store.schema import events as events_table
from gateway.store.schema import migrate, sessions

_NEWEST_FIRST = (sessions.c.touched_at.desc(), sessions.c.created_at.desc(), sessions.c.id.desc())
_PURGE_BATCH = 100


class Database(Protocol):
    """One kind of database: how to reach it, and what its failures mean to an operator."""

    faults: tuple[type[Exception], ...]
    """What the driver raises besides SQLAlchemy's own."""

    def prepare(self) -> None:
        """Make the place where the data will live, if that is ours to make."""
        ...

    def engine(self) -> AsyncEngine:
        """Writing connections. Connections with the execution option `reading=True` only ever select."""
        ...

    async def lock_schema(self, connection: AsyncConnection) -> None:
        """Until the end of the transaction nobody else may migrate."""
        ...

    def explain(self, error: Exception) -> str:
        """What is wrong and what to do about it, in one sentence that carries no secret."""
        ...


class SqlStore:
    """Implements `SessionStore`. Every call is one transaction, `purge` excepted."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writing_engine: AsyncEngine | None = None

    async def open(self) -> None:
        if self._writing_engine is not None:
            return
        self._writing_engine = self._database.engine()
        try:
            async with self._translating():
                self._database.prepare()
            async with self._writing() as connection:
                await self._database.lock_schema(connection)
                await connection.run_sync(migrate)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        engine, self._writing_engine = self._writing_engine, None
        if engine is not None:
            async with self._translating():
                await engine.dispose()

    async def create(self, session_id: str, identity: Identity, now: float) -> SessionInfo:
        info = SessionInfo(id=session_id, identity=storable(identity), created_at=now, touched_at=now)
        async with self._writing() as connection:
            try:
                await connection.execute(insert(sessions), _row(info))
            except IntegrityError as error:
                raise already_there(session_id) from error
        return info

    async def append(self, session_id: str, events: Sequence[Numbered], now: float) -> None:
        packed = {numbered.sequence: pack(numbered.event) for numbered in events}
        mine = sessions.c.id == session_id
        async with self._writing() as connection:
            # FOR UPDATE holds a second writer of this session off until the count below is right again.
            count = select(sessions.c.events).where(mine).with_for_update()
            stored = (await connection.execute(count)).scalar_one_or_none()
            if stored is None:
                raise not_found(session_id)
            fresh = unseen(events, stored)
            if fresh:
                rows = [{"session": session_id, "sequence": n.sequence, "body": packed[n.sequence]} for n in fresh]
                await connection.execute(insert(events_table), rows)
            change: dict[str, Any] = {"touched_at": now, "events": stored + len(fresh)}
            if complete(fresh):
                change["status"] = "completed"
            await connection.execute(update(sessions).where(mine).values(change))

    async def load(self, session_id: str) -> Session:
        async with self._reading() as connection:
            row = (await connection.execute(select(sessions).where(sessions.c.id == session_id))).one_or_none()
            if row is None:
                raise not_found(session_id)
            info = _info(row)
            # Up to the count we have read: another process may have appended since.
            bodies = select(events_table.c.body).where(
                events_table.c.session == session_id, events_table.c.sequence <= info.events
            )
            found = (await connection.execute(bodies.order_by(events_table.c.sequence))).scalars().all()
        return Session(info, unpack(session_id, found))

    async def find_resumable(self, identity: Identity, now: float, window_s: float) -> SessionInfo | None:
        if not identity.caller:
            return None
        wanted = storable(identity)
        query = select(sessions).where(
            sessions.c.caller == wanted.caller,
            sessions.c.called == wanted.called,
            sessions.c.touched_at >= now - window_s,
            sessions.c.status == "open",
        )
        async with self._reading() as connection:
            row = (await connection.execute(query.order_by(*_NEWEST_FIRST).limit(1))).one_or_none()
        return None if row is None else _info(row)

    async def recent(self, limit: int = 50) -> list[SessionInfo]:
        async with self._reading() as connection:
            rows = await connection.execute(select(sessions).order_by(*_NEWEST_FIRST).limit(limit))
            return [_info(row) for row in rows]

    async def purge(self, before: float) -> int:
        gone = 0
        while batch := await self._purge_some(before):
            gone += batch
        return gone

    async def _purge_some(self, before: float) -> int:
        """A few at a time, so that calls in progress never wait long for a big clean-up."""
        async with self._writing() as connection:
            old = select(sessions.c.id).where(sessions.c.touched_at < before).limit(_PURGE_BATCH)
            ids = (await connection.execute(old)).scalars().all()
            # Asked again in the deletion: one of them may have been touched by another process just now.
            still_old = sessions.c.id.in_(ids) & (sessions.c.touched_at < before)
            return (await connection.execute(delete(sessions).where(still_old))).rowcount if ids else 0

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        async with self._translating(), self._engine().begin() as connection:
            yield connection

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        engine = self._engine().execution_options(reading=True)
        async with self._translating(), engine.begin() as connection:
            yield connection

    def _engine(self) -> AsyncEngine:
        if self._writing_engine is None:
            raise MisuseError("the session store is not open")
        return self._writing_engine

    @asynccontextmanager
    async def _translating(self) -> AsyncIterator[None]:
        faults: tuple[type[Exception], ...] = (SQLAlchemyError, OSError, TimeoutError, *self._database.faults)
        try:
            yield
        except faults as error:
            raise StoreError(self._database.explain(error)) from error


def _row(info: SessionInfo) -> dict[str, Any]:
    return {
        "id": info.id,
        "caller": info.identity.caller,
        "called": info.identity.called,
        "created_at": info.created_at,
        "touched_at": info.touched_at,
        "status": info.status,
        "events": info.events,
    }


def _info(row: Row[Any]) -> SessionInfo:
    return SessionInfo(
        id=row.id,
        identity=Identity(caller=row.caller, called=row.called),
        created_at=row.created_at,
        touched_at=row.touched_at,
        status=row.status,
        events=row.events,
    )
