"""Extensions: found without a registry, and the ones that read headers for the dialplan."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sip_wire import OUR_SDP, Line, ack_of, invite, methods, request, statuses

import gateway.sip.extensions
from gateway.sip.commands import Accept
from gateway.sip.events import CallConfirmed, CallEnded, CallOffered
from gateway.sip.extension import Extension, found
from gateway.sip.extensions.diversion import Diversion, parse_diversions
from gateway.sip.extensions.history_info import HistoryEntry, parse_history
from gateway.sip.extensions.replaces import Replaces, parse_replaces
from gateway.sip.extensions.user_to_user import UserToUser, parse_user_to_user
from gateway.sip.message import Message
from gateway.sip.uri import parse_uri

FOUND = found()


def test_every_file_is_an_extension_and_every_extension_a_file() -> None:
    """Adding one edits nothing else."""
    (folder,) = gateway.sip.extensions.__path__
    files = {path.stem for path in Path(folder).glob("*.py")} - {"__init__"}
    assert len(FOUND) == len(files)


@pytest.mark.parametrize("extension", FOUND, ids=lambda extension: extension.name)
def test_the_contract_of_an_extension(extension: Extension) -> None:
    """A name of its own; its option tag and methods appear in what we announce."""
    assert extension.name
    assert [other.name for other in FOUND].count(extension.name) == 1
    line = Line()
    (answer,) = line.receive(request("OPTIONS"))
    if extension.option_tag:
        assert extension.option_tag in answer.tokens("Supported")
    assert {method.lower() for method in extension.methods} <= answer.tokens("Allow")


def test_without_extensions_nothing_of_them_is_left() -> None:
    """Their tags are then unknown like any other."""
    line = Line(extensions=())
    assert statuses(line.receive(invite(headers=("Require: 100rel",)))) == [420]


def test_an_extension_may_refuse_and_tell_facts() -> None:
    """The two hooks the simplest extension needs."""

    class Colour(Extension):
        name = "colour"
        option_tag = "colour"

        def facts(self, invite: object) -> tuple[tuple[str, str], ...]:
            return (("colour", "blue"),)

    line = Line(extensions=(Colour(),))
    line.receive(invite(headers=("Require: colour",)))
    assert line.event(CallOffered).facts == (("colour", "blue"),)


# Headers for the dialplan

USER = st.text("abcdefghij0123456789", min_size=1, max_size=8)
URIS = USER.map(lambda user: parse_uri(f"sip:{user}@example.com"))
WORD = st.text("abcdefghij-", min_size=1, max_size=10)


def facts(*headers: str) -> dict[str, str]:
    line = Line()
    line.receive(invite(headers=headers))
    return dict(line.event(CallOffered).facts)


@given(st.lists(st.builds(Diversion, URIS, WORD, st.integers(1, 99), st.sampled_from(["", "full"])), max_size=4))
def test_diversions_survive_being_written_and_read(diversions: list[Diversion]) -> None:
    """As one comma-separated line."""
    message = Message([("Diversion", ", ".join(map(str, diversions)))])
    assert parse_diversions(message) == tuple(diversions)


def test_a_diverted_call_says_from_where_and_why() -> None:
    """RFC 5806: the topmost is the latest."""
    said = facts('Diversion: <sip:200@pbx>;reason="no-answer"', "Diversion: <sip:100@pbx>;reason=user-busy;counter=1")
    assert (said["diverted-from"], said["diverted-by"], said["diverted-because"]) == ("100", "200", "no-answer")


ENTRIES = st.builds(
    HistoryEntry,
    URIS,
    st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple),
    st.none() | st.integers(300, 699),
)


@given(st.lists(ENTRIES, max_size=4, unique_by=lambda entry: entry.index))
def test_history_survives_being_written_and_read(entries: list[HistoryEntry]) -> None:
    """In the order of the indices, however they were written."""
    message = Message([("History-Info", str(entry)) for entry in entries])
    assert parse_history(message) == tuple(sorted(entries, key=lambda entry: entry.index))


def test_a_retargeted_call_says_whom_it_was_for() -> None:
    """RFC 7044."""
    header = "History-Info: <sip:200@pbx>;index=1.1, <sip:100@pbx?Reason=SIP%3Bcause%3D302>;index=1"
    assert facts(header)["first-called"] == "100"


@given(st.lists(st.builds(UserToUser, st.binary(max_size=20), WORD), max_size=3))
def test_user_to_user_survives_being_written_and_read(items: list[UserToUser]) -> None:
    """Any bytes, in hexadecimal digits."""
    message = Message([("User-to-User", str(item)) for item in items if item.data])
    assert parse_user_to_user(message) == tuple(item for item in items if item.data)


def test_user_to_user_reaches_the_dialplan_as_text() -> None:
    """RFC 7433: hexadecimal by default, or quoted."""
    assert facts("User-to-User: 34373131;encoding=hex")["user-to-user"] == "4711"
    assert facts('User-to-User: "a;\\"b";encoding=text')["user-to-user"] == 'a;"b'


@pytest.mark.parametrize("header", ["Diversion", "History-Info", "User-to-User"])
@pytest.mark.parametrize(
    "value", ["", ";", "<", "<sip:>", '"', "zz;encoding=hex", "<sip:a@h>;index=9999999999.x", ",,,"]
)
def test_broken_identity_headers_cost_nobody_a_call(header: str, value: str) -> None:
    """They are hints; a call without them is still a call."""
    line = Line()
    line.receive(invite(headers=(f"{header}: {value}",)))
    line.event(CallOffered)


# Replaces


def with_a_call_up() -> tuple[Line, str]:
    line = Line()
    line.receive(invite())
    (ok,) = line.do(Accept(line.offered, OUR_SDP))
    line.receive(ack_of(ok))
    return line, ok.to.tag


def replacing(tag: str, more: str = "") -> bytes:
    header = f"Replaces: call-1;to-tag={tag};from-tag=theirs{more}"
    return invite(branch="z9hG4bK-r", call_id="call-2", from_tag="another", headers=(header, "Require: replaces"))


def test_a_call_takes_the_place_of_another() -> None:
    """RFC 3891: the old one gets its BYE when the new one is accepted, not before."""
    line, tag = with_a_call_up()
    old = line.offered
    line.events.clear()
    line.receive(replacing(tag))
    offered = line.event(CallOffered)
    assert dict(offered.facts)["replaces"] == old
    sent = line.do(Accept(offered.dialog, OUR_SDP))
    assert (statuses(sent), methods(sent)) == ([200], ["BYE"])
    ended = line.event(CallEnded)
    assert (ended.dialog, ended.by) == (old, "replaced")
    line.receive(ack_of(sent[0], call_id="call-2", from_tag="another"))
    line.event(CallConfirmed)


@pytest.mark.parametrize(("tag", "more", "status"), [("wrong", "", 481), (None, ";early-only", 486)])
def test_replacing_what_cannot_be_replaced(tag: str | None, more: str, status: int) -> None:
    """RFC 3891 3."""
    line, real = with_a_call_up()
    assert statuses(line.receive(replacing(tag or real, more))) == [status]


@given(st.builds(Replaces, WORD, WORD, WORD, st.booleans()))
def test_replaces_survives_being_written_and_read(replaces: Replaces) -> None:
    """As transfers carry it."""
    assert parse_replaces(str(replaces)) == replaces
