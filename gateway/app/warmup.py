"""What is done before the first caller needs it: engines started, and the dialplan's fixed texts spoken once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from gateway.app.prompts import spoken_pieces
from gateway.core.errors import ProviderError
from gateway.session.ports import SpeechToText, TextToSpeech
from gateway.session.resample import to_8k

log = structlog.get_logger()


async def start_engines(*engines: SpeechToText | TextToSpeech) -> None:
    """Start those that have something to start. One that cannot is logged now, and again when a call needs it."""
    await asyncio.gather(*map(_start, engines), *map(_make_filter, engines))


async def _start(engine: SpeechToText | TextToSpeech) -> None:
    warm = getattr(engine, "warm", None)
    if warm is not None:
        try:
            await warm()
        except Exception as error:  # a provider is anybody's code, and others may do without it
            log.error("provider.unavailable", provider=type(engine).__name__, error=_told(error))


async def _make_filter(engine: SpeechToText | TextToSpeech) -> None:
    """The filter of a voice's rate, after a long import: no greeting should wait for that, nor the loop."""
    if rate := getattr(engine, "sample_rate", None):
        await asyncio.to_thread(to_8k, bytes(rate), rate)


async def speak_ahead(voice: TextToSpeech, texts: Sequence[str]) -> None:
    """Let the voice speak what every caller will hear, piece by piece as the conversation cuts it.

    Voices that cache then answer from memory; for one that bills by the letter, turn this off in the configuration.
    """
    for piece in spoken_pieces(texts):
        try:
            async for _ in voice.speak(piece):
                pass
        except Exception as error:  # as above: calls will tell who goes without
            log.error("voice.unavailable", error=_told(error))
            return


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, ProviderError) else repr(error)
