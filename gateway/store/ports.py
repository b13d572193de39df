"""What a session store must do. One contract test (`tests/contracts/`) holds for every implementation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from gateway.core.events import AnyEvent


class Identity(msgspec.Struct, frozen=True):
    """Whose session it is: who called, and which number. An empty caller is anonymous and never resumes."""

    caller: str
    called: str


class SessionInfo(msgspec.Struct, frozen=True):
    """`created_at` and `touched_at` are wall-clock seconds; `touched_at` moves with every append."""

    id: str
    identity: Identity
    created_at: float
    touched_at: float
    status: Literal["open", "completed"] = "open"
    events: int = 0


class Numbered(msgspec.Struct, frozen=True):
    """An event with its place in its session, counted from 1 without gaps."""

    sequence: int
    event: AnyEvent


class Session(msgspec.Struct, frozen=True):
    info: SessionInfo
    events: tuple[AnyEvent, ...]


class SessionStore(Protocol):
    """All methods raise `StoreError` when the backend cannot; a failed call changed nothing. A store that is not
    open raises `MisuseError`.

    Times are wall-clock seconds and are given by the caller of the store, so that tests control them.
    """

    async def open(self) -> None:
        """Connect and create or migrate the schema. Called once before anything else."""
        ...

    async def close(self) -> None: ...

    async def create(self, session_id: str, identity: Identity, now: float) -> SessionInfo:
        """A new open session. Raises `SessionError(code="already_active")` when the id exists."""
        ...

    async def append(self, session_id: str, events: Sequence[Numbered], now: float) -> None:
        """Add events; durable against kill -9 once it returns. Idempotent by (session, sequence): what is there
        stays as it is. One that `completes` it does so. No events at all still touch it.

        Raises `SessionError(code="session_not_found")` for an unknown id, `MisuseError` for a batch that would leave
        a gap: after a `StoreError` the next batch begins with the first event that was not acknowledged.
        """
        ...

    async def load(self, session_id: str) -> Session:
        """Raises `SessionError(code="session_not_found")`."""
        ...

    async def find_resumable(self, identity: Identity, now: float, window_s: float) -> SessionInfo | None:
        """The newest open session of this identity touched within the window; None for an anonymous caller."""
        ...

    async def recent(self, limit: int = 50) -> list[SessionInfo]:
        """The last touched first, whatever their status."""
        ...

    async def purge(self, before: float) -> int:
        """Delete sessions last touched before `before`; how many.

        Works in batches so that calls in progress need not wait: a `StoreError` leaves the earlier batches deleted.
        """
        ...
