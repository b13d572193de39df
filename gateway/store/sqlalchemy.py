"""Sessions in a SQL database. `sqlite.py` and `postgresql.py` say what is particular to each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import msgspec
from sqlalchemy import Row, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.core.errors import MisuseError, StoreError
from gateway.store.codec import pack, unpack
from gateway.store.ports import Identity, Numbered, Session, SessionInfo
from gateway.store.rules import already_there, appended, check_id, not_found, storable, unseen
from gateway.store.schema import events as events_table
from gateway.store.schema import migrate, sessions
from gateway.store.together import Outcome, Together

T = TypeVar("T")

_NEWEST_FIRST = (sessions.c.touched_at.desc(), sessions.c.created_at.desc(), sessions.c.id.desc())
_PURGE_BATCH = 100
_CHANGE = (
    update(sessions)
    .where(sessions.c.id == bindparam("session"))
    .values(touched_at=bindparam("touched_at"), events=bindparam("events"), status=bindparam("status"))
)


class Database(Protocol):
    """One kind of database: how to reach it, and what its failures mean to an operator."""

    faults: tuple[type[Exception], ...]
    """What the driver raises besides SQLAlchemy's own."""

    async def prepare(self) -> None:
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


class _Append(msgspec.Struct, frozen=True):
    session: str
    events: Sequence[Numbered]
    bodies: dict[int, str]
    now: float


class SqlStore:
    """Implements `SessionStore`. Appends that come at the same time share a transaction, and so they also share a
    `StoreError`; every other call is one transaction, `purge` excepted."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._engine: AsyncEngine | None = None
        self._appends = Together(self._append_all)
        self._working: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        if self._engine is None:
            self._engine = self._database.engine()
            try:
                await self._undisturbed(self._open())
            except BaseException:
                await self.close()
                raise

    async def close(self) -> None:
        """What was begun is finished first."""
        await self._appends.finish()
        if self._working:
            await asyncio.wait(self._working)
        engine, self._engine = self._engine, None
        if engine is not None:
            async with self._translating():
                await engine.dispose()

    async def create(self, session_id: str, identity: Identity, now: float) -> SessionInfo:
        check_id(session_id)
        info = SessionInfo(id=session_id, identity=storable(identity), created_at=now, touched_at=now)
        await self._undisturbed(self._create(info))
        return info

    async def append(self, session_id: str, events: Sequence[Numbered], now: float) -> None:
        self._opened()
        check_id(session_id)
        bodies = {numbered.sequence: pack(numbered.event) for numbered in events}
        await self._appends.add(_Append(session_id, events, bodies, now))

    async def load(self, session_id: str) -> Session:
        check_id(session_id)
        info, bodies = await self._undisturbed(self._load(session_id))
        return Session(info, unpack(session_id, bodies))

    async def find_resumable(self, identity: Identity, now: float, window_s: float) -> SessionInfo | None:
        if not identity.caller:
            return None
        return await self._undisturbed(self._find(storable(identity), now - window_s))

    async def recent(self, limit: int = 50) -> list[SessionInfo]:
        return await self._undisturbed(self._recent(limit))

    async def purge(self, before: float) -> int:
        gone = 0
        while batch := await self._undisturbed(self._purge_some(before)):
            gone += batch
        return gone

    async def _open(self) -> None:
        async with self._translating():
            await self._database.prepare()
        async with self._writing() as connection:
            await self._database.lock_schema(connection)
            await connection.run_sync(migrate)

    async def _create(self, info: SessionInfo) -> None:
        async with self._writing() as connection:
            try:
                await connection.execute(insert(sessions), _row(info))
            except IntegrityError as error:
                raise already_there(info.id) from error

    async def _append_all(self, appends: Sequence[_Append]) -> Sequence[Outcome]:
        names = sorted({append.session for append in appends})
        async with self._writing() as connection:
            # FOR UPDATE keeps other gateways off these sessions until the counts are right again, and the order
            # keeps two gateways from each waiting for the other.
            query = select(sessions).where(sessions.c.id.in_(names)).order_by(sessions.c.id).with_for_update()
            ledger = _Ledger({row.id: _info(row) for row in await connection.execute(query)})
            outcomes = [ledger.enter(append) for append in appends]
            if ledger.rows:
                await connection.execute(insert(events_table), ledger.rows)
            if ledger.changes:
                await connection.execute(_CHANGE, list(ledger.changes.values()))
        return outcomes

    async def _load(self, session_id: str) -> tuple[SessionInfo, Sequence[str]]:
        async with self._reading() as connection:
            row = (await connection.execute(select(sessions).where(sessions.c.id == session_id))).one_or_none()
            if row is None:
                raise not_found(session_id)
            info = _info(row)
            # Up to the count we have read: another process may have appended since.
            bodies = select(events_table.c.body).where(
                events_table.c.session == session_id, events_table.c.sequence <= info.events
            )
            found = await connection.execute(bodies.order_by(events_table.c.sequence))
            return info, found.scalars().all()

    async def _find(self, identity: Identity, since: float) -> SessionInfo | None:
        query = select(sessions).where(
            sessions.c.caller == identity.caller,
            sessions.c.called == identity.called,
            sessions.c.touched_at >= since,
            sessions.c.status == "open",
        )
        async with self._reading() as connection:
            row = (await connection.execute(query.order_by(*_NEWEST_FIRST).limit(1))).one_or_none()
        return None if row is None else _info(row)

    async def _recent(self, limit: int) -> list[SessionInfo]:
        async with self._reading() as connection:
            rows = await connection.execute(select(sessions).order_by(*_NEWEST_FIRST).limit(limit))
            return [_info(row) for row in rows]

    async def _purge_some(self, before: float) -> int:
        """A few at a time, so that calls in progress never wait long for a big clean-up."""
        async with self._writing() as connection:
            old = select(sessions.c.id).where(sessions.c.touched_at < before).limit(_PURGE_BATCH)
            ids = (await connection.execute(old)).scalars().all()
            # Asked again in the deletion: one of them may have been touched by another process just now.
            still_old = sessions.c.id.in_(ids) & (sessions.c.touched_at < before)
            return (await connection.execute(delete(sessions).where(still_old))).rowcount if ids else 0

    async def _undisturbed(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work to its end even if the caller is cancelled: torn off in the middle of a statement, a connection
        is lost, and SQLite's may hold its lock for as long as its thread needs to notice."""
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        return await asyncio.shield(task)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        async with self._translating(), self._opened().begin() as connection:
            yield connection

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        engine = self._opened().execution_options(reading=True)
        async with self._translating(), engine.begin() as connection:
            yield connection

    def _opened(self) -> AsyncEngine:
        if self._engine is None:
            raise MisuseError("the session store is not open")
        return self._engine

    @asynccontextmanager
    async def _translating(self) -> AsyncIterator[None]:
        faults: tuple[type[Exception], ...] = (SQLAlchemyError, OSError, TimeoutError, *self._database.faults)
        try:
            yield
        except faults as error:
            raise StoreError(self._database.explain(error)) from error


class _Ledger:
    """What a transaction will write for the appends entered into it, one after the other."""

    def __init__(self, infos: dict[str, SessionInfo]) -> None:
        self._infos = infos
        self.rows: list[dict[str, Any]] = []
        self.changes: dict[str, dict[str, Any]] = {}

    def enter(self, append: _Append) -> Outcome:
        """What is wrong with the append, which then leaves no trace; None if it will be written."""
        info = self._infos.get(append.session)
        if info is None:
            return not_found(append.session)
        try:
            fresh = unseen(append.events, info.events)
        except MisuseError as error:
            return error
        info = appended(info, fresh, append.now)
        self._infos[info.id] = info
        self.rows += [{"session": info.id, "sequence": n.sequence, "body": append.bodies[n.sequence]} for n in fresh]
        self.changes[info.id] = {
            "session": info.id, "touched_at": info.touched_at, "events": info.events, "status": info.status
        }  # fmt: skip
        return None


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
