"""A whole gateway in a process of its own, for peers that are not ours to call."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from call_bundle import CallBundle, Phone
from ports import rtp_ports
from waiting import wait_until

QUICK = "[tts]\nkind = 'flite'\npace = 1.8\n"
"""Configuration for a bot that talks faster."""

NO_WORDS = "[stt]\nkind = 'scripted'\n[tts]\nkind = 'scripted'\n"
"""Configuration where nobody speaks: no engines are started, which takes a quarter of a gateway's start."""

START_WITHIN_S, STOP_WITHIN_S = 40.0, 20.0
# Linux ends a process begun through this when whoever began it is gone, however that came (PR_SET_PDEATHSIG is 1).
_LEASHED = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"
LEASH = (sys.executable, "-c", _LEASHED)


class GatewayProcess:
    """`gateway run` on loopback with ports of its own; a context manager. Its JSON log is kept line by line.

    Whatever happens in the `with` block, no process is left: the gateway leads a session, and its end takes all of it.
    """

    def __init__(
        self,
        data: Path,
        *arguments: str,
        config: str = "",
        packages: Sequence[Path] = (),
        under: Sequence[str] = (),
        leave: bool = False,
    ) -> None:
        """`config` is the text of a configuration file, `packages` are folders with code of third parties.

        `under` is a program, with its path, that is to run the gateway in turn.
        `leave` takes an exit of the gateway by itself as expected.
        """
        self.data = data
        self.logged: list[dict[str, Any]] = []
        self.raw: list[str] = []
        self.sip_port, self.http_url = 0, ""
        self._forgotten = 0
        self._news = threading.Condition()
        command = [*LEASH, *under, sys.executable, "-m", "gateway.app", "run", "--bind", "127.0.0.1"]
        ports = "{}-{}".format(*rtp_ports())
        command += ["--rtp-ports", ports, "--data", str(data), "--log-format", "json"]
        for option in ("--sip-port", "--http-port"):
            command += [] if option in arguments else [option, "0"]
        if config:
            data.parent.mkdir(parents=True, exist_ok=True)
            file = data.with_suffix(".toml")
            file.write_text(config)
            command += ["--config", str(file)]
        self.command = [*command, *arguments]
        own = {key: value for key, value in os.environ.items() if not key.startswith("GATEWAY_")}
        path = [*map(str, packages), *sys.path]
        self.environment = own | {"PYTHONPATH": os.pathsep.join(path)}
        self._leave = leave
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            ready = self.wait_log("gateway.ready", within_s=START_WITHIN_S)
        except BaseException:
            self.kill()
            raise
        self.sip_port = int(str(ready["sip"]).rpartition(":")[2])
        self.http_url = str(ready["http"])
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        try:
            if self._running.poll() is None:
                self.stop()
            elif not self._leave and failed is None:
                raise AssertionError("the gateway ended by itself:\n" + self.tail())
        finally:
            self.kill()

    @property
    def _running(self) -> subprocess.Popen[str]:
        assert self.process is not None, "not started"
        return self.process

    @property
    def pid(self) -> int:
        return self._running.pid

    def _read(self) -> None:
        stdout = self._running.stdout
        assert stdout is not None
        for line in stdout:
            with self._news:
                self.raw.append(line)
                if line.startswith("{"):
                    self.logged.append(json.loads(line))
                self._news.notify_all()

    def find(self, event: str, **having: Any) -> list[dict[str, Any]]:
        return [
            line
            for line in self.logged[self._forgotten :]
            if line.get("event") == event and all(line.get(key) == value for key, value in having.items())
        ]

    def wait_log(self, event: str, *, within_s: float = 15, count: int = 1, **having: Any) -> dict[str, Any]:
        """The `count`-th such line, waited for."""
        deadline = time.monotonic() + within_s
        with self._news:
            while len(found := self.find(event, **having)) < count:
                left = deadline - time.monotonic()
                if left <= 0 or not self._reader.is_alive():
                    raise AssertionError(f"no {event} {having} in the log:\n{self.tail()}")
                self._news.wait(min(left, 0.5))
            return found[count - 1]

    def tail(self, lines: int = 60) -> str:
        return "".join(self.raw[-lines:])

    def troubles(self) -> list[dict[str, Any]]:
        """What it logged as an error or worse."""
        return [line for line in self.logged[self._forgotten :] if line.get("level") in ("error", "critical")]

    def forget(self) -> None:
        """End what is still live; what was logged until now is not looked at any more."""
        assert self._running.poll() is None, f"the gateway ended by itself:\n{self.tail()}"
        for call in self.get("/api/calls"):
            with contextlib.suppress(urllib.error.HTTPError):  # it ended meanwhile
                self.post(f"/api/calls/{call['id']}/hangup")
        wait_until(lambda: not self.get("/api/calls"), within_s=10)
        self._forgotten = len(self.logged)

    def uri(self, route: str) -> str:
        return f"sip:{route}@127.0.0.1:{self.sip_port}"

    def called_by(self, phone: Phone, route: str, number: int = 1) -> CallBundle:
        """`phone` calls `route`; the bundle of that call, the `number`-th that comes in."""
        phone.dial(self.uri(route))
        return self.call(number)

    def calls_out(self, to: str, *, trunk: str, route: str) -> CallBundle:
        """Place a call over the API, and follow it by its bundle."""
        call_id = self.post("/api/calls", {"to": to, "trunk": trunk, "route": route})["call"]
        self.wait_log("call.started", call=call_id)
        return CallBundle(self.data / "calls" / call_id)

    def call(self, number: int = 1, *, within_s: float = 10) -> CallBundle:
        """The bundle of the `number`-th call that came in, the first is 1."""
        started = self.wait_log("call.started", count=number, within_s=within_s)
        return CallBundle(self.data / "calls" / started["call"])

    def ended(self, call: CallBundle, *, within_s: float = 15) -> dict[str, Any]:
        """The call's closing log line, waited for."""
        return self.wait_log("call.ended", call=call.id, within_s=within_s)

    def get(self, path: str) -> Any:
        """What its HTTP API answers to a GET."""
        return self._answer(path, None)

    def post(self, path: str, body: Any = None) -> Any:
        """What its HTTP API answers to a POST, which it takes."""
        return self._answer(path, b"" if body is None else json.dumps(body).encode())

    def metrics(self) -> dict[str, float]:
        """What it tells Prometheus, by name and labels."""
        lines = self._reply("/metrics", None).decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def _answer(self, path: str, body: bytes | None) -> Any:
        return json.loads(self._reply(path, body) or b"null")

    def _reply(self, path: str, body: bytes | None) -> bytes:
        with urllib.request.urlopen(self.http_url.rstrip("/") + path, data=body, timeout=10) as reply:
            return bytes(reply.read())

    def stored(self, session: str) -> list[dict[str, Any]]:
        """The session's events as the store has them; none for one it does not know (yet)."""
        try:
            return list(self.get(f"/api/sessions/{session}")["events"])
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return []
            raise

    def terminate(self) -> None:
        self._running.send_signal(signal.SIGTERM)

    def wait(self, within_s: float = STOP_WITHIN_S) -> int:
        """Its exit code."""
        try:
            return self._running.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the gateway did not stop within {within_s} s:\n{self.tail()}") from None

    def stop(self) -> None:
        """Ask to drain, and once more to end at once. Nothing of it may be left, and its exit code must be 0."""
        draining = len(self.find("gateway.draining"))
        self.terminate()
        if self.wait_log("gateway.draining", count=draining + 1, within_s=5)["calls"]:
            self.terminate()
        code = self.wait()
        assert code == 0, f"exit code {code}:\n{self.tail()}"
        assert not self.orphans(), f"processes outlived the gateway:\n{self.tail()}"

    def kill_alone(self) -> None:
        """kill -9, without a word to what it has started."""
        self._running.kill()
        self._running.wait()

    def kill(self) -> None:
        """kill -9, and then whatever it has started."""
        if self._running.poll() is None:
            self.kill_alone()
        for pid in self._session():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def orphans(self, *, within_s: float = 5.0) -> list[int]:
        """What of the gateway's session still lives after that time, which is cut short when nothing does."""
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not self._session(), within_s=within_s)
        return self._session()

    def _session(self) -> list[int]:
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
                    if int(session) == self.pid and state not in "ZX":
                        found.append(int(folder.name))
        return found


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`gateway` with these words, in a process of its own, to its end."""
    line = [sys.executable, "-m", "gateway.app", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
