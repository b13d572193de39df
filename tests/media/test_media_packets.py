"""RTP, RTCP and trace formats: there and back, and whatever else may come."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.errors import PeerError
from gateway.media import rtcp, rtp, trace
from gateway.media.receive_coded import in_rounds
from gateway.media.reception import Reception

u8, u16, u32 = st.integers(0, 255), st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)
packets = st.builds(rtp.RtpPacket, st.integers(0, 127), u16, u32, u32, st.binary(max_size=480), st.booleans())
blocks = st.builds(rtcp.Block, u32, u8, st.integers(-(2**23), 2**23 - 1), u32, u32, u32, u32)
senders = st.none() | st.builds(rtcp.SenderInfo, st.integers(0, 2**64 - 1), u32, u32, u32)
reports = st.builds(rtcp.Report, u32, senders, st.lists(blocks, max_size=31).map(tuple))


@settings(deadline=None)
@given(packets)
def test_rtp_comes_back_as_it_went(packet: rtp.RtpPacket) -> None:
    """What is built is parsed to the same fields, RFC 3550 5.1."""
    assert rtp.parse(rtp.build(packet)) == packet


@settings(deadline=None)
@given(packets, st.lists(u32, max_size=15), st.none() | st.binary(max_size=40), st.integers(0, 20))
def test_rtp_extras_are_taken_off(
    packet: rtp.RtpPacket, sources: list[int], extension: bytes | None, padding: int
) -> None:
    """Contributing sources, header extension and padding do not reach the decoder."""
    plain = rtp.build(packet)
    head = bytearray(plain[:12] + b"".join(s.to_bytes(4, "big") for s in sources))
    head[0] |= len(sources)
    if extension is not None:
        words = len(extension) // 4
        head[0] |= 0x10
        head += b"\xbe\xde" + words.to_bytes(2, "big") + extension[: 4 * words]
    tail = bytes(padding - 1) + bytes([padding]) if padding else b""
    head[0] |= 0x20 if padding else 0
    assert rtp.parse(bytes(head) + plain[12:] + tail) == packet


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_rtp_of_any_octets_parses_or_is_refused(data: bytes) -> None:
    """A peer may send anything; the answer is a packet or `PeerError`."""
    with contextlib.suppress(PeerError):
        assert len(rtp.parse(data).payload) <= len(data)


LIES = {
    "nothing": b"",
    "shorter than a header": b"\x80" * 11,
    "another version": b"\x40" + bytes(11),
    "sources that are not there": b"\x8f" + bytes(11),
    "half an extension header": b"\x90" + bytes(13),
    "an extension longer than the packet": b"\x90" + bytes(13) + b"\xff\xff",
    "more padding than packet": b"\xa0" + bytes(10) + b"\x0d",
}


@pytest.mark.parametrize("lie", LIES)
def test_rtp_that_lies_about_its_length_is_refused(lie: str) -> None:
    """Cut off, of another version, or with more sources, extension or padding than there are octets."""
    with pytest.raises(PeerError):
        rtp.parse(LIES[lie])


@settings(deadline=None)
@given(
    st.lists(packets.filter(lambda p: len(p.payload) == 0), min_size=1, max_size=9), st.binary(min_size=4, max_size=4)
)
def test_many_headers_are_built_and_read_as_one_would(many: list[rtp.RtpPacket], payload: bytes) -> None:
    """The columns for a batch hold what the parser of single packets says."""
    singles = [p._replace(payload=payload) for p in many]
    headers = rtp.Headers(
        np.ones(len(singles), np.bool_),
        np.array([p.payload_type for p in singles]),
        np.array([p.sequence for p in singles]),
        np.array([p.timestamp for p in singles]),
        np.array([p.ssrc for p in singles]),
    )
    markers = np.array([p.marker for p in singles])
    laid = rtp.build_many(headers, markers, np.frombuffer(payload * len(singles), np.uint8).reshape(-1, 4))
    assert [bytes(row) for row in laid] == [rtp.build(p) for p in singles]
    read = rtp.parse_many(laid)
    assert read.plain.all()
    for column, wanted in zip(read[1:], headers[1:], strict=True):
        assert column.tolist() == wanted.tolist()


@settings(deadline=None)
@given(reports, st.booleans())
def test_rtcp_comes_back_as_it_went(report: rtcp.Report, bye: bool) -> None:
    """A compound packet carries the report, whatever name and goodbye come with it."""
    data = rtcp.build(report, "abc@gateway", bye=bye)
    assert len(data) % 4 == 0
    assert rtp.is_rtcp(data)
    assert rtcp.parse(data) == [report]


@settings(deadline=None)
@given(st.binary(max_size=120))
def test_rtcp_of_any_octets_parses_or_is_refused(data: bytes) -> None:
    """As for RTP."""
    with contextlib.suppress(PeerError):
        rtcp.parse(data)


@settings(deadline=None)
@given(reports, st.integers(0, 200))
def test_rtcp_cut_off_is_refused(report: rtcp.Report, keep: int) -> None:
    """A truncated compound packet is never read as a shorter one, unless it was cut between two packets."""
    data = rtcp.build(report, "x")
    cut = data[: min(keep, len(data) - 1)]
    first = 4 + 4 * int.from_bytes(data[2:4], "big")
    if len(cut) not in (0, first):
        with pytest.raises(PeerError):
            rtcp.parse(cut)


addresses = st.tuples(st.sampled_from(["192.0.2.1", "2001:db8::1", "198.51.100.200"]), u16)
traced = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 0xFFFF), addresses, st.binary(max_size=60))


def written(records: list[tuple[int, int, tuple[str, int], bytes]]) -> bytes:
    writer = trace.TraceWriter()
    return writer.begin() + b"".join(writer.datagram(t, us / 1e6, source, data) for t, us, source, data in records)


@settings(deadline=None)
@given(st.lists(traced, max_size=20))
def test_a_trace_holds_every_datagram_with_its_tick(
    records: list[tuple[int, int, tuple[str, int], bytes]],
) -> None:
    """Replay gets the same datagrams, from the same addresses, for the same ticks."""
    read = list(trace.read(written(records)))
    assert [(r.tick, r.source, r.data) for r in read] == [(t, source, data) for t, _, source, data in records]
    for found, (tick, us, _, _) in zip(read, records, strict=True):
        assert found.at_s == pytest.approx(tick * 0.02 - us / 1e6)


@given(st.lists(st.one_of(traced, st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 2**32 - 1))), max_size=20))
def test_a_trace_holds_the_ticks_that_were_left_out(records: list[tuple[Any, ...]]) -> None:
    """Between the datagrams, where they belong; and what came while ticks were left out belongs to one of those."""
    writer = trace.TraceWriter()
    whole = writer.begin()
    for record in records:
        whole += writer.left_out(*record) if len(record) == 2 else writer.datagram(record[0], 0.0, *record[2:])
    kinds = [type(one) for one in trace.read(whole)]
    assert kinds == [trace.LeftOut if len(record) == 2 else trace.Traced for record in records]
    left_out = [tuple(one) for one in trace.read(whole) if isinstance(one, trace.LeftOut)]
    assert left_out == [record for record in records if len(record) == 2]
    (late,) = trace.read(writer.begin() + trace.TraceWriter().datagram(100, 0.25, ("192.0.2.1", 4000), b"late"))
    assert late[:2] == (88, pytest.approx(100 * 0.02 - 0.25))


def test_traces_of_before_are_read() -> None:
    """Version 1 had no ticks left out, and was the same for all else."""
    first = written([(3, 0, ("192.0.2.1", 4000), b"first")])
    assert list(trace.read(first[:8] + b"\x01\x00" + first[10:])) == list(trace.read(first))


@settings(deadline=None)
@given(st.lists(traced, min_size=1, max_size=5), st.data())
def test_a_trace_cut_off_by_a_crash_holds_what_was_before(
    records: list[tuple[int, int, tuple[str, int], bytes]], data: st.DataObject
) -> None:
    """Reading stops at the last whole record, without an error."""
    whole = written(records)
    cut = whole[: data.draw(st.integers(10, len(whole)))]
    read = list(trace.read(cut))
    assert read == list(trace.read(whole))[: len(read)]


@pytest.mark.parametrize("data", [b"", b"RIFF1234WAVE", trace.TraceWriter().begin() + b"\x07abc"])
def test_what_is_no_trace_is_refused(data: bytes) -> None:
    """A wrong file is told apart from a truncated one."""
    with pytest.raises(PeerError):
        list(trace.read(data))


def test_a_report_that_arrives_within_the_tick_that_answers_it_has_no_age() -> None:
    """RFC 3550 6.4.1: the delay since the last sender report is unsigned; reckoned at the tick's due time, the
    report of this very tick would seem to come from the future."""
    block = Reception(1).block(0, ssrc=7, last_report=123, delay_s=-0.02)
    assert block.delay == 0
    assert rtcp.build(rtcp.Report(1, None, (block,)), "c@x")


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60))
def test_packets_of_one_row_come_in_turn(rows: list[int]) -> None:
    """Each packet is in one round, a round has each row once, and a row's n-th packet is in the n-th round."""
    rounds = in_rounds(np.array(rows))
    if rounds == [None]:
        assert len(set(rows)) == len(rows)
        return
    turns = {int(k): n for n, chosen in enumerate(rounds) for k in chosen}
    assert sorted(turns) == list(range(len(rows)))
    assert all(turns[k] == rows[:k].count(row) for k, row in enumerate(rows))
    assert all(list(chosen) == sorted(chosen) for chosen in rounds)
