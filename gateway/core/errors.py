"""Every error the gateway raises on purpose. Each says who is at fault, so that handlers need not guess."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

SessionCode = Literal[
    "invalid_config",
    "internal",
    "invalid_state",
    "timeout",
    "session_not_found",
    "already_active",
    "not_active",
    "expired",
]
ProviderCategory = Literal["auth", "quota", "timeout", "network", "bad_request", "unavailable", "internal"]


class GatewayError(Exception):
    """The root: anything the gateway raises knowingly."""


class PeerError(GatewayError):
    """The other side is wrong. `status_hint` is the SIP (or HTTP) status that tells it so."""

    def __init__(self, message: str, *, status_hint: int = 400) -> None:
        super().__init__(message)
        self.status_hint = status_hint


class MisuseError(GatewayError):
    """Our own caller is wrong: a bug on this side of the wire."""


ROOM_AGAIN_S = 5.0
"""When to come again where all was taken: calls end all the time."""


class CapacityError(GatewayError):
    """No room now; worth another try after `retry_after_s`."""

    def __init__(self, message: str, *, retry_after_s: float = ROOM_AGAIN_S) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ProviderError(GatewayError):
    """A speech engine or agent failed. `retryable` says whether the same request may succeed later."""

    def __init__(self, message: str, *, category: ProviderCategory, retryable: bool) -> None:
        super().__init__(message)
        self.category = category
        self.retryable = retryable


class StoreError(GatewayError):
    """The session store cannot do what was asked (disk full, database away)."""


class ConfigError(GatewayError):
    """Something an operator wrote is wrong; renders as `path:line:column: message`. Lines and columns count from 1."""

    def __init__(
        self, message: str, *, path: Path | str | None = None, line: int | None = None, column: int | None = None
    ) -> None:
        self.message, self.path, self.line, self.column = message, path, line, column
        place = ":".join(str(part) for part in (path, line, column) if part is not None)
        super().__init__(f"{place}: {message}" if place else message)


class SessionError(GatewayError):
    """A session operation failed, with a code for programs."""

    def __init__(self, message: str, *, code: SessionCode, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable
