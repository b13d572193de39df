"""The ears that judge other people's phones."""

from sounds import Sound, likeness_in_pieces, speech

SENTENCE = "The quick brown fox jumps over the lazy dog."


def test_a_slipped_frame_does_not_make_a_sentence_unlike() -> None:
    """20 ms dropped in the middle are a slip; everything around them is still the sentence."""
    sentence = speech(SENTENCE)
    half = len(sentence.samples) // 2
    silence = Sound(sentence.samples[:8000] * 0)
    slipped = silence.then(Sound(sentence.samples[:half]), Sound(sentence.samples[half + 160 :]), silence)
    assert likeness_in_pieces(sentence, slipped) > 0.98


def test_other_words_are_unlike() -> None:
    """The judgement by pieces is still one: another sentence of the same voice does not pass for this one."""
    other = speech("Please call again tomorrow morning, after nine o'clock.")
    silence = Sound(other.samples[:8000] * 0)
    assert likeness_in_pieces(speech(SENTENCE), silence.then(other, silence)) < 0.7


def test_noise_and_silence_are_unlike() -> None:
    """Neither a hum nor nothing at all is a sentence."""
    sentence = speech(SENTENCE)
    assert likeness_in_pieces(sentence, Sound(sentence.samples.repeat(2) * 0)) < 0.1
