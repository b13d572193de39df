"""A folder of recorded texts: WAV files, and `index.json` that says which text each of them speaks."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from gateway.core.errors import ConfigError
from gateway.core.speech import Word
from gateway.providers.wav import read_wav, write_wav
from gateway.session.ports import SpeechChunk, TextToSpeech

INDEX: Final = "index.json"


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

    def put(self, text: str, chunk: SpeechChunk, rate: int) -> None:
        """Write the recording, then the index: a reader never finds a text without its file."""
        name = f"{sha256(key(text).encode()).hexdigest()[:16]}.wav"
        write_wav(self._folder / name, chunk.pcm, rate)
        self._recordings[key(text)] = Recording(name, chunk.words)
        written = msgspec.json.format(msgspec.json.encode(self._recordings, order="deterministic"))
        (self._folder / f".{INDEX}").write_bytes(written + b"\n")
        (self._folder / f".{INDEX}").replace(self._folder / INDEX)


async def render_prompts(texts: Iterable[str], tts: TextToSpeech, folder: Path | str) -> list[str]:
    """Let `tts` speak every text that `folder` lacks, and keep it there; the texts that were new.

    What it cannot make a sound of is left out. Raises `ProviderError` as `tts` does; what was rendered stays.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    store, rendered = PromptStore(folder), []
    for text in texts:
        if text in store:
            continue
        chunks = [chunk async for chunk in tts.speak(text)]
        whole = SpeechChunk(b"".join(chunk.pcm for chunk in chunks), tuple(w for chunk in chunks for w in chunk.words))
        if whole.pcm:
            store.put(text, whole, tts.sample_rate)
            rendered.append(text)
    return rendered


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
