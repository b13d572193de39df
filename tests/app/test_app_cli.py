"""The command line: exit codes, and faults told in one line without a traceback."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.app.cli import main


def test_check_says_where_a_dialplan_is_wrong_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """file:line:column, the fault, the remedy; exit code 1."""
    plan = tmp_path / "plan.yaml"
    plan.write_text("routes:\n  a:\n    match: {}\n    steps:\n      - anser\n")
    assert main(["check", str(plan)]) == 1
    out = capsys.readouterr().out
    assert f"{plan}:5:9:" in out
    assert "answer" in out


def test_check_of_the_shipped_dialplan_finds_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    """What we ship as an example is one."""
    assert main(["check"]) == 0
    assert "no faults" in capsys.readouterr().out


def test_check_says_which_words_the_recogniser_will_guess(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A word in no dictionary is no fault, but heard badly: its guess is shown in the form that corrects it."""
    plan = tmp_path / "plan.yaml"
    menu = "      - menu: {say: Hello or quazbrix, choices: [{phrases: [hello, quazbrix], then: [hangup]}]}\n"
    plan.write_text(f"routes:\n  a:\n    match: {{}}\n    steps:\n      - answer\n{menu}")
    assert main(["check", str(plan)]) == 0
    out = capsys.readouterr().out
    assert "[stt.pronunciations]" in out
    assert 'quazbrix = "K W AE Z B R IH K S"' in out
    assert "hello" not in out.partition("[stt")[2]


HEAVY = ("scipy", "aiohttp", "aiortc", "sqlalchemy", "gateway.app.gateway", "gateway.media.plane", "gateway.replay.run")
ASKING = ("check", "route --to echo", "trunks --http http://127.0.0.1:9", "run --sip-port 70000", "replay --help")


@pytest.mark.parametrize("command", ASKING)
def test_who_only_asks_does_not_wait_for_a_gateway_to_load(command: str) -> None:
    """Neither its sockets, its media and its stores nor what a replay takes: not for a question, a mistyped option or
    help."""
    program = (
        "import sys\nfrom gateway.app.cli import main\n"
        "try: main(sys.argv[2:])\nexcept SystemExit: pass\n"
        "print([name for name in sys.argv[1].split() if name in sys.modules])"
    )
    line = [sys.executable, "-c", program, " ".join(HEAVY), *command.split()]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert len(done.stdout.splitlines()) > 1 or done.stderr.startswith("gateway: ")


def test_check_prints_a_schema_for_editors(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON Schema, as editors take it."""
    assert main(["check", "--schema"]) == 0
    assert "$defs" in json.loads(capsys.readouterr().out)


def test_route_explains_the_decision(capsys: pytest.CaptureFixture[str]) -> None:
    """Which route wins and why the others did not."""
    assert main(["route", "--to", "echo", "--from", "1001"]) == 0
    out = capsys.readouterr().out
    assert "=> echo" in out
    assert "desk" in out


def test_route_takes_facts_as_a_trusted_trunk_would_bring_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And `--trunk` is one of them."""
    plan = tmp_path / "plan.yaml"
    plan.write_text("routes:\n  a:\n    match: {facts: {diverted-from: 49*, trunk: pbx}}\n    steps: [echo]\n")
    call = ["route", "--to", "1", "--dialplan", str(plan), "--trunk", "pbx"]
    assert main([*call, "--fact", "diverted-from=4930"]) == 0
    assert main(call) == 1
    assert "fact diverted-from '' does not match 49*" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["route", "--to", "echo", "--at", "teatime"],
        ["route", "--to", "echo", "--header", "novalue"],
        ["route", "--to", "echo", "--fact", "novalue"],
        ["run", "--bind", "everywhere"],
        ["run", "--config", "/nowhere/gateway.toml"],
        ["run", "--dialplan", "/nowhere/plan.yaml"],
        ["call", "not a uri"],
    ],
)
def test_misuse_is_exit_code_2_and_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A clear error names the place and the remedy; a traceback names neither."""
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("gateway: ")
    assert "Traceback" not in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("door", ["--sip-port", "--http-port"])
def test_a_port_in_use_is_named_with_its_remedy(door: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The gateway refuses to start half open, and says which port and option."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        arguments = {"--sip-port": "0", "--http-port": "0", door: str(port)}
        flat = [word for pair in arguments.items() for word in pair]
        code = main(["run", "--bind", "127.0.0.1", "--data", str(tmp_path), "--rtp-ports", "29000-29019", *flat])
    assert code == 2
    err = capfd.readouterr().err
    assert str(port) in err
    assert door in err
