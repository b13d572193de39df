"""Errors say who is at fault and carry what the handler needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.core import errors
from gateway.core.errors import CapacityError, ConfigError, GatewayError, PeerError, ProviderError, SessionError


@pytest.mark.parametrize(
    ("error", "rendered"),
    [
        (ConfigError("unknown action 'rign'; did you mean 'ring'?", path=Path("plans/a.yaml"), line=3, column=7),
         "plans/a.yaml:3:7: unknown action 'rign'; did you mean 'ring'?"),
        (ConfigError("no routes", path="a.yaml", line=1), "a.yaml:1: no routes"),
        (ConfigError("not found", path="a.yaml"), "a.yaml: not found"),
        (ConfigError("no port", line=4, column=2), "4:2: no port"),
        (ConfigError("bad option"), "bad option"),
    ],
)  # fmt: skip
def test_a_configuration_error_shows_its_place(error: ConfigError, rendered: str) -> None:
    """`path:line:column: message`, the form that editors and terminals turn into a link; unknown parts are left out."""
    assert str(error) == rendered


def test_a_configuration_error_keeps_its_parts() -> None:
    """The checker sorts and counts faults by place, which it need not parse out of the text."""
    error = ConfigError("m", path="p", line=1, column=2)
    assert (error.message, error.path, error.line, error.column) == ("m", "p", 1, 2)


def test_every_error_of_ours_is_a_gateway_error() -> None:
    """One `except GatewayError` at the edge of a call tells known trouble from bugs."""
    ours = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    assert len(ours) >= 8
    assert all(issubclass(each, GatewayError) for each in ours)


def test_errors_carry_what_their_handlers_ask_for() -> None:
    """A status for the peer, a time to come back, whether to try again, a code for programs."""
    assert PeerError("offer has no audio", status_hint=488).status_hint == 488
    assert PeerError("malformed").status_hint == 400
    assert CapacityError("full").retry_after_s > 0
    assert ProviderError("slow", category="timeout", retryable=True).retryable
    failure = SessionError("gone", code="session_not_found")
    assert (failure.code, failure.retryable, str(failure)) == ("session_not_found", False, "gone")
