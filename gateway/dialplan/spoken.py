"""Every text of a document that may come to be spoken, found by its kind: defaults and other people's actions too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

from gateway.dialplan.kinds import variables_in
from gateway.dialplan.model import Document, Step


def texts(document: Document) -> Iterator[str]:
    """In the order of the document, repetitions included."""
    yield from _texts(document.routes, inspect.type_info(dict[str, Any]))
    for spec in document.flows.values():
        yield from _texts(spec, inspect.type_info(type(spec)))


def fixed_texts(document: Document) -> list[str]:
    """Those that are the same every time, each once: worth being recorded or rendered before any call."""
    return list(dict.fromkeys(text for text in texts(document) if text and not variables_in(text)))


def _texts(value: Any, info: Any) -> Iterator[str]:
    if isinstance(value, Step):
        yield from _texts(value.options, inspect.type_info(type(value.options)))
    elif isinstance(value, msgspec.Struct):
        about = inspect.type_info(type(value))
        assert isinstance(about, inspect.StructType)
        for field in about.fields:
            yield from _texts(getattr(value, field.name), field.type)
    elif isinstance(value, str):
        if _is_text(info):
            yield value
    elif isinstance(value, tuple):
        item = next((one.item_type for one in _alternatives(info) if isinstance(one, inspect.VarTupleType)), None)
        for one in value:
            yield from _texts(one, item)
    elif isinstance(value, dict):
        inner = next((one.value_type for one in _alternatives(info) if isinstance(one, inspect.DictType)), None)
        for one in value.values():
            yield from _texts(one, inner)


def _alternatives(info: Any) -> tuple[Any, ...]:
    return info.types if isinstance(info, inspect.UnionType) else (info,)


def _is_text(info: Any) -> bool:
    return any(
        isinstance(one, inspect.Metadata) and (one.extra or {}).get("kind") == "text" for one in _alternatives(info)
    )
