"""Does an offered call meet a route's conditions, and if not, which and why."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

import msgspec

from gateway.core.events import Door
from gateway.dialplan import patterns
from gateway.dialplan.flow import listed
from gateway.dialplan.hours import read_dates, read_window
from gateway.dialplan.model import Match


class Offer(msgspec.Struct, frozen=True):
    """A call at the door. An anonymous caller is the empty string; header names match in any case.

    `headers` are what the caller's side wrote, `facts` what the gateway believes (`gateway.dialplan.facts`).
    """

    called: str
    caller: str
    door: Door
    trunk: str = ""
    headers: dict[str, str] = {}
    facts: dict[str, str] = {}


class Verdict(msgspec.Struct, frozen=True):
    """One condition looked at: what it wants, what the call has."""

    condition: str
    wanted: str
    actual: str
    holds: bool

    def __str__(self) -> str:
        return f"{self.condition} {self.actual!r} {'matches' if self.holds else 'does not match'} {self.wanted}"


def verdicts(match: Match, route: str, offer: Offer, at: datetime) -> list[Verdict]:
    """A verdict for each condition given, in the order of the model. `at` is local to the dialplan."""
    return list(_verdicts(match, route, offer, at))


def holds(match: Match, route: str, offer: Offer, at: datetime) -> bool:
    return all(verdict.holds for verdict in _verdicts(match, route, offer, at))


def _verdicts(match: Match, route: str, offer: Offer, at: datetime) -> Iterator[Verdict]:
    if match.called != ():
        yield _named("called", match.called, offer.called)
    if match.caller != ():
        yield _named("caller", match.caller, offer.caller)
    if match.trunk != ():
        yield _named("trunk", match.trunk, offer.trunk)
    if match.door is not None:
        yield Verdict("door", match.door, offer.door, match.door == offer.door)
    headers = {name.lower(): value for name, value in offer.headers.items()}
    for name, pattern in match.headers.items():
        yield _header(name, pattern, headers.get(name.lower()))
    for name, pattern in match.facts.items():
        yield _fact(name, pattern, offer.facts.get(name))
    if match.time != ():
        yield _timed("time", match.time, f"{at:%a %H:%M}", lambda text: read_window(text).holds(at))
    if match.date != ():
        yield _timed("date", match.date, f"{at:%Y-%m-%d}", lambda text: read_dates(text).holds(at))
    if match.share is not None:
        part = _part(route, offer.caller or at.isoformat())
        yield Verdict("share", f"{match.share:.4g}", f"{part:.4f}", part < match.share)


def _named(condition: str, wanted: str | tuple[str, ...], value: str) -> Verdict:
    held = any(patterns.matches(pattern, value) for pattern in listed(wanted))
    return Verdict(condition, " or ".join(listed(wanted)), value, held)


def _header(name: str, pattern: str, value: str | None) -> Verdict:
    return Verdict(f"header {name}", pattern, value or "", value is not None and patterns.matches(pattern, value))


def _fact(name: str, pattern: str, value: str | None) -> Verdict:
    return Verdict(f"fact {name}", pattern, value or "", value is not None and patterns.matches(pattern, value))


def _timed(condition: str, wanted: str | tuple[str, ...], now: str, test: Callable[[str], bool]) -> Verdict:
    windows = listed(wanted)
    return Verdict(condition, " or ".join(windows), now, any(test(window) for window in windows))


def _part(route: str, who: str) -> float:
    """A number from 0 up to 1, the same for the same caller and route, on any machine and in any year."""
    digest = hashlib.blake2b(f"{route}\0{who}".encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def covers(wide: Match, narrow: Match) -> bool:
    """True only when certainly every call that `narrow` matches is matched by `wide` too."""
    return (
        _names_cover(wide.called, narrow.called)
        and _names_cover(wide.caller, narrow.caller)
        and _names_cover(wide.trunk, narrow.trunk)
        and wide.door in (None, narrow.door)
        and _entries_cover(_folded(wide.headers), _folded(narrow.headers))
        and _entries_cover(wide.facts, narrow.facts)
        and _texts_cover(wide.time, narrow.time)
        and _texts_cover(wide.date, narrow.date)
        and wide.share in (None, 1.0)
    )


def _names_cover(wide: str | tuple[str, ...], narrow: str | tuple[str, ...]) -> bool:
    if wide == ():
        return True
    few: Sequence[str] = listed(narrow) if narrow != () else ("*",)
    return all(any(patterns.covers(one, other) for one in listed(wide)) for other in few)


def _folded(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): pattern for name, pattern in headers.items()}


def _entries_cover(wide: Mapping[str, str], narrow: Mapping[str, str]) -> bool:
    return all(name in narrow and patterns.covers(pattern, narrow[name]) for name, pattern in wide.items())


def _texts_cover(wide: str | tuple[str, ...], narrow: str | tuple[str, ...]) -> bool:
    return wide == () or (narrow != () and set(listed(narrow)) <= set(listed(wide)))
