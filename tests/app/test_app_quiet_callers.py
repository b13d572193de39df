"""A caller 30 dB below the usual, through the whole plane to the built-in recogniser."""

import asyncio

import pytest

from benchmarks.recognition_aids import PHRASES, callers, cut, understood
from gateway.core.errors import ProviderError


@pytest.mark.parametrize("gain", [True, False])
def test_a_caller_30_db_too_faint_is_understood(gain: bool) -> None:
    """At -50 dBFS of active speech, most of fifteen phrases; gain control must not cost a recogniser that levels by
    itself anything."""
    try:
        faint = callers(-50.0)[: len(PHRASES)]
    except ProviderError:
        pytest.skip("flite is not installed")
    texts = asyncio.run(understood(cut(faint, -75, None, gain)))
    assert sum(text == phrase for text, phrase in zip(texts, PHRASES, strict=True)) >= 11
