"""linphone's console client as a phone that a test operates: WAV files are its microphone and its loudspeaker."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from gateway_process import LEASH
from ports import free_port, rtp_ports
from sounds import Sound, read_wav, silence
from waiting import wait_until

LINPHONE = shutil.which("linphonec")
needs_linphone = pytest.mark.skipif(LINPHONE is None, reason="linphone is not installed (apt install linphone-cli)")

SETTINGS = """
[sip]
sip_port={port}
sip_tcp_port=0
sip_tls_port=0
contact="caller" <sip:{number}@127.0.0.1>
guess_hostname=0
use_info=0
use_rfc2833=1
register_only_when_network_is_up=0
[rtp]
audio_rtp_port={first}-{last}
audio_adaptive_jitt_comp_enabled=0
[sound]
echocancellation=0
[video]
enabled=0
[audio_codec_0]
mime=PCMU
rate=8000
enabled=1
[audio_codec_1]
mime=PCMA
rate=8000
enabled=1
"""

STREAMS = "Media streams established"
PROXY = """
[proxy_0]
reg_proxy=<{proxy}>
reg_route=<{proxy};lr>
reg_identity=sip:{number}@127.0.0.1
reg_sendregister=0
"""


class LinphonePhone:
    """A context manager. `folder` takes its configuration, its log, what it says and what it hears."""

    def __init__(self, folder: Path, number: str, *, auto_answer: bool = False) -> None:
        self.port = free_port()
        self._folder = folder
        self._answers = ["-a"] if auto_answer else []
        (folder / ".local/share/linphone").mkdir(parents=True)
        first, last = rtp_ports(2)
        (folder / "linphonerc").write_text(SETTINGS.format(port=self.port, number=number, first=first, last=last))
        self._spoken = 0
        self._number = number

    def goes_through(self, proxy: str) -> None:
        """Before it starts: everything goes by way of this address; without a registration."""
        with (self._folder / "linphonerc").open("a") as settings:
            settings.write(PROXY.format(proxy=proxy, number=self._number))

    def __enter__(self) -> Self:
        command = [str(LINPHONE), "-c", str(self._folder / "linphonerc"), "-S", *self._answers]
        self._process = subprocess.Popen(
            [*LEASH, *command, "-d", "4", "-l", str(self._folder / "log")],
            stdin=subprocess.PIPE,
            stdout=(self._folder / "said").open("w"),
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self._folder,
            env=os.environ | {"HOME": str(self._folder)},
        )
        try:
            self.wait("linphonec>")
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        self.do("soundcard use files")
        self._record()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._process.poll() is None:
            self.do("quit")
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def do(self, command: str) -> None:
        """A line typed at its prompt; a digit is sent as one."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def dial(self, uri: str) -> None:
        self.do(f"call {uri}")
        self.wait(STREAMS)
        self._record()  # linphone 5.3 has forgotten it

    def _record(self) -> None:
        self.do(f"record {self._folder / 'heard.wav'}")

    def hold(self) -> None:
        self.do("pause")
        self.wait("is now paused")

    def retrieve(self) -> None:
        """Its first streams were the call's own."""
        before = self.said().count(STREAMS)
        self.do("resume")
        self.wait(STREAMS, count=before + 1)

    def hang_up(self) -> None:
        self.do("terminate")
        self.wait("ended (No error)")

    def say(self, sound: Sound) -> None:
        """Into its microphone, now; and then silence, for linphone 5.3 plays its file round and round."""
        self._spoken += 1
        said_once = sound.then(silence(60, sound.rate))
        self.do(f"play {said_once.write(self._folder / f'speech-{self._spoken}.wav')}")

    def wait(self, text: str, *, within_s: float = 15, count: int = 1) -> None:
        """Until its console has shown this, so many times."""
        try:
            wait_until(lambda: self.said().count(text) >= count, within_s=within_s)
        except AssertionError:
            raise AssertionError(f"linphone did not say {text!r}:\n{self.said()}") from None

    def said(self) -> str:
        return (self._folder / "said").read_text(errors="replace")

    def heard(self) -> Sound:
        """Whole once linphone has quit."""
        return read_wav(self._folder / "heard.wav")
