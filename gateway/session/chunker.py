"""Cuts a long utterance into pieces a recogniser can take, and joins what it made of them.

A piece ends in a pause once it is at least half as long as allowed. Where nobody pauses, it ends at full length, and
the next one begins earlier, at the quietest place of the last moments: words there are heard twice whole, and `merged`
takes the second copy out again. So no word is lost by being cut in two.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.core.speech import Word
from gateway.session.levels import FRAME_BYTES, bytes_per_second, levels_db
from gateway.session.ports import AudioFormat
from gateway.session.words import joined, normalised

PAUSE_S = 0.2
"""A pause this long parts words for certain; stop consonants make gaps up to half of it."""
PAUSE_BELOW_DB = 22.0
"""Quiet is this much below the loud parts of the same piece."""
GAP_BELOW_DB = 6.0
"""Between words the level falls by this at least, if they are parted at all."""
GAP_FRAMES = 4
"""Whole quiet frames of 10 ms that a gap between words of 50 ms holds, wherever it falls among them."""
OVERLAP_S = 1.5
"""Longer than any word, so that the word at the cut is whole in one of the pieces."""
SHORTEST_WORD_S = 0.15
"""Less than this of a word is not recognised as anything."""
MOST_OVERLAPPING_WORDS = 8


class Cut(msgspec.Struct, frozen=True):
    """The piece ends at byte `end`, the next one begins at byte `resume` <= `end`; counted over the whole utterance.

    `overlapping`: the audio between is speech, and its words may be in both.
    """

    end: int
    resume: int
    overlapping: bool


class Chunker:
    """`feed` the audio of one utterance. n bytes make at most ceil(n / `least_bytes`) pieces of `most_bytes` each."""

    def __init__(self, audio_format: AudioFormat, *, max_s: float = 15.0) -> None:
        self._format: AudioFormat = audio_format
        self._frame = FRAME_BYTES[audio_format]
        per_s = bytes_per_second(audio_format)
        self.most_bytes = max(round(max_s * per_s) // self._frame, 2) * self._frame
        self.least_bytes = -(-self.most_bytes // (2 * self._frame)) * self._frame
        self._pause_frames = round(PAUSE_S * per_s) // self._frame
        self._overlap_frames = min(round(OVERLAP_S * per_s), self.most_bytes - self.least_bytes) // self._frame
        self._shortest_word = round(SHORTEST_WORD_S * per_s)
        self._start = 0
        self._levels: list[float] = []
        self._rest = b""

    def feed(self, audio: bytes, *, speech: bool = True) -> list[Cut]:
        """The cuts that fall due with this audio. `speech` false: the detector says that nobody speaks in it."""
        audio = self._rest + audio
        whole = len(audio) // self._frame * self._frame
        self._rest = audio[whole:]
        cuts = []
        for level in levels_db(audio[:whole], self._format):
            self._levels.append(level if speech else -200.0)
            if (cut := self._cut_here()) is not None:
                cuts.append(cut)
                self._begin_at(cut)
        return cuts

    def _cut_here(self) -> Cut | None:
        length = len(self._levels) * self._frame
        if length >= self.least_bytes + self._pause_frames * self._frame and self._in_pause():
            middle = len(self._levels) - self._pause_frames // 2
            return Cut(self._start + length, self._start + middle * self._frame, overlapping=False)
        if length >= self.most_bytes:
            again = length - (quietest := self._quietest() * self._frame)
            return Cut(self._start + length, self._start + quietest, overlapping=again >= self._shortest_word)
        return None

    def _in_pause(self) -> bool:
        recent = self._levels[-self._pause_frames :]
        return max(recent) < self._loud() - PAUSE_BELOW_DB

    def _loud(self) -> float:
        return sorted(self._levels)[len(self._levels) * 9 // 10]

    def _quietest(self) -> int:
        """The frame, counted from the start of the piece, in the quietest 40 ms of the overlap; the overlap's first
        where no place is quieter than the others, so that the word at the end is whole in what follows."""
        first = len(self._levels) - self._overlap_frames
        best, best_level = first, self._loud() - GAP_BELOW_DB
        for place in range(first, len(self._levels) - GAP_FRAMES + 1):
            level = max(self._levels[place : place + GAP_FRAMES])
            if level < best_level:
                best, best_level = place + GAP_FRAMES // 2, level
        return best

    def _begin_at(self, cut: Cut) -> None:
        kept = (cut.end - cut.resume) // self._frame
        self._levels = self._levels[len(self._levels) - kept :]
        self._start = cut.resume


def merged(before: str, after: str, *, overlapping: bool) -> str:
    """The texts of two pieces as one. Where they overlap, the longest run of words that ends the one and begins the
    other counts once; a torso of a word at either edge gives way to the whole word beside it. Without any word in
    common the last word of the first piece was a torso: all of its audio is in the second one, which begins in a gap.

    Limit: a caller who says one word over and over across the cut may lose one of its copies. Recognisers that time
    their words do not need this (see `before_cut`).
    """
    first, then = before.split(), after.split()
    if not overlapping or not first or not then:
        return joined(before, after)
    for torso_before, torso_after in ((0, 0), (1, 0), (0, 1), (1, 1)):
        ends, begins = first[: len(first) - torso_before], then[torso_after:]
        if (common := _common(ends, begins)) > 0:
            return " ".join(ends[: len(ends) - common] + begins)
    return " ".join(first[:-1] + then)


def before_cut(words: Sequence[Word], resume_s: float) -> str:
    """The words of a piece that end before the next piece begins, `resume_s` into it."""
    return " ".join(word.text for word in words if (word.start_s + word.end_s) / 2 < resume_s)


def _common(ends: list[str], begins: list[str]) -> int:
    for count in range(min(len(ends), len(begins), MOST_OVERLAPPING_WORDS), 0, -1):
        if _plain(ends[-count:]) == _plain(begins[:count]):
            return count
    return 0


def _plain(words: list[str]) -> tuple[str, ...]:
    return normalised(" ".join(words))
