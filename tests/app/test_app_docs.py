"""The documents say what is so: links lead somewhere, commands parse, examples pass, tables are complete."""

from __future__ import annotations

import re
import shlex
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from docs_pages import PAGES, ROOT, blocks, commands, inline_commands, links, names, page, rows

from gateway import __version__
from gateway.app import cli
from gateway.call.journal import summary
from gateway.core import events as e
from gateway.core.errors import GatewayError
from gateway.dialplan.actions import names as actions
from gateway.dialplan.facts import FACTS
from gateway.media.commands import LegStats
from gateway.ops.http import HttpOffice
from gateway.ops.metrics import Histogram, Metrics, Series
from gateway.ops.parrot import ParrotDesk
from gateway.providers.load import ENTRY_POINTS, Room
from gateway.session.options import ConversationOptions
from gateway.sip.extension import Extensions, found
from gateway.sip.options import EndpointOptions

COMMANDS = [(path.name, line) for path in PAGES for line in commands(path.read_text())]
INLINE = [(path.name, line) for path in PAGES for line in inline_commands(path.read_text())]
DIALPLANS = [text for path in PAGES for text in blocks(path.read_text(), "yaml") if "routes:" in text]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_to_files(path: Path) -> None:
    """Relative to the page they stand on."""
    assert [target for target in links(path.read_text()) if not (path.parent / target).exists()] == []


def test_files_named_in_the_text_are_there() -> None:
    """Paths of this repository between backticks, `tests/contracts/` as well as `gateway/session/ports.py`."""
    for path in PAGES:
        for name in re.findall(
            r"`((?:gateway|tests|docs|config|dialplans|benchmarks|docker)/[\w./-]+)`", path.read_text()
        ):
            assert (ROOT / name).exists() or "NAME" in name, f"{path.name}: {name}"


@pytest.mark.parametrize(("where", "line"), COMMANDS)
def test_command_lines_parse(where: str, line: str) -> None:
    """With the parser of the command itself."""
    cli._parser().parse_args(shlex.split(line)[1:])


@pytest.mark.parametrize(("where", "line"), INLINE)
def test_commands_in_a_sentence_parse(where: str, line: str) -> None:
    """A bare name (`gateway replay`) leaves out what the command needs; with anything after it, it must parse."""
    words = shlex.split(line)[1:]
    if words in [["route"], ["call"], ["replay"]]:
        return
    if words[-1] == "--help":
        words.pop()
    cli._parser().parse_args(words)


def test_modules_to_be_run_are_there() -> None:
    """`python -m NAME`, in blocks and sentences."""
    shown = {name for path in PAGES for name in re.findall(r"python -m ([\w.]+\w)", path.read_text())}
    assert "benchmarks.store_appends" in shown
    assert [name for name in shown - {"venv"} if find_spec(name) is None] == []


def test_there_are_commands_to_look_at() -> None:
    """A pattern that finds none would let everything pass."""
    assert len(COMMANDS) >= 12
    assert {line.split()[1] for _, line in COMMANDS} == {"run", "check", "route", "call", "replay", "trunks"}


@pytest.mark.parametrize("text", DIALPLANS)
def test_dialplans_shown_have_no_fault(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As `gateway check` says."""
    (tmp_path / "plan.yaml").write_text(text)
    assert cli.main(["check", str(tmp_path / "plan.yaml")]) == 0, capsys.readouterr().out


def test_the_readme_shows_a_dialplan() -> None:
    """The first thing an operator wants to see."""
    assert any("routes:" in text for text in blocks(page("README.md"), "yaml"))


def test_toml_and_yaml_shown_can_be_read() -> None:
    """Every block of either."""
    for path in PAGES:
        for text in blocks(path.read_text(), "toml"):
            tomllib.loads(text)
        for text in blocks(path.read_text(), "yaml"):
            yaml.safe_load(text)


def test_the_changelog_tells_of_this_version() -> None:
    """A heading of its own, the first of them."""
    headings = re.findall(r"^## (\S+)", page("CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == __version__


def shown(default: Any) -> str:
    """A default as a configuration file would have it."""
    return "none" if default is None else f"`{msgspec.json.encode(default).decode()}`"


def test_every_option_of_a_conversation_is_listed_with_its_default() -> None:
    """In the order of the options; lists of phrases stand below the table."""
    text = page("docs/conversation.md")
    listed = {names(cells[0])[0]: cells[1] for cells in rows(text, "Option")}
    defaults = msgspec.structs.asdict(ConversationOptions())
    assert list(listed) == list(defaults)
    for name, default in defaults.items():
        if isinstance(default, tuple):
            assert listed[name] == "listed below"
            assert f"`{name}`: {', '.join(default)}." in " ".join(text.split())
        else:
            assert listed[name] == shown(default), name


def test_every_key_of_the_closing_line_is_explained() -> None:
    """All that `call.ended` carries, and nothing else."""
    explained = {name for cells in rows(page("docs/operating.md"), "Key") for name in names(cells[0])}
    fixed = {"call", "session", "door", "step", "reason", "by", "duration_s", "recording", "recording_failed"}
    assert explained == fixed | set(LegStats.__struct_fields__) | set(summary([]))


def test_every_reason_for_an_end_is_named() -> None:
    """Operators count them."""
    cells = next(cells for cells in rows(page("docs/operating.md"), "Key") if cells[0] == "`reason`")
    assert set(names(cells[1])) == set(e.EndReason.__args__)


def test_every_metric_is_listed() -> None:
    """By the name that Prometheus sees."""
    listed = {name for cells in rows(page("docs/operating.md"), "Metric") for name in names(cells[0])}
    assert listed == {one.name for one in vars(Metrics()).values() if isinstance(one, Series | Histogram)}


def test_every_http_path_is_mentioned() -> None:
    """With curl or in the table; ids may be examples."""
    text = page("docs/operating.md")
    for route in HttpOffice(ParrotDesk()).application().router.resources():
        path = route.canonical
        example = re.escape(path).replace(r"\{id\}", r"(?:\{id\}|[cs]-\w+)")
        assert re.search(example, text), path


def test_every_room_stands_in_the_house_and_every_way_to_add_to_it() -> None:
    """A map that leaves a room out misleads."""
    text = page("docs/architecture.md")
    rooms = [path.parent.name for path in (ROOT / "gateway").glob("*/__init__.py")]
    assert [room for room in rooms if f"\n  {room}/ " not in text] == []
    groups = {name for cells in rows(text, "To add") for name in names(cells[-1])}
    written = {name if not name.startswith(".") else ENTRY_POINTS + name for name in groups}
    assert written == {
        *(f"{ENTRY_POINTS}.{room}" for room in Room.__args__),
        "gateway.dialplan.actions",
        "gateway.store",
    }


def test_every_sip_method_and_extension_is_listed() -> None:
    """What we put into Allow and Supported, no more and no less."""
    text = page("docs/sip.md")
    extensions = Extensions(found())
    methods = {name for cells in rows(text, "Method") for name in names(cells[0])}
    assert methods == {*EndpointOptions().methods, *extensions.methods}
    table = rows(text, "Extension")
    assert {name for cells in table for name in names(cells[0])} == {one.name for one in extensions.all}
    assert {tag for cells in table for tag in names(cells[1])} == set(extensions.option_tags)


def test_every_fact_is_listed_for_operators() -> None:
    """With the words of the code, as `match` and texts may name it."""
    listed = {names(cells[0])[0]: cells[1] for cells in rows(page("dialplans/README.md"), "Fact")}
    assert listed == FACTS


def test_the_reference_of_actions_is_complete() -> None:
    """dialplans/README.md, from which operators write."""
    listed = {name for cells in rows(page("dialplans/README.md"), "Action") for name in names(cells[0])}
    assert listed == set(actions())


def test_errors_of_the_house_are_all_explained() -> None:
    """Each by its name, in the page that draws the house."""
    text = page("docs/architecture.md")
    assert [
        one.__name__
        for one in GatewayError.__subclasses__()
        if f"`{one.__name__}`" not in text and one.__module__ == "gateway.core.errors"
    ] == []
