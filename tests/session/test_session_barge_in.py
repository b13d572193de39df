"""Interrupting the bot: at once on suspicion, for good on evidence, and not at all for an "uh-huh"."""

from __future__ import annotations

import pytest
from parlour import LAG_S, SURE_AFTER_S, Parlour

from gateway.core import events as e
from gateway.core.speech import Expectation
from gateway.session import commands as c
from gateway.session.conversation import ConversationOptions

LONG = "We have free appointments on Monday Tuesday Thursday and Friday of next week"
"""5.6 s of the simulated voice."""


def asking(expectation: Expectation | None = None, *, barge_in: str = "on") -> Parlour:
    """One second into a long question."""
    parlour = Parlour()
    parlour.ask(LONG, expectation, barge_in=barge_in)
    parlour.until(e.UtteranceStarted)
    parlour.advance(1.0)
    return parlour


def test_the_bot_pauses_the_moment_speech_is_found() -> None:
    """On suspicion the playout is held at once; nothing is lost yet."""
    parlour = asking()
    parlour.speaks(2.0, "no wait listen")
    parlour.advance(SURE_AFTER_S)
    assert parlour.commands[-2:] == [c.PausePlayout(), c.Log(parlour.events[-1])]
    assert isinstance(parlour.events[-1], e.PlaybackPaused)
    assert not parlour.commanded(c.FlushPlayout)


def test_lasting_speech_interrupts() -> None:
    """Speech of `min_duration_ms` is an interruption, known once the detector would have told of its end."""
    parlour = asking()
    began = parlour.now
    parlour.speaks(3.0, "I would like to cancel")
    barged = parlour.until(e.BargedIn)
    options = parlour.options
    assert barged.by == "duration"
    assert barged.at - began == pytest.approx((options.min_duration_ms + options.detector_lag_ms) / 1000, abs=0.01)
    parlour.advance(5)
    assert parlour.outcomes == [c.Answered("I would like to cancel", "", 1.0, False)]


def test_words_interrupt_sooner() -> None:
    """`min_words` words of substance suffice, however short."""
    parlour = asking()
    parlour.speaks(2.0, "no not that day", interim=[(0.2, "no"), (0.3, "no not"), (0.4, "no not that")])
    barged = parlour.until(e.BargedIn)
    assert barged.by == "words"
    assert [heard.text for heard in parlour.logged(e.TranscriptHeard)] == ["no", "no not", "no not that"]


def test_an_interruption_cancels_everything_and_history_keeps_what_was_heard() -> None:
    """Voice and playout are dropped; of the bot's words exactly those remain that were played."""
    parlour = asking()
    parlour.speaks(3.0, "thursday please")
    parlour.advance(6)
    assert parlour.history[0] == ("agent", "We have")
    played = parlour.logged(e.UtterancePlayed)[0]
    assert (played.heard, played.complete) == ("We have", False)
    assert played.played_s == pytest.approx(1.0 + SURE_AFTER_S, abs=0.01)


def test_an_acknowledgement_of_400_ms_resumes_from_the_same_sample() -> None:
    """An "uh-huh" shorter than the threshold pauses the bot and no more, even if no interim transcript tells."""
    parlour = asking()
    parlour.speaks(0.4, "uh-huh")
    parlour.advance(3)
    assert not parlour.logged(e.BargedIn)
    assert [alarm.text for alarm in parlour.logged(e.FalseAlarm)] == ["uh-huh"]
    paused, resumed = parlour.logged(e.PlaybackPaused)[0], parlour.logged(e.PlaybackResumed)[0]
    assert paused.clip == resumed.clip
    parlour.until(e.UtterancePlayed)
    assert parlour.history == [("agent", LONG)]
    parlour.advance(20)
    assert parlour.outcomes == [c.Answered("", "", 1.0, True)]


def test_a_long_acknowledgement_waits_for_more_than_its_length() -> None:
    """When the interim transcript shows acknowledgements alone, the duration rule holds back."""
    parlour = asking()
    parlour.speaks(1.2, "yeah okay right", interim=[(0.3, "yeah"), (0.8, "yeah okay")])
    parlour.advance(4)
    assert not parlour.logged(e.BargedIn)
    assert parlour.logged(e.PlaybackResumed)


def test_acknowledging_on_and_on_is_talking() -> None:
    """Nobody says "uh-huh" for three seconds: the engine is behind, the caller talks."""
    parlour = asking()
    parlour.speaks(4.0, "yeah but I cannot come", interim=[(0.3, "yeah")])
    parlour.advance(3)
    assert [barged.by for barged in parlour.logged(e.BargedIn)] == ["duration"]


@pytest.mark.parametrize("word", ["thursday", "yes", "Thursday!"])
def test_the_awaited_word_is_an_answer_even_over_the_prompt(word: str) -> None:
    """One word, shorter than any threshold, but just what was asked for: the final transcript decides."""
    parlour = asking(Expectation(phrases=("yes", "no", "thursday")))
    parlour.speaks(0.35, word)
    parlour.advance(3)
    assert parlour.outcomes == [c.Answered(word, "", 1.0, False)]
    assert [barged.by for barged in parlour.logged(e.BargedIn)] == ["words"]
    assert not parlour.logged(e.PlaybackResumed)


def test_a_word_of_the_grammar_is_an_answer_too() -> None:
    """Engines with a grammar return its sentences or nothing."""
    parlour = asking(Expectation(grammar="[please] (monday | thursday) {day}"))
    parlour.speaks(0.35, "monday please")
    parlour.advance(3)
    assert parlour.outcomes == [c.Answered("monday please", "", 1.0, False)]


@pytest.mark.parametrize("text", ["stop", "wait", "hold on", "no friday"])
def test_interjections_interrupt_few_words_though_they_are(text: str) -> None:
    """Somebody who says "stop" means it."""
    parlour = asking()
    parlour.speaks(0.4, text)
    parlour.advance(3)
    assert parlour.outcomes == [c.Answered(text, "", 1.0, False)]


def test_a_word_out_of_place_is_a_false_alarm() -> None:
    """A single unexpected word in the background does not stop the bot."""
    parlour = asking(Expectation(phrases=("yes", "no")))
    parlour.speaks(0.3, "banana")
    parlour.advance(3)
    assert parlour.outcomes == []
    assert [alarm.text for alarm in parlour.logged(e.FalseAlarm)] == ["banana"]


def test_the_bots_own_words_do_not_interrupt_it() -> None:
    """Echo that passed for speech is recognised by its words."""
    parlour = asking()
    echoed = "we have free appointments on monday"
    parlour.speaks(1.5, echoed, interim=[(0.3, "we have free"), (0.4, echoed)])
    parlour.advance(3)
    assert not parlour.logged(e.BargedIn)


def test_a_slow_recogniser_does_not_hold_the_bot_for_long() -> None:
    """After `false_alarm_ms` the bot goes on; a late final transcript may interrupt it still."""
    parlour = asking(Expectation(phrases=("thursday",)))
    parlour.recognition_s = 2.0
    parlour.speaks(0.35, "thursday")
    parlour.advance(0.35 + parlour.options.false_alarm_ms / 1000 + 0.01)
    assert parlour.logged(e.PlaybackResumed)
    parlour.advance(3)
    assert parlour.outcomes == [c.Answered("thursday", "", 1.0, False)]


def test_pausing_moves_nothing_in_what_is_heard() -> None:
    """A clip that was held, resumed and then cut keeps exactly the words that were played."""
    parlour = asking()
    parlour.speaks(0.3, "mm")
    parlour.until(e.PlaybackResumed)
    parlour.advance(1.0)
    parlour.speaks(2.0, "excuse me please")
    parlour.advance(5)
    assert parlour.history[0] == ("agent", "We have free appointments on")


def test_without_barge_in_speech_over_the_prompt_is_not_heard() -> None:
    """`barge_in` off: nothing pauses, and words spoken over the prompt are nobody's answer."""
    parlour = asking(barge_in="off")
    parlour.speaks(1.0, "thursday")
    parlour.advance(6)
    assert not parlour.commanded(c.PausePlayout)
    assert not parlour.commanded(c.StartRecognition)


def test_without_barge_in_speech_that_outlasts_the_prompt_is_the_answer() -> None:
    """Callers begin a little early; what they still say when the prompt ends is heard from its beginning."""
    parlour = asking(barge_in="digits")
    parlour.advance(3.5)
    parlour.speaks(3.0, "thursday at nine")
    parlour.advance(6)
    assert parlour.outcomes == [c.Answered("thursday at nine", "", 1.0, False)]
    assert not parlour.logged(e.BargedIn)


def test_speech_in_the_last_moment_of_the_prompt_is_an_ordinary_turn() -> None:
    """The prompt was over before it could be paused: nobody was interrupted."""
    parlour = Parlour()
    parlour.ask("Ready?", Expectation(phrases=("yes",)))
    parlour.until(e.UtteranceStarted)
    parlour.advance(0.35)
    parlour.speaks(0.3, "sure thing")
    parlour.advance(3)
    assert parlour.outcomes == [c.Answered("sure thing", "", 1.0, False)]
    assert not parlour.logged(e.BargedIn)


def test_the_detector_of_a_slower_plane_is_allowed_for() -> None:
    """However late the end of speech is told, an utterance below the threshold never interrupts."""
    for lag_ms in (100, 260, 700):
        parlour = Parlour(ConversationOptions(detector_lag_ms=lag_ms))
        parlour.ask(LONG)
        parlour.until(e.UtteranceStarted)
        parlour.advance(1.0)
        began = parlour.now
        parlour.tell(e.SpeechBegan(parlour.now, "call", began))
        parlour.at(
            began + 0.49 + lag_ms / 1000, lambda p=parlour, t=began: p.tell(e.SpeechEnded(p.now, "call", t + 0.49))
        )
        parlour.advance(4)
        assert not parlour.logged(e.BargedIn)


def test_the_lag_assumed_covers_the_simulated_one() -> None:
    """The scenarios above use a detector as slow as the plane's own."""
    assert ConversationOptions().detector_lag_ms > LAG_S * 1000
