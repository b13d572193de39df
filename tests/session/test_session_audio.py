"""Audio on its way to the recogniser and from the voice: cut in pieces, joined again, resampled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.core.speech import Word
from gateway.session.chunker import Chunker, Cut, before_cut, merged
from gateway.session.levels import FRAME_BYTES, bytes_per_second, levels_db
from gateway.session.ports import AudioFormat
from gateway.session.resample import LineResampler, Resampler, to_8k

FORMATS: list[AudioFormat] = ["ulaw_8k", "pcm_8k", "pcm_16k"]


def tone(seconds: float, level: float = 8000.0, rate: int = 8000) -> bytes:
    t = np.arange(round(seconds * rate)) / rate
    return np.rint(level * np.sin(2 * np.pi * 300 * t)).astype("<i2").tobytes()


def pieces(chunker: Chunker, audio: bytes, step: int = 1600) -> list[Cut]:
    return [cut for at in range(0, len(audio), step) for cut in chunker.feed(audio[at : at + step])]


def test_levels_are_measured_alike_in_every_format() -> None:
    """A full sine is -3 dB, silence is silent, in mu-law as well."""
    pcm = tone(0.1, 32000)
    assert levels_db(pcm, "pcm_8k") == pytest.approx([-3.2] * 10, abs=1.5)
    assert max(levels_db(bytes(1600), "pcm_8k")) < -90
    loudest, silence = bytes([0x00, 0x80] * 80), bytes([0xFF] * 160)
    assert levels_db(loudest, "ulaw_8k") == pytest.approx([-0.2] * 2, abs=0.2)
    assert max(levels_db(silence, "ulaw_8k")) < -80


def test_a_short_utterance_is_one_piece() -> None:
    """Most utterances are never cut, pauses or not."""
    audio = tone(2) + tone(0.5, 0) + tone(2)
    assert pieces(Chunker("pcm_8k", max_s=15), audio) == []


def test_a_long_utterance_is_cut_in_its_pause() -> None:
    """The first pause in the second half of the longest piece is taken, in its middle."""
    audio = tone(6) + tone(0.4, 0) + tone(6)
    (cut,) = pieces(Chunker("pcm_8k", max_s=10), audio)
    assert not cut.overlapping
    assert 6.0 <= cut.resume / 16000 <= 6.4
    assert cut.resume <= cut.end


def test_the_detectors_word_is_taken_for_a_pause() -> None:
    """Where the detector hears nobody, a noisy pause is a pause."""
    chunker = Chunker("pcm_8k", max_s=10)
    cuts = chunker.feed(tone(6)) + chunker.feed(tone(0.4), speech=False) + chunker.feed(tone(1))
    assert len(cuts) == 1


def test_without_a_pause_pieces_overlap() -> None:
    """Nobody breathes: the piece ends at full length and the next begins at the quietest place before."""
    audio = tone(9.2) + tone(0.06, 400) + tone(5)
    (cut,) = pieces(Chunker("pcm_8k", max_s=10), audio)
    assert cut.overlapping
    assert cut.end == 160_000
    assert 9.15 <= cut.resume / 16000 <= 9.3


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(FORMATS),
    st.lists(st.tuples(st.integers(1, 300_000), st.booleans(), st.booleans()), max_size=8),
    st.floats(0.3, 5.0),
)
def test_n_bytes_make_at_most_n_by_size_pieces(
    audio_format: AudioFormat, parts: list[tuple[int, bool, bool]], max_s: float
) -> None:
    """Whatever is fed, in pieces of whatever size: few cuts, in order, none longer than allowed."""
    chunker = Chunker(audio_format, max_s=max_s)
    cuts: list[Cut] = []
    fed = 0
    for length, loud, speech in parts:
        cuts += chunker.feed(bytes([0x23 if loud else 0xFF, 0x80 if loud else 0xFF]) * (length // 2), speech=speech)
        fed += length // 2 * 2
    assert len(cuts) + 1 <= max(1, -(-fed // chunker.least_bytes))
    begin = 0
    for cut in cuts:
        assert begin + chunker.least_bytes <= cut.resume <= cut.end <= fed
        assert cut.end - begin <= chunker.most_bytes
        assert cut.resume % FRAME_BYTES[audio_format] == 0
        begin = cut.resume


def test_8193_bytes_are_not_a_thousand_pieces() -> None:
    """A chunker that was seen elsewhere made 1,001 of them."""
    chunker = Chunker("pcm_8k", max_s=0.512)
    assert chunker.most_bytes == 8160
    assert len(pieces(chunker, tone(8193 / 16000), step=7)) <= 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0.1, 1.0), st.floats(0.0, 0.6)), min_size=1, max_size=60), st.integers(3, 12))
@example([(0.25, 0.4375), (0.375, 0.125), (0.875, 0.0), (0.75, 0.0)], 3)  # gaps that fall between the frames
@example([(1.0, 0.0), (0.375, 0.0), (1.0, 0.0), (1.0, 0.0)], 3)
def test_no_word_is_lost_and_none_is_said_twice(spoken: list[tuple[float, float]], max_s: int) -> None:
    """An ear that understands every word it hears whole, and takes pieces of others for a torso, gives the whole text
    back; with the times of words it does so without comparing any."""
    audio, words, at = b"", [], 0
    for number, (word_s, gap_s) in enumerate(spoken):
        sound = tone(word_s)
        words.append((f"w{number}", at, at + len(sound)))
        audio += sound + tone(gap_s + 0.05, 100)
        at = len(audio)
    chunker = Chunker("pcm_8k", max_s=max_s)
    text, timed, begin, overlapping = "", "", 0, False
    for cut in [*pieces(chunker, audio), Cut(len(audio), len(audio), False)]:
        heard = [
            (name if start >= begin and end <= cut.end else "torso", start, end)
            for name, start, end in words
            if min(end, cut.end) - max(start, begin) >= (1 if start >= begin and end <= cut.end else 2400)
        ]
        text = merged(text, " ".join(name for name, _, _ in heard), overlapping=overlapping)
        times = [Word(name, (start - begin) / 16000, (end - begin) / 16000) for name, start, end in heard]
        timed += " " + before_cut(times, (cut.resume - begin) / 16000)
        begin, overlapping = cut.resume, cut.overlapping
    assert text.split() == [name for name, _, _ in words]
    assert timed.split() == [name for name, _, _ in words]


@pytest.mark.parametrize(
    ("before", "after", "whole"),
    [
        ("I want to book", "to book a haircut", "I want to book a haircut"),
        ("I want to boo", "to book a haircut", "I want to book a haircut"),
        ("I want to book", "oo book a haircut", "I want to book a haircut"),
        ("one two thr", "three four", "one two three four"),
        ("", "hello", "hello"),
        ("hello", "", "hello"),
    ],
)
def test_overlapping_texts_are_joined_at_their_common_words(before: str, after: str, whole: str) -> None:
    """The common words count once; a torso at the edge gives way."""
    assert merged(before, after, overlapping=True) == whole


def test_texts_that_do_not_overlap_keep_their_repetitions() -> None:
    """Cut in a pause, "no" and "no" are two words."""
    assert merged("no", "no", overlapping=False) == "no no"


# Resampling


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 24000, 44100, 48000])
def test_the_voice_band_passes_and_nothing_is_shifted(rate: int) -> None:
    """To 8 kHz from any engine's rate: at least 70 dB between the tone and everything else, length exact."""
    t, u = np.arange(rate) / rate, np.arange(8000) / 8000
    wanted = 8000 * np.sin(2 * np.pi * 440 * u) + 3000 * np.sin(2 * np.pi * 2500 * u)
    sound = np.rint(8000 * np.sin(2 * np.pi * 440 * t) + 3000 * np.sin(2 * np.pi * 2500 * t)).astype("<i2")
    out = np.frombuffer(to_8k(sound.tobytes(), rate), "<i2").astype(np.float64)
    assert len(out) == 8000
    error = (out - wanted)[100:-100]
    assert 10 * np.log10(np.mean(wanted**2) / np.mean(error**2)) > 70


def test_what_the_line_cannot_carry_is_taken_out() -> None:
    """A tone of 5 kHz would come back as 3 kHz; it is 60 dB down instead."""
    t = np.arange(24000) / 24000
    sound = np.rint(8000 * np.sin(2 * np.pi * 5000 * t)).astype("<i2")
    assert np.frombuffer(to_8k(sound.tobytes(), 24000), "<i2")[100:-100].std() < 6


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([8000, 16000, 22050, 24000]), st.binary(max_size=4000), st.lists(st.integers(0, 700), max_size=9)
)
def test_pieces_give_the_same_samples_as_the_whole(rate: int, audio: bytes, lengths: list[int]) -> None:
    """However a stream is cut, even within a sample."""
    audio = audio[: len(audio) & ~1]
    resampler, out, at = Resampler(rate), b"", 0
    for length in lengths:
        out += resampler.feed(audio[at : at + length])
        at += length
    out += resampler.feed(audio[at:]) + resampler.finish()
    assert out == to_8k(audio, rate)
    assert len(out) // 2 == -(-len(audio) // 2 * 8000 // rate)


def test_bytes_per_second() -> None:
    """By the format's rate and width."""
    assert [bytes_per_second(audio_format) for audio_format in FORMATS] == [8000, 16000, 32000]


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([8000, 11025, 16000, 22050, 24000, 44100, 48000]),
    st.lists(st.integers(0, 4000), max_size=8),
)
def test_a_wideband_line_gets_the_same_at_both_rates(rate: int, lengths: list[int]) -> None:
    """However the voice comes in pieces: its 8 kHz is what other lines get, sample by sample, and every piece has twice
    as many of 16 kHz beside it, which together are the voice at that rate."""
    rng = np.random.default_rng(len(lengths))
    spoken = [rng.integers(-20000, 20000, length).astype("<i2").tobytes() for length in lengths]
    both, alone = LineResampler(rate, wideband=True), LineResampler(rate, wideband=False)
    pieces = [both.feed(piece) for piece in spoken] + [both.finish()]
    assert all(len(wide) == 2 * len(narrow) for narrow, wide in pieces)
    plain = [alone.feed(piece) for piece in spoken] + [alone.finish()]
    assert not any(wide for _, wide in plain)
    whole = b"".join(spoken)
    assert b"".join(n for n, _ in pieces) == b"".join(n for n, _ in plain) == to_8k(whole, rate)
    at_16k = Resampler(rate, 16000)
    expected = at_16k.feed(whole) + at_16k.finish()
    wide = b"".join(w for _, w in pieces)
    assert len(wide) - len(expected) in (0, 2)
    assert wide == expected.ljust(len(wide), b"\0")
