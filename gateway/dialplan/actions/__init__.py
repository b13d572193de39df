"""The actions of a dialplan, one module each; a file here is all it takes to add one.

A module has `Options` (a Struct that forbids unknown fields; its docstring is the operator's help), `run(call,
options)`, and may have `SHORTHAND` (the option meant by `action: value`), `EARLY = True` when it has sense on a call
that is not answered, and `link(options, document)` to resolve names once, at load. Packages of third parties offer
modules under the entry-point group `gateway.dialplan.actions`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Coroutine, Iterable
from functools import cache
from importlib import metadata
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.dialplan.control import CallControl, Goto

if TYPE_CHECKING:
    from gateway.dialplan.model import Document, Step

GROUP = "gateway.dialplan.actions"


class Steps(msgspec.Struct, frozen=True):
    """What an action returns to have steps run now, before the step after it."""

    steps: tuple[Step, ...]


class Complaint(msgspec.Struct, frozen=True):
    """What is wrong with an action's options; `at` leads to the value from the options on."""

    at: tuple[str | int, ...]
    message: str
    remedy: str = ""


Next = Goto | Steps | None
Run = Callable[[CallControl, Any], Coroutine[Any, Any, Next]]
Link = Callable[[Any, "Document"], Any]
Examine = Callable[[Any, "Document"], Iterable[Complaint]]


class Action(msgspec.Struct, frozen=True):
    """A found action module, with what it leaves out filled in."""

    name: str
    Options: type[msgspec.Struct]
    run: Run
    shorthand: str | None
    early: bool
    link: Link
    examine: Examine
    help: str


def branch(target: str | tuple[Step, ...] | None) -> Next:
    """What to return for a branch as the operator wrote it: a route, or steps in place."""
    if target is None:
        return None
    return Goto(target) if isinstance(target, str) else Steps(target)


@cache
def names() -> tuple[str, ...]:
    """Every action there is, in alphabetical order."""
    own = [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]
    others = [point.name for point in metadata.entry_points(group=GROUP)]
    return tuple(sorted({*own, *others}))


@cache
def find(name: str) -> Action | None:
    """The action of this name; our own before others. None when there is none."""
    if name not in names():
        return None
    if any(module.name == name for module in pkgutil.iter_modules(__path__)):
        return _action(name, importlib.import_module(f"{__name__}.{name}"))
    (point, *_) = metadata.entry_points(group=GROUP, name=name)
    return _action(name, point.load())


def _action(name: str, module: ModuleType) -> Action:
    return Action(
        name,
        module.Options,
        module.run,
        getattr(module, "SHORTHAND", None),
        getattr(module, "EARLY", False),
        getattr(module, "link", lambda options, document: options),
        getattr(module, "examine", lambda options, document: ()),
        (module.Options.__doc__ or module.__doc__ or "").strip(),
    )
