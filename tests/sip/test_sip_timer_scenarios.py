"""Every timer of RFC 3261's table 4 and of RFC 6026, seen at work: what is sent when, and when it is over.

T1 is 0.5 s, T2 4 s, T4 5 s. A timer without a scenario here fails the last test.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sip_wire import OUR_SDP, SDP, TCP, UDP, Line, ack_of, invite, methods, reply, request, statuses

from gateway.sip.commands import Accept, HangUp, Place, Probe, Reject
from gateway.sip.events import CallAccepted, CallFailed, ProbeAnswered
from gateway.sip.flow import Flow
from gateway.sip.message import Request, Response


def moments(line: Line, seconds: float) -> list[tuple[float, str | int]]:
    """What is sent within that time: how long after now, and the method or status."""
    begun, sent = line.now, []
    while (due := line.endpoint.next_deadline()) is not None and due <= begun + seconds:
        for message in line.advance(due - line.now):
            what = message.method if isinstance(message, Request) else message.status
            sent.append((line.now - begun, what))
    line.advance(begun + seconds - line.now)
    return sent


def placed(flow: Flow = UDP) -> tuple[Line, Request]:
    line = Line(flow)
    (sent,) = line.do(Place("out", "sip:bob@192.0.2.9", flow, OUR_SDP, "sip:desk@192.0.2.1"))
    assert isinstance(sent, Request)
    return line, sent


def probed(flow: Flow = UDP) -> tuple[Line, Request]:
    line = Line(flow)
    (sent,) = line.do(Probe("probe", "sip:192.0.2.9", flow))
    assert isinstance(sent, Request)
    return line, sent


def refused(flow: Flow = UDP) -> tuple[Line, Response]:
    """A call of the peer's that we refused."""
    line = Line(flow)
    line.receive(invite())
    (busy,) = line.do(Reject(line.offered, 486))
    assert isinstance(busy, Response)
    return line, busy


def up(flow: Flow = UDP) -> tuple[Line, Response]:
    """A call of the peer's that we took."""
    line = Line(flow)
    line.receive(invite())
    (ok,) = line.do(Accept(line.offered, OUR_SDP))
    assert isinstance(ok, Response)
    line.receive(ack_of(ok))
    return line, ok


def timer_a() -> None:
    """An INVITE is repeated after T1, each pause twice the last, without bound."""
    line, _ = placed()
    assert moments(line, 31.9) == [(at, "INVITE") for at in (0.5, 1.5, 3.5, 7.5, 15.5, 31.5)]


def timer_b() -> None:
    """64*T1 without any answer is a time-out."""
    line, _ = placed()
    line.advance(31.9)
    assert line.events == []
    line.advance(0.1)
    assert line.event(CallFailed).status == 408
    assert line.endpoint.transactions == 0


def timer_d() -> None:
    """For 32 s every repetition of a refusal gets its ACK."""
    line, sent = placed()
    line.receive(reply(sent, 486))
    line.advance(31.9)
    assert methods(line.receive(reply(sent, 486))) == ["ACK"]
    line.advance(0.1)
    assert line.receive(reply(sent, 486)) == []
    assert line.endpoint.transactions == 0


def timer_e() -> None:
    """Another request is repeated with pauses up to T2; every T2 once it had a provisional answer."""
    line, _ = probed()
    assert [at for at, _ in moments(line, 20)] == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5]
    line, sent = probed()
    line.receive(reply(sent, 100))
    # The one that runs already goes off first (RFC 3261 17.1.2.2).
    assert [at for at, _ in moments(line, 13)] == [0.5, 4.5, 8.5, 12.5]


def timer_f() -> None:
    """64*T1, with or without a provisional answer."""
    for provisional in (False, True):
        line, sent = probed()
        if provisional:
            line.receive(reply(sent, 100))
        line.advance(31.9)
        assert line.events == []
        line.advance(0.1)
        assert line.event(ProbeAnswered).status == 408
        assert line.endpoint.transactions == 0


def timer_g() -> None:
    """A refusal is repeated with pauses up to T2 until its ACK."""
    line, _ = refused()
    assert moments(line, 12) == [(at, 486) for at in (0.5, 1.5, 3.5, 7.5, 11.5)]


def timer_h() -> None:
    """An ACK that never comes is waited for 64*T1."""
    line, _ = refused()
    line.advance(31.9)
    assert line.endpoint.transactions == 1
    line.advance(0.1)
    assert line.endpoint.transactions == 0
    assert moments(line, 100) == []


def timer_i() -> None:
    """After the ACK its repetitions are absorbed for T4."""
    line, busy = refused()
    line.receive(ack_of(busy))
    assert moments(line, 4.9) == []
    line.receive(ack_of(busy))
    assert line.endpoint.counters["stray_acks"] == 0
    line.advance(0.1)
    assert line.endpoint.transactions == 0


def timer_j() -> None:
    """For 64*T1 a repeated request gets the same answer again."""
    line, ok = up()
    bye = request("BYE", branch="z9hG4bK-bye", cseq=2, to_tag=ok.to.tag)
    line.receive(bye)
    line.advance(31.9)
    assert statuses(line.receive(bye)) == [200]
    line.advance(0.1)
    assert statuses(line.receive(bye)) == [481]


def timer_k() -> None:
    """Repeated answers to a request of ours are absorbed for T4."""
    line, _ = up()
    (bye,) = line.do(HangUp(line.offered))
    line.receive(reply(bye, 200))
    line.advance(4.9)
    line.receive(reply(bye, 200))
    assert line.endpoint.counters["stray_responses"] == 0
    line.advance(0.1)
    line.receive(reply(bye, 200))
    assert line.endpoint.counters["stray_responses"] == 1


def timer_l() -> None:
    """RFC 6026: an INVITE we took is absorbed for 64*T1, acknowledged or not."""
    line, _ = up()
    line.advance(31.9)
    assert line.receive(invite()) == []
    assert line.endpoint.transactions == 1
    line.advance(0.1)
    assert line.endpoint.transactions == 0


def timer_m() -> None:
    """RFC 6026: for 64*T1 a repeated or forked 2xx reaches us, and gets its ACK."""
    line, sent = placed()
    line.receive(reply(sent, 200, body=SDP))
    line.event(CallAccepted)
    line.advance(31.9)
    assert methods(line.receive(reply(sent, 200, body=SDP))) == ["ACK"]
    line.advance(0.1)
    assert line.receive(reply(sent, 200, body=SDP)) == []
    assert line.endpoint.counters["stray_responses"] == 1


SCENARIOS: dict[str, Callable[[], None]] = {
    name.removeprefix("timer_").upper(): scenario for name, scenario in list(globals().items()) if name[:6] == "timer_"
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_timer(name: str) -> None:
    """One function above each."""
    SCENARIOS[name]()


@pytest.mark.parametrize("begin", [placed, probed, refused])
def test_on_a_stream_nothing_is_repeated(begin: Callable[[Flow], tuple[Line, object]]) -> None:
    """A, E and G are for datagrams; B, F and H are not."""
    line, _ = begin(TCP)
    assert moments(line, 31.9) == []
    assert line.endpoint.transactions == 1
    line.advance(0.2)
    assert line.endpoint.transactions == 0


def test_on_a_stream_nothing_needs_to_be_absorbed() -> None:
    """D, I, J and K are over at once."""
    line, sent = placed(TCP)
    line.receive(reply(sent, 486))
    assert line.endpoint.transactions == 0
    line, busy = refused(TCP)
    line.receive(ack_of(busy))
    assert line.endpoint.transactions == 0
    line, sent = probed(TCP)
    line.receive(reply(sent, 200))
    assert line.endpoint.transactions == 0
    line, ok = up(TCP)
    before = line.endpoint.transactions
    line.receive(request("BYE", branch="z9hG4bK-bye", cseq=2, to_tag=ok.to.tag))
    assert line.endpoint.transactions == before


def test_no_timer_is_without_its_scenario() -> None:
    """A to K of RFC 3261 but C, which is a proxy's, and L and M of RFC 6026."""
    assert sorted(SCENARIOS) == sorted("ABDEFGHIJKLM")
