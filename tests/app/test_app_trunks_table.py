"""`gateway trunks`: a table for people, an exit code for scripts."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import msgspec
import pytest

from gateway.app.cli import main
from gateway.app.trunk_table import table
from gateway.ops.ports import TargetInfo, TrunkInfo

UP = TrunkInfo("one", True, "registered", "udp", (TargetInfo("192.0.2.1:5060", True, 3.21),), 2, 10)
DOWN = TrunkInfo(
    "another",
    False,
    "failed",
    "tcp",
    (
        TargetInfo("192.0.2.2:5060", False, name="sip.example"),
        TargetInfo("192.0.2.3:5060"),
        TargetInfo("192.0.2.4:5060", False, fault="Connection refused"),
    ),
    fault="401 Unauthorized: check username",
)


def test_the_table_shows_what_is_wrong() -> None:
    """Columns line up; a fault stands below with its remedy."""
    assert table([UP, DOWN]).splitlines() == [
        "trunk    state  registration  calls  targets",
        "one      up     registered    2/10   udp 192.0.2.1:5060 (3.21 ms)",
        "another  DOWN   failed        0      tcp sip.example = 192.0.2.2:5060 (silent), 192.0.2.3:5060 (not asked), "
        "192.0.2.4:5060 (Connection refused)",
        "another: 401 Unauthorized: check username",
    ]


class Answering(BaseHTTPRequestHandler):
    trunks: tuple[TrunkInfo, ...] = ()
    token: str | None = None

    def do_GET(self) -> None:
        allowed = self.token is None or self.headers.get("Authorization") == f"Bearer {self.token}"
        self.send_response(200 if allowed and self.path == "/api/trunks" else 401)
        self.end_headers()
        self.wfile.write(msgspec.json.encode(self.trunks))

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def office() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("trunks", "code"), [((UP,), 0), ((UP, DOWN), 1), ((), 0)])
def test_the_exit_code_says_whether_all_are_up(
    office: str,
    trunks: tuple[TrunkInfo, ...],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """1 when one is down."""
    monkeypatch.setattr(Answering, "trunks", trunks)
    assert main(["trunks", "--http", office]) == code
    assert all(trunk.name in capsys.readouterr().out for trunk in trunks[:1])


def test_a_token_is_asked_for_and_used(
    office: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As any other operator's question."""
    monkeypatch.setattr(Answering, "token", "t")
    assert main(["trunks", "--http", office]) == 1
    assert "--token" in capsys.readouterr().err
    assert main(["trunks", "--http", office, "--token", "t"]) == 0


def test_nobody_there_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """With what to look at."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert main(["trunks", "--http", f"http://127.0.0.1:{unused.getsockname()[1]}"]) == 1
    err = capsys.readouterr().err
    assert "is it running" in err
    assert err.count("\n") == 1
    assert main(["trunks", "--http", "localhost"]) == 2
