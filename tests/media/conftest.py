"""Fixtures of the boiler room's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.media.worker.uring import Rings


@pytest.fixture
def any_rings() -> Iterator[Rings]:
    """io_uring for two packets at a time, so that a step takes several calls."""
    try:
        made = Rings(most=2)
    except OSError as error:
        pytest.skip(f"this kernel has no io_uring for us: {error}")
    yield made
    made.close()


@pytest.fixture(params=["plain", "io_uring"])
def rings(request: pytest.FixtureRequest) -> Rings | None:
    """Both ways to the kernel: None stands for a system call for each packet."""
    return None if request.param == "plain" else request.getfixturevalue("any_rings")
