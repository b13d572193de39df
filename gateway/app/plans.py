"""`gateway check` and `gateway route`: what an operator asks of a dialplan before callers do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from gateway import dialplan
from gateway.core.errors import ConfigError
from gateway.dialplan.check import check as faults_of
from gateway.dialplan.plan import Offer
from gateway.dialplan.schema import json_schema


def check(path: Path) -> int:
    faults = faults_of(path)
    for fault in faults:
        print(f"{fault.path}:{fault.line}:{fault.column}: {fault.message}")
        if fault.remedy:
            print(f"    {fault.remedy}")
    if faults:
        print(f"{len(faults)} fault{'s' if len(faults) > 1 else ''}")
        return 1
    plan = dialplan.load(path)
    print(f"{path}: no faults; routes: {', '.join(plan.routes)}")
    return 0


def print_schema() -> int:
    print(json.dumps(json_schema(), indent=2))
    return 0


def explain(path: Path, *, called: str, caller: str, at: str | None, headers: Sequence[str], trunk: str) -> int:
    offer = Offer(called, caller, "sip", trunk, dict(_header(text) for text in headers))
    explanation = dialplan.load(path).explain(offer, _moment(at))
    print(explanation.text())
    return 0 if explanation.winner else 1


def _header(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise ConfigError(f"--header wants NAME=VALUE, not {text!r}")
    return name, value


def _moment(text: str | None) -> datetime:
    if text is None:
        return datetime.now().astimezone()
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--at wants a time such as 2026-05-01T18:30, not {text!r}") from None
