"""What stands in a bundle: the files of its folder, and the records in them.

    meta.json        what the call was, and with which settings it ran (`Meta`)
    events.jsonl     the call's log, one encoded event a line: the golden events of its replay
    session.jsonl    what the session held before this call, when the call took one up
    providers.jsonl  every answer of a recogniser, voice or agent, with its delay (`AnyAnswer`)
    speech/HASH.wav  the audio of voices and stored prompts, named by the SHA-256 of its samples
    packets.trace    the caller's packets as they arrived; from a second media process on, packets.2.trace and so on
    call.wav         stereo: the caller left, the bot right
    dialplan/        the dialplan in force, as its files were when it was loaded

Any of them may be stored gzipped, with `.gz` appended. Only `meta.json` and `events.jsonl` must exist.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import msgspec

from gateway.core.errors import ProviderCategory, ProviderError
from gateway.core.speech import Expectation, Transcript, Word
from gateway.media.options import PlaneOptions
from gateway.session.ports import AgentAct, AudioFormat, Prompted

FORMAT: Final = 1

META: Final = "meta.json"
EVENTS: Final = "events.jsonl"
SESSION: Final = "session.jsonl"
PROVIDERS: Final = "providers.jsonl"
SPEECH: Final = "speech"
TRACE: Final = "packets.trace"
RECORDING: Final = "call.wav"
DIALPLAN: Final = "dialplan"
KEPT_DIALPLAN: Final = "/dialplan"
"""Where the prompts of a kept bundle's dialplan are said to be: nowhere in particular."""

_CONTINUED = re.compile(r"packets\.[1-9][0-9]{0,3}\.trace")


def traces(folder: Path) -> list[str]:
    """The names of a bundle's traces in order, packed or not."""
    names = {path.name.removesuffix(".gz") for path in folder.glob("packets.*")}
    later = [name for name in names if _CONTINUED.fullmatch(name)]
    first = [TRACE] if TRACE in names else []
    return first + sorted(later, key=lambda name: int(name.split(".")[1]))


class MediaSetup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the media plane heard the call: the gateway's `[media]`, `[vad]` and `[noise]`."""

    plane: PlaneOptions = PlaneOptions()
    vad: tuple[str, dict[str, Any]] = ("silero", {})
    """Kind and options; the kind `none` heard nothing."""
    noise: tuple[str, dict[str, Any]] | None = None
    """What every call had taken out; a route's own is its dialplan's."""


class Meta(msgspec.Struct, frozen=True):
    """What a replay must know beside the events. Written when the call starts, and again when its bundle closes."""

    format: int
    gateway: str
    """The version that wrote it."""
    call: str
    wall: float
    """Seconds since 1970 at `at`."""
    at: float
    """The event clock when the bundle was opened; the times of the provider records count from here."""
    utc_offset_s: float = 0.0
    """Local time minus UTC, for the dialplan's hours."""
    caller: str = ""
    called: str = ""
    door: str = "sip"
    route: str = ""
    codec: str = ""
    seed: str = ""
    """Of the ids in a replay; the call's id when recorded live."""
    settings: dict[str, Any] = {}
    """The desk's options in force, as `DeskOptions`."""
    media: MediaSetup = MediaSetup()
    dialplan: str = ""
    """Where `dialplan/` was copied from; prompts that the bundle lacks are looked for there. Empty when kept."""
    exact: bool = False
    """The events came from a replay and were accepted: compare with no tolerance."""
    complete: bool = False
    """The call ended and everything was written; false after a crash, or when something is lost."""
    lost: tuple[str, ...] = ()
    """What could not be written, and why."""


class Failure(msgspec.Struct, frozen=True):
    """A provider's error, as it will be raised again."""

    message: str
    category: ProviderCategory
    retryable: bool

    @classmethod
    def of(cls, error: ProviderError) -> Failure:
        return cls(str(error), error.category, error.retryable)

    def error(self) -> ProviderError:
        return ProviderError(self.message, category=self.category, retryable=self.retryable)


class Interim(msgspec.Struct, frozen=True):
    """An interim transcript: it came `delay_s` after the recogniser had been fed `fed` bytes."""

    fed: int
    delay_s: float
    transcript: Transcript


class Recognised(msgspec.Struct, frozen=True, tag=True):
    """One turn of a recogniser. `final` came `delay_s` after `finish`; None when cancelled or failed."""

    at: float
    expectation: Expectation
    fed: int
    """Bytes of audio, in `audio_format`."""
    audio_format: AudioFormat
    interims: tuple[Interim, ...] = ()
    final: Transcript | None = None
    delay_s: float = 0.0
    open_s: float = 0.0
    """How long `open` took."""
    failed_in: Literal["", "open", "feed", "finish"] = ""
    failure: Failure | None = None


class Chunk(msgspec.Struct, frozen=True):
    """`bytes` more of the utterance's audio were there `delay_s` after the request."""

    delay_s: float
    bytes: int
    words: tuple[Word, ...] = ()


class Spoken(msgspec.Struct, frozen=True, tag=True):
    """One utterance of a voice. `audio` names a file of `speech/`, empty when no audio came.

    `done_s` is when the end was told, None when the listener broke off first.
    """

    at: float
    text: str
    sample_rate: int
    chunks: tuple[Chunk, ...] = ()
    audio: str = ""
    done_s: float | None = None
    failure: Failure | None = None


class Act(msgspec.Struct, frozen=True):
    delay_s: float
    act: AgentAct


class Thought(msgspec.Struct, frozen=True, tag=True):
    """One answer of an agent to one prompt. `done_s` as in `Spoken`."""

    at: float
    agent: str
    prompted: Prompted
    acts: tuple[Act, ...] = ()
    done_s: float | None = None
    failure: Failure | None = None


class PromptPlayed(msgspec.Struct, frozen=True, tag=True):
    """A stored prompt that was asked for; `audio` is empty when there was none of that name. One that was played on a
    wideband line was asked for at both rates."""

    name: str
    audio: str
    sample_rate: int = 8000


AnyAnswer: TypeAlias = Recognised | Spoken | Thought | PromptPlayed
