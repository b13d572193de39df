"""Stored prompts and music: WAV files beside the dialplan, read once and kept as what the line speaks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias

import structlog

from gateway.core.errors import ConfigError
from gateway.providers.wav import read_wav
from gateway.session.resample import LINE_RATE, WIDE_RATE
from gateway.session.sentences import SentenceCutter

log = structlog.get_logger()

Stamp: TypeAlias = tuple[int, int, int]
"""Another one, and it is another file: its inode, its size in octets, and when it was written, in ns."""


def spoken_pieces(texts: Iterable[str]) -> list[str]:
    """The pieces that a voice is given of these texts, each once.

    A text is cut otherwise where it opens what the bot says than where it follows: the first piece may be a clause.
    """
    pieces: dict[str, None] = {}
    for text in texts:
        for before in ("", "Well.\n"):
            cutter = SentenceCutter()
            cutter.feed(before)
            pieces |= dict.fromkeys([*cutter.feed(text), *cutter.flush()])
    return list(pieces)


class _Ahead(NamedTuple):
    """A file at both rates, as it was when it bore this stamp."""

    stamp: Stamp
    narrow: bytes
    wide: bytes


class PromptShelf:
    """Called with a prompt's name or path; gives its 8 kHz PCM, or None when there is no such (usable) file. `wide`
    gives the same at 16 kHz, for lines that carry that.

    A relative name is looked for in the dialplan's folder and in its `prompts/`; `.wav` may be left out. What a name
    stands for is decided when it is first asked for, and stays so.
    """

    def __init__(self, dialplan: Path) -> None:
        folder = dialplan if dialplan.is_dir() else dialplan.parent
        self._folders = (folder, folder / "prompts")
        self._ahead: dict[Path, _Ahead] = {}
        self._narrow: dict[str, bytes | None] = {}
        self._wide: dict[str, bytes | None] = {}

    def __call__(self, name: str) -> bytes | None:
        if name not in self._narrow:
            self._narrow[name] = self._find(name, LINE_RATE)
        return self._narrow[name]

    def wide(self, name: str) -> bytes | None:
        """Twice as many samples as the 8 kHz have."""
        if name not in self._wide:
            narrow = self(name)
            wide = self._find(name, WIDE_RATE) if narrow else None
            self._wide[name] = _of_the_same_length(wide, narrow) if narrow and wide else None
        return self._wide[name]

    def knows(self, name: str) -> bool:
        """Whether it is decided what this name stands for, so that giving it takes no time."""
        return name in self._narrow

    def read_ahead(self, names: Iterable[str]) -> None:
        """Read what will be asked for, in a thread that no call waits for: minutes of sound take a good part of a
        second.

        One that is not there, is unusable, or changes before it is first asked for is read then, and told of then.
        """
        for path in {path for name in names for path in self._paths(name)}:
            stamp = _stamp(path)
            if stamp is not None:
                with suppress(ConfigError):
                    narrow, wide = read_wav(path, LINE_RATE), read_wav(path, WIDE_RATE)
                    self._ahead[path] = _Ahead(stamp, narrow, _of_the_same_length(wide, narrow))

    def _paths(self, name: str) -> Iterator[Path]:
        """Of the files that are there under this name."""
        for folder in self._folders:
            for path in (folder / name, folder / f"{name}.wav"):
                if path.is_file():
                    yield path

    def _find(self, name: str, rate: int) -> bytes | None:
        for path in self._paths(name):
            try:
                return self._read(path, rate)
            except ConfigError as error:
                log.error("prompt.unusable", path=str(path), error=str(error))
        return None

    def _read(self, path: Path, rate: int) -> bytes:
        ahead = self._ahead.get(path)
        if ahead is None or ahead.stamp != _stamp(path):
            return read_wav(path, rate)
        return ahead.narrow if rate == LINE_RATE else ahead.wide


def _of_the_same_length(wide: bytes, narrow: bytes) -> bytes:
    return wide[: 2 * len(narrow)].ljust(2 * len(narrow), b"\0")


def _stamp(path: Path) -> Stamp | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_ino, about.st_size, about.st_mtime_ns
