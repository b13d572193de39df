"""Every provider of a room, found by its file, with the options that a contract test builds it with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, TypeVar

import numpy as np
import pytest

from gateway.core.errors import ProviderError
from gateway.core.loops import run_virtual
from gateway.providers.load import Room, build_stt, build_tts, kinds
from gateway.providers.tts.flite_library import Voice
from gateway.session.ports import AudioFormat, SpeechToText, TextToSpeech
from gateway.session.resample import Resampler

T = TypeVar("T")

OPTIONS: dict[tuple[Room, str], list[dict[str, Any]]] = {
    ("stt", "pocketsphinx"): [{"processes": 1}, {"inline": True}],
    ("stt", "scripted"): [{"texts": ["yes", "yes", "yes"]}],
    ("tts", "flite"): [{}, {"inline": True}],
}
"""What a kind needs beyond its defaults to stand on its own; one contract run for each."""


def cases(room: Room) -> list[Any]:
    """A parameter `(kind, options)` for every way of building every provider of the room."""
    return [
        pytest.param(kind, options, id=f"{kind}-{'-'.join(options) or 'default'}")
        for kind in kinds(room)
        for options in OPTIONS.get((room, kind), [{}])
    ]


@cache
def said(text: str, audio_format: AudioFormat = "pcm_8k", voice: str = "awb") -> bytes:
    """A caller's words with silence around them, in a recogniser's format."""
    speaker = Voice(voice)
    pcm, _ = speaker.synthesise(text)
    line = Resampler(speaker.sample_rate)
    at_8k = np.frombuffer(line.feed(pcm) + line.finish(), "<i2")
    silence = np.zeros(2400, "<i2")
    whole = np.concatenate((silence, at_8k, silence)).tobytes()
    if audio_format == "pcm_16k":
        double = Resampler(8000, 16000)
        return double.feed(whole) + double.finish()
    return whole


def pieces(audio: bytes, size: int = 1600) -> list[bytes]:
    """100 ms at a time, as the media plane sends it."""
    return [audio[at : at + size] for at in range(0, len(audio), size)]


@asynccontextmanager
async def open_stt(kind: str, options: dict[str, Any]) -> AsyncIterator[SpeechToText]:
    stt = build_stt(kind, options)
    try:
        yield stt
    finally:
        await stt.close()


@asynccontextmanager
async def open_tts(kind: str, options: dict[str, Any]) -> AsyncIterator[TextToSpeech]:
    tts = build_tts(kind, options)
    try:
        yield tts
    finally:
        await tts.close()


def run(scenario: Callable[[], Coroutine[Any, Any, T]], options: dict[str, Any]) -> T:
    """On the virtual loop where the provider works inline, so that a wait for the clock would show; else live."""
    return run_virtual(scenario()) if options.get("inline") else asyncio.run(scenario())


async def error_of(work: Coroutine[Any, Any, Any]) -> ProviderError | None:
    """The `ProviderError` it ends with, or None. Any other error is the test's failure."""
    try:
        await work
    except ProviderError as error:
        return error
    return None
