"""The house as a replay sets it up: every room real, but for a virtual clock, seeded ids and a far side by script."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec

from gateway.call.io import Desk
from gateway.call.ports import Dial, Placing, SuccessorFactory
from gateway.call.services import DeskOptions, Services
from gateway.core import events as e
from gateway.core.clock import Clock, LoopClock
from gateway.core.ids import SeededIds
from gateway.dialplan import Dialplan
from gateway.media.commands import AnyReport
from gateway.media.io import InlineMedia
from gateway.media.plane import MediaPlane
from gateway.providers.load import build_agent, build_noise, build_stt, build_tts, build_vad
from gateway.replay import layout
from gateway.replay.arguments import Answers
from gateway.replay.bundle import BundleFolder, Sources
from gateway.replay.far_side import FarSide
from gateway.replay.line import Cues, ReplayLine
from gateway.replay.players import ReplayedAgent, ReplayedStt, ReplayedTts
from gateway.replay.reading import Recorded
from gateway.replay.spool import InlineSpool
from gateway.session.ports import Agent, SpeechToText, TextToSpeech
from gateway.session.resample import LINE_RATE, WIDE_RATE
from gateway.store.memory import MemoryStore
from gateway.store.ports import Identity, Numbered

OWN_AGENTS = ("flow", "echo")
"""Agents that are part of the gateway and a function of what they are told: they run, whatever was recorded of them,
so that a bundle tests them too. All others are played from the bundle."""

SLOTS = 1


class Live(msgspec.Struct, frozen=True):
    """The providers that work in this process, at once, and always alike: kind and options."""

    stt: tuple[str, dict[str, Any]] = ("pocketsphinx", {"inline": True})
    tts: tuple[str, dict[str, Any]] = ("flite", {"inline": True})
    agents: Mapping[str, tuple[str, dict[str, Any]]] = {}
    """By the name the dialplan uses; one that is not here is the provider of that name."""
    vad: str | None = None
    """None is the detector of the recorded call, `silero` where there is no bundle."""


class Stage(msgspec.Struct, frozen=True):
    """Everything a replay is given before it runs."""

    side: FarSide
    dialplan: Dialplan
    sources: Sources
    load_prompt: Callable[[str], bytes | None]
    desk: DeskOptions
    seed: str
    answers: Answers
    live: Live
    media: layout.MediaSetup = layout.MediaSetup()
    wall: float = 0.0
    """Seconds since 1970 when the call begins."""
    utc_offset_s: float = 0.0
    recorded: Recorded | None = None


class Cast:
    """Who plays the providers: the bundle, live ones, or the one where the other has no answer."""

    def __init__(self, stage: Stage, clock: Clock) -> None:
        self._stage, self._clock = stage, clock
        self._answers = stage.recorded.answers if stage.recorded is not None else ()
        self._agents: dict[str, Agent] = {}
        self._opened: list[SpeechToText | TextToSpeech | Agent] = []
        self.unanswered: list[tuple[float, str]] = []
        self.stt = self._stt()
        self.tts = self._tts()

    def agent(self, name: str) -> Agent:
        if name not in self._agents:
            self._agents[name] = self._agent(name)
        return self._agents[name]

    def load_prompt(self, name: str) -> bytes | None:
        """As it sounded then; a prompt that was not asked for then, as it is now."""
        played = self._played(name, LINE_RATE)
        if played is None:
            return self._stage.load_prompt(name)
        return played or None

    def load_wide_prompt(self, name: str) -> bytes | None:
        """The same at 16 kHz, where the bundle has it."""
        return self._played(name, WIDE_RATE) or None

    def _played(self, name: str, sample_rate: int) -> bytes | None:
        """Empty for one that was not there, None for one that was not asked for."""
        recorded = self._stage.recorded
        for answer in self._answers:
            if isinstance(answer, layout.PromptPlayed) and (answer.name, answer.sample_rate) == (name, sample_rate):
                assert recorded is not None, "who has answers"
                return recorded.speech(answer.audio, sample_rate) if answer.audio else b""
        return None

    async def close(self) -> None:
        for provider in self._opened:
            await provider.close()

    def _stt(self) -> SpeechToText:
        live = None
        if self._stage.answers != "recorded":
            live = build_stt(*self._stage.live.stt)
            self._opened.append(live)
        if live is not None and self._stage.answers == "live":
            return live
        turns = [one for one in self._answers if isinstance(one, layout.Recognised)]
        return ReplayedStt(turns, self._clock, self._missed, live)

    def _tts(self) -> TextToSpeech:
        live = None
        if self._stage.answers != "recorded":
            live = build_tts(*self._stage.live.tts)
            self._opened.append(live)
        if live is not None and self._stage.answers == "live":
            return live
        spoken = [one for one in self._answers if isinstance(one, layout.Spoken)]
        return ReplayedTts(spoken, self._speech, self._clock, self._missed, live)

    def _speech(self, name: str, sample_rate: int) -> bytes:
        recorded = self._stage.recorded
        assert recorded is not None, "only a bundle names speech"
        return recorded.speech(name, sample_rate)

    def _agent(self, name: str) -> Agent:
        own, live = name in OWN_AGENTS, None
        if own or self._stage.answers != "recorded":
            live = build_agent(*self._stage.live.agents.get(name, (name, {})))
            self._opened.append(live)
        if live is not None and (own or self._stage.answers == "live"):
            return live
        thoughts = [one for one in self._answers if isinstance(one, layout.Thought) and one.agent == name]
        return ReplayedAgent(thoughts, self._clock, self._missed, live)

    def _missed(self, what: str) -> None:
        self.unanswered.append((round(self._clock.now(), 6), what))


class SilentLine:
    """Implements `gateway.call.ports.Line` for a target or successor of a recorded transfer: what became of it is
    among what the recorded far side tells, and what it said is not in the bundle."""

    wideband = False
    stats = None

    def __init__(self, cues: Cues) -> None:
        self.referral = cues

    def ring(self) -> None:
        pass

    answer = hang_up = release = ring

    def reject(self, status: int, reason: str | None) -> None:
        pass

    def press(self, digits: str) -> None:
        pass

    def answer_text(self, number: int, *, taken: bool) -> None:
        pass

    def media_said(self, report: AnyReport) -> None:
        pass


def silent_lines(cues: Cues) -> Dial:
    async def dial(placing: Placing) -> SuccessorFactory:
        cues.called.set()
        return lambda name, tell, former: SilentLine(cues)

    return dial


def _plane(stage: Stage) -> MediaPlane:
    """It hears as the one of the recorded call did. Raises `ConfigError` for a kind that is not installed here."""
    setup, vad = stage.media, stage.media.vad if stage.live.vad is None else (stage.live.vad, {})
    return MediaPlane(
        msgspec.structs.replace(setup.plane, slots=SLOTS),
        SeededIds(f"{stage.seed}/media"),
        None if vad[0] == "none" else build_vad(*vad, slots=SLOTS),
        suppressor=build_noise(*setup.noise, slots=SLOTS) if setup.noise else None,
        build_suppressor=lambda kind: build_noise(kind, slots=SLOTS),
    )


async def perform(stage: Stage, root: Path) -> tuple[Path, list[tuple[float, str]]]:
    """Under a virtual loop: run the call to its end. Its bundle, in a new folder under `root`, and what was asked in
    vain, at which second of the call."""
    clock = LoopClock(asyncio.get_running_loop(), wall_at_zero=stage.wall)
    plane = _plane(stage)
    leg, cast, store = InlineMedia(plane, clock), Cast(stage, clock), MemoryStore()
    bundles = BundleFolder(
        root,
        clock=clock,
        dialplan=lambda: stage.sources,
        settings=msgspec.to_builtins(stage.desk),
        media=stage.media,
        spool=InlineSpool(),
        utc_offset_s=stage.utc_offset_s,
    )
    cues = Cues()
    zone = timezone(timedelta(seconds=stage.utc_offset_s))
    desk = Desk(
        Services(
            clock=clock,
            ids=SeededIds(stage.seed),
            media=leg,
            store=store,
            stt=cast.stt,
            tts=cast.tts,
            agent=cast.agent,
            dial=silent_lines(cues),
            dialplan=lambda: stage.dialplan,
            bundle=bundles,
            load_prompt=cast.load_prompt,
            load_wide_prompt=cast.load_wide_prompt,
            local_time=lambda: datetime.fromtimestamp(clock.wall(), zone),
        ),
        stage.desk,
    )
    await store.open()
    await _remember(stage, store)
    await desk.start()
    call_id = desk.incoming(
        stage.side.incoming,
        lambda call_id, tell, record, trace: ReplayLine(
            call_id, stage.side, leg=leg, clock=clock, tell=tell, record=record, trace=trace, cues=cues
        ),
    )
    await desk.drain()
    await desk.close()
    await leg.close()
    await cast.close()
    return root / call_id, cast.unanswered


async def _remember(stage: Stage, store: MemoryStore) -> None:
    """Put the session that the recorded call went on with into the store, as old as it was then."""
    recorded = stage.recorded
    if recorded is None or not recorded.session:
        return
    resumed = next((event for event in recorded.events if isinstance(event, e.SessionResumed)), None)
    if resumed is not None:
        incoming, touched_at = stage.side.incoming, stage.wall - resumed.away_s
        await store.create(resumed.session, Identity(incoming.caller, incoming.called), touched_at)
        numbered = [Numbered(sequence, event) for sequence, event in enumerate(recorded.session, 1)]
        await store.append(resumed.session, numbered, touched_at)
