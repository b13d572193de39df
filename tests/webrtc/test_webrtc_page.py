from __future__ import annotations

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import events as e
from gateway.core.errors import PeerError
from gateway.webrtc.page import _SHOWN, digit_from_page, for_page

PRIVATE = (e.CallStarted, e.VariableSet, e.AgentRemembered, e.RecordingStarted, e.RecordingFailed, e.ProviderFailed)


def test_a_page_sees_the_conversation_and_nothing_behind_it() -> None:
    """Headers, memory, paths and vendor messages stay inside; an event type nobody thought of stays inside too."""
    assert not set(PRIVATE) & set(_SHOWN)
    assert set(_SHOWN) < set(get_args(e.AnyEvent))
    assert for_page(e.RecordingStarted(1.0, "c", "/var/lib/gateway/c.wav")) is None


def test_numbers_and_ids_are_left_out_of_what_is_shown() -> None:
    """The end without its statistics, the session without its id, an error without its inner message."""
    ended = for_page(e.CallEnded(1.0, "c", "hangup", "bot", 2.0, {"remote": "192.0.2.1"}))
    resumed = for_page(e.SessionResumed(1.0, "c", "secret-session", "desk/1:bot", 5.0))
    error = for_page(e.ErrorOccurred(1.0, "c", "internal", "/var/lib/gateway is full"))
    done = for_page(e.DialogueCompleted(1.0, "c", "booked", {"phone": "4930"}))
    together = b"".join(filter(None, (ended, resumed, error, done))).decode()
    for secret in ("192.0.2.1", "secret-session", "/var/lib", "4930"):
        assert secret not in together
    assert json.loads(resumed or b"")["away_s"] == 5.0


@pytest.mark.parametrize("digit", "0123456789*#ABCD")
def test_every_key_of_a_telephone_is_a_digit(digit: str) -> None:
    """RFC 4733's sixteen, in JSON."""
    assert digit_from_page(json.dumps({"type": "digit", "digit": digit})) == digit


@given(st.one_of(st.text(), st.binary(), st.recursive(st.none() | st.text(), st.lists).map(json.dumps)))
def test_anything_else_is_refused(message: str | bytes) -> None:
    """A page can send what it likes; it can only ever press keys."""
    with pytest.raises(PeerError):
        digit_from_page(message)
