"""What rooms say to each other about speech: what was heard, and what may be expected next."""

from __future__ import annotations

import msgspec


class Word(msgspec.Struct, frozen=True):
    """A word with its place in the audio, in seconds from the start of that audio."""

    text: str
    start_s: float
    end_s: float


class Transcript(msgspec.Struct, frozen=True):
    """What a recogniser made of some speech. Interim (`final=False`) results may still change entirely.

    `confidence` is 0..1; engines without one report 1.0 for a result and 0.0 for a rejected one.
    """

    text: str
    final: bool
    confidence: float = 1.0
    words: tuple[Word, ...] = ()


class Expectation(msgspec.Struct, frozen=True):
    """What the bot is prepared to understand next; given to the recogniser and to digit collection.

    `phrases` are whole expected utterances; `grammar` (JSGF rule bodies, without header) is for engines that take
    one and wins over `phrases` there. Open-vocabulary engines treat both as hints. `digits_max` 0 means that
    digits are not awaited; `digits_end` is the key that ends them early and is not part of the answer.
    `silence_ms` None leaves the end of a turn to the turn detector. `timeout_s` is how long the caller may stay
    silent after the question before a silent turn is reported.
    """

    phrases: tuple[str, ...] = ()
    grammar: str | None = None
    digits_max: int = 0
    digits_end: str = "#"
    digits_gap_s: float = 3.0
    silence_ms: int | None = None
    timeout_s: float = 8.0
