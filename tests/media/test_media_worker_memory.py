"""A media worker keeps the memory of one tick for the next: the kernel need not clear pages 50 times a second."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.core.clock import SystemClock
from gateway.media.io import MediaPool

PROBE = Path(__file__).with_name("memory_probe.py")
GIVES_BACK = "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="another C library gives memory back otherwise"
)


@pytest.fixture
async def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a worker was started with, as the kernel tells it."""
    for name in GIVES_BACK:
        monkeypatch.delenv(name, raising=False)
    pool = MediaPool(workers=1, bind="127.0.0.1", rtp_ports=(39200, 39219), clock=SystemClock(), vad="none")
    await pool.start()
    try:
        (link,) = pool._links
        return environment_of(link.pid)
    finally:
        await pool.close()


def environment_of(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def pages_taken(environment: dict[str, str]) -> int:
    probe = [sys.executable, str(PROBE)]
    return int(subprocess.run(probe, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout)


async def test_memory_is_kept_for_the_next_tick(environment: dict[str, str]) -> None:
    """Arrays that come and go cost a process no pages that is set up like a worker, and thousands one that is not.

    Counted in a small program: what a worker's libraries have freed before decides as well, and changes with them.
    """
    assert pages_taken(environment) < 100
    assert pages_taken({name: value for name, value in environment.items() if name not in GIVES_BACK}) > 10_000
