"""sipp, an independent implementation, as caller and as callee; its scenarios decide what is right."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest
from gateway_process import LEASH
from ports import free_port, is_taken
from waiting import wait_until

PROGRAM = shutil.which("sipp")
SCENARIOS = Path(__file__).parent / "sipp"

needs_sipp = pytest.mark.skipif(PROGRAM is None, reason="sipp is not installed (apt install sip-tester)")


def scenario(name: str) -> tuple[str, str]:
    return "-sf", str(SCENARIOS / f"{name}.xml")


class Sipp:
    """A context manager. Where the block leaves it running, it is ended with it."""

    def __init__(self, *arguments: str, calls: int = 1, host: str = "127.0.0.1", folder: Path | None = None) -> None:
        """`folder` holds what its scenario names."""
        if PROGRAM is None:
            pytest.skip("sipp is not installed (apt install sip-tester)")
        self._own = tempfile.TemporaryDirectory()
        self._said, self._errors = (Path(self._own.name) / name for name in ("said", "errors"))
        common = ("-i", host, "-m", str(calls), "-nostdin", "-trace_err", "-error_file", str(self._errors))
        self._command = [*LEASH, PROGRAM, *common, *arguments]
        self._folder = folder or Path(self._own.name)

    def __enter__(self) -> Self:
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                self._command, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._own.cleanup()

    def succeeds(self, *, within_s: float = 60) -> None:
        """It ends, and says that every call went by its scenario."""
        try:
            code = self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"sipp did not finish within {within_s} s\n{self.report()}") from None
        assert code == 0, self.report()

    def report(self) -> str:
        errors = self._errors.read_text(errors="replace") if self._errors.exists() else ""
        return f"{errors[:4000]}\n{self._said.read_text(errors='replace')[-3000:]}"


def sipp_calls(
    port: int,
    *arguments: str,
    calls: int = 1,
    per_s: int = 20,
    host: str = "127.0.0.1",
    called: str = "",
    folder: Path | None = None,
    within_s: float = 60,
) -> None:
    """So many calls to `port` of loopback, from `host`, an address of loopback too; each must go by its scenario."""
    target = f"[{host}]:{port}" if ":" in host else f"127.0.0.1:{port}"
    whom = ("-s", called) if called else ()
    with Sipp(target, "-r", str(per_s), *whom, *arguments, calls=calls, host=host, folder=folder) as sipp:
        sipp.succeeds(within_s=within_s)


@contextmanager
def sipp_called(
    *arguments: str, port: int | None = None, calls: int = 1, folder: Path | None = None
) -> Iterator[tuple[Sipp, int]]:
    """It waits for so many calls at a port, as the scenario has it, else just to pick up and be hung up on.

    It says nowhere that it waits, but Linux knows.
    """
    port = port or free_port()
    with Sipp("-p", str(port), *(arguments or scenario("callee")), calls=calls, folder=folder) as sipp:
        wait_until(lambda: is_taken(port) or sipp.process.poll() is not None, within_s=10)
        assert sipp.process.poll() is None, sipp.report()
        yield sipp, port
