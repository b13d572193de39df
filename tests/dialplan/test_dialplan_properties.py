"""Whatever stands in a dialplan: the check ends, never crashes, and always says where."""

from __future__ import annotations

import re
import string
import tempfile
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import dialplan
from gateway.core.errors import ConfigError
from gateway.dialplan import Offer
from gateway.dialplan.hours import read_dates, read_window
from gateway.dialplan.match import covers, holds
from gateway.dialplan.model import Match
from gateway.dialplan.patterns import covers as pattern_covers
from gateway.dialplan.patterns import matches
from gateway.dialplan.phrases import normalise, spans

SHIPPED = (Path(__file__).parents[2] / "dialplans" / "default.yaml").read_text("utf-8")
LINES = SHIPPED.splitlines()
WORDS = sorted(set(re.findall(r"[A-Za-z_]+|[0-9]+|[\[\]{}:,&*|>#'\"!%@-]", SHIPPED)))

cheap = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def check(text: str) -> None:
    """Sound and loaded, or refused with a place that exists."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.yaml"
        path.write_text(text, "utf-8", newline="")
        faults = dialplan.check(path)
        lines = text.splitlines() or [""]
        for fault in faults:
            assert fault.path == str(path)
            assert fault.line >= 1
            assert fault.column >= 1
            assert fault.line <= len(lines) + 1, fault
            assert fault.message
        errors = [fault for fault in faults if fault.severity == "error"]
        if errors:
            with pytest.raises(ConfigError) as raised:
                dialplan.load(path)
            assert (raised.value.line, raised.value.column) == (errors[0].line, errors[0].column)
        else:
            dialplan.load(path)


@cheap
@given(st.data())
def test_a_mutated_line_never_crashes_the_check(data: st.DataObject) -> None:
    """Words replaced, doubled or lost, lines moved: what happens under an editor's hands."""
    lines = list(LINES)
    for _ in range(data.draw(st.integers(1, 3))):
        index = data.draw(st.integers(0, len(lines) - 1))
        change = data.draw(st.sampled_from(["word", "drop", "double", "indent", "swap"]))
        if change == "word":
            parts = re.split(r"(\w+)", lines[index])
            parts[data.draw(st.integers(0, len(parts) - 1))] = data.draw(st.sampled_from(WORDS))
            lines[index] = "".join(parts)
        elif change == "drop":
            del lines[index]
        elif change == "double":
            lines.insert(index, lines[index])
        elif change == "indent":
            lines[index] = " " * data.draw(st.integers(0, 8)) + lines[index].strip()
        else:
            other = data.draw(st.integers(0, len(lines) - 1))
            lines[index], lines[other] = lines[other], lines[index]
    check("\n".join(lines))


@cheap
@given(st.text(max_size=200))
def test_any_text_is_checked(text: str) -> None:
    """A file that is no dialplan at all."""
    check(text.encode("utf-8", "ignore").decode())


@cheap
@given(st.lists(st.sampled_from([*WORDS, "\n", "\n  ", "\n    ", ": ", "- ", "{", "}", "[", "]"]), max_size=60))
def test_any_heap_of_the_right_words_is_checked(words: list[str]) -> None:
    """Something that looks like a dialplan."""
    check("".join(words))


values = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 500), st.sampled_from(WORDS), st.lists(st.sampled_from(WORDS), max_size=2)
)


@cheap
@given(st.data())
def test_any_value_in_any_place_is_checked(data: st.DataObject) -> None:
    """Well-formed YAML with a wrong value somewhere in it."""
    import yaml

    document = yaml.safe_load(SHIPPED)
    place = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.integers(0, 3)) == 0:
            place[key] = data.draw(values)
            break
        place = inner
    check(yaml.safe_dump(document, sort_keys=False))


plain = st.text(string.digits + "abc*", max_size=6)


@given(plain, plain)
def test_a_pattern_takes_itself_and_its_prefix(pattern: str, value: str) -> None:
    """The definition of the three forms without slashes."""
    if pattern.endswith("*"):
        assert matches(pattern, value) == value.startswith(pattern[:-1])
    else:
        assert matches(pattern, value) == (pattern == value)


@given(plain, plain, plain)
def test_a_wider_pattern_takes_all_of_the_narrower(wide: str, narrow: str, value: str) -> None:
    """Otherwise a route would be called unreachable that is not."""
    if pattern_covers(wide, narrow) and matches(narrow, value):
        assert matches(wide, value)


names = st.one_of(st.just(()), plain, st.lists(plain, min_size=1, max_size=3).map(tuple))
windows = st.one_of(st.just(()), st.sampled_from(["mon-fri 9:00-17:00", "sat", "22:00-6:00"]))
rules = st.builds(
    Match,
    called=names,
    caller=names,
    door=st.sampled_from([None, "sip", "browser"]),
    headers=st.dictionaries(st.sampled_from(["X-A", "x-b"]), plain, max_size=2),
    facts=st.dictionaries(st.sampled_from(["account", "trunk"]), plain, max_size=2),
    time=windows,
    share=st.sampled_from([None, 0.5, 1.0]),
)
offers = st.builds(
    Offer,
    called=plain,
    caller=plain,
    door=st.sampled_from(["sip", "browser", "replay"]),
    headers=st.dictionaries(st.sampled_from(["x-A", "X-b"]), plain, max_size=2),
    facts=st.dictionaries(st.sampled_from(["account", "trunk"]), plain, max_size=2),
)
times = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1))


@given(rules, rules, offers, times)
def test_a_route_that_covers_another_takes_all_its_calls(wide: Match, narrow: Match, call: Offer, at: datetime) -> None:
    """The warning about unreachable routes is never wrong."""
    if covers(wide, narrow) and holds(narrow, "narrow", call, at):
        assert holds(wide, "wide", call, at)


@given(rules, offers, times)
def test_a_route_covers_itself_unless_it_takes_a_share(rule: Match, call: Offer, at: datetime) -> None:
    """The same conditions twice: the second is dead."""
    assert covers(rule, rule) == (rule.share in (None, 1.0))


@given(st.integers(0, 1439), st.integers(0, 1439), times)
def test_a_window_and_its_complement_share_the_day(begin: int, until: int, at: datetime) -> None:
    """Of two windows that meet at both ends exactly one is open."""
    if begin == until:
        return
    clock = [f"{minute // 60}:{minute % 60:02}" for minute in (begin, until)]
    one, other = read_window(f"{clock[0]}-{clock[1]}"), read_window(f"{clock[1]}-{clock[0]}")
    assert one.holds(at) != other.holds(at)


@given(times, st.integers(0, 400))
def test_a_span_of_dates_holds_its_ends(first: datetime, days: int) -> None:
    """From the first day to the last, both included."""
    last = first + timedelta(days=days)
    span = read_dates(f"{first:%Y-%m-%d}..{last:%Y-%m-%d}")
    assert span.holds(first)
    assert span.holds(last)
    assert not span.holds(last + timedelta(days=1))


@given(st.text(max_size=60))
def test_normalising_is_done_once(text: str) -> None:
    """Words stay words when they are written down and read again."""
    words = normalise(text)
    assert normalise(" ".join(words)) == words


@given(st.lists(st.sampled_from(["one", "two", "not", "three"]), max_size=12))
def test_found_phrases_do_not_overlap(words: list[str]) -> None:
    """Each word means one thing, and the longest phrase wins."""
    found = spans(words, {"a": ["one"], "b": ["one two", "three"], "c": ["two three"]})
    assert all(one.end <= other.begin for one, other in pairwise(found))
    text = " ".join(words)
    if "one two" in text:
        assert any(span.value == "b" for span in found)
