from __future__ import annotations

import io
import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from gateway.ops.logs import configure


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.handlers[:], logging.root.level = handlers, level


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_json_lines_hold_facts_by_key_with_utc_times() -> None:
    """One object a line: time, level and event first, then the facts, whatever their types."""
    out = io.StringIO()
    outlet = configure("json", file=out)
    structlog.get_logger().info("call.ended", reason="hangup", mos=4.1, path=ValueError("x"))
    outlet.close()
    (line,) = lines(out)
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert str(line["timestamp"]).endswith("Z")
    assert (line["event"], line["reason"], line["mos"], line["path"]) == ("call.ended", "hangup", 4.1, "x")


def test_libraries_speak_in_the_same_stream_but_only_when_it_matters() -> None:
    """Prose is kept out of event names, and a library's chatter, which holds addresses, is dropped."""
    out = io.StringIO()
    outlet = configure("json", file=out)
    logging.getLogger("aioice.ice").info("Check candidate 192.0.2.7")
    logging.getLogger("aioice.ice").warning("odd %s", "thing")
    outlet.close()
    (line,) = lines(out)
    assert (line["event"], line["message"], line["level"]) == ("log.aioice", "odd thing", "warning")


def test_context_and_exceptions_are_in_the_line() -> None:
    """What is bound for a task (the call's id) is on each of its lines; a traceback stays within one line."""
    out = io.StringIO()
    outlet = configure("json", file=out)
    with structlog.contextvars.bound_contextvars(call="c1"):
        try:
            raise ValueError("boom")
        except ValueError:
            structlog.get_logger().exception("provider.broke")
    outlet.close()
    (line,) = lines(out)
    assert line["call"] == "c1"
    assert "ValueError: boom" in str(line["exception"])


def test_a_stuck_reader_does_not_stop_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe that takes nothing costs lines, never time; how many is said when it flows again."""
    monkeypatch.setattr("gateway.ops.logs.MAX_WAITING_LINES", 5)
    out = StuckFile()
    outlet = configure("json", file=out)
    log = structlog.get_logger()
    log.info("first")
    assert out.taken.wait(5)
    for _ in range(20):
        log.info("call.ended")
    out.released.set()
    outlet.close()
    events = [line["event"] for line in lines(out)]
    assert events.count("call.ended") == 5
    assert {"event": "log.dropped", "lines": 15} in lines(out)


class StuckFile(io.StringIO):
    """Blocks in its first write until released."""

    def __init__(self) -> None:
        super().__init__()
        self.taken, self.released = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.taken.set()
        self.released.wait(5)
        return super().write(text)


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_forked_worker_logs_into_the_same_stream(tmp_path: Path) -> None:
    """Recognisers run in forked processes; what they have to say must not wait in a queue nobody empties."""
    with (tmp_path / "log").open("w") as out:
        outlet = configure("json", file=out)
        if (child := os.fork()) == 0:
            structlog.get_logger().info("stt.worker_ready")
            outlet.close()
            os._exit(0)
        os.waitpid(child, 0)
        outlet.close()
    assert json.loads((tmp_path / "log").read_text())["event"] == "stt.worker_ready"


def test_console_is_for_people() -> None:
    """The same facts as key=value."""
    out = io.StringIO()
    outlet = configure("console", file=out)
    structlog.get_logger().info("gateway.ready", http=8080)
    structlog.get_logger().debug("too.much")
    outlet.close()
    assert "gateway.ready" in out.getvalue()
    assert "http=8080" in out.getvalue()
    assert "too.much" not in out.getvalue()
