"""The recording side of a bundle: one folder per call, written while the call lives.

Whatever happens to the disk, the call goes on: the first loss is logged and the bundle marked incomplete.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog

from gateway import __version__
from gateway.call.ports import LoadPrompt
from gateway.core import events as e
from gateway.core.clock import Clock, SystemClock
from gateway.replay import layout
from gateway.replay.audio import speech_name, wav
from gateway.replay.recorded import RecordedAgent, RecordedStt, RecordedTts
from gateway.replay.spool import Appender, Spool, ThreadSpool, write_whole
from gateway.session.ports import Agent, SpeechToText, TextToSpeech

log = structlog.get_logger()

REDACTED = "redacted"


class Sources(msgspec.Struct, frozen=True):
    """A dialplan's files as they were when it was loaded. `base` is where its prompts are."""

    base: str
    files: Mapping[str, bytes]

    @classmethod
    def read(cls, path: Path) -> Sources:
        """Of a file, or of the YAML files of a folder. Raises `OSError`."""
        if not path.is_dir():
            return cls(str(path.parent.absolute()), {path.name: path.read_bytes()})
        found = sorted(file for file in path.iterdir() if file.suffix in (".yaml", ".yml") and file.is_file())
        return cls(str(path.absolute()), {file.name: file.read_bytes() for file in found})


class BundleFolder:
    """Makes a bundle per call, `root/CALL-ID/`.

    `dialplan` gives the sources in force, `settings` the desk's options as plain values, `media` how the
    media plane is set up; a replay uses all three.
    `redact_caller` keeps the caller's number out of it (not what is said). `utc_offset_s` None is the machine's own.
    """

    def __init__(
        self,
        root: Path,
        *,
        clock: Clock | None = None,
        dialplan: Callable[[], Sources | None] = lambda: None,
        settings: Mapping[str, Any] | None = None,
        media: layout.MediaSetup | None = None,
        spool: Spool | None = None,
        redact_caller: bool = False,
        utc_offset_s: float | None = None,
    ) -> None:
        self.root, self.clock = root, clock or SystemClock()
        self.dialplan, self.settings, self.redact_caller = dialplan, dict(settings or {}), redact_caller
        self.media = media or layout.MediaSetup()
        self.spool: Spool = spool or ThreadSpool()
        self._utc_offset_s = utc_offset_s

    def __call__(self, call_id: str) -> FolderBundle:
        return FolderBundle(self.root / call_id, call_id, self)

    def utc_offset_s(self) -> float:
        """Local time minus UTC, now."""
        local = time.localtime(self.clock.wall()).tm_gmtoff
        return float(local) if self._utc_offset_s is None else self._utc_offset_s

    def close(self) -> None:
        """Return when everything is on disk."""
        self.spool.close()


class FolderBundle:
    """Implements `gateway.call.ports.Bundle`, and the `Notebook` of the recording wrappers."""

    def __init__(self, folder: Path, call_id: str, owner: BundleFolder) -> None:
        self._folder, self._owner, self._clock = folder, owner, owner.clock
        self._lost: list[str] = []
        self._events = Appender(folder / layout.EVENTS)
        self._answers = Appender(folder / layout.PROVIDERS)
        self._kept: set[str] = set()
        sources = owner.dialplan()
        self._meta = layout.Meta(
            format=layout.FORMAT,
            gateway=__version__,
            call=call_id,
            seed=call_id,
            wall=self._clock.wall(),
            at=self._clock.now(),
            utc_offset_s=owner.utc_offset_s(),
            settings=owner.settings,
            media=owner.media,
            dialplan=sources.base if sources else "",
        )
        self._is_there = self._make()
        if sources is not None:
            self._put(lambda: self._copy(sources))

    @property
    def recording(self) -> str | None:
        return str(self._folder / layout.RECORDING) if self._is_there else None

    @property
    def trace(self) -> str | None:
        return str(self._folder / layout.TRACE) if self._is_there else None

    def event(self, event: e.AnyEvent) -> None:
        match event:
            case e.CallStarted():
                event = self._redacted(event)
                self._write_meta(door=event.door, caller=event.caller, called=event.called, route=event.route)
            case e.CallAnswered(codec=codec):
                self._write_meta(codec=codec)
            case e.RecordingStarted(path=path):
                event = msgspec.structs.replace(event, path=Path(path).name)
            case e.RecordingFailed(message=message, what=what):
                self._lose(f"{layout.RECORDING if what == 'recording' else layout.TRACE}: {message}")
            case _:
                pass
        line = e.encode(event) + b"\n"
        self._put(lambda: self._events.write(line))

    def resumes(self, events: Sequence[e.AnyEvent]) -> None:
        seen = (self._redacted(event) if isinstance(event, e.CallStarted) else event for event in events)
        lines = b"".join(e.encode(event) + b"\n" for event in seen)
        self._put(lambda: write_whole(self._folder / layout.SESSION, lines))

    def listen_through(self, stt: SpeechToText) -> SpeechToText:
        return RecordedStt(stt, self) if self._is_there else stt

    def speak_through(self, tts: TextToSpeech) -> TextToSpeech:
        return RecordedTts(tts, self) if self._is_there else tts

    def think_through(self, name: str, agent: Agent) -> Agent:
        return RecordedAgent(name, agent, self) if self._is_there else agent

    def play_through(self, load_prompt: LoadPrompt, sample_rate: int = 8000) -> LoadPrompt:
        noted: set[str] = set()

        def load(name: str) -> bytes | None:
            pcm = load_prompt(name)
            if name not in noted:
                noted.add(name)
                self.note_audio(layout.PromptPlayed(name, "", sample_rate), pcm or b"", sample_rate)
            return pcm

        return load if self._is_there else load_prompt

    def close(self) -> None:
        self._put(self._finish)

    # The notebook of the recording wrappers

    def now(self) -> float:
        return self._clock.now() - self._meta.at

    def note(self, answer: layout.AnyAnswer) -> None:
        line = msgspec.json.encode(answer) + b"\n"
        self._put(lambda: self._answers.write(line))

    def note_audio(self, answer: layout.Spoken | layout.PromptPlayed, pcm: bytes, sample_rate: int) -> None:
        """Hashing and writing the samples is the spool's work too."""

        def write() -> None:
            name = self._keep(pcm, sample_rate) if pcm else ""
            self._answers.write(msgspec.json.encode(msgspec.structs.replace(answer, audio=name)) + b"\n")

        self._put(write)

    def _keep(self, pcm: bytes, sample_rate: int) -> str:
        name = speech_name(pcm, sample_rate)
        if name not in self._kept:
            write_whole(self._folder / layout.SPEECH / name, wav(pcm, sample_rate))
            self._kept.add(name)
        return name

    def _redacted(self, started: e.CallStarted) -> e.CallStarted:
        caller = started.caller
        if not caller or not self._owner.redact_caller:
            return started
        headers, facts = (
            {name: value.replace(caller, REDACTED) for name, value in entries.items()}
            for entries in (started.headers, started.facts)
        )
        return msgspec.structs.replace(started, caller=REDACTED, headers=headers, facts=facts)

    # Writing

    def _make(self) -> bool:
        """The folder itself is made at once: the recording and the trace are opened in it by others."""
        problem = self._owner.spool.at_once(self._make_folders)
        if problem is not None:
            self._lose(f"{self._folder}: {problem}")
        return problem is None

    def _make_folders(self) -> None:
        # What was said in a call is not for everybody who has an account on the machine.
        self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        (self._folder / layout.SPEECH).mkdir()

    def _copy(self, sources: Sources) -> None:
        folder = self._folder / layout.DIALPLAN
        folder.mkdir()
        for name, text in sources.files.items():
            (folder / name).write_bytes(text)

    def _write_meta(self, **facts: str) -> None:
        self._meta = meta = msgspec.structs.replace(self._meta, **facts)
        self._put(lambda: write_whole(self._folder / layout.META, encode_meta(meta)))

    def _finish(self) -> None:
        self._events.close()
        self._answers.close()
        meta = msgspec.structs.replace(self._meta, complete=not self._lost, lost=tuple(self._lost))
        write_whole(self._folder / layout.META, encode_meta(meta))

    def _put(self, job: Callable[[], None]) -> None:
        if self._is_there:
            self._owner.spool.put(job, self._lose)

    def _lose(self, what: str) -> None:
        if not self._lost:
            log.error("bundle.incomplete", call=self._meta.call, lost=what)
        if what not in self._lost:
            self._lost.append(what)


def encode_meta(meta: layout.Meta) -> bytes:
    return msgspec.json.format(msgspec.json.encode(meta, order="sorted"), indent=2) + b"\n"
