"""Every text that may come to be spoken, every file that may be played, and every phrase that callers may say.

They are found by their kind, so the defaults and other people's actions are among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

from gateway.dialplan.kinds import variables_in
from gateway.dialplan.model import Document, Step


def texts(document: Document) -> Iterator[str]:
    """In the order of the document, repetitions included."""
    yield from _found(document.routes, None, "text")
    yield from _found(document.flows, None, "text")


def fixed_texts(document: Document) -> list[str]:
    """Those that are the same every time, each once: worth being recorded or rendered before any call."""
    return list(dict.fromkeys(text for text in texts(document) if text and not variables_in(text)))


def sound_files(document: Document) -> list[str]:
    """What may come to be played: of steps, and in place of texts; each once."""
    found = (*_found(document.routes, None, "file"), *_found(document.flows, None, "file"), *document.prompts)
    return list(dict.fromkeys(found))


def heard_phrases(document: Document) -> list[str]:
    """What callers may say, each once: the vocabulary that a recogniser should know."""
    found = (*_found(document.routes, None, "phrase"), *_found(document.flows, None, "phrase"))
    return list(dict.fromkeys(found))


def agent_names(document: Document) -> list[str]:
    """Who is to talk in the bots of the routes, each once."""
    return list(dict.fromkeys(_found(document.routes, None, "agent")))


def _found(value: Any, info: Any, kind: str) -> Iterator[str]:
    """Texts of a kind inside a value; `info` describes its type where that says more than the value itself."""
    if isinstance(value, Step):
        yield from _found(value.options, None, kind)
    elif isinstance(value, msgspec.Struct):
        about = inspect.type_info(type(value))
        assert isinstance(about, inspect.StructType)
        for field in about.fields:
            yield from _found(getattr(value, field.name), field.type, kind)
    elif isinstance(value, str):
        if _is(kind, info):
            yield value
    elif isinstance(value, tuple | list):
        lists = (inspect.VarTupleType, inspect.ListType)
        item = next((one.item_type for one in _alternatives(info) if isinstance(one, lists)), None)
        for one in value:
            yield from _found(one, item, kind)
    elif isinstance(value, dict):
        inner = next((one.value_type for one in _alternatives(info) if isinstance(one, inspect.DictType)), None)
        for one in value.values():
            yield from _found(one, inner, kind)


def _alternatives(info: Any) -> tuple[Any, ...]:
    return info.types if isinstance(info, inspect.UnionType) else (info,)


def _is(kind: str, info: Any) -> bool:
    return any(
        isinstance(one, inspect.Metadata) and (one.extra or {}).get("kind") == kind for one in _alternatives(info)
    )
