"""Stored prompts: WAV files beside the dialplan, read once and kept as what the line speaks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import structlog

from gateway.core.errors import ConfigError
from gateway.providers.wav import read_wav
from gateway.session.resample import LINE_RATE, WIDE_RATE
from gateway.session.sentences import SentenceCutter

log = structlog.get_logger()


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


class PromptShelf:
    """Called with a prompt's name or path; gives its 8 kHz PCM, or None when there is no such (usable) file. `wide`
    gives the same at 16 kHz, for lines that carry that.

    A relative name is looked for in the dialplan's folder and in its `prompts/`; `.wav` may be left out.
    """

    def __init__(self, dialplan: Path) -> None:
        folder = dialplan if dialplan.is_dir() else dialplan.parent
        self._folders = (folder, folder / "prompts")
        self._kept: dict[tuple[str, int], bytes | None] = {}

    def __call__(self, name: str) -> bytes | None:
        return self._at(name, LINE_RATE)

    def wide(self, name: str) -> bytes | None:
        """Twice as many samples as the 8 kHz have."""
        narrow, wide = self._at(name, LINE_RATE), self._at(name, WIDE_RATE)
        return wide[: 2 * len(narrow)].ljust(2 * len(narrow), b"\0") if narrow and wide else None

    def _at(self, name: str, rate: int) -> bytes | None:
        if (name, rate) not in self._kept:
            self._kept[name, rate] = self._read(name, rate)
        return self._kept[name, rate]

    def _read(self, name: str, rate: int) -> bytes | None:
        for folder in self._folders:
            for path in (folder / name, folder / f"{name}.wav"):
                if path.is_file():
                    try:
                        return read_wav(path, rate)
                    except ConfigError as error:
                        log.error("prompt.unusable", path=str(path), error=str(error))
        return None
