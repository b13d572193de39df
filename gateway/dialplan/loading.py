"""A dialplan from its files, ready to route calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from gateway.core.errors import ConfigError
from gateway.dialplan import actions
from gateway.dialplan.check import examine
from gateway.dialplan.model import Document, Step
from gateway.dialplan.plan import Dialplan
from gateway.dialplan.spoken import agent_names, fixed_texts, heard_phrases, sound_files


def load(path: Path, copied_from: Path | None = None) -> Dialplan:
    """Read a file or folder. Raises `ConfigError` for the first error and says how many more there are.

    `copied_from` is as in `examine`.
    Warnings (an unused flow, a route no call reaches) are for `check` to tell; they stop no gateway.
    """
    document, faults = examine(path, copied_from)
    errors = [fault for fault in faults if fault.severity == "error"]
    if errors or document is None:
        first, others = errors[0], len(errors) - 1
        more = f" (and {others} more fault{'s' * (others > 1)}: gateway check {path})" if others else ""
        remedy = f"; {first.remedy}" if first.remedy else ""
        raise ConfigError(f"{first.message}{remedy}{more}", path=first.path, line=first.line, column=first.column)
    routes = {name: _linked(route, document) for name, route in document.routes.items()}
    return Dialplan(msgspec.structs.replace(document, routes=routes))


def prompts(dialplan: Dialplan) -> list[str]:
    """The texts that are spoken the same every time: those worth storing as sound before the first call."""
    return fixed_texts(dialplan.document)


def files(dialplan: Dialplan) -> list[str]:
    """The sound files that it plays, as they are asked for in calls: those worth reading before the first call."""
    return sound_files(dialplan.document)


def heard(dialplan: Dialplan) -> list[str]:
    """The phrases that callers may say somewhere: what a recogniser needs to know the words of."""
    return heard_phrases(dialplan.document)


def agents(dialplan: Dialplan) -> list[str]:
    """The agents that its bots name, each once."""
    return agent_names(dialplan.document)


def _linked(value: Any, document: Document) -> Any:
    """The same value with the options of every step inside it linked, innermost first."""
    if isinstance(value, Step):
        action = actions.find(value.action)
        assert action is not None, "the checks let only known actions through"
        return Step(value.position, value.action, action.link(_linked(value.options, document), document))
    if isinstance(value, msgspec.Struct):
        changes = {name: _linked(getattr(value, name), document) for name in value.__struct_fields__}
        return msgspec.structs.replace(value, **changes)
    if isinstance(value, tuple | list):
        return type(value)(_linked(item, document) for item in value)
    if isinstance(value, dict):
        return {key: _linked(item, document) for key, item in value.items()}
    return value
