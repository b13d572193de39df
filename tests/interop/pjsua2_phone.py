"""The hand that operates `pjsua2_softphone.py`, which runs in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from call_bundle import CallBundle
from gateway_process import LEASH, GatewayProcess
from ports import rtp_ports
from sounds import Sound, read_wav
from waiting import wait_until

PJSUA2 = find_spec("pjsua2")
needs_pjsua2 = pytest.mark.skipif(
    PJSUA2 is None, reason="pjsua2 is not installed (pip install pjsua2-python, Python <= 3.12)"
)
PROGRAM = Path(__file__).with_name("pjsua2_softphone.py")


class Pjsua2Phone:
    """A context manager; `folder` takes its sounds and its recording."""

    def __init__(
        self, folder: Path, number: str, *, suites: tuple[str, ...] = (), part: int = 3, sip_port: int = 0
    ) -> None:
        """With `suites` it takes SRTP with these, and nothing else. Phones at once each have a `part` of ports.

        `sip_port` 0 is one that is free.
        """
        folder.mkdir(parents=True)
        self._suites, self._part = suites, part
        self.sip_port = sip_port
        self._folder, self._number = folder, number
        self._said = 0
        self._told: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._log = (self._folder / "log").open("w")
        self._process = subprocess.Popen(
            [
                *LEASH,
                sys.executable,
                str(PROGRAM),
                str(self._folder),
                str(rtp_ports(self._part)[0]),
                str(self.sip_port),
                self._number,
                *self._suites,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
        )
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self.sip_port = self.wait("ready")["port"]
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if self._process.poll() is None:
                self._do("quit")
                self._process.wait(10)
        finally:
            self._kill()

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                self._told.append(json.loads(line))

    def _do(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")

    def wait(self, event: str, *, count: int = 1, within_s: float = 15, **having: Any) -> dict[str, Any]:
        """The `count`-th event of this name and these facts."""

        def found() -> dict[str, Any] | None:
            matching = [
                told
                for told in self._told
                if told["event"] == event and all(told.get(key) == value for key, value in having.items())
            ]
            return matching[count - 1] if len(matching) >= count else None

        try:
            return wait_until(found, within_s=within_s)
        except AssertionError:
            raise AssertionError(f"pjsua2 told no {event} {having}:\n{self._told}") from None

    def call(self, uri: str) -> None:
        """Dial, and see what comes of it."""
        self._do(f"dial {uri}")

    def dial(self, uri: str) -> None:
        self.call(uri)
        self.wait("state", state="CONFIRMED")
        self.wait("media", active=True)

    @property
    def uri(self) -> str:
        return f"sip:{self._number}@127.0.0.1:{self.sip_port}"

    def incoming(self, how: str) -> None:
        """What becomes of calls that come: `answer` (as from the beginning), `busy` or `ring`."""
        known = sum(told["event"] == "ready for" for told in self._told)
        self._do(f"incoming {how}")
        self.wait("ready for", count=known + 1)

    def transfer(self, uri: str) -> None:
        """REFER: the newest call's peer is to call there."""
        self._do(f"transfer {uri}")

    def transfer_to_other(self) -> None:
        """REFER with Replaces: the first call's peer is to take our place in the newest."""
        self._do("transfer_to_other")

    def say(self, sound: Sound) -> None:
        self._said += 1
        self._do(f"say {sound.write(self._folder / f'speech-{self._said}.wav')}")

    def says(self, sound: Sound) -> None:
        """To the end, and what comes back of it is heard too."""
        self.say(sound)
        self.listen(sound.seconds + 0.7)

    def press(self, digits: str) -> None:
        """As RFC 4733."""
        self._do(f"press {digits}")

    def write(self, text: str) -> None:
        """MESSAGE, in the newest call."""
        self._do(f"write {text}")

    def hold(self) -> None:
        before = self._media(False)
        self._do("hold")
        self.wait("media", active=False, count=before + 1)

    def retrieve(self) -> None:
        before = self._media(True)
        self._do("retrieve")
        self.wait("media", active=True, count=before + 1)

    def hang_up(self) -> None:
        self._do("hang_up")
        self.wait("state", state="DISCONNECTED")

    def hang_up_all(self) -> None:
        """Calls too that the library placed because it was told to, and that have no object of their own."""
        self._do("hang_up_all")

    def switch_off(self) -> None:
        """Before the end of its `with` block, for its recording to be whole."""
        self.__exit__(None, None, None)

    def listen(self, seconds: float) -> None:
        """Let that much of the call pass. The phone lives in real time, and cannot tell what it has heard so far."""
        threading.Event().wait(seconds)

    def heard(self) -> Sound:
        """Its recording, without the times of hold. Whole once the phone is switched off."""
        return read_wav(self._folder / "heard.wav")

    def _media(self, active: bool) -> int:
        return sum(told["event"] == "media" and told["active"] is active for told in self._told)


def hear_the_milliwatt_over_a_hold(phone: Pjsua2Phone, gateway: GatewayProcess) -> CallBundle:
    """Enough of it for an ear before the hold and after it. The phone has hung up then."""
    call = gateway.called_by(phone, "milliwatt")
    phone.listen(1.6)
    with call.held_by(phone):
        pass  # and on it goes
    phone.listen(1.6)
    phone.hang_up()
    return call


def expect_the_milliwatt(phone: Pjsua2Phone) -> None:
    """1004 Hz within 0.5 Hz and 0 dBm0 within 0.2 dB, at both ends of what the phone, now switched off, has heard."""
    heard = phone.heard()
    for part in (heard.cut(0.4, 1.4), heard.cut(heard.seconds - 1.2, heard.seconds - 0.2)):
        assert part.hz() == pytest.approx(1004, abs=0.5)
        assert part.dbm0() == pytest.approx(0, abs=0.2)
