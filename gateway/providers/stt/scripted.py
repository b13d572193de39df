"""`kind: scripted`: "hears" the next thing on its list, whatever was said. For tests of one's own bots.

Works on a virtual clock: `run_virtual` from `gateway.core.loops` passes any delay in no time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from gateway.core.errors import ProviderError
from gateway.core.speech import Expectation, Transcript, Word
from gateway.session.ports import AudioFormat

BYTES_PER_S: Final[dict[AudioFormat, int]] = {"ulaw_8k": 8000, "pcm_8k": 16000, "pcm_16k": 32000}


class Options(msgspec.Struct, frozen=True):
    texts: tuple[str, ...] = ()
    """What it hears, turn by turn; then nothing more."""
    delay_s: Annotated[float, Meta(ge=0)] = 0.0
    """From the end of the audio to the final transcript."""
    words_per_s: Annotated[float, Meta(gt=0)] = 4.0
    """How fast interim texts grow with the audio."""
    audio_format: AudioFormat = "pcm_8k"


class ScriptedStt:
    """Implements `SpeechToText`. `opened` is what was expected each time, `streams` what became of it."""

    def __init__(
        self,
        answers: Iterable[str | Transcript | ProviderError],
        *,
        delay_s: float = 0.0,
        words_per_s: float = 4.0,
        audio_format: AudioFormat = "pcm_8k",
    ) -> None:
        self._answers = iter([*answers])
        self._delay_s, self._words_per_s = delay_s, words_per_s
        self.audio_format: AudioFormat = audio_format
        self.opened: list[Expectation] = []
        self.streams: list[ScriptedStream] = []

    async def open(self, expectation: Expectation) -> ScriptedStream:
        self.opened.append(expectation)
        answer = next(self._answers, "")
        if isinstance(answer, str):
            answer = _transcript(answer, self._words_per_s)
        self.streams.append(
            ScriptedStream(answer, self._delay_s, BYTES_PER_S[self.audio_format]),
        )
        return self.streams[-1]

    async def close(self) -> None:
        for stream in self.streams:
            await stream.cancel()


class ScriptedStream:
    """Implements `SttStream`. Interim texts are the answer's words whose time has come."""

    def __init__(self, answer: Transcript | ProviderError, delay_s: float, bytes_per_s: int) -> None:
        self._answer, self._delay_s, self._bytes_per_s = answer, delay_s, bytes_per_s
        self._interim: asyncio.Queue[Transcript | None] = asyncio.Queue()
        self._told = 0
        self.audio = b""
        self.cancelled = False

    async def feed(self, audio: bytes) -> None:
        self.audio += audio
        if isinstance(self._answer, ProviderError):
            return
        heard = tuple(word for word in self._answer.words if word.end_s <= len(self.audio) / self._bytes_per_s)
        if len(heard) > self._told:
            self._told = len(heard)
            self._interim.put_nowait(Transcript(" ".join(word.text for word in heard), final=False, words=heard))

    async def finish(self) -> Transcript:
        """Raises `ProviderError` when the script says so, or after `cancel`."""
        await asyncio.sleep(self._delay_s)
        if self.cancelled:
            raise ProviderError("the recognition was cancelled", category="internal", retryable=False)
        self._interim.put_nowait(None)
        if isinstance(self._answer, ProviderError):
            raise self._answer
        return self._answer

    async def cancel(self) -> None:
        self.cancelled = True
        self._interim.put_nowait(None)

    async def interim(self) -> AsyncIterator[Transcript]:
        while (transcript := await self._interim.get()) is not None:
            yield transcript
        self._interim.put_nowait(None)  # whoever asks again sees the end too


def _transcript(text: str, words_per_s: float) -> Transcript:
    words = tuple(
        Word(word, number / words_per_s, (number + 1) / words_per_s) for number, word in enumerate(text.split())
    )
    return Transcript(text, final=True, confidence=1.0 if words else 0.0, words=words)


def build(options: Options) -> ScriptedStt:
    return ScriptedStt(
        options.texts,
        delay_s=options.delay_s,
        words_per_s=options.words_per_s,
        audio_format=options.audio_format,
    )
