"""What every call is given, and how calls are to be."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from gateway.call.call import CallOptions
from gateway.call.ports import Bundle, Dial, NoBundle, nowhere
from gateway.call.sessions import SessionOptions
from gateway.core.clock import Clock
from gateway.core.ids import Ids
from gateway.dialplan import Dialplan
from gateway.media.ports import MediaControl
from gateway.session.conversation import ConversationOptions
from gateway.session.ports import Agent, SpeechToText, TextToSpeech, TurnDetector
from gateway.store.ports import SessionStore


class Services(msgspec.Struct, frozen=True):
    """What every call is given: handed in by `app`, the same for all calls."""

    clock: Clock
    ids: Ids
    media: MediaControl
    store: SessionStore
    stt: SpeechToText
    tts: TextToSpeech
    agent: Callable[[str], Agent]
    dialplan: Callable[[], Dialplan]
    """The dialplan in force; read once a call, so that a call keeps the plan it began with."""
    dial: Dial = nowhere
    """The way to others, for transfers."""
    bundle: Callable[[str], Bundle] = lambda call_id: NoBundle()
    load_prompt: Callable[[str], bytes | None] = lambda name: None
    """The 8 kHz PCM of a stored prompt, or None when there is none."""
    load_wide_prompt: Callable[[str], bytes | None] = lambda name: None
    """The same at 16 kHz, twice as many samples; asked for what a caller on a wideband line hears."""
    overload: Callable[[], str] = lambda: ""
    """Why there should be no further call just now; empty when there may."""
    turn_detector: TurnDetector | None = None
    """Decides when a caller has finished; None is the session's own."""
    local_time: Callable[[], datetime] = lambda: datetime.now().astimezone()
    """The time by which the dialplan's time windows go, with its zone: a dialplan may have another one."""


class DeskOptions(msgspec.Struct, frozen=True):
    max_calls: int = 500
    call: CallOptions = CallOptions()
    session: SessionOptions = SessionOptions()
    conversation: ConversationOptions = ConversationOptions()
