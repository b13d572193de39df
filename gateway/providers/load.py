"""From a kind and its options to a provider: `kind: acme` of room `stt` is `gateway/providers/stt/acme.py`.

Such a file has `Options`, a msgspec Struct whose docstrings are the manual, and `build(options)`, which gives the
provider without starting anything. Other packages offer theirs under entry points `voicebot_gateway.stt` and so on,
each pointing at a module of the same form. Every fault is a `ConfigError` with its remedy.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Final, Literal, cast

import msgspec

from gateway.core.errors import ConfigError
from gateway.media.ports import BatchVad, NoiseSuppressor
from gateway.providers.options import read_options, suggestion
from gateway.session.ports import Agent, SpeechToText, TextToSpeech, TurnDetector

Room = Literal["stt", "tts", "agent", "vad", "turn", "noise"]
ENTRY_POINTS: Final = "voicebot_gateway"


def build_stt(kind: str, options: Mapping[str, Any] | None = None) -> SpeechToText:
    return cast(SpeechToText, build("stt", kind, options))


def build_tts(kind: str, options: Mapping[str, Any] | None = None) -> TextToSpeech:
    return cast(TextToSpeech, build("tts", kind, options))


def build_agent(kind: str, options: Mapping[str, Any] | None = None) -> Agent:
    return cast(Agent, build("agent", kind, options))


def build_turn_detector(kind: str, options: Mapping[str, Any] | None = None) -> TurnDetector:
    return cast(TurnDetector, build("turn", kind, options))


def build_vad(kind: str, options: Mapping[str, Any] | None = None, *, slots: int) -> BatchVad:
    """`slots` is the number of calls, the rows whose state it keeps."""
    return cast(BatchVad, build("vad", kind, {**(options or {}), "slots": slots}))


def build_noise(kind: str, options: Mapping[str, Any] | None = None, *, slots: int) -> NoiseSuppressor:
    """`slots` as for `build_vad`."""
    return cast(NoiseSuppressor, build("noise", kind, {**(options or {}), "slots": slots}))


def build(room: Room, kind: str, options: Mapping[str, Any] | None = None) -> object:
    """Any room's provider. A file without `Options` gets the options as they were written."""
    module = _find(room, kind)
    options = options or {}
    shape = getattr(module, "Options", None)
    if shape is None:
        return module.build(dict(options))
    if not issubclass(shape, msgspec.Struct):
        raise ConfigError(f"{module.__name__}: `Options` must be a msgspec Struct")
    return module.build(read_options(shape, options, what=f"{room} {kind}"))


def kinds(room: Room) -> list[str]:
    """What can be written as `kind` in this room, sorted."""
    return sorted({*_shipped(room), *_offered(room)})


def _find(room: Room, kind: str) -> ModuleType:
    offered = _offered(room)
    if kind not in _shipped(room) and kind not in offered:
        raise ConfigError(f"no {room} provider `{kind}`; {suggestion(kind, kinds(room), 'kinds')}")
    try:
        return import_module(_path(room, kind)) if kind in _shipped(room) else _load(offered[kind])
    except ImportError as error:
        remedy = f"install it: pip install {error.name}" if error.name else "is it installed?"
        raise ConfigError(f"{room} provider `{kind}` cannot be loaded: {error}; {remedy}") from error


def _load(point: EntryPoint) -> ModuleType:
    module = point.load()
    if not isinstance(module, ModuleType) or not hasattr(module, "build"):
        raise ConfigError(f"entry point {point.group}: {point.name} = {point.value} must name a module with `build`")
    return module


def _offered(room: Room) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"{ENTRY_POINTS}.{room}")}


def _path(room: Room, name: str) -> str:
    return f"gateway.providers.{room}.{name}"


@cache
def _shipped(room: Room) -> frozenset[str]:
    """The room's modules with a `build`, told by their text: none is imported before it is wanted."""
    package = import_module(f"gateway.providers.{room}")
    return frozenset(module.name for module in pkgutil.iter_modules(package.__path__) if _builds(room, module.name))


def _builds(room: Room, name: str) -> bool:
    spec = find_spec(_path(room, name))
    source = spec.loader.get_source(spec.name) if spec and hasattr(spec.loader, "get_source") else None  # type: ignore[union-attr]
    return source is not None and "\ndef build(" in source
