"""The bot's voice as a queue of clips: what waits to be synthesised, what is being played, what was heard of it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import msgspec

from gateway.core.speech import Word
from gateway.session import words as timing
from gateway.session.commands import AnyCommand, CancelSpeech, FlushPlayout, Speak

AHEAD = 2
"""Clips synthesised before their turn: enough to play without gaps, little enough to waste on an interruption."""


@dataclass
class Clip:
    """`started_at` is when its first sample left, `cut_at` when its last one did; `held_s` how long it was paused."""

    id: int
    text: str
    file: str | None = None
    second_try: bool = False
    duration_s: float | None = None
    words: tuple[Word, ...] = ()
    started_at: float | None = None
    cut_at: float | None = None
    held_s: float = 0.0

    def heard(self, played_s: float, complete: bool) -> str:
        """The words the caller heard in `played_s` of this clip."""
        if complete and self.duration_s:
            return " ".join(self.text.split())
        words = self.words or timing.estimated(self.text, self.duration_s)
        all_words = self.duration_s is not None or not self.words
        return timing.heard(self.text, words, played_s, all_words=all_words)


class Over(msgspec.Struct, frozen=True):
    """A clip is over for the caller."""

    clip: int
    heard: str
    played_s: float
    complete: bool


@dataclass
class Playback:
    """One clip is synthesised at a time, so that clips are queued in the order in which they were asked for."""

    paused: bool = False
    _last_id: int = 0
    _waiting: deque[Clip] = field(default_factory=deque)
    _making: Clip | None = None
    _unfinished: dict[int, Clip] = field(default_factory=dict)
    _flushed: dict[int, Clip] = field(default_factory=dict)
    _paused_at: float = 0.0
    _flowing: bool = False

    # What others may ask

    @property
    def busy(self) -> bool:
        """Something is still to be heard."""
        return bool(self._waiting or self._unfinished)

    @property
    def current(self) -> Clip | None:
        """What the caller is hearing now (or would be, were it not paused)."""
        # The order is that of playing, so only the first can have begun and not be over.
        return next((clip for clip in self._unfinished.values() if clip.started_at is not None), None)

    @property
    def audible(self) -> bool:
        """The bot speaks. The seam between two clips that are both there is not a silence."""
        return self.current is not None or self._flowing

    @property
    def saying(self) -> str:
        """All that is being said or about to be."""
        return " ".join(clip.text for clip in (*self._unfinished.values(), *self._waiting))

    @property
    def flushing(self) -> bool:
        """How much was heard of a clip that was cut off is not known yet."""
        return any(clip.started_at is not None for clip in self._flushed.values())

    # What is wanted

    def say(self, text: str, file: str | None = None) -> int:
        """The clip's number."""
        self._waiting.append(self._new(text, file))
        return self._last_id

    def requests(self) -> list[AnyCommand]:
        """What to synthesise now."""
        unheard = sum(clip.started_at is None for clip in self._unfinished.values())
        if self._making is not None or not self._waiting or unheard >= AHEAD:
            return []
        self._making = clip = self._waiting.popleft()
        self._unfinished[clip.id] = clip
        return [Speak(clip.id, clip.text, clip.file)]

    def pause(self, now: float) -> None:
        self.paused, self._paused_at = True, now

    def resume(self, now: float) -> None:
        if self.paused and (clip := self.current) is not None and clip.started_at is not None:
            clip.held_s += now - max(self._paused_at, clip.started_at)
        self.paused = False

    def cut_off(self, now: float) -> list[AnyCommand]:
        """Drop everything. What was heard of it comes by `finished`."""
        commands: list[AnyCommand] = [CancelSpeech(self._making.id)] if self._making is not None else []
        for clip in self._unfinished.values():
            clip.cut_at = self._paused_at if self.paused else now
        if self._unfinished:
            commands.append(FlushPlayout())
            self.paused = False
        self._flushed |= self._unfinished
        self._waiting.clear()
        self._unfinished, self._making, self._flowing = {}, None, False
        return commands

    def drop_unmade(self) -> list[AnyCommand]:
        """Say nothing after what is queued already; a clip that is half made ends where it is."""
        self._waiting.clear()
        making, self._making = self._making, None
        if making is None:
            return []
        if making.started_at is None:
            self._flushed[making.id] = self._unfinished.pop(making.id)
        return [CancelSpeech(making.id)]

    # What came of it

    def ready(self, clip_id: int, duration_s: float, words: tuple[Word, ...]) -> Clip | None:
        """The clip, unless it is unknown or was cut off (its timing is noted all the same)."""
        clip = self._find(clip_id)
        if clip is None or (clip.duration_s is not None):
            return None
        clip.words = words
        if self._making is not clip:
            return None
        clip.duration_s, self._making = duration_s, None
        return clip

    def failed(self, clip_id: int, queued_s: float, words: tuple[Word, ...]) -> Clip | None:
        """The clip if it is still wanted. What was queued of it is played to its end."""
        clip = self._making
        if clip is None or clip.id != clip_id:
            return None
        clip.words, self._making = words, None
        if queued_s <= 0 and clip.started_at is None:
            del self._unfinished[clip_id]
        return clip

    def try_again(self, clip: Clip) -> None:
        self._waiting.appendleft(self._new(clip.text, clip.file, second_try=True))

    def started(self, clip_id: int, now: float) -> bool:
        """Whether the clip is still wanted."""
        clip = self._find(clip_id)
        if clip is not None and clip.started_at is None:
            clip.started_at = now
        return clip_id in self._unfinished

    def finished(self, clip_id: int, played_s: float, complete: bool) -> Over | None:
        clip = self._find(clip_id)
        if clip is None:
            return None
        self._unfinished.pop(clip_id, None)
        self._flushed.pop(clip_id, None)
        if self._making is clip:
            self._making = None
        following = next(iter(self._unfinished.values()), None)
        self._flowing = following is not None and following.duration_s is not None
        heard = clip.heard(played_s, complete)
        return Over(clip_id, heard, played_s, complete and heard == " ".join(clip.text.split()))

    def give_up_waiting(self, now: float) -> list[Over]:
        """Take clips whose end was never told for played as long as the clock says."""
        clips = [clip for clip in (*self._flushed.values(), *self._unfinished.values()) if clip.started_at is not None]
        return [over for clip in clips if (over := self.finished(clip.id, self._elapsed(clip, now), False))]

    def _elapsed(self, clip: Clip, now: float) -> float:
        if clip.started_at is None:
            return 0.0
        end = clip.cut_at if clip.cut_at is not None else self._paused_at if self.paused else now
        elapsed = max(0.0, end - clip.started_at - clip.held_s)
        return elapsed if clip.duration_s is None else min(elapsed, clip.duration_s)

    def _new(self, text: str, file: str | None, *, second_try: bool = False) -> Clip:
        self._last_id += 1
        return Clip(self._last_id, text, file, second_try)

    def _find(self, clip_id: int) -> Clip | None:
        return self._unfinished.get(clip_id) or self._flushed.get(clip_id)
