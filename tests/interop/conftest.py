"""A whole gateway in a process of its own, for programs that are not ours to call."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


class GatewayProcess:
    """`gateway run` on loopback with ports of its own; its JSON log is kept line by line."""

    def __init__(self, data: Path, rtp_ports: str, *arguments: str) -> None:
        self.data = data
        self.logged: list[dict[str, Any]] = []
        self.raw: list[str] = []
        self._news = threading.Condition()
        command = [sys.executable, "-m", "gateway.app", "run", "--bind", "127.0.0.1", "--sip-port", "0"]
        command += ["--http-port", "0", "--rtp-ports", rtp_ports, "--data", str(data), "--log-format", "json"]
        self.process = subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        ready = self.wait_log("gateway.ready", within_s=40)
        self.sip_port = int(str(ready["sip"]).rpartition(":")[2])
        self.http_url = str(ready["http"])

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.raw.append(line)
                if line.startswith("{"):
                    self.logged.append(json.loads(line))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def find(self, event: str, **having: Any) -> list[dict[str, Any]]:
        return [
            line
            for line in self.logged
            if line.get("event") == event and all(line.get(key) == value for key, value in having.items())
        ]

    def wait_log(self, event: str, *, within_s: float = 15, count: int = 1, **having: Any) -> dict[str, Any]:
        """The `count`-th such line, waited for."""
        deadline = time.monotonic() + within_s
        with self._news:
            while len(found := self.find(event, **having)) < count:
                left = deadline - time.monotonic()
                if left <= 0 or (self.process.poll() is not None and not self._reader.is_alive()):
                    raise AssertionError(f"no {event} {having} in the log:\n" + "".join(self.raw[-60:]))
                self._news.wait(min(left, 1.0))
            return found[count - 1]

    def events(self, call: str) -> list[dict[str, Any]]:
        """The call's event log from its bundle."""
        path = self.data / "calls" / call / "events.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask twice: drain, then at once."""
        for _ in range(2):
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("the gateway did not stop:\n" + "".join(self.raw[-40:])) from None


def rtp_range(offset: int = 0) -> str:
    """A range for this test worker alone, so that tests may run side by side."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 20000 + worker * 1000 + offset * 200
    return f"{first}-{first + 199}"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    running = GatewayProcess(tmp_path / "data", rtp_range())
    yield running
    if running.process.poll() is None:
        running.stop()
