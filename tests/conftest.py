"""What all tests share: a log configuration that a test may set leaves no trace in the tests after it."""

from collections.abc import Iterator
from typing import Any

import pytest
import structlog

_configure = structlog.configure


def _configure_without_cache(**settings: Any) -> None:
    """A logger that caches its configuration keeps it for the whole process, and hides from `capture_logs`."""
    _configure(**{**settings, "cache_logger_on_first_use": False})


structlog.configure = _configure_without_cache


@pytest.fixture(autouse=True)
def _fresh_log_configuration() -> Iterator[None]:
    yield
    structlog.reset_defaults()
