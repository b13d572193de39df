"""What the interop tests share: a running gateway, and a caller's voice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_process import QUICK, GatewayProcess


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    """On the embedded defaults, but for a bot that talks faster: nobody waits for its questions longer than needed."""
    with GatewayProcess(tmp_path / "data", config=QUICK) as running:
        yield running
