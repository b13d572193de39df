"""What the interop tests share: a running gateway, and numbers to call it from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

pytest.register_assert_rewrite(
    *("callers", "call_bundle", "gateway_process", "baresip_phone", "linphone_phone", "pjsua2_phone"),
    *("raw_caller", "raw_callee", "rtp_peer", "kamailio_server", "sipp_program", "replays"),
)

from gateway_process import QUICK, GatewayProcess  # noqa: E402 - after they are registered
from kamailio_server import PASSWORD  # noqa: E402

_numbers = count(5550100)

_SHARED = {"gateway", "open_house", "trusting_house", "troubled_gateway"}
"""Gateways that the tests of a file share."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Who shares a gateway runs in the same process: spread over several, each of them would start one."""
    for item in items:
        if isinstance(item, pytest.Function) and _SHARED & set(item.fixturenames):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(scope="module")
def _house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path_factory.mktemp("gateway") / "data", config=QUICK) as running:
        yield running


@pytest.fixture
def gateway(_house: GatewayProcess) -> GatewayProcess:
    """One for all tests of a file, quiet and with an empty log as far as a test can see.

    It runs on the embedded defaults, but for a bot that talks faster: nobody waits for questions longer than needed.
    """
    _house.forget()
    return _house


@pytest.fixture
def number() -> str:
    """A caller the gateway does not know."""
    return str(next(_numbers))


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file with the password of the account that Kamailio knows."""
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    return path


@pytest.fixture
def dialplan(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The options that give a gateway the `DIALPLAN` of the test's file."""
    path = tmp_path / "plan.yaml"
    path.write_text(request.module.DIALPLAN)
    return ["--dialplan", str(path)]
