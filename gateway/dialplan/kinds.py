"""The kinds of value an operator writes: durations, texts with `{variables}`, names of routes, patterns, windows.

A kind is an annotated type. `Meta.extra` tells the converter what it is (`kind`) and how to read it (`read`: text in,
value out, `ValueError` with what is expected instead); actions of third parties get the same checks by using them.
Values stay builtins (str, float), so that a model goes through JSON unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from msgspec import Meta

from gateway.dialplan import hours, patterns

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)?")
LONGEST_S = 86_400.0
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INTERPOLATION = re.compile(r"\{([^{}]*)\}")
_DIGITS = re.compile(r"[0-9A-D*#]+")


def _kind(kind: str, read: Callable[[str], Any] | None = None, **schema: Any) -> Meta:
    return Meta(extra={"kind": kind, "read": read}, extra_json_schema=schema or None)


def read_duration(text: str) -> float:
    """`3s`, `500ms`, `2m`, `1h` or a plain number of seconds, in seconds."""
    found = _DURATION.fullmatch(text.strip())
    if not found:
        raise ValueError("a duration such as 3s, 500ms or 2m")
    seconds = float(found[1]) * _UNITS[found[2]]
    if seconds > LONGEST_S:
        raise ValueError("a duration of a day at most")
    return seconds


def read_share(text: str) -> float:
    """`20%`, as a fraction."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text.strip())
    if not found or not 0 < float(found[1]) <= 100:
        raise ValueError("a share of traffic such as 20%")
    return float(found[1]) / 100


def _read_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("a name of letters, digits and underscores")
    return text


def _read_digits(text: str) -> str:
    if not _DIGITS.fullmatch(text):
        raise ValueError("keys of a telephone: 0-9, * and #")
    return text


def variables_in(text: str) -> list[str]:
    """The names a text interpolates, in order; what stands in braces without being a name is among them as it is."""
    return _INTERPOLATION.findall(text)


def interpolate(text: str, values: dict[str, str]) -> str:
    """Put the values in; a name without one leaves nothing behind."""
    return _INTERPOLATION.sub(lambda found: values.get(found[1], ""), text)


def _read_file(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError("the name of a file")
    return text


def _read_pattern(text: str) -> str:
    patterns.compile_pattern(text)
    return text


def _read_window(text: str) -> str:
    hours.read_window(text)
    return text


def _read_date(text: str) -> str:
    hours.read_dates(text)
    return text


AS_TEXT = "x-as-text"
"""In the schema of a number that is written as a text, `3s` or `20%`."""

Seconds = Annotated[float, _kind("duration", read_duration, **{AS_TEXT: True, "examples": ["3s", "500ms", "2m"]})]
Share = Annotated[float, _kind("share", read_share, **{AS_TEXT: True, "examples": ["20%"]})]
Text = Annotated[str, _kind("text")]
"""Spoken; may hold `{variables}`."""
Template = Annotated[str, _kind("template")]
"""Not spoken, but may hold `{variables}` too."""
RouteName = Annotated[str, _kind("route")]
FlowName = Annotated[str, _kind("flow")]
AgentName = Annotated[str, _kind("agent")]
"""Known to the configuration, not to the dialplan."""
File = Annotated[str, _kind("file", _read_file, examples=["prompts/welcome.wav"])]
"""A WAV beside the dialplan; absolute once read."""
Sets = Annotated[str, _kind("sets", _read_name)]
"""The name of a variable that the step fills."""
Digits = Annotated[str, _kind("digits", _read_digits)]
FactName = Annotated[str, _kind("fact")]
"""Something the gateway finds out about a call; see `facts`."""
Phrase = Annotated[str, _kind("phrase")]
Pattern = Annotated[str, _kind("pattern", _read_pattern, examples=["1000", "49*", "/^1[0-9]{2}$/"])]
Window = Annotated[str, _kind("window", _read_window, examples=["mon-fri 09:00-17:30", "sat,sun"])]
Dates = Annotated[str, _kind("dates", _read_date, examples=["2026-12-24", "12-24..12-26"])]
