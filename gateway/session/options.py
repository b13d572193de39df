"""How one conversation behaves: every threshold, with its unit and its reason, and every text it may say by itself."""

from __future__ import annotations

from typing import Literal

import msgspec


class ConversationOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[conversation]` table of the configuration."""

    # When a turn is over

    silence_ms: int = 700
    """Silence that ends a turn when nothing speaks for less or more; see `DefaultTurnDetector`."""
    turn_max_s: float = 60.0
    """A turn is taken after this long even if the caller talks on."""
    chunk_max_s: float = 15.0
    """The longest piece of speech a recogniser is given at once; cut at pauses, in the second half of this."""
    noise_ms: int = 300
    """Speech shorter than this in which nothing was recognised is taken for a noise, not for an answer."""

    # Barge-in while the bot speaks

    min_words: int = 3
    """This many words, acknowledgements and the bot's own echo apart, interrupt the bot."""
    min_duration_ms: int = 500
    """Speech this long interrupts the bot, unless it is known to be acknowledgement only."""
    detector_lag_ms: int = 260
    """How long after the end of speech `SpeechEnded` comes at the latest (the plane's `end_ms`, one window of its
    detector and one packet). Speech counts as `min_duration_ms` long only when it was
    not reported over by then: otherwise an "uh-huh" of 400 ms would interrupt."""
    suspicion_silence_ms: int = 400
    """Silence after which short speech over the bot's voice is recognised; the paused bot waits for the result."""
    false_alarm_ms: int = 1200
    """The bot stays paused at most this long after speech that has not turned out to be an interruption."""
    acknowledgement_max_ms: int = 2000
    """Speech longer than this interrupts even if only acknowledgements were recognised in it so far."""
    acknowledgements: tuple[str, ...] = (
        "uh-huh", "uh huh", "mm-hmm", "mm hmm", "mhm", "hmm", "hm", "mm", "mmm", "ok", "okay", "yeah", "yep", "yes",
        "right", "sure", "i see", "got it", "aha", "ah", "oh", "alright", "all right", "good", "great",
        "um", "uh", "er",
    )  # fmt: skip
    """Phrases that show that the caller listens. They never interrupt, unless the bot awaits one of them."""
    interjections: tuple[str, ...] = ("stop", "wait", "hold on", "hang on", "no", "sorry", "excuse me", "one moment")
    """Phrases that interrupt by themselves, few words though they are, once they are recognised for certain."""

    # Barge-in while the bot prepares its reply: the caller was not finished

    processing_min_words: int = 1
    processing_min_duration_ms: int = 300

    # Silence

    max_silent_turns: int = 3
    """A dialogue with an agent ends as `silent` after this many silent turns in a row; 0 never ends it."""
    away_prompt: str = ""
    """Said before the agent learns of a silence; empty says nothing."""
    away_file: str | None = None

    # Trouble, and slow answers

    reply_within_s: float = 5.0
    """The caller never waits longer than this for something audible: then comes the apology."""
    filler_after_s: float = 2.0
    """A reply that takes longer than this is preceded by the filler."""
    filler: str = ""
    """Such as "One moment, please."; empty says nothing."""
    filler_file: str | None = None
    apology: str = "I'm sorry, I'm having some trouble. Please say that again."
    apology_file: str | None = "apology"
    """The stored prompt that is played instead, if there is one: it still speaks when synthesis does not."""
    farewell: str = "I'm sorry, this is not working. Please call again later."
    farewell_file: str | None = "farewell"
    """Said when a dialogue is given up."""
    max_failures: int = 2
    """A dialogue ends as `failed` after this many turns in a row that failed."""

    # Beginning the reply before the turn is certain

    preempt: Literal["never", "if_same", "if_similar", "always"] = "never"
    """Whether an agent starts as soon as the caller pauses, on the interim transcript, and when what it began is used
    for the final one. What it says and remembers waits for the final transcript in any case; what it does by itself
    (a booking by a tool) does not, so only agents without such deeds should be started early."""
    preempt_similarity: float = 0.9
    """Least share of equal words for `if_similar`, 0..1."""
    preempt_max: int = 2
    """Most early starts in one turn; agents may cost money."""

    @property
    def files(self) -> tuple[str, ...]:
        """Every stored prompt that may be asked for."""
        named = (self.away_file, self.filler_file, self.apology_file, self.farewell_file)
        return tuple(file for file in named if file is not None)
