"""Whose session a call takes up: the rules of coming back, and the writer that keeps sessions safe meanwhile."""

from __future__ import annotations

import msgspec

from gateway.core.clock import Clock
from gateway.core.events import AnyEvent
from gateway.core.ids import Ids
from gateway.session.memory import Remembered, fold
from gateway.store.ports import Identity, SessionStore


class SessionOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    resume_within_s: float = 1800.0
    """How long after the last event a call back still goes on."""
    keep_days: float = 30.0
    """Sessions untouched for longer are deleted."""


class Opened(msgspec.Struct, frozen=True):
    """The session a call writes to. `remembered` is None in a fresh one."""

    session: str
    next_sequence: int
    remembered: Remembered | None = None
    away_s: float = 0.0
    earlier: tuple[AnyEvent, ...] = ()
    """The session's events before this call."""


async def open_session(
    store: SessionStore, identity: Identity, *, clock: Clock, ids: Ids, options: SessionOptions, busy: set[str]
) -> Opened:
    """Resume the caller's open session, or begin one (it is created with its first events).

    Sessions in `busy` belong to a live call and are left alone. Raises `StoreError` when the store cannot be read.
    """
    now = clock.wall()
    found = await store.find_resumable(identity, now, options.resume_within_s)
    if found is not None and found.id not in busy:
        session = await store.load(found.id)
        remembered = fold(session.events)
        if not remembered.completed and remembered.step is not None:
            away_s = max(0.0, now - found.touched_at)
            return Opened(found.id, len(session.events) + 1, remembered, away_s, session.events)
    return fresh_session(ids)


def fresh_session(ids: Ids) -> Opened:
    return Opened(f"s-{ids.token(16)}", next_sequence=1)
