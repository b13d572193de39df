"""Understanding is matching of whole phrases on words that are written one way."""

from __future__ import annotations

import pytest

from gateway.dialplan import grammar
from gateway.dialplan.phrases import chosen, normalise, spans


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I’d like ONE, please!", "i'd like one please"),
        ("Room 12", "room twelve"),
        ("20 or 21", "twenty or twenty one"),
        ("number 0049", "number zero zero four nine"),
        ("Straße", "strasse"),
        ("'quoted'", "quoted"),
        ("a_b - c", "a b c"),
        ("", ""),
    ],
)
def test_words_are_written_one_way(text: str, words: str) -> None:
    """Case, punctuation and figures differ from engine to engine."""
    assert " ".join(normalise(text)) == words


def test_a_number_in_a_phrase_is_found_however_it_is_written() -> None:
    """Grammar-driven engines answer in words, others in figures."""
    assert chosen("room twelve", {"a": ["room 12"]}) == chosen("Room 12", {"a": ["room twelve"]}) == "a"


def test_the_longest_phrase_wins() -> None:
    """ "Hair color" is not a "hair" and something else."""
    found = spans(normalise("the hair color please"), {"cut": ["hair"], "color": ["hair color"]})
    assert [(span.value, span.begin, span.end) for span in found] == [("color", 1, 3)]


def test_a_part_of_a_word_is_no_phrase() -> None:
    """Nobody who says "carpet" wants a car."""
    assert chosen("carpet", {"a": ["car"]}) is None


def test_two_choices_at_once_are_none() -> None:
    """It is asked again rather than guessed; the same choice twice is that choice."""
    assert chosen("one or two", {"a": ["one"], "b": ["two"]}) is None
    assert chosen("one, yes, one", {"a": ["one"], "b": ["two"]}) == "a"


def test_a_grammar_holds_each_answer_once_in_words() -> None:
    """Rule bodies only; the recogniser's file puts the header before them."""
    rules = grammar.one_of(["Room 12", "room twelve", "!"], carriers=["please"])
    assert rules == (
        "public <utterance> = [<carrier>] <answer> [please];\n<carrier> = please;\n<answer> = room twelve;"
    )
    assert grammar.one_of(["!"]) is None
