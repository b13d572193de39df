"""Tokens and numbers: unguessable when live, the same again in replay."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.ids import Ids, RandomIds, SeededIds


@given(seed=st.integers() | st.text(), length=st.integers(1, 40))
def test_a_seed_gives_the_same_sequence(seed: int | str, length: int) -> None:
    """Two replays draw the same branches, tags and SSRCs in the same order."""
    one, other = SeededIds(seed), SeededIds(seed)
    assert [one.token(length), one.uint32(), one.token()] == [other.token(length), other.uint32(), other.token()]


def test_the_sequence_is_that_of_all_versions() -> None:
    """Recordings outlive Python versions: these values must come out everywhere, or golden files break."""
    ids = SeededIds(7)
    assert [ids.token(), ids.uint32(), ids.token(4)] == ["b5n2jd2i1f23", 1823296038, "2kym"]


def test_different_seeds_differ() -> None:
    """Calls of one replay that are seeded apart do not share identities."""
    assert SeededIds("a").token() != SeededIds("b").token()


@pytest.mark.parametrize("ids", [RandomIds(), SeededIds(1)])
def test_tokens_are_safe_in_headers_and_file_names(ids: Ids) -> None:
    """Lower-case letters and digits only, of the length asked for, and numbers fit 32 bits."""
    tokens = [ids.token(20) for _ in range(500)]
    assert all(re.fullmatch(r"[0-9a-z]{20}", token) for token in tokens)
    assert len(set(tokens)) == len(tokens)
    assert all(0 <= ids.uint32() < 2**32 for _ in range(500))


def test_live_ids_do_not_repeat() -> None:
    """Two gateways (or one, restarted) never draw the same token."""
    assert len({RandomIds().token() for _ in range(1000)}) == 1000
