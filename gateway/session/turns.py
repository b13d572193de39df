"""When the caller's turn begins, goes on and is over, and whether it interrupts the bot.

`TurnTaker` sees speech and transcripts and answers with signals. It has no clock and starts nothing: recognition
runs elsewhere, between `TurnOpened` and the final transcript that follows `TurnClosed`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gateway.core.speech import Expectation, Transcript
from gateway.session.barge_in import BargeInJudge, Floor
from gateway.session.options import ConversationOptions
from gateway.session.ports import TurnDetector
from gateway.session.signals import (
    Dismissed,
    Interrupted,
    Signal,
    TurnClosed,
    TurnDropped,
    TurnOpened,
    TurnTaken,
)
from gateway.session.words import joined

CLOSE_ENOUGH_S = 1e-6
"""Alarms may ring early by a rounding error; a deadline this near has come."""


NOTHING = Transcript("", final=True)


@dataclass
class _Speech:
    """One turn of speech, from its first sound to its final transcript. `ended_at` None: it is going on.

    `suspect`: it came over the bot's voice, which is paused until it is judged. `passed_over`: it was judged too
    little, but the final transcript may still say otherwise.
    """

    turn: int
    began_at: float
    ended_at: float | None = None
    text: str = ""
    suspect: bool = False
    passed_over: bool = False

    @property
    def undecided(self) -> bool:
        return self.suspect or self.passed_over


@dataclass
class TurnTaker:
    """Turns are numbered from 1. `attend` keeps it informed of what is not speech."""

    options: ConversationOptions
    detector: TurnDetector
    expectation: Expectation = field(default_factory=Expectation)
    floor: Floor = "caller"
    saying: str = ""
    """What the bot is saying while it holds the floor."""

    def __post_init__(self) -> None:
        self._judge = BargeInJudge(self.options)
        self._last_turn = 0
        self._ears = False
        self._speaking_since: float | None = None
        self._hearing: _Speech | None = None
        self._settling: dict[int, _Speech] = {}
        self._carried = NOTHING

    # What others may ask

    @property
    def hearing(self) -> bool:
        """A turn is open: the caller speaks, or paused a moment ago."""
        return self._hearing is not None

    @property
    def settling(self) -> bool:
        """A turn is over and its transcript is on its way."""
        return bool(self._settling)

    @property
    def settling_turns(self) -> list[int]:
        return list(self._settling)

    @property
    def suspicious(self) -> bool:
        """The bot must stay paused."""
        return any(speech.suspect for speech in self._all())

    def text_of(self, turn: int) -> str:
        """The last interim transcript of an unfinished turn."""
        return next((speech.text for speech in self._all() if speech.turn == turn), "")

    def is_open(self, turn: int) -> bool:
        return self._hearing is not None and self._hearing.turn == turn

    def is_settling(self, turn: int) -> bool:
        return turn in self._settling

    @property
    def paused(self) -> tuple[int, str] | None:
        """The open turn and what it sounds like so far, when its speaker has paused."""
        speech = self._hearing
        if speech is None or speech.ended_at is None or speech.undecided or not speech.text:
            return None
        return speech.turn, joined(self._carried.text, speech.text)

    def is_over_bot(self, turn: int) -> bool:
        """The turn came over the bot's voice, which goes on if nothing comes of it."""
        return any(speech.turn == turn and speech.undecided for speech in self._all())

    def next_turn(self) -> int:
        self._last_turn += 1
        return self._last_turn

    # What happens

    def attend(self, floor: Floor, saying: str, *, ears: bool, now: float) -> list[Signal]:
        """Take note of who holds the floor, and whether speech matters now (`ears`).

        Speech that began while it did not matter, and still goes on, becomes a turn as soon as it does.
        """
        signals: list[Signal] = []
        if floor != "caller" and self.floor == "caller" and self._hearing is not None:
            self._hearing.suspect = True
        if floor == "caller":
            for speech in self._all():
                speech.suspect = speech.passed_over = False
        self.floor, self.saying, self._ears = floor, saying, ears
        if self._speaking_since is not None and self._hearing is None:
            signals += self._open(self._speaking_since, now)
        return signals

    def speech_began(self, began_at: float, now: float) -> list[Signal]:
        self._speaking_since = began_at
        if self._hearing is not None:
            self._hearing.ended_at = None
            return self._judge_now(now)
        return self._open(began_at, now)

    def speech_ended(self, ended_at: float, now: float) -> list[Signal]:
        self._speaking_since = None
        if self._hearing is None:
            return []
        self._hearing.ended_at = max(ended_at, self._hearing.began_at)
        return self._judge_now(now)

    def progressed(self, turn: int, text: str, now: float) -> list[Signal]:
        """An interim transcript."""
        for speech in self._all():
            if speech.turn == turn:
                speech.text = text
        return self._judge_now(now)

    def finished(self, turn: int, transcript: Transcript) -> list[Signal]:
        """The final transcript of a closed turn; of a turn that is not closed (or unknown) it is ignored.

        What the recogniser rejected (confidence 0) was not understood, whatever text came with it.
        """
        speech = self._settling.pop(turn, None)
        if speech is None:
            return []
        if transcript.confidence <= 0:
            transcript = NOTHING
        if not speech.undecided:
            return self._take(speech, transcript)
        if self._judge.by_answer(transcript.text, self.expectation, self.floor, self.saying):
            return [*self._interrupt("words"), *self._take(speech, transcript)]
        return [*([Dismissed(transcript.text)] if speech.suspect else []), *self._take_carried(speech)]

    def cut(self, now: float) -> list[Signal]:
        """The line is on hold from now, or back: an open turn ends here, and the rest of what is said is nobody's."""
        self._speaking_since, speech = None, self._hearing
        if speech is None:
            return []
        speech.ended_at = speech.ended_at or max(now, speech.began_at)
        return self._close(speech)

    def drop(self, turn: int) -> list[Signal]:
        """Forget one turn whose transcript will not come."""
        speech = self._settling.pop(turn, None)
        if self.is_open(turn):
            speech, self._hearing = self._hearing, None
            self._speaking_since = None
        if speech is None:
            return []
        return [*([Dismissed("")] if speech.suspect else []), *self._take_carried(speech)]

    def drop_all(self, *, deaf: bool = False) -> list[Signal]:
        """Forget what is being said. `deaf`: also the rest of the speech that is going on now."""
        dropped: list[Signal] = [TurnDropped(speech.turn) for speech in self._all()]
        self._hearing, self._settling, self._carried = None, {}, NOTHING
        if deaf:
            self._speaking_since = None
        return dropped

    # Deadlines

    @property
    def deadline(self) -> float | None:
        return min((at for speech in self._all() for at in self._deadlines(speech)), default=None)

    def on_deadline(self, now: float) -> list[Signal]:
        signals = self._judge_now(now)
        for speech in self._all():
            if speech.suspect and due(self._resumes_at(speech), now):
                speech.suspect, speech.passed_over = False, True
                signals.append(Dismissed(speech.text))
        if self._hearing is not None and due(self._closes_at(self._hearing), now):
            signals += self._close(self._hearing)
        return signals

    def _deadlines(self, speech: _Speech) -> list[float]:
        times = []
        if speech is self._hearing:
            times.append(self._closes_at(speech))
            if speech.suspect and speech.ended_at is None:
                times.append(self._judge.duration_due(speech.began_at, speech.text, self.floor, self.saying))
        if (resumes_at := self._resumes_at(speech)) is not None and speech.suspect:
            times.append(resumes_at)
        return times

    def _closes_at(self, speech: _Speech) -> float:
        longest = speech.began_at + self.options.turn_max_s
        if speech.ended_at is None:
            return longest
        silence_ms = self.detector.silence_ms(joined(self._carried.text, speech.text), self.expectation)
        if speech.undecided:
            silence_ms = min(silence_ms, self.options.suspicion_silence_ms)
        return min(longest, speech.ended_at + silence_ms / 1000)

    def _resumes_at(self, speech: _Speech) -> float | None:
        return None if speech.ended_at is None else speech.ended_at + self.options.false_alarm_ms / 1000

    # Inside

    def _all(self) -> list[_Speech]:
        return [*self._settling.values(), *([self._hearing] if self._hearing is not None else [])]

    def _open(self, began_at: float, now: float) -> list[Signal]:
        if not self._ears:
            return []
        self._hearing = _Speech(self.next_turn(), began_at, suspect=self.floor != "caller")
        return [TurnOpened(self._hearing.turn), *self._judge_now(now)]

    def _close(self, speech: _Speech) -> list[Signal]:
        """Speech that goes on beyond the longest turn is nobody's: it does not open the next one."""
        self._hearing = None
        if speech.ended_at is None:
            speech.ended_at = speech.began_at + self.options.turn_max_s
            self._speaking_since = None
        self._settling[speech.turn] = speech
        return [TurnClosed(speech.turn)]

    def _judge_now(self, now: float) -> list[Signal]:
        for speech in self._all():
            if speech.undecided and self._judge.by_words(speech.text, self.floor, self.saying):
                return self._interrupt("words")
            if speech.suspect and self._long_enough(speech, now):
                return self._interrupt("duration")
        return []

    def _long_enough(self, speech: _Speech, now: float) -> bool:
        if speech.ended_at is not None:
            spoken_s = speech.ended_at - speech.began_at
            return self._judge.by_duration(spoken_s, speech.text, self.floor, self.saying)
        return due(self._judge.duration_due(speech.began_at, speech.text, self.floor, self.saying), now)

    def _interrupt(self, by: Literal["words", "duration"]) -> list[Signal]:
        for speech in self._all():
            speech.suspect = speech.passed_over = False
        return [Interrupted(by)]

    def _take(self, speech: _Speech, transcript: Transcript) -> list[Signal]:
        """Hand the turn on, unless the caller is speaking again: then both are one turn, and its end decides."""
        spoken_s = (speech.ended_at or speech.began_at) - speech.began_at
        text = joined(self._carried.text, transcript.text)
        confidence = min(self._carried.confidence, transcript.confidence) if transcript.text else transcript.confidence
        if self._carried.text and not transcript.text:
            confidence = self._carried.confidence
        if self._hearing is not None or self._settling:
            if transcript.text:
                self._carried = Transcript(text, final=True, confidence=confidence)
            return []
        self._carried = NOTHING
        return [TurnTaken(speech.turn, text, confidence, spoken_s)]

    def _take_carried(self, dropped: _Speech) -> list[Signal]:
        """What came before a speech that was none after all must not wait for it for ever."""
        return self._take(dropped, NOTHING) if self._carried.text else []


def due(at: float | None, now: float) -> bool:
    """Whether the moment has come."""
    return at is not None and now >= at - CLOSE_ENOUGH_S
