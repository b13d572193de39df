"""`kind: prompts`: speaks recorded texts from a folder, and leaves all others to another voice.

With every text of a dialplan recorded (`render_prompts`) the gateway speaks with no synthesiser installed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import cached_property
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
from gateway.session.resample import WIDE_RATE, Resampler

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
    """Implements `TextToSpeech`, at the line's rate: what all callers hear is converted once, not for each."""

    def __init__(
        self, store: PromptStore, fallback: TextToSpeech | None, cache_bytes: int, rate: int = TELEPHONE_HZ
    ) -> None:
        self.sample_rate = rate
        self._store, self._fallback, self._cache_bytes = store, fallback, cache_bytes
        self._cache = SpokenCache(cache_bytes)

    @cached_property
    def wideband(self) -> Prompts:
        """For lines that carry 16 kHz; made when the first of them speaks."""
        fallback = getattr(self._fallback, "wideband", self._fallback)
        return Prompts(self._store, fallback, self._cache_bytes, WIDE_RATE)

    async def speak(self, text: str) -> AsyncIterator[SpeechChunk]:
        recorded = self._recorded(text)
        if recorded is not None:
            yield recorded
        elif self._fallback is not None:
            async with aclosing(_at_rate(self.sample_rate, self._fallback, text)) as chunks:
                async for chunk in chunks:
                    yield chunk
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


async def _at_rate(rate: int, voice: TextToSpeech, text: str) -> AsyncGenerator[SpeechChunk, None]:
    resampler, chunks = Resampler(voice.sample_rate, rate), voice.speak(text)
    try:
        async for chunk in chunks:
            yield SpeechChunk(resampler.feed(chunk.pcm), chunk.words)
        if rest := resampler.finish():
            yield SpeechChunk(rest)
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()  # who closes us cancels the other voice too


def build(options: Options) -> Prompts:
    fallback = build_tts(options.fallback, options.fallback_options) if options.fallback else None
    return Prompts(PromptStore(Path(options.directory)), fallback, options.cache_bytes)
