"""A provider's options: what an operator wrote, checked against the `Options` of the provider's file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

import msgspec

from gateway.core.errors import ConfigError

OptionsT = TypeVar("OptionsT", bound=msgspec.Struct)


def read_options(shape: type[OptionsT], options: Mapping[str, Any], *, what: str) -> OptionsT:
    """`options` as a `shape`. Numbers and booleans may come as text, as they do from the environment.

    Raises `ConfigError` that begins with `what` ("stt pocketsphinx") and names the option and the remedy.
    """
    known = [field.encode_name for field in msgspec.structs.fields(shape)]
    for name in options:
        if name not in known:
            raise ConfigError(f"{what}: no option `{name}`; {suggestion(name, known, 'options')}")
    try:
        return msgspec.convert(dict(options), shape, strict=False)
    except msgspec.ValidationError as error:
        complaint, _, place = str(error).partition(" - at `$.")
        where = f"option `{place.rstrip('`')}`: " if place else ""
        raise ConfigError(f"{what}: {where}{complaint[:1].lower()}{complaint[1:]}") from None


def suggestion(name: str, known: Iterable[str], things: str) -> str:
    """`did you mean ...?`, or the list of what there is."""
    known = sorted(known)
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    listed = f"{things}: {', '.join(known)}" if known else f"there are no {things}"
    return f"did you mean `{close[0]}`? ({listed})" if close else listed
