"""The dialplan that ships: an operator's first example, and what the gateway does out of the box."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import pytest

from gateway import dialplan
from gateway.dialplan import Dialplan, Offer
from gateway.dialplan.actions import names
from gateway.dialplan.control import Outcome
from gateway.dialplan.kinds import variables_in
from gateway.dialplan.rehearsal import rehearse

FOLDER = Path(__file__).parents[2] / "dialplans"


def test_it_has_no_fault() -> None:
    """Not even a warning."""
    assert dialplan.check(FOLDER / "default.yaml") == []


@pytest.mark.parametrize(
    ("called", "route"),
    [
        ("echo", "echo"),
        ("ring", "ring"),
        ("milliwatt", "milliwatt"),
        ("menu", "menu"),
        ("desk", "desk"),
        ("4711", "desk"),
    ],
)
def test_each_name_reaches_its_route_and_the_desk_takes_the_rest(shipped: Dialplan, called: str, route: str) -> None:
    """By every door."""
    for door in ("sip", "browser", "replay"):
        assert shipped.route(Offer(called, "1", door), datetime(2026, 1, 1)).route == route  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("called", "script", "log"),
    [
        ("echo", [], ["answer", "echo for ever"]),
        ("ring", [], ["ring", "wait 3 s", "answer", "echo for ever"]),
        ("milliwatt", [], ["answer", "tone 1004 Hz 0 dBm0 for ever"]),
        ("desk", [Outcome("booked")], ["answer", "converse flow", "outcome = booked", "hang up"]),
    ],
)
def test_the_routes_do_what_they_are_for(shipped: Dialplan, called: str, script: list[Outcome], log: list[str]) -> None:
    """From the offer on."""
    assert rehearse(shipped, Offer(called, "1", "sip"), script).log[: len(log)] == log


@pytest.mark.parametrize(
    ("script", "position"),
    [(["1", Outcome("booked")], "desk/1:bot"), (["echo"], "echo/1:echo"), (["the tone"], "milliwatt/1:milliwatt")],
)
def test_the_menu_leads_to_the_others(shipped: Dialplan, script: list[str | Outcome], position: str) -> None:
    """By digits and by speech."""
    assert rehearse(shipped, Offer("menu", "1", "sip"), script).steps[-1] == position


def test_the_fixed_texts_are_worth_storing(shipped: Dialplan) -> None:
    """Each once, none with a variable in it, greeting and goodbye among them."""
    texts = dialplan.prompts(shipped)
    assert len(set(texts)) == len(texts) >= 20
    assert not any(variables_in(text) for text in texts)
    assert {"Hello, this is the appointment desk.", "All right. Goodbye.", "What should I change?"} <= set(texts)


def test_the_reference_names_every_action() -> None:
    """A page that leaves one out misleads."""
    reference = (FOLDER / "README.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", reference, re.MULTILINE)) >= set(names())


def test_the_phrases_to_be_heard_are_known(shipped: Dialplan) -> None:
    """The vocabulary of menus and flows, the flow's yes and no among it, and none of what the bot says."""
    phrases = dialplan.heard(shipped)
    assert {"appointments", "haircut", "yes", "nope", "goodbye", "i'd like to"} <= set(phrases)
    assert len(set(phrases)) == len(phrases)
    assert not set(phrases) & set(dialplan.prompts(shipped))
