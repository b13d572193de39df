"""Between events and the text that backends keep."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gateway.core.errors import MisuseError, StoreError
from gateway.core.events import AnyEvent, decode, encode


def pack(event: AnyEvent) -> str:
    """Raises `MisuseError` for an event that could not be read back: text that is not Unicode, an object of no known
    type, a number that is none. It is found now, by whoever made it, and not when a caller waits to be resumed."""
    try:
        body = encode(event)
        decode(body)
    except (UnicodeEncodeError, TypeError, msgspec.DecodeError) as error:
        raise MisuseError(f"a {type(event).__name__} cannot be stored: {error}") from error
    return body.decode()


def unpack(session_id: str, bodies: Iterable[str]) -> tuple[AnyEvent, ...]:
    """Raises `StoreError` naming the event that this version of the gateway cannot read."""
    events: list[AnyEvent] = []
    for sequence, body in enumerate(bodies, start=1):
        try:
            events.append(decode(body))
        except msgspec.DecodeError as error:
            raise StoreError(
                f"event {sequence} of session {session_id!r} cannot be read ({error}); "
                "was it written by a newer gateway? Run that version, or purge the session"
            ) from error
    return tuple(events)
