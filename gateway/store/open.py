"""From a URL to a store: the scheme names the module, here or in somebody else's distribution.

`acme://...` is `gateway/store/acme.py` if that file exists, else the entry point `acme` of the group
`gateway.store`; either offers `build(url: str) -> SessionStore`. Nothing else needs to know the new kind.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import TypeAlias, cast

from gateway.core.errors import ConfigError
from gateway.store.ports import SessionStore

Build: TypeAlias = Callable[[str], SessionStore]

ENTRY_POINTS = "gateway.store"
_PACKAGE = "gateway.store"
_SCHEME = re.compile(r"([a-z][a-z0-9_]*):")


def open_store(url: str) -> SessionStore:
    """The store that `url` names, not yet connected: `await store.open()` does that.

    Raises `ConfigError` for an unknown kind, a URL the kind cannot use, or a driver that is not installed.
    """
    scheme = _SCHEME.match(url)
    if scheme is None:
        raise ConfigError(f"a store URL begins with its kind and a colon, one of: {', '.join(kinds())}")
    kind = scheme[1]
    build = _ours(kind) or _theirs(kind)
    if build is None:
        raise ConfigError(f"unknown kind of store {kind!r}; known: {', '.join(kinds())}")
    return build(url)


def kinds() -> list[str]:
    """Every kind of store that a URL may name on this machine."""
    package = importlib.import_module(_PACKAGE)
    ours = {module.name for module in pkgutil.iter_modules(package.__path__) if _ours(module.name)}
    return sorted(ours | {point.name for point in entry_points(group=ENTRY_POINTS)})


def _ours(kind: str) -> Build | None:
    name = f"{_PACKAGE}.{kind}"
    if importlib.util.find_spec(name) is None:
        return None
    return cast("Build | None", getattr(importlib.import_module(name), "build", None))


def _theirs(kind: str) -> Build | None:
    """A third party's, which is imported only when its kind is asked for."""
    for point in entry_points(group=ENTRY_POINTS, name=kind):
        return cast("Build", point.load())
    return None
