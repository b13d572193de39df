"""The desk by ear: what a synthetic caller says over a telephone line is recognised by the grammar the desk gave."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import resample_poly

from gateway import dialplan
from gateway.core.speech import Expectation, Transcript
from gateway.dialplan.flow import FlowSpec
from gateway.dialplan.hearing import expectation
from gateway.dialplan.understanding import understand
from gateway.providers.load import build_stt, build_tts

SPEC: FlowSpec = dialplan.load(Path(__file__).parents[2] / "dialplans" / "default.yaml").document.flows["desk"]

NOTHING: dict[str, str] = {}
BOOK = {"task": "book"}
CUT = {**BOOK, "service": "haircut"}
DAY = {**CUT, "day": "tuesday"}
ALL = {**DAY, "half": "morning"}

SAID = [
    ("task", NOTHING, "book"),
    ("task", NOTHING, "I'd like to book an appointment"),
    ("task", NOTHING, "I want to move my appointment"),
    ("task", NOTHING, "cancel"),
    ("task", NOTHING, "I'd like to book a haircut on Tuesday morning"),
    ("service", BOOK, "a beard trim please"),
    ("service", BOOK, "hair color"),
    ("day", CUT, "Wednesday"),
    ("day", CUT, "on Friday afternoon"),
    ("half", DAY, "in the afternoon please"),
    ("half", DAY, "no, Thursday"),
    (None, ALL, "yes"),
    (None, ALL, "no, Thursday"),
    (None, ALL, "that's right"),
    (None, ALL, "change the day"),
]


class Line:
    """A caller's voice, 8 kHz, with the noise of a line before, during and after it."""

    def __init__(self) -> None:
        self.caller = build_tts("flite", {"voice": "rms", "inline": True})
        self.ear = build_stt("pocketsphinx", {"inline": True})

    async def hear(self, text: str, expected: Expectation) -> Transcript:
        stream = await self.ear.open(expected)
        await stream.feed(await self._sound(text))
        return await stream.finish()

    async def _sound(self, text: str) -> bytes:
        pcm = b"".join([chunk.pcm async for chunk in self.caller.speak(text)])
        speech = resample_poly(np.frombuffer(pcm, np.int16).astype(float), 8000, self.caller.sample_rate)
        quiet = np.zeros(2400)
        sound = np.concatenate([quiet, speech, quiet])
        sound += np.random.default_rng(len(text)).normal(0, 20, len(sound))
        return sound.clip(-32768, 32767).astype(np.int16).tobytes()

    async def close(self) -> None:
        await self.caller.close()
        await self.ear.close()


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    asyncio.run(line.close())


@pytest.mark.parametrize(("asked", "known", "text"), SAID, ids=[text for _, _, text in SAID])
def test_what_the_caller_says_is_understood(line: Line, asked: str | None, known: dict[str, str], text: str) -> None:
    """Not every word need be right, but what it means must be."""
    heard = asyncio.run(line.hear(text, expectation(SPEC, asked, known)))
    assert understand(SPEC, heard.text, asked, known) == understand(SPEC, text, asked, known), heard
