"""A folder of recorded texts: WAV files, and `index.json` that says which text each of them speaks."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from gateway.core.errors import ConfigError
from gateway.core.speech import Word
from gateway.providers.wav import TELEPHONE_HZ, read_wav, write_wav
from gateway.session.ports import SpeechChunk, TextToSpeech
from gateway.session.resample import Resampler

INDEX: Final = "index.json"
NAME_WORDS, NAME_LETTERS = 10, 80
"""How much of a text its file is named after."""


class Recording(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file of the folder. `words` are timed in it; without any, the conversation estimates."""

    file: str
    words: tuple[Word, ...] = ()


class PromptStore:
    """`folder` must exist. Raises `ConfigError` for an index that cannot be read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._recordings = _index(folder)

    def __len__(self) -> int:
        return len(self._recordings)

    def __contains__(self, text: str) -> bool:
        return key(text) in self._recordings

    def get(self, text: str, rate: int) -> SpeechChunk | None:
        """The recording of a text at `rate` Hz. Raises `ConfigError` when its file is missing or no WAV."""
        recording = self._recordings.get(key(text))
        if recording is None:
            return None
        return SpeechChunk(read_wav(self._folder / recording.file, rate), recording.words)

    @property
    def files(self) -> list[str]:
        """The names of all recordings in the index, each once."""
        return sorted({recording.file for recording in self._recordings.values()})

    def put(self, text: str, chunk: SpeechChunk, rate: int, file: str = "") -> None:
        """Write the recording, then the index: a reader never finds a text without its file. `file` is its name, else
        one made from the text."""
        name = file or file_name(text)
        write_wav(self._folder / name, chunk.pcm, rate)
        self._recordings[key(text)] = Recording(name, chunk.words)
        self._write_index()

    def clear(self) -> None:
        """Delete every recording and the index; files that are not in it stay."""
        names = self.files
        self._recordings = {}
        self._write_index()
        for name in names:
            (self._folder / name).unlink(missing_ok=True)

    def _write_index(self) -> None:
        """A line for each text, in order, so that two versions of it can be compared."""
        encode = msgspec.json.encode
        lines = [encode(text) + b": " + encode(about) for text, about in sorted(self._recordings.items())]
        (self._folder / f".{INDEX}").write_bytes(b"{\n" + b",\n".join(lines) + b"\n}\n")
        (self._folder / f".{INDEX}").replace(self._folder / INDEX)


async def render_prompts(
    texts: Iterable[str],
    tts: TextToSpeech,
    folder: Path | str,
    *,
    rate: int = TELEPHONE_HZ,
    files: Mapping[str, str] | None = None,
) -> list[str]:
    """Let `tts` speak every text that `folder` lacks, and keep it there at `rate` Hz; the texts that were new.

    `files` names the file for texts that are to have a certain one. What it cannot make a sound of is left out.
    Raises `ProviderError` as `tts` does; what was rendered stays.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    store, rendered = PromptStore(folder), []
    for text in texts:
        if text in store:
            continue
        spoken = await _spoken(tts, text, rate)
        if spoken.pcm:
            store.put(text, spoken, rate, (files or {}).get(text, ""))
            rendered.append(text)
    return rendered


async def _spoken(tts: TextToSpeech, text: str, rate: int) -> SpeechChunk:
    chunks = [chunk async for chunk in tts.speak(text)]
    resampler = Resampler(tts.sample_rate, rate)
    pcm = b"".join((*(resampler.feed(chunk.pcm) for chunk in chunks), resampler.finish()))
    return SpeechChunk(pcm, tuple(word for chunk in chunks for word in chunk.words))


def file_name(text: str) -> str:
    """Readable, and never the same for two texts: `hello-this-is-the-appointment-desk-3f2a9c.wav`."""
    words = re.findall(r"[a-z0-9]+", unicodedata.normalize("NFKD", text.replace("'", "")).lower())
    digest = sha256(key(text).encode()).hexdigest()[:6]
    return f"{'-'.join([*words[:NAME_WORDS], digest])[-NAME_LETTERS:].lstrip('-')}.wav"


def key(text: str) -> str:
    """Two texts with one key are spoken alike: case, spacing and the shape of quotation marks do not count."""
    plain = unicodedata.normalize("NFKC", text).translate(str.maketrans("’‘“”", "''\"\""))
    return " ".join(plain.casefold().split())


def _index(folder: Path) -> dict[str, Recording]:
    if not folder.is_dir():
        raise ConfigError("no such folder of recorded prompts", path=folder)
    try:
        return msgspec.json.decode((folder / INDEX).read_bytes(), type=dict[str, Recording])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", path=folder / INDEX) from error
