"""Grammars and pronunciations for the built-in recogniser."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import ConfigError
from gateway.core.speech import Expectation
from gateway.providers.stt.grammar import HEADER, from_phrases, from_rules, grammar_of, number_words, spoken, words_in
from gateway.providers.stt.pronunciation import PHONES, Pronunciations, guess, vocabulary_gaps
from gateway.providers.stt.sphinx_decoder import Decoder


def test_phrases_become_one_public_rule() -> None:
    """Normalised, each once, numbers as they are spoken."""
    grammar = grammar_of(Expectation(phrases=("Yes!", "No, thanks.", "yes", "Room 12", "…")))
    assert grammar == f"{HEADER}public <utterance> = yes | no thanks | room twelve;\n"


def test_rules_win_over_phrases() -> None:
    """As `Expectation` says; words come in lower case, rule names and tags stay as they are."""
    grammar = grammar_of(Expectation(phrases=("no",), grammar="public <Top> = I’d like <A> {Tag};\n<A> = Tea | COFFEE"))
    assert grammar == f"{HEADER}public <Top> = i'd like <A> {{Tag}};\n<A> = tea | coffee;\n"


def test_nothing_expected_is_no_grammar() -> None:
    """Also when what is expected has no word in it."""
    assert grammar_of(Expectation()) is None
    assert grammar_of(Expectation(phrases=("", "?!"), grammar="  ")) is None


def test_a_header_may_be_there_already() -> None:
    """Rules copied from a grammar file work as they are, comments included."""
    whole = "#JSGF V1.0;\ngrammar mine;\n// greeting\npublic <a> = hello /* or */ | hi;"
    assert from_rules(whole) == f"{HEADER}public <a> = hello   | hi;\n"


def test_missing_rules_are_named() -> None:
    """With the remedy: pocketsphinx itself would only fail, or never understand."""
    with pytest.raises(ConfigError, match="remedy: write `public <utterance>"):
        from_rules("<a> = hello;")
    with pytest.raises(ConfigError, match="no rule <b>; remedy: write `<b> ="):
        from_rules("public <a> = hello <b> <NULL>;")


def test_the_words_of_a_grammar_are_its_words_only() -> None:
    """Not weights, tags, rule names, operators, or the word public."""
    grammar = from_rules('public <top> = /0.5/ [i\'d] <a> | /1e-3/ (very)+ {tag word};\n<a> = so* very "quoted";')
    assert words_in(grammar) == ["i'd", "very", "so", "quoted"]


def test_public_may_be_a_word_too() -> None:
    """It is an operator only where a rule begins."""
    grammar = grammar_of(Expectation(phrases=("a public holiday", "public")))
    assert grammar is not None
    assert words_in(grammar) == ["a", "public", "holiday"]
    assert words_in(from_rules("public <a> = public <b>;\npublic <b> = holiday")) == ["public", "holiday"]


@pytest.mark.parametrize(
    ("digits", "words"),
    [("0", "zero"), ("7", "seven"), ("13", "thirteen"), ("20", "twenty"), ("42", "forty two"), ("99", "ninety nine"),
     ("05", "zero five"), ("100", "one zero zero"), ("2026", "two zero two six")],
)  # fmt: skip
def test_numbers_are_said_as_callers_say_them(digits: str, words: str) -> None:
    """Up to 99 as a number, longer ones digit by digit."""
    assert number_words(digits) == words


@given(st.text())
def test_no_phrase_breaks_the_grammar(text: str) -> None:
    """Whatever a dialplan's author writes, the words come out again and none is an operator."""
    words = spoken(text)
    if words:
        assert words_in(from_phrases([words])) == list(dict.fromkeys(words))


@given(st.text(alphabet=st.characters(codec="ascii"), min_size=1, max_size=12))
def test_every_guess_is_made_of_phones(word: str) -> None:
    """And a word with a letter in it gets at least one, but for a lonely silent one."""
    assert set(guess(word).split()) <= PHONES


@pytest.mark.parametrize(
    ("word", "phones"),
    [("knight", "N AY T"), ("balayage", "B AE L EY AE JH"), ("phish", "F IH SH"), ("zyx", "Z IH K S")],
)
def test_a_guess_is_a_fair_reading(word: str, phones: str) -> None:
    """Common spellings sound as they do in most words."""
    assert guess(word) == phones


def test_known_words_have_all_their_pronunciations_and_an_operator_has_the_last_word() -> None:
    """From the dictionary that comes with pocketsphinx."""
    assert Pronunciations().of("tomato") == ("T AH M EY T OW", "T AH M AA T OW")
    assert Pronunciations({"Tomato": "t aa m"}).of("tomato") == ("T AA M",)
    assert Pronunciations().of("…") == ()


def test_gaps_name_the_words_that_would_be_guessed() -> None:
    """For a dialplan's check."""
    assert vocabulary_gaps(["Haircut", "balayage", "that's", "Xyzzy", "balayage"]) == ["balayage", "xyzzy"]
    assert Pronunciations({"xyzzy": "Z IH Z IY"}).gaps(["xyzzy"]) == []


@pytest.mark.parametrize(
    ("grammar", "complaint"),
    [
        (f"{HEADER}public <a> = (hello;", "cannot be compiled"),
        (f"{HEADER}public <a> = 日本;", "no pronunciation for `日本`; remedy: give it in the option `pronunciations`"),
    ],
)
def test_a_grammar_with_a_fault_is_refused_with_its_text(grammar: str, complaint: str) -> None:
    """The decoder never gets half of a grammar."""
    with pytest.raises(ConfigError, match=complaint):
        Decoder(grammar, Pronunciations())
