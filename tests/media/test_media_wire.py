"""What the gateway's process and its media workers say to each other, cut anywhere on its way."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.events import SpeechBegan
from gateway.media import commands as c
from gateway.media.ports import Said
from gateway.media.wire import FromWorker, WorkerPulse, of_commands, of_reports, pack

legs = st.text(max_size=10)
times = st.floats(0, 1e6)
reports: st.SearchStrategy[FromWorker] = st.one_of(
    st.builds(c.HeardAudio, times, legs, times, st.binary(max_size=900), st.booleans()),
    st.builds(SpeechBegan, times, legs, times),
    st.builds(c.ClipStarted, times, legs, st.integers(0, 99)),
    st.builds(WorkerPulse, times, st.integers(0, 99), times, st.lists(st.integers(0, 99))),
)


@given(st.lists(st.lists(reports, max_size=4), max_size=6), st.lists(st.integers(0, 5000), max_size=12))
def test_messages_come_whole_and_in_order_however_they_are_cut(packs: list[list[FromWorker]], cuts: list[int]) -> None:
    """A stream has no borders: a read may end within a length, within a message, or behind several."""
    stream = b"".join(pack(messages) for messages in packs)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    unpacker = of_reports()
    read = [unpacker.feed(stream[begin:end]) for begin, end in pairwise(places)]
    assert [message for messages in read for message in messages] == [one for messages in packs for one in messages]


def test_what_was_read_does_not_change_with_the_buffer_it_was_read_from() -> None:
    """A worker reads into one buffer again and again: the beginning of a message is kept apart from it."""
    audio = c.QueueAudio("call", 1, bytes(range(256)) * 40, last=True)
    stream, buffer, unpacker = pack([audio, audio]), bytearray(1000), of_commands()
    heard = []
    for at in range(0, len(stream), len(buffer)):
        part = stream[at : at + len(buffer)]
        buffer[: len(part)] = part
        heard += unpacker.feed(memoryview(buffer)[: len(part)])
    assert heard == [audio, audio]


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x91\x81\xa4type\xa6Absurd", msgspec.msgpack.encode([1, 2])])
def test_what_is_no_message_is_an_error(body: bytes) -> None:
    """The stream is lost then: nobody knows where the next message begins."""
    said: list[Said] = [c.ClipStarted(1.0, "call", 1)]
    with pytest.raises(msgspec.MsgspecError):
        of_reports().feed(pack(said) + len(body).to_bytes(4, "big") + body)
