"""A store that forgets when the process ends: for tests and replay. Deterministic, and not slowed by any I/O.

Events are kept encoded, as in the other backends: what cannot be stored there cannot be stored here either.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.core.errors import MisuseError
from gateway.store.codec import pack, unpack
from gateway.store.ports import Identity, Numbered, Session, SessionInfo
from gateway.store.rules import already_there, appended, check_id, may_resume, newest_first, not_found, storable, unseen


class MemoryStore:
    """Implements `SessionStore`."""

    def __init__(self) -> None:
        self._infos: dict[str, SessionInfo] = {}
        self._bodies: dict[str, list[str]] = {}
        self._is_open = False

    async def open(self) -> None:
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False

    async def create(self, session_id: str, identity: Identity, now: float) -> SessionInfo:
        check_id(session_id)
        if session_id in self._sessions():
            raise already_there(session_id)
        info = SessionInfo(id=session_id, identity=storable(identity), created_at=now, touched_at=now)
        self._infos[session_id], self._bodies[session_id] = info, []
        return info

    async def append(self, session_id: str, events: Sequence[Numbered], now: float) -> None:
        info = self._info(session_id)
        fresh = unseen(events, info.events)
        bodies = [pack(numbered.event) for numbered in fresh]
        self._bodies[session_id] += bodies
        self._infos[session_id] = appended(info, fresh, now)

    async def load(self, session_id: str) -> Session:
        info = self._info(session_id)
        return Session(info, unpack(session_id, self._bodies[session_id]))

    async def find_resumable(self, identity: Identity, now: float, window_s: float) -> SessionInfo | None:
        if not identity.caller:
            return None
        since, wanted = now - window_s, storable(identity)
        found = (info for info in self._sessions().values() if may_resume(info, wanted, since))
        return max(found, key=newest_first, default=None)

    async def recent(self, limit: int = 50) -> list[SessionInfo]:
        return sorted(self._sessions().values(), key=newest_first, reverse=True)[:limit]

    async def purge(self, before: float) -> int:
        gone = [info.id for info in self._sessions().values() if info.touched_at < before]
        for session_id in gone:
            del self._infos[session_id], self._bodies[session_id]
        return len(gone)

    def _sessions(self) -> dict[str, SessionInfo]:
        if not self._is_open:
            raise MisuseError("the session store is not open")
        return self._infos

    def _info(self, session_id: str) -> SessionInfo:
        try:
            return self._sessions()[session_id]
        except KeyError:
            raise not_found(session_id) from None


def build(url: str) -> MemoryStore:
    """`memory:` alone; every call makes a store of its own."""
    return MemoryStore()
