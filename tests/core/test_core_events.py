"""Events as they are written down: every type comes back as it went, and nothing else is taken for one."""

from __future__ import annotations

import contextlib
import typing
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.events import AnyEvent, CallStarted, Event, StepEntered, VariableSet, decode, encode

TYPES: tuple[type[Event], ...] = typing.get_args(AnyEvent)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    float: NUMBERS,
    float | None: st.none() | NUMBERS,
    int: st.integers(-(2**63), 2**63 - 1),
    bool: st.booleans(),
    dict[str, str]: st.dictionaries(TEXT, TEXT, max_size=3),
    dict[str, Any]: st.dictionaries(TEXT, JSON, max_size=3),
}


def values(annotation: Any) -> st.SearchStrategy[Any]:
    if typing.get_origin(annotation) is typing.Literal:
        return st.sampled_from(typing.get_args(annotation))
    return BY_TYPE[annotation]


def events(kind: type[Event]) -> st.SearchStrategy[Event]:
    fields = {field.name: values(field.type) for field in msgspec.structs.fields(kind)}
    return st.builds(kind, **fields)


@given(event=st.one_of([events(kind) for kind in TYPES]))
def test_every_event_comes_back_as_it_went(event: Event) -> None:
    """The log is the record of a call: what is read is equal to what happened, and fits on one line."""
    line = encode(event)
    assert b"\n" not in line
    assert decode(line) == event
    assert type(decode(line)) is type(event)
    assert encode(decode(line)) == line


def test_every_event_class_can_be_read() -> None:
    """An event that is written but missing from `AnyEvent` would make its whole log unreadable."""
    assert set(Event.__subclasses__()) == set(TYPES)


def test_the_tag_is_the_class_name() -> None:
    """The names on disk are those of the code, under `type`; renaming a class breaks recordings and is seen here."""
    assert encode(StepEntered(at=1.5, call="c1", step="desk/1")) == (
        b'{"type":"StepEntered","at":1.5,"call":"c1","step":"desk/1"}'
    )


def test_equal_events_have_equal_bytes() -> None:
    """Two replays are compared byte by byte: the order in which a dict was filled must not show."""
    one = CallStarted(at=0.0, call="c", door="sip", caller="a", called="b", route="r", headers={"X": "1", "Y": "2"})
    other = CallStarted(at=0.0, call="c", door="sip", caller="a", called="b", route="r", headers={"Y": "2", "X": "1"})
    assert encode(one) == encode(other)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b'{"type":"Teleported","at":1,"call":"c"}', "Invalid value 'Teleported'"),
        (b'{"at":1,"call":"c"}', "missing required field `type`"),
        (b'{"type":"StepEntered","at":1,"call":"c"}', "missing required field `step`"),
        (b'{"type":"StepEntered","at":"soon","call":"c","step":"x"}', r"Expected `float`, got `str` - at `\$.at`"),
        (b'{"type":"CallHeld","at":1,"call":"c"', "truncated"),
        (b"", "truncated"),
        (b"[]", "Expected `object`, got `array`"),
    ],
)
def test_what_is_no_event_is_refused_with_the_place(line: bytes, fault: str) -> None:
    """A damaged or foreign line says what is wrong with it."""
    with pytest.raises(msgspec.DecodeError, match=fault):
        decode(line)


@given(line=st.binary(max_size=60) | st.text(max_size=60))
def test_rubbish_is_refused_and_nothing_worse(line: bytes | str) -> None:
    """Whatever stands in a file, reading it ends in an event or in a decoding error."""
    with contextlib.suppress(msgspec.DecodeError, UnicodeError):
        decode(line)


def test_fields_added_later_have_defaults() -> None:
    """A log of an older gateway lacks the fields added since: those with defaults may be missing, and extra ones of
    a newer gateway are passed over."""
    line = b'{"type":"VariableSet","at":1,"call":"c","name":"n","value":"v","colour":"green"}'
    assert decode(line) == VariableSet(at=1.0, call="c", name="n", value="v")
