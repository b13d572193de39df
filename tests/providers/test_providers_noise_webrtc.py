"""WebRTC's noise suppressor is an extra: without its package, who asks for it is told."""

from __future__ import annotations

import sys

import pytest

from gateway.core.errors import ConfigError
from gateway.providers.load import build_noise


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """At start, with the remedy."""
    monkeypatch.delitem(sys.modules, "gateway.providers.noise.webrtc", raising=False)
    monkeypatch.setitem(sys.modules, "pywebrtc_audio", None)
    with pytest.raises(ConfigError, match=r"webrtc.*pip install pywebrtc.audio"):
        build_noise("webrtc", slots=1)


def test_levels_are_those_of_webrtc() -> None:
    """0 to 3, and nothing else."""
    build_noise("webrtc", {"level": 3}, slots=1)
    with pytest.raises(ConfigError, match="level"):
        build_noise("webrtc", {"level": 4}, slots=1)
