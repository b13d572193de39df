"""What a conversation needs from outside: ears, a voice, a mind, and a sense for when a turn is over.

Providers implement these; one file under `gateway/providers/<room>/` with a `build(...)` adds one.
Every implementation passes `tests/contracts/`. Errors leave them as `ProviderError` only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from gateway.core.speech import Expectation, Transcript, Word

AudioFormat = Literal["ulaw_8k", "pcm_8k", "pcm_16k"]


class SttStream(Protocol):
    """One turn's recognition. Feed audio as it comes; transcripts may be read at any time from another task."""

    async def feed(self, audio: bytes) -> None:
        """Take the next piece, in the recogniser's `audio_format`. Returns quickly; work happens elsewhere."""
        ...

    async def finish(self) -> Transcript:
        """No more audio comes. The final transcript of everything fed; empty text when nothing was understood."""
        ...

    async def cancel(self) -> None:
        """Forget it. Safe at any time, also twice."""
        ...

    def interim(self) -> AsyncIterator[Transcript]:
        """Interim transcripts as they appear; ends with `finish` or `cancel`. Engines without any end at once."""
        ...


class SpeechToText(Protocol):
    audio_format: AudioFormat

    async def open(self, expectation: Expectation) -> SttStream: ...

    async def close(self) -> None: ...


class SpeechChunk(msgspec.Struct, frozen=True):
    """Some synthesised audio, 16-bit little-endian mono at the voice's `sample_rate`.

    `words` are the words that begin in this chunk, timed from the start of the utterance; engines without timing
    leave them out, and the conversation estimates by length.
    """

    pcm: bytes
    words: tuple[Word, ...] = ()


class TextToSpeech(Protocol):
    """One whose `sample_rate` is the line's 8 kHz may have an attribute `wideband`: the same voice for lines that carry
    more than that. Others need none: what they say is brought to the line's rate as it comes."""

    sample_rate: int

    def speak(self, text: str) -> AsyncIterator[SpeechChunk]:
        """Synthesise one sentence or clause. Closing the iterator cancels."""
        ...

    async def close(self) -> None: ...


# The agent: what it is told


class Message(msgspec.Struct, frozen=True):
    """A line of history. For the bot it holds what the caller really heard."""

    role: Literal["user", "agent", "system"]
    text: str


class Context(msgspec.Struct):
    """All that an agent may build on. `state` is what it last asked to keep; it survives a dropped line."""

    call: str
    caller: str
    called: str
    history: list[Message] = []
    state: dict[str, Any] = {}
    variables: dict[str, str] = {}
    options: dict[str, Any] = {}


class Opened(msgspec.Struct, frozen=True, tag=True):
    """The agent's first turn. `resumed`: the caller was here before and the line dropped, `away_s` ago."""

    resumed: bool = False
    away_s: float = 0.0


class CallerSaid(msgspec.Struct, frozen=True, tag=True):
    """A finished turn of the caller; the context's history holds it already. `interrupted` when it cut the bot off.

    Empty `text` and `digits` with `confidence` 0: the caller spoke, but nobody understood. A caller who went on
    speaking before any answer was audible is asked about once, `text` holding everything since the last answer.
    """

    text: str
    digits: str = ""
    confidence: float = 1.0
    interrupted: bool = False


class CallerSilent(msgspec.Struct, frozen=True, tag=True):
    """Nothing came within the expected time, `count` times in a row."""

    count: int


Prompted: TypeAlias = Opened | CallerSaid | CallerSilent


# The agent: what it answers


class Say(msgspec.Struct, frozen=True, tag=True):
    """Text to speak; may be a fragment, the conversation joins and cuts into sentences. `prompt` names a stored WAV."""

    text: str
    prompt: str | None = None


class Expect(msgspec.Struct, frozen=True, tag=True):
    """What may come next."""

    expectation: Expectation


class Remember(msgspec.Struct, frozen=True, tag=True):
    """Keep this state: a call back goes on from here. Replaces what was kept."""

    state: dict[str, Any]


class Finish(msgspec.Struct, frozen=True, tag=True):
    """The dialogue is complete, after what was said has been heard. The dialplan's next step follows."""

    outcome: str
    data: dict[str, Any] = {}


AgentAct: TypeAlias = Say | Expect | Remember | Finish


class Agent(Protocol):
    def respond(self, prompted: Prompted, context: Context) -> AsyncIterator[AgentAct]:
        """Answer one turn. Closing the iterator cancels; only what was yielded counts."""
        ...

    async def close(self) -> None: ...


class Playout(Protocol):
    """The way to the caller's ear. Nothing here blocks; what comes of it is told as `PlayoutStarted`/`Finished`."""

    @property
    def wideband(self) -> bool:
        """Whether what is queued should come at 16 kHz as well."""
        ...

    def queue(self, clip: int, pcm: bytes, last: bool, wide: bytes = b"") -> None:
        """Append 8 kHz 16-bit mono audio to `clip`, played after what is queued already; `last` completes the clip.

        The last piece may be empty, a whole clip never is. `wide` is the same at 16 kHz, twice as long, or empty.
        """
        ...

    def pause(self) -> None:
        """From the next packet on, and until `resume`; also what is queued meanwhile waits."""
        ...

    def resume(self) -> None: ...

    def flush(self) -> None:
        """Drop everything; every clip begun or queued gets its `PlayoutFinished`. Ends a pause."""
        ...


class TurnDetector(Protocol):
    """Decides how long a silence must be to end the caller's turn. Pure and quick."""

    def silence_ms(self, text: str, expectation: Expectation) -> int:
        """`text` is the interim transcript so far, empty when there is none."""
        ...
