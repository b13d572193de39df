"""The ears that judge other people's phones."""

import numpy as np
import pytest
from sounds import Sound, likeness_in_pieces, speech

SENTENCE = "The quick brown fox jumps over the lazy dog."


def test_a_slipped_frame_does_not_make_a_sentence_unlike() -> None:
    """20 ms dropped in the middle are a slip; everything around them is still the sentence."""
    sentence = speech(SENTENCE)
    half = len(sentence.samples) // 2
    silence = Sound(sentence.samples[:8000] * 0)
    slipped = silence.then(Sound(sentence.samples[:half]), Sound(sentence.samples[half + 160 :]), silence)
    assert likeness_in_pieces(sentence, slipped) > 0.98


@pytest.mark.parametrize("at_s", [0.15, 0.3, 0.45])
def test_a_slip_does_not_make_a_short_clip_unlike(at_s: float) -> None:
    """Two words of a bot are judged like a sentence: a frame lost, or heard twice, is one piece of many."""
    sentence = speech(SENTENCE)
    clip, at = sentence.cut(0.2, 0.8), round(at_s * 8000)
    before, after = sentence.cut(0.0, 0.2), sentence.cut(0.8, sentence.seconds)
    for goes_on_at in (at + 160, at - 160):
        heard = before.then(Sound(clip.samples[:at]), Sound(clip.samples[goes_on_at:]), after)
        assert likeness_in_pieces(clip, heard) > 0.98


def test_two_pieces_are_no_majority() -> None:
    """What is too short, or too quiet, to outvote one bad piece is not judged at all."""
    with pytest.raises(AssertionError, match="pieces sound"):
        likeness_in_pieces(speech(SENTENCE).cut(0.2, 0.35), speech(SENTENCE))


def test_another_order_is_unlike() -> None:
    """A sentence cut in two and put together the wrong way round is not that sentence."""
    sentence = speech(SENTENCE)
    half = len(sentence.samples) // 2
    assert likeness_in_pieces(sentence, Sound(np.roll(sentence.samples, half))) < 0.8


def test_other_words_are_unlike() -> None:
    """The judgement by pieces is still one: another sentence of the same voice does not pass for this one."""
    other = speech("Please call again tomorrow morning, after nine o'clock.")
    silence = Sound(other.samples[:8000] * 0)
    assert likeness_in_pieces(speech(SENTENCE), silence.then(other, silence)) < 0.7


def test_noise_and_silence_are_unlike() -> None:
    """Neither a hum nor nothing at all is a sentence."""
    sentence = speech(SENTENCE)
    assert likeness_in_pieces(sentence, Sound(sentence.samples.repeat(2) * 0)) < 0.1
