"""Dialplans from texts in the tests."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import dialplan
from gateway.dialplan import Dialplan, Fault

SHIPPED = Path(__file__).parents[2] / "dialplans" / "default.yaml"


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a dialplan, without the indentation of the test around it."""

    def write(text: str, name: str = "plan.yaml") -> Path:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text).lstrip("\n"), "utf-8")
        return path

    return write


@pytest.fixture
def faults_of(written: Callable[[str], Path]) -> Callable[[str], list[Fault]]:
    return lambda text: dialplan.check(written(text))


@pytest.fixture
def plan_of(written: Callable[[str], Path]) -> Callable[[str], Dialplan]:
    return lambda text: dialplan.load(written(text))


@pytest.fixture(scope="session")
def shipped() -> Dialplan:
    return dialplan.load(SHIPPED)
