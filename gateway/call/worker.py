"""The writer that brings journals into the store: in order, in batches, again and again until acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Container
from contextlib import suppress

import structlog

from gateway.call.journal import Journal
from gateway.core.clock import Clock
from gateway.core.errors import SessionError, StoreError
from gateway.store.ports import Identity, Numbered, SessionStore

log = structlog.get_logger()

GATHER_S = 0.02
"""How long events gather for one write. A crash loses at most this, and one of the 20 ms packets of speech."""
FIRST_RETRY_S, LAST_RETRY_S = 0.25, 10.0


class SessionWriter:
    """One task for all calls: while an append runs, further events gather for the next one.

    A store that fails costs nothing but time: events stay in their journal and are tried again with backoff.
    """

    def __init__(self, store: SessionStore, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._dirty: dict[str, tuple[Identity, Journal]] = {}
        self._wake = asyncio.Event()
        self._progress = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._retry_s = FIRST_RETRY_S

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="session-writer")

    def changed(self, session: str, identity: Identity, journal: Journal) -> None:
        """The journal has something new for this session. An unknown session is created with its first events."""
        self._dirty[session] = (identity, journal)
        self._wake.set()

    async def flushed(self, session: str, *, within_s: float) -> bool:
        """Wait until the store has acknowledged all of the session; false when it has not in time."""
        try:
            async with asyncio.timeout(within_s), self._progress:
                await self._progress.wait_for(lambda: session not in self._dirty)
        except TimeoutError:
            return False
        return True

    async def unsaved(self, identity: Identity, *, besides: Container[str] = (), within_s: float) -> set[str]:
        """Wait until the store has acknowledged this caller's sessions, `besides` some; those it has not in time."""

        def waiting() -> set[str]:
            return {name for name, (owner, _) in self._dirty.items() if owner == identity and name not in besides}

        with suppress(TimeoutError):
            async with asyncio.timeout(within_s), self._progress:
                await self._progress.wait_for(lambda: not waiting())
        return waiting()

    async def close(self, *, within_s: float = 5.0) -> None:
        """Write what is left. What the store refuses to the end is lost with this process, and logged as such."""
        for session in list(self._dirty):
            if not await self.flushed(session, within_s=within_s):
                log.error("session.unsaved", session=session, events=len(self._dirty[session][1].pending()))
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            await self._clock.sleep_until(self._clock.now() + GATHER_S)
            self._wake.clear()
            # Side by side, so that a store that commits appends in groups can do so.
            writes = [self._write(session, *of) for session, of in list(self._dirty.items())]
            if not all(await asyncio.gather(*writes)):
                await self._back_off()
            else:
                self._retry_s = FIRST_RETRY_S
            async with self._progress:
                self._progress.notify_all()
            if self._dirty:
                self._wake.set()

    async def _back_off(self) -> None:
        await self._clock.sleep_until(self._clock.now() + self._retry_s)
        self._retry_s = min(LAST_RETRY_S, self._retry_s * 2)

    async def _write(self, session: str, identity: Identity, journal: Journal) -> bool:
        """False when the store could not take it now; it stays dirty then."""
        pending = journal.pending()
        try:
            if pending:
                await self._append(session, identity, pending)
        except StoreError as error:
            log.error("session.write_failed", session=session, error=str(error), retry_s=self._retry_s)
            return False
        except Exception as error:  # a fault of ours: another try would only repeat it, and hold up the others
            log.error("session.unsaved", session=session, events=len(pending), exc_info=error)
            del self._dirty[session]
            return True
        if pending:
            journal.acknowledged(pending[-1].sequence)
        if not journal.has_pending:
            del self._dirty[session]
        return True

    async def _append(self, session: str, identity: Identity, pending: list[Numbered]) -> None:
        now = self._clock.wall()
        try:
            await self._store.append(session, pending, now)
        except SessionError as error:
            if error.code != "session_not_found":
                raise
            await self._store.create(session, identity, now)
            await self._store.append(session, pending, now)
