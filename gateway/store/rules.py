"""What every backend decides alike, so that no two of them can differ in it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from gateway.core.errors import MisuseError, SessionError
from gateway.core.events import completes
from gateway.store.ports import Identity, Numbered, SessionInfo


def unseen(events: Sequence[Numbered], stored: int) -> Sequence[Numbered]:
    """The events of a batch that come after the `stored` ones already there.

    Raises `MisuseError` if the batch would leave a gap: a store with a gap would hand out every later event
    under the wrong number, and nobody would notice until a resumed call went on at the wrong question.
    """
    if not events:
        return events
    first = events[0].sequence
    if not 1 <= first <= stored + 1 or any(b.sequence != a.sequence + 1 for a, b in pairwise(events)):
        numbers = ", ".join(str(numbered.sequence) for numbered in events[:8])
        raise MisuseError(f"events {numbers} do not follow on from the {stored} stored ones without a gap")
    return events[stored + 1 - first :]


def appended(info: SessionInfo, fresh: Sequence[Numbered], now: float) -> SessionInfo:
    """The session after `fresh` events were added to it at `now`."""
    completed = any(completes(numbered.event) for numbered in fresh)
    return msgspec.structs.replace(
        info,
        touched_at=now,
        events=info.events + len(fresh),
        status="completed" if completed else info.status,
    )


def storable(identity: Identity) -> Identity:
    """An identity from the wire as every backend can keep it: NUL (which PostgreSQL refuses) and lone surrogates
    are written out as escapes, so that a strange caller is still a caller and still finds the session again."""
    return Identity(caller=_plain(identity.caller), called=_plain(identity.called))


def check_id(session_id: str) -> None:
    """An id is printable ASCII, as `Ids` makes them. Raises `SessionError`: no session has any other."""
    if not (session_id.isascii() and session_id.isprintable()):
        raise not_found(session_id)


def may_resume(info: SessionInfo, identity: Identity, since: float) -> bool:
    return info.status == "open" and info.identity == identity and info.touched_at >= since


def newest_first(info: SessionInfo) -> tuple[float, float, str]:
    """The key of the order in which sessions are found and listed, to be sorted in reverse."""
    return info.touched_at, info.created_at, info.id


def not_found(session_id: str) -> SessionError:
    return SessionError(f"there is no session {session_id!r}", code="session_not_found")


def already_there(session_id: str) -> SessionError:
    return SessionError(f"session {session_id!r} exists already", code="already_active")


def _plain(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", r"\x00")
