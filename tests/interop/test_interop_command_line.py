"""`gateway call` as people use it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from gateway_process import LEASH, NO_WORDS, GatewayProcess

pytestmark = pytest.mark.interop


def test_a_call_that_is_interrupted_hangs_up(tmp_path: Path) -> None:
    """Ctrl-C is how such a call ends by hand: with a goodbye, and no word of Python's."""
    with GatewayProcess(tmp_path / "data", config=NO_WORDS) as gateway:
        line = [*LEASH, sys.executable, "-m", "gateway.app", "call", gateway.uri("echo")]
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as phone:
            call = gateway.call()
            assert phone.stdout is not None
            assert "answered" in phone.stdout.readline() + phone.stdout.readline()
            phone.send_signal(signal.SIGINT)
            rest, code = phone.stdout.read(), phone.wait(10)
        assert (code, "Traceback" in rest) == (130, False), rest
        assert "hung up" in rest
        assert gateway.ended(call)["by"] == "caller"
