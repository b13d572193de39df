"""Words in audio and in text: what was heard, what sentences are, what is echo, when a turn sounds finished."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import MisuseError
from gateway.core.speech import Expectation, Word
from gateway.session.detector import DefaultTurnDetector
from gateway.session.echo import without_echo
from gateway.session.sentences import LONGEST_LETTERS, SentenceCutter
from gateway.session.states import NEXT, RESTING, after
from gateway.session.words import estimated, heard, normalised, similarity

SENTENCES = st.text(alphabet="ab ,.?!\n1é。", max_size=400)


def cut(*fragments: str) -> list[str]:
    cutter = SentenceCutter()
    return [piece for fragment in fragments for piece in cutter.feed(fragment)] + cutter.flush()


# Sentences


@given(SENTENCES)
def test_cutting_loses_and_adds_nothing(text: str) -> None:
    """All pieces together are the text, blanks at the seams apart."""
    assert "".join("".join(cut(text)).split()) == "".join(text.split())


@given(SENTENCES, st.lists(st.integers(1, 9)))
def test_the_pieces_do_not_depend_on_the_fragments(text: str, lengths: list[int]) -> None:
    """However an agent's words arrive, the voice is given the same pieces."""
    fragments, at = [], 0
    for length in lengths:
        fragments.append(text[at : at + length])
        at += length
    assert cut(*fragments, text[at:]) == cut(text)


@given(st.text(alphabet="abc ", max_size=2000))
def test_no_piece_is_longer_than_a_breath(text: str) -> None:
    """A text without punctuation is cut all the same."""
    assert all(len(piece) <= LONGEST_LETTERS for piece in cut(text))


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Hello. How are you?", ["Hello.", "How are you?"]),
        ("Yes, of course.", ["Yes, of course."]),
        ("For tomorrow afternoon, we have one left.", ["For tomorrow afternoon,", "we have one left."]),
        ("First one. Then, after that, another.", ["First one.", "Then, after that, another."]),
        ("Dr. Miller is in at 3.30 p.m. today.", ["Dr. Miller is in at 3.30 p.m. today."]),
        ("It costs 3.50. Fine?", ["It costs 3.50.", "Fine?"]),
        ('"Really?" she said.', ['"Really?"', "she said."]),
        ("Well... maybe. OK!", ["Well...", "maybe.", "OK!"]),
        ("One\nTwo", ["One", "Two"]),
    ],
)
def test_sentences_end_where_a_reader_would_pause(text: str, pieces: list[str]) -> None:
    """Abbreviations and decimals do not end a sentence; only the first piece may be a clause."""
    assert cut(text) == pieces


def test_a_writer_who_pauses_after_a_sentence_has_ended_it() -> None:
    """Nothing more may come for seconds: the question is spoken now."""
    cutter = SentenceCutter()
    assert cutter.feed("Which day?") == []
    assert cutter.pause() == ["Which day?"]
    assert cutter.feed("On the 3") == []
    assert cutter.pause() == []
    assert cutter.flush() == ["On the 3"]


# Words heard


@given(st.text(alphabet="ab c,.", max_size=80), st.floats(0.1, 20))
def test_estimated_words_fill_their_clip_in_order(text: str, duration_s: float) -> None:
    """Times rise, never overlap, and stay within the clip."""
    words = estimated(text, duration_s)
    assert [word.text for word in words] == text.split()
    times = [time for word in words for time in (word.start_s, word.end_s)]
    assert times == sorted(times)
    assert all(0 <= time <= duration_s + 1e-6 for time in times)


@given(st.text(alphabet="ab c,.", max_size=80), st.floats(0, 10), st.floats(0, 10))
def test_more_played_is_never_less_heard(text: str, first: float, second: float) -> None:
    """What was heard is a beginning of the text, and grows with the time played."""
    words = estimated(text, 5.0)
    less, more = (heard(text, words, played) for played in sorted((first, second)))
    assert text.split()[: len(more.split())] == more.split()
    assert more.startswith(less)
    assert heard(text, words, 5.0) == " ".join(text.split())


def test_voices_that_spell_words_differently_are_cut_in_proportion() -> None:
    """ "3" is spoken as two words here; the text is cut at the same share, rounded down."""
    words = tuple(Word(w, n, n + 1) for n, w in enumerate(["at", "three", "o'clock", "on", "monday"]))
    assert heard("at 3:00 on monday", words, 3.0) == "at 3:00"


@pytest.mark.parametrize(
    ("one", "other"),
    [("Uh-huh.", "uh huh"), ("It’s FINE!", "it's fine"), ("  a  b ", "A, b")],
)
def test_equal_words_are_equal_texts(one: str, other: str) -> None:
    """Case, punctuation and kinds of apostrophe do not matter."""
    assert normalised(one) == normalised(other)
    assert similarity(one, other) == 1


# Echo


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("morning or afternoon", ()),
        ("would you like", ()),
        ("morning", ("morning",)),
        ("afternoon please", ("afternoon", "please")),
        ("would you stop talking", ("stop", "talking")),
        ("", ()),
    ],
)
def test_runs_of_the_bots_own_words_are_echo(text: str, kept: tuple[str, ...]) -> None:
    """A single common word is an answer; a run of them is the line."""
    assert without_echo(text, "Would you like the morning or afternoon?") == kept


# The end of a turn

SHORT, BASE, LONGER, LONGEST = 400, 700, 1200, 1500


@pytest.mark.parametrize(
    ("text", "expectation", "silence_ms"),
    [
        ("", Expectation(), BASE),
        ("I would like an appointment", Expectation(), BASE),
        ("I would like an appointment.", Expectation(), SHORT),
        ("yes", Expectation(), SHORT),
        ("no", Expectation(), SHORT),
        ("I want to come um", Expectation(), LONGEST),
        ("on thursday or", Expectation(), LONGER),
        ("my number is five five one", Expectation(), LONGER),
        ("4 4 1 7", Expectation(), LONGER),
        ("three", Expectation(phrases=("three", "four")), SHORT),
        ("three", Expectation(phrases=("three", "three thirty")), BASE),
        ("anything and", Expectation(silence_ms=350), 350),
    ],
)
def test_how_long_a_silence_ends_a_turn(text: str, expectation: Expectation, silence_ms: int) -> None:
    """Shorter after what is complete, longer after what promises more, and as told where it was told."""
    assert DefaultTurnDetector().silence_ms(text, expectation) == silence_ms


# States


def test_the_table_is_closed_and_the_end_is_the_end() -> None:
    """Every state but the last can end; nothing leads out of it; resting changes nothing."""
    states = {state for state, _ in NEXT}
    assert all((state, "end") in NEXT for state in states)
    assert "ended" not in states
    assert all(after(state, cue) == state for cue, state in RESTING.items())


def test_what_is_not_in_the_table_is_refused() -> None:
    """A caller cannot be missed while the bot speaks."""
    with pytest.raises(MisuseError, match="speaking cannot miss"):
        after("speaking", "miss")
