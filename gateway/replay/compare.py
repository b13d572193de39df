"""The golden events against the new ones: what is gone, what is new, what moved, as lines on a timeline."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Literal, TypeAlias

import msgspec

from gateway.core import events as e
from gateway.replay.describe import clock_face, describe
from gateway.replay.meaning import LANES, Meaning, meanings

LIVE_TOLERANCE_S = 0.08
"""For golden events that were recorded live: four packets."""
ROUNDING_S = 1e-6
"""What "no tolerance" leaves to floating point."""
MOVED_SHOWN = 8
"""Lines about moved events before the rest is only counted: one late event moves all after it."""

Kind: TypeAlias = Literal["gone", "new", "moved", "unanswered"]
_SIGN: dict[Kind, str] = {"gone": "-", "new": "+", "moved": "~", "unanswered": "!"}


class Difference(msgspec.Struct, frozen=True):
    """`at` is in seconds since the start of the call, of the golden event where there is one."""

    at: float
    kind: Kind
    text: str


class Comparison(msgspec.Struct, frozen=True):
    differences: tuple[Difference, ...]
    compared: int
    """Golden events that took part."""
    tolerance_s: float

    @property
    def same(self) -> bool:
        return not self.differences

    def render(self) -> str:
        """Lines as `00:07.42  - UserTurnEnded "Thursday"`; a change shows what is gone first."""
        if self.same:
            return f"{self.compared} events, all the same"
        shown, moved = [], 0
        for difference in self.differences:
            moved += difference.kind == "moved"
            if difference.kind != "moved" or moved <= MOVED_SHOWN:
                shown.append(f"{clock_face(difference.at)}  {_SIGN[difference.kind]} {difference.text}")
        if moved > MOVED_SHOWN:
            shown.append(f"          ~ ... and {moved - MOVED_SHOWN} more events that moved")
        return "\n".join([*shown, self._total()])

    def _total(self) -> str:
        count = {kind: sum(one.kind == kind for one in self.differences) for kind in _SIGN}
        facts = ", ".join(f"{number} {kind}" for kind, number in count.items() if number)
        return f"{facts}; {self.compared} golden events compared, times within {self.tolerance_s * 1000:.0f} ms"


def compare(
    golden: Sequence[e.AnyEvent],
    new: Sequence[e.AnyEvent],
    *,
    tolerance_s: float = LIVE_TOLERANCE_S,
    unanswered: Iterable[tuple[float, str]] = (),
) -> Comparison:
    """By meaning (see `meaning.py`). With `tolerance_s` 0 interim transcripts count too, and times to the microsecond.

    `unanswered` is what the replay asked the bundle in vain: (seconds since the start of the call, what).
    """
    strict = tolerance_s <= 0
    before, after = list(meanings(tuple(golden), strict=strict)), list(meanings(tuple(new), strict=strict))
    differences = [Difference(at, "unanswered", what) for at, what in unanswered]
    pairs: list[tuple[Meaning, Meaning]] = []
    last = _last_moment(golden, tolerance_s), _last_moment(new, tolerance_s)
    for lane in LANES:
        differences += _lane_differences(
            [one for one in before if one.lane == lane], [one for one in after if one.lane == lane], pairs, last
        )
    differences += _moved(pairs, max(tolerance_s, ROUNDING_S))
    differences += _misnumbered(pairs)
    return Comparison(tuple(sorted(differences, key=lambda one: one.at)), len(before), max(0.0, tolerance_s))


def _last_moment(events: Sequence[e.AnyEvent], tolerance_s: float) -> float:
    """From here on (seconds since the start) the call was as good as over: what the caller still did may be missing."""
    ended = next((one.at for one in events if isinstance(one, e.CallEnded)), math.inf)
    return ended - tolerance_s - events[0].at if events and tolerance_s > 0 else math.inf


def _lane_differences(
    before: list[Meaning], after: list[Meaning], pairs: list[tuple[Meaning, Meaning]], last: tuple[float, float]
) -> Iterator[Difference]:
    """What is gone and new in a lane; what stayed is added to `pairs`."""
    matcher = SequenceMatcher(None, [one.key for one in before], [one.key for one in after], autojunk=False)
    for step, a, a_end, b, b_end in matcher.get_opcodes():
        if step == "equal":
            pairs += zip(before[a:a_end], after[b:b_end], strict=True)
        elif not (_cut_off(before[a:], after[b:], last[0]) or _cut_off(after[b:], before[a:], last[1])):
            yield from _changed(before[a:a_end], after[b:b_end])


def _cut_off(here: list[Meaning], there: list[Meaning], last: float) -> bool:
    """Whether the caller's events here are too near the end of the call for the other side to have had them.

    A turn that ends and a caller who hangs up milliseconds later change places as any two moments within the tolerance
    do, only that nothing happens behind the end of a call."""
    return not there and all(one.lane == "caller" and one.at >= last for one in here)


def _changed(gone: list[Meaning], new: list[Meaning]) -> Iterator[Difference]:
    """Events that took another's place stand beside it on the timeline."""
    waiting = list(new)
    for old in gone:
        yield Difference(old.at, "gone", describe(old.event))
        instead = next((one for one in waiting if type(one.event) is type(old.event)), None)
        if instead is not None:
            waiting.remove(instead)
            yield Difference(old.at, "new", describe(instead.event))
    for one in waiting:
        yield Difference(one.at, "new", describe(one.event))


def _moved(pairs: list[tuple[Meaning, Meaning]], tolerance_s: float) -> Iterator[Difference]:
    for old, new in pairs:
        late = [b - a for a, b in zip(old.times, new.times, strict=True)]
        longer = [b - a for a, b in zip(old.spans, new.spans, strict=True)]
        if any(abs(by) > tolerance_s for by in late):
            by = max(late, key=abs)
            yield Difference(old.at, "moved", f"{describe(old.event)}: {abs(by) * 1000:.0f} ms {_word(by)}")
        elif any(abs(by) > tolerance_s for by in longer):
            by = max(longer, key=abs)
            word = "longer" if by > 0 else "shorter"
            yield Difference(old.at, "moved", f"{describe(old.event)}: {abs(by) * 1000:.0f} ms {word}")


def _word(by: float) -> str:
    return "later" if by > 0 else "earlier"


def _misnumbered(pairs: list[tuple[Meaning, Meaning]]) -> Iterator[Difference]:
    """A clip, turn or session of before must be one and the same now, under whatever number."""
    there: dict[tuple[str, str | int], str | int] = {}
    back: dict[tuple[str, str | int], str | int] = {}
    for old, new in sorted(pairs, key=lambda pair: pair[0].at):
        for (name, was), (_, now) in zip(old.ids, new.ids, strict=True):
            if there.setdefault((name, was), now) != now or back.setdefault((name, now), was) != was:
                yield Difference(old.at, "gone", f"{describe(old.event)} of {name} {was}")
                yield Difference(old.at, "new", f"{describe(new.event)} of {name} {now}")
