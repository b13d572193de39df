"""baresip as a phone that a test operates: its microphone plays WAV files, and what it hears is written to one."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from gateway_process import LEASH
from ports import free_port, rtp_ports
from sounds import RATE, Sound, read_wav, silence
from waiting import wait_until

BARESIP = shutil.which("baresip")
needs_baresip = pytest.mark.skipif(BARESIP is None, reason="baresip is not installed (apt install baresip-core)")
MODULES = next((path for path in Path("/usr").glob("lib*/baresip/modules")), Path("/usr/lib/baresip/modules"))
QUIET_S = 60.0
"""Silence after each utterance: a file that ends would end the microphone."""


class BaresipPhone:
    """A context manager. `folder` takes its configuration, its microphone's files and its recording."""

    def __init__(
        self, folder: Path, number: str, *, codec: str = "PCMU", mediaenc: str = "", authority: Path | None = None
    ) -> None:
        """`codec` is one of G.711's, or in full as in G722/16000/1. `mediaenc` as in its accounts (`srtp-mand`);
        `authority` signs the certificates it accepts over TLS."""
        folder.mkdir(parents=True)
        account_codec = codec if "/" in codec else f"{codec}/8000/1"
        self._rate = int(account_codec.split("/")[1])
        self._folder = folder
        self._told: list[dict[str, Any]] = []
        self._spoken = 0
        quiet = silence(QUIET_S).at(self._rate).write(folder / "quiet.wav")
        self._control = free_port()
        first, last = rtp_ports(2)
        codecs = ("g711", "g722", "opus")  # accounts name them
        modules = (*codecs, "aufile", "aubridge", "sndfile", "account", "ctrl_tcp", "menu")
        settings = [
            "poll_method epoll",
            "sip_listen 127.0.0.1:0",
            f"audio_source aufile,{quiet}",
            "audio_player aubridge,nobody",
            "audio_alert aubridge,nobody",
            *(f"{device}_{key}" for device in ("ausrc", "auplay") for key in (f"srate {self._rate}", "channels 1")),
            f"rtp_ports {first}-{last}",
            f"snd_path {folder}",
            f"ctrl_tcp_listen 127.0.0.1:{self._control}",
            f"module_path {MODULES}",
            *(["module srtp.so"] if mediaenc else []),  # before the accounts that name it
            *(f"module {name}.so" for name in modules),
            *([f"sip_cafile {authority}", "sip_verify_server yes"] if authority else []),
        ]
        (folder / "config").write_text("\n".join(settings) + "\n")
        account = f"<sip:{number}@127.0.0.1>;regint=0;audio_codecs={account_codec}"
        (folder / "accounts").write_text(account + (f";mediaenc={mediaenc}\n" if mediaenc else "\n"))
        (folder / "contacts").write_text("")

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [*LEASH, str(BARESIP), "-4", "-f", str(self._folder)],
            stdin=subprocess.DEVNULL,
            stdout=(self._folder / "log").open("w"),
            stderr=subprocess.STDOUT,
        )
        try:
            self._socket = wait_until(self._connected, within_s=15)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self.do("quit")
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._socket.close()

    def do(self, command: str, parameters: str = "") -> None:
        """A command of baresip's menu, as in `dial` or `hangup`, sent as a netstring of JSON."""
        text = json.dumps({"command": command, "params": parameters}).encode()
        self._socket.sendall(b"%d:%s," % (len(text), text))

    def dial(self, uri: str) -> None:
        self.do("dial", uri)
        self.wait("CALL_ESTABLISHED")

    def hold(self) -> None:
        self.do("hold")

    def retrieve(self) -> None:
        self.do("resume")

    def hang_up(self) -> None:
        self.do("hangup")

    def say(self, sound: Sound) -> None:
        """Into its microphone, now."""
        self._spoken += 1
        file = sound.then(silence(QUIET_S)).at(self._rate).write(self._folder / f"speech-{self._spoken}.wav")
        self.do("ausrc", f"aufile,{file}")

    def wait(self, kind: str, *, within_s: float = 15) -> dict[str, Any]:
        """The first event of this type."""
        try:
            return wait_until(lambda: next((e for e in self._told if e.get("type") == kind), None), within_s=within_s)
        except AssertionError:
            raise AssertionError(f"baresip told no {kind}:\n{self._told}\n{self.log()}") from None

    def listen(self, seconds: float) -> None:
        """Let that much of the call pass. The phone lives in real time, and cannot tell what it has heard so far."""
        threading.Event().wait(seconds)

    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")[-4000:]

    def heard(self, rate: int = RATE) -> Sound:
        """Whole once the call is over."""
        (file,) = self._folder.glob("dump-*-dec.wav")
        return read_wav(file).at(rate)

    def _connected(self) -> socket.socket | None:
        assert self._process.poll() is None, f"baresip ended:\n{self.log()}"
        with contextlib.suppress(OSError):
            return socket.create_connection(("127.0.0.1", self._control), timeout=1)
        return None

    def _read(self) -> None:
        for message in _netstrings(self._socket):
            self._told.append(json.loads(message))


def _netstrings(connection: socket.socket) -> Iterator[bytes]:
    connection.settimeout(None)
    with contextlib.suppress(OSError), connection.makefile("rb") as stream:
        while length := _digits(stream):
            yield stream.read(int(length))
            stream.read(1)


def _digits(stream: Any) -> bytes:
    digits = b""
    while (byte := stream.read(1)) not in (b":", b""):
        digits += byte
    return digits
