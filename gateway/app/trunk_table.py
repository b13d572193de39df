"""`gateway trunks`: what the running gateway knows of its trunks, as a table. Exit code 1 when one is down."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Sequence

import msgspec

from gateway.core.errors import ConfigError, GatewayError
from gateway.ops.ports import TargetInfo, TrunkInfo

HEADINGS = ("trunk", "state", "registration", "calls", "targets")
WITHIN_S = 5.0


def show(url: str, token: str | None) -> int:
    """Raises `ConfigError` for an address that is none, `GatewayError` when no gateway answers there."""
    trunks = fetch(url, token)
    print(table(trunks) if trunks else "no trunks are configured; config/gateway.toml shows how one is written")
    return 0 if all(trunk.up for trunk in trunks) else 1


def fetch(url: str, token: str | None) -> list[TrunkInfo]:
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"--http must look like http://127.0.0.1:8080, not {url!r}")
    request = urllib.request.Request(url.rstrip("/") + "/api/trunks")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=WITHIN_S) as reply:
            return msgspec.json.decode(reply.read(), type=list[TrunkInfo])
    except urllib.error.HTTPError as error:
        remedy = "; name the operator's token with --token" if error.code in (401, 403) else ""
        raise GatewayError(f"{url} answers {error.code} {error.reason}{remedy}") from error
    except (OSError, ValueError) as error:
        raise GatewayError(f"no gateway answers at {url} ({error}); is it running, and on this port?") from error


def table(trunks: Sequence[TrunkInfo]) -> str:
    """Columns as wide as they need; faults stand below, one line each."""
    rows = [HEADINGS, *(_row(trunk) for trunk in trunks)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *(f"{trunk.name}: {trunk.fault}" for trunk in trunks if trunk.fault)])


def _row(trunk: TrunkInfo) -> tuple[str, ...]:
    calls = f"{trunk.calls}/{trunk.max_calls}" if trunk.max_calls else str(trunk.calls)
    targets = ", ".join(_target(target) for target in trunk.targets)
    registration = f"{trunk.registration} at {trunk.registered_at}" if trunk.registered_at else trunk.registration
    return trunk.name, "up" if trunk.up else "DOWN", registration, calls, f"{trunk.transport} {targets}"


def _target(target: TargetInfo) -> str:
    address = f"{target.name} = {target.address}" if target.name else target.address
    if target.reachable is None:
        return f"{address} (not asked)"
    if not target.reachable:
        return f"{address} ({target.fault or 'silent'})"
    return f"{address} ({target.round_trip_ms:g} ms)" if target.round_trip_ms is not None else address
