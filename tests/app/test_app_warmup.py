"""What is got ready before the first caller."""

from __future__ import annotations

from gateway.app.warmup import start_engines
from gateway.providers.tts.scripted import Options, ScriptedTts
from gateway.session import resample


async def test_the_filter_of_a_voice_is_made_before_it_speaks() -> None:
    """Its making, and the import behind it, would hold up every call for a second."""
    voice = ScriptedTts(Options(sample_rate=11025))
    await start_engines(voice)
    made = resample._taps.cache_info().misses
    resample.to_8k(bytes(200), voice.sample_rate)
    assert resample._taps.cache_info().misses == made
