"""`kind: prompts`: speaks recorded texts from a folder, and leaves all others to another voice.

With every text of a dialplan recorded (`render_prompts`) the gateway speaks with no synthesiser installed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.core.errors import ConfigError, ProviderError
from gateway.providers.load import build_tts
from gateway.providers.tts.cache import SpokenCache
from gateway.providers.tts.prompt_store import PromptStore, render_prompts
from gateway.providers.wav import TELEPHONE_HZ
from gateway.session.ports import SpeechChunk, TextToSpeech

__all__ = ["Options", "Prompts", "build", "render_prompts"]


class Options(msgspec.Struct, frozen=True):
    directory: str
    """The folder with `index.json`."""
    fallback: str = "flite"
    """The kind of voice for texts that have no recording; empty for none."""
    fallback_options: dict[str, Any] = {}
    cache_bytes: Annotated[int, Meta(ge=0)] = 32_000_000
    """Recordings kept in memory."""


class Prompts:
    """Implements `TextToSpeech`, at the rate of the fallback voice."""

    def __init__(self, store: PromptStore, fallback: TextToSpeech | None, cache_bytes: int) -> None:
        self._store, self._fallback = store, fallback
        self._cache = SpokenCache(cache_bytes)
        self.sample_rate = fallback.sample_rate if fallback is not None else TELEPHONE_HZ

    async def speak(self, text: str) -> AsyncIterator[SpeechChunk]:
        recorded = self._recorded(text)
        if recorded is not None:
            yield recorded
        elif self._fallback is not None:
            chunks = self._fallback.speak(text)
            try:
                async for chunk in chunks:
                    yield chunk
            finally:
                if isinstance(chunks, AsyncGenerator):
                    await chunks.aclose()  # who closes us cancels the other voice too
        else:
            raise ProviderError(f"no recording of {text!r}", category="bad_request", retryable=False)

    def _recorded(self, text: str) -> SpeechChunk | None:
        chunk = self._cache.get(text)
        if chunk is None and text in self._store:
            try:
                chunk = self._store.get(text, self.sample_rate)
            except ConfigError as error:
                raise ProviderError(str(error), category="unavailable", retryable=False) from error
            if chunk is not None:
                self._cache.put(text, chunk)
        return chunk

    async def warm(self) -> None:
        """Start the fallback voice. Raises `ProviderError` as it does: the recordings are spoken all the same."""
        if (warm := getattr(self._fallback, "warm", None)) is not None:
            await warm()

    async def close(self) -> None:
        if self._fallback is not None:
            await self._fallback.close()


def build(options: Options) -> Prompts:
    fallback = build_tts(options.fallback, options.fallback_options) if options.fallback else None
    return Prompts(PromptStore(Path(options.directory)), fallback, options.cache_bytes)
