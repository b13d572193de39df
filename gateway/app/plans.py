"""`gateway check` and `gateway route`: what an operator asks of a dialplan before callers do."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from gateway import dialplan
from gateway.core.errors import ConfigError
from gateway.dialplan.check import check as faults_of
from gateway.dialplan.plan import Offer
from gateway.dialplan.schema import json_schema
from gateway.providers.stt.pronunciation import guess, vocabulary_gaps

_WORD = re.compile(r"[a-z']+")


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
    _tell_guesses(plan)
    return 0


def _tell_guesses(plan: dialplan.Dialplan) -> None:
    """No faults: names and brands are in no dictionary. But a guess that sounds wrong is a caller not understood."""
    words = _WORD.findall(" ".join(dialplan.heard(plan)).lower())
    guesses = [f'    {word} = "{guess(word)}"' for word in vocabulary_gaps(words)]
    if guesses:
        print("pocketsphinx knows no pronunciation of these words and will guess; correct them under [stt]:")
        print("    [stt.pronunciations]", *guesses, sep="\n")


def print_schema() -> int:
    print(json.dumps(json_schema(), indent=2))
    return 0


def explain(
    path: Path,
    *,
    called: str,
    caller: str,
    at: str | None,
    headers: Sequence[str],
    facts: Sequence[str],
    trunk: str,
) -> int:
    known = dict(_pair(text, "--fact") for text in facts)
    trunk = trunk or known.get("trunk", "")
    known |= {"trunk": trunk} if trunk else {}
    offer = Offer(called, caller, "sip", trunk, dict(_pair(text, "--header") for text in headers), known)
    explanation = dialplan.load(path).explain(offer, _moment(at))
    print(explanation.text())
    return 0 if explanation.winner else 1


def _pair(text: str, option: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise ConfigError(f"{option} wants NAME=VALUE, not {text!r}")
    return name, value


def _moment(text: str | None) -> datetime:
    if text is None:
        return datetime.now().astimezone()
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--at wants a time such as 2026-05-01T18:30, not {text!r}") from None
