"""What to do when a provider fails or hangs: once more where that makes sense, then an apology, never dead air."""

from __future__ import annotations

from gateway.core import events as e
from gateway.core.speech import Transcript
from gateway.session import commands as c
from gateway.session.exchanges import Conversing, Saying
from gateway.session.stage import Stage

RETRYABLE = ("network", "unavailable", "internal")
"""Failures that are worth the same request once more. After a time-out there is no time left for it."""


class Recovery(Stage):
    """Failures arrive as inputs and leave as words to the caller; nothing here raises."""

    def _recover_hearing(self, failed: c.RecognitionFailed, now: float) -> None:
        """Once more with the same audio; then with what was understood so far; then by asking the caller."""
        if failed.category in RETRYABLE and failed.turn != self._retried_turn:
            self._retried_turn = failed.turn
            self._log_failure(failed.what, failed.category, failed.message, now, retrying=True)
            self._out.append(c.StartRecognition(failed.turn, self._scene.expectation))
            if self._turns.is_settling(failed.turn):
                self._out.append(c.FinishRecognition(failed.turn))
        else:
            self._hear_no_more(failed.turn, failed.what, failed.category, failed.message, now)

    def _hear_no_more(self, turn: int, what: str, category: str, message: str, now: float) -> None:
        """The transcript of this turn will not come."""
        partial, over_bot = self._turns.text_of(turn), self._turns.is_over_bot(turn)
        if partial and self._turns.is_settling(turn):
            self._log_failure(what, category, message, now, retrying=False)
            self._follow(self._turns.finished(turn, Transcript(partial, final=True, confidence=0.5)), now)
        else:
            self._follow(self._turns.drop(turn), now)
            if over_bot:
                self._log_failure(what, category, message, now, retrying=False)
            else:
                self._fail(what, category, message, now)

    def _recover_agent(self, failed: c.AgentFailed, now: float) -> None:
        again = self._dialogue.try_again(now) if failed.category in RETRYABLE else []
        if again:
            self._log_failure(failed.what, failed.category, failed.message, now, retrying=True)
            self._out += again
        else:
            self._fail(failed.what, failed.category, failed.message, now)

    def _recover_voice(self, failed: c.SpeechFailed, now: float) -> None:
        clip = self._playback.failed(failed.clip, failed.queued_s, failed.words)
        if clip is None:
            return
        if failed.category in RETRYABLE and not clip.second_try:
            self._log_failure(failed.what, failed.category, failed.message, now, retrying=True)
            self._playback.try_again(clip)
        else:
            self._fail(failed.what, failed.category, failed.message, now)

    def _fail(self, what: str, category: str, message: str, now: float) -> None:
        """Apologise, so that the caller knows to say it again; after too many failures, give the exchange up."""
        self._log_failure(what, category, message, now, retrying=False)
        self._failures += 1
        exchange = self._scene.exchange
        self._out += self._dialogue.cancel()
        self._say_no_more(now)
        self._follow(self._turns.drop_all(), now)
        self._scene.keypad, self._scene.taken, self._typed_ahead, self._written = None, None, "", ""
        if exchange is None:
            return
        if self._apologising or isinstance(exchange, Saying) or self._failures >= self.options.max_failures:
            self._scene.outcome = self._scene.outcome or exchange.failed
        if self._apologising:  # even this cannot be said
            self._log(e.ErrorOccurred(now, self.call, "internal", f"nothing can be said: {what} failed"))
            return
        self._apologising = True
        if isinstance(exchange, Conversing) and self._scene.outcome is not None:
            self._say_aside(self.options.farewell, self.options.farewell_file)
        else:
            self._say_aside(self.options.apology, self.options.apology_file)

    def _end_dead_air(self, now: float) -> None:
        """The caller has waited long enough. Whoever is slow counts as failed; a partial transcript is used."""
        self._patience.restart(now)
        if self._dialogue.running:
            self._fail("agent", "timeout", "no answer in time", now)
        elif self._playback.busy:
            self._fail("tts", "timeout", "nothing audible in time", now)
        else:
            for turn in self._turns.settling_turns:
                self._out.append(c.CancelRecognition(turn))
                self._hear_no_more(turn, "stt", "timeout", "no transcript in time", now)
