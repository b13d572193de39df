"""The reading side of a bundle. Every fault is a `ConfigError` that names file and line."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from gateway.core import events as e
from gateway.core.errors import ConfigError, PeerError
from gateway.media import trace
from gateway.providers.wav import read_wav
from gateway.replay import layout

T = TypeVar("T")

_answers: msgspec.json.Decoder[layout.AnyAnswer] = msgspec.json.Decoder(layout.AnyAnswer)
_meta: msgspec.json.Decoder[layout.Meta] = msgspec.json.Decoder(layout.Meta)


class Recorded(msgspec.Struct, frozen=True):
    """A bundle in memory, but for its audio. `datagrams` is empty when there is no trace (a call never answered)."""

    folder: Path
    meta: layout.Meta
    events: tuple[e.AnyEvent, ...]
    session: tuple[e.AnyEvent, ...] = ()
    answers: tuple[layout.AnyAnswer, ...] = ()
    datagrams: tuple[trace.Traced, ...] = ()
    left_out: tuple[trace.LeftOut, ...] = ()
    """Ticks of the leg that never came."""

    @property
    def dialplan(self) -> Path | None:
        """The folder with the dialplan in force, if the bundle has one."""
        folder = self.folder / layout.DIALPLAN
        return folder if folder.is_dir() else None

    def speech(self, name: str, sample_rate: int) -> bytes:
        """The samples of a file in `speech/`, 16 bit. Raises `ConfigError`."""
        return read_wav(self.folder / layout.SPEECH / name, sample_rate)


def read_bundle(folder: Path) -> Recorded:
    """Raises `ConfigError` for what is no bundle, is from a newer gateway, or is damaged.

    The bundle of a call whose gateway was killed is no damaged one: a last line that was cut off is left out.
    """
    if not folder.is_dir():
        raise ConfigError("there is no such bundle", path=folder)
    meta = _read_meta(folder)
    torn = not meta.complete
    events = _lines(folder / layout.EVENTS, e.decode, torn)
    traced = [one for name in layout.traces(folder) for one in _read_trace(folder / name)]
    if not events:
        raise ConfigError("the bundle holds no events", path=folder / layout.EVENTS)
    return Recorded(
        folder=folder,
        meta=meta,
        events=events,
        session=_lines(folder / layout.SESSION, e.decode, torn) if _there(folder / layout.SESSION) else (),
        answers=_lines(folder / layout.PROVIDERS, _answers.decode, torn) if _there(folder / layout.PROVIDERS) else (),
        datagrams=tuple(one for one in traced if isinstance(one, trace.Traced)),
        left_out=tuple(one for one in traced if isinstance(one, trace.LeftOut)),
    )


def _read_meta(folder: Path) -> layout.Meta:
    path = folder / layout.META
    if not _there(path):
        raise ConfigError(f"not a bundle: there is no {layout.META} in it", path=folder)
    text = _contents(path)
    try:
        version = msgspec.json.decode(text).get("format")
        if version != layout.FORMAT:
            raise ConfigError(f"bundle format {version}; this gateway reads {layout.FORMAT}", path=path)
        return _meta.decode(text)
    except (msgspec.MsgspecError, AttributeError) as error:
        raise ConfigError(f"damaged: {error}", path=path) from error


def _lines(path: Path, decode: Callable[[bytes], T], torn: bool) -> tuple[T, ...]:
    lines = _contents(path).split(b"\n")
    whole, rest = lines[:-1], lines[-1]
    if rest and not torn:
        raise ConfigError("the last line is cut off", path=path, line=len(lines))
    return tuple(_decoded(line, decode, path, number) for number, line in enumerate(whole, 1))


def _decoded(line: bytes, decode: Callable[[bytes], T], path: Path, number: int) -> T:
    try:
        return decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(str(error), path=path, line=number) from error


def _read_trace(path: Path) -> tuple[trace.Record, ...]:
    data = _contents(path)
    if not data:
        return ()
    try:
        return tuple(trace.read(data))
    except PeerError as error:
        raise ConfigError(str(error), path=path) from error


def _there(path: Path) -> bool:
    return path.exists() or _packed(path).exists()


def _contents(path: Path) -> bytes:
    """Of the file, or of its gzipped form."""
    try:
        if path.exists():
            return path.read_bytes()
        return gzip.decompress(_packed(path).read_bytes())
    except FileNotFoundError as error:
        raise ConfigError("missing from the bundle", path=path) from error
    except (OSError, EOFError) as error:
        raise ConfigError(f"cannot be read: {error}", path=path) from error


def _packed(path: Path) -> Path:
    return path.with_name(path.name + ".gz")
