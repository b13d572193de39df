"""What every action must be, our own and others': a file is all it takes, so the file must be complete."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import msgspec
import pytest

from gateway.dialplan import Dialplan, Fault, Offer, actions, check, files, heard, prompts
from gateway.dialplan.rehearsal import rehearse
from gateway.dialplan.schema import json_schema
from gateway.providers.wav import write_wav


@pytest.mark.parametrize("name", actions.names())
def test_an_action_is_complete(name: str) -> None:
    """Options that refuse what they do not know, help for operators, a coroutine, and a shorthand that exists."""
    action = actions.find(name)
    assert action is not None
    assert action.Options.__struct_config__.forbid_unknown_fields
    assert action.Options.__struct_config__.frozen
    assert len(action.help) > 10
    assert inspect.iscoroutinefunction(action.run)
    assert list(inspect.signature(action.run).parameters) == ["call", "options"]
    assert action.shorthand is None or action.shorthand in action.Options.__struct_fields__


def test_there_is_no_action_that_nobody_wrote() -> None:
    """Private modules and other packages' names are none."""
    assert actions.find("nothing") is None
    assert actions.find("_private") is None
    assert actions.find("control") is None


GREET = '''
"""Greets people by their names."""

import msgspec

from gateway.dialplan.actions import Complaint
from gateway.dialplan.control import Prompt
from gateway.dialplan.kinds import Phrase, RouteName, Text
from gateway.dialplan.control import Goto

SHORTHAND = "names"


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Greets."""

    names: list[str]
    words: Text = "Hello, friends."
    answers: list[Phrase] = []
    then: RouteName | None = None


async def run(call, options):
    await call.say(Prompt(f"Hello, {' and '.join(options.names)}."))
    return Goto(options.then) if options.then else None


def examine(options, document):
    if not options.names:
        yield Complaint(("names",), "nobody to greet", "name somebody")
'''


@pytest.fixture
def greet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package of somebody else's that offers an action `greet`."""
    (tmp_path / "acme_greeting.py").write_text(GREET)
    monkeypatch.syspath_prepend(str(tmp_path))
    point = EntryPoint("greet", "acme_greeting", actions.GROUP)

    def entry_points(*, group: str, name: str | None = None) -> list[EntryPoint]:
        return [point] if group == actions.GROUP and name in (None, "greet") else []

    monkeypatch.setattr("gateway.dialplan.actions.metadata.entry_points", entry_points)
    _forget()
    yield
    _forget()
    sys.modules.pop("acme_greeting", None)


def _forget() -> None:
    actions.names.cache_clear()
    actions.find.cache_clear()


SOUNDS = """
prompts: {recorded.wav: Hello.}
routes:
  a:
    match: {}
    steps:
      - say: {text: Hello., file: said.wav}
      - gather: {say: "Your number?", file: gathered.wav, digits: 3, into: number, otherwise: [play: otherwise.wav]}
      - menu:
          say: One or two?
          file: menu.wav
          choices:
            - {digits: 1, then: [play: one.wav]}
            - {digits: 2, then: b}
      - music: behind.wav
      - music: {stop: true}
      - transfer: {to: "100", mode: bridge, music: waiting.wav}
  b: {steps: [play: said.wav, play: two.wav]}
"""


def test_every_file_is_known_before_a_call_plays_it(plan_of: Callable[[str], Dialplan], tmp_path: Path) -> None:
    """As calls will ask for it: of every action, wherever it stands, and in place of texts; each once."""
    named = sorted(set(re.findall(r"\w+\.wav", SOUNDS)))
    for name in named:
        write_wav(tmp_path / name, bytes(160), 8000)
    assert sorted(files(plan_of(SOUNDS))) == [str(tmp_path / name) for name in named]


@pytest.mark.usefixtures("greet")
def test_other_packages_add_actions(plan_of: Callable[[str], Dialplan]) -> None:
    """Found by entry point, with all that our own have: shorthand, texts, phrases, schema."""
    plan = plan_of("routes: {a: {match: {}, steps: [greet: [Ada, Bob]]}}")
    assert rehearse(plan, Offer("1", "2", "sip")).log == ["answer", "say Hello, Ada and Bob.", "hang up"]
    assert prompts(plan) == ["Hello, friends."]
    assert heard(plan) == []
    assert "greet" in json_schema()["$defs"]["Step"]["anyOf"][1]["properties"]


@pytest.mark.usefixtures("greet")
def test_other_packages_actions_are_checked_like_our_own(faults_of: Callable[[str], list[Fault]]) -> None:
    """Kinds of value bring their checks along; `examine` adds its own."""
    text = "routes:\n  a:\n    match: {}\n    steps:\n      - greet: {names: [], then: b, words: 'Hi {who}'}\n"
    found = {f"{fault.line}:{fault.column} {fault.message}" for fault in faults_of(text)}
    assert found == {"5:17 nobody to greet", "5:34 no route `b`", "5:44 nothing sets `{who}`"}


def test_options_survive_a_session(shipped: Dialplan) -> None:
    """A flow travels to its agent as plain values: they must go through JSON unchanged."""
    options = shipped.plan("desk").steps[-1].options.options
    assert msgspec.json.decode(msgspec.json.encode(options)) == options


def test_checking_twice_gives_the_same(written: Callable[[str], Path]) -> None:
    """Nothing is kept between checks, so an edited file is seen as it is."""
    path = written("routes: {a: {match: {}, steps: [anwser]}}")
    first = check(path)
    assert check(path) == first
    path.write_text("routes: {a: {match: {}, steps: [answer]}}\n")
    assert check(path) == []
