"""A real Redis of our own for as long as a test session lasts, on a Unix socket in a temporary folder."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from waiting import wait_until

START_WITHIN_S = 10.0

# Debian's redis-tools holds the server too, under another name, without the daemon that redis-server would start.
_SAME_BINARY = "redis-check-rdb"


class RedisServer:
    """`stop()` is a kill -9: with `appendfsync always` nothing that was acknowledged may be missing after `start()`."""

    def __init__(self, binary: str) -> None:
        self._binary = binary
        self._folder = Path(tempfile.mkdtemp(prefix="gateway-redis-"))
        self._socket = self._folder / "socket"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{self._socket}"

    def start(self) -> None:
        settings = {"port": "0", "unixsocket": str(self._socket), "dir": str(self._folder), "appendonly": "yes"}
        options = [part for key, value in settings.items() for part in (f"--{key}", value)]
        self._process = subprocess.Popen(
            ["redis-server", *options], executable=self._binary, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )
        self._await_ready()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def command(self, *words: str) -> str:
        """One command in Redis's inline form; its first line of answer."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5.0)
            client.connect(str(self._socket))
            client.sendall((" ".join(words) + "\r\n").encode())
            return client.makefile().readline().strip()

    def new_store(self) -> str:
        """The URL of an empty store: everything that was here is deleted."""
        self.command("FLUSHALL")
        return self.url

    def _await_ready(self) -> None:
        wait_until(self._is_ready, within_s=START_WITHIN_S)

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "Redis did not start"
        try:
            return self.command("PING") == "+PONG"
        except OSError:
            return False


def find_binary() -> str | None:
    return shutil.which("redis-server") or shutil.which(_SAME_BINARY)
