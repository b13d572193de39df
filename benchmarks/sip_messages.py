"""SIP messages: what parsing, reading and serialising a 1 KB INVITE costs, and the signalling of a whole call.

    python -m benchmarks.sip_messages

CPU time in microseconds, the median of several runs; no sockets, so that only our own work is measured.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from gateway.core.ids import SeededIds
from gateway.sip.commands import Accept
from gateway.sip.endpoint import Endpoint, EndpointOptions
from gateway.sip.events import Action, CallOffered, Send
from gateway.sip.flow import Flow
from gateway.sip.message import Request, Response, parse
from gateway.sip.offer_answer import LocalMedia, answer

RUNS, ROUNDS = 15, 1000
OURS, PEER = ("192.0.2.1", 5060), ("198.51.100.7", 5060)
FLOW = Flow("udp", OURS, PEER)
SDP = "\r\n".join(
    (
        "v=0",
        "o=- 3976200000 3976200000 IN IP4 198.51.100.7",
        "s=-",
        "c=IN IP4 198.51.100.7",
        "t=0 0",
        "m=audio 40376 RTP/AVP 8 0 101",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-16",
        "a=ptime:20",
        "a=sendrecv",
        "",
    )
)
LINES = (
    "INVITE sip:desk@192.0.2.1:5060;transport=udp SIP/2.0",
    "Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK-524287-1---{call};rport",
    "Max-Forwards: 70",
    "Contact: <sip:4930123456@198.51.100.7:5060;transport=udp>",
    'To: "Appointments" <sip:desk@192.0.2.1:5060>',
    'From: "A. Caller" <sip:4930123456@example.com>;tag=a4f1c9d2',
    "Call-ID: {call}",
    "CSeq: 1 INVITE",
    "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY",
    "Supported: 100rel, timer, replaces, histinfo",
    "Session-Expires: 1800;refresher=uac",
    "Min-SE: 90",
    "P-Asserted-Identity: <sip:+4930123456@example.com;user=phone>",
    "User-Agent: Example-Softswitch/7.4.2",
    "Content-Type: application/sdp",
    f"Content-Length: {len(SDP)}",
)


def invite(call: str) -> bytes:
    return ("\r\n".join(LINES).format(call=call) + "\r\n\r\n" + SDP).encode()


def within(method: str, cseq: int, accepted: Response, call: str) -> bytes:
    """An ACK or BYE in the dialog that `accepted` made."""
    return (
        f"{method} sip:desk@192.0.2.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK-{method}-{call}"
        f"\r\nMax-Forwards: 70\r\nTo: {accepted.required('To')}\r\nFrom: {accepted.required('From')}\r\n"
        f"Call-ID: {call}\r\nCSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def median_us(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """CPU microseconds of one `work`."""
    took = []
    for _ in range(RUNS):
        began = time.process_time_ns()
        for _ in range(rounds):
            work()
        took.append((time.process_time_ns() - began) / rounds / 1000)
    return statistics.median(took)


def read() -> Request:
    """Parse, and understand every line that routing and matching rest upon."""
    request = parse(MESSAGE)
    assert isinstance(request, Request)
    _ = request.via, request.target, request.from_, request.to, request.call_id, request.cseq, request.contact
    return request


def _response(actions: list[Action], status: int) -> Response:
    for action in actions:
        if isinstance(action, Send):
            message = parse(action.data)
            if isinstance(message, Response) and message.status == status:
                return message
    raise AssertionError(f"no {status} among {actions}")


class Signalling:
    """Calls to one endpoint: INVITE, 100, 200, ACK, BYE, 200. What the caller would spend on them is left out."""

    def __init__(self) -> None:
        self._endpoint = Endpoint(EndpointOptions(), SeededIds("benchmark"))
        self._calls = 0
        self._now = 0.0
        self._spent_ns = 0

    def call(self) -> None:
        self._calls += 1
        self._now += 0.01
        name = f"call-{self._calls}"
        first = invite(name)
        offered = self._timed(lambda: self._endpoint.receive(first, FLOW, self._now))
        dialog = next(action.dialog for action in offered if isinstance(action, CallOffered))
        accepted = _response(self._timed(lambda: self._endpoint.send(Accept(dialog, SDP.encode()), self._now)), 200)
        ack, bye = within("ACK", 1, accepted, name), within("BYE", 2, accepted, name)
        self._timed(lambda: self._endpoint.receive(ack, FLOW, self._now))
        _response(self._timed(lambda: self._endpoint.receive(bye, FLOW, self._now)), 200)
        self._timed(lambda: self._endpoint.on_deadline(self._now))

    def _timed(self, work: Callable[[], list[Action]]) -> list[Action]:
        began = time.process_time_ns()
        actions = work()
        self._spent_ns += time.process_time_ns() - began
        return actions

    def median_us(self, rounds: int = 300) -> float:
        took = []
        for _ in range(RUNS):
            self._spent_ns = 0
            for _ in range(rounds):
                self.call()
            took.append(self._spent_ns / rounds / 1000)
        return statistics.median(took)


MESSAGE = invite("8f3c1a90-7d21-4e55@198.51.100.7")


def main() -> None:
    request, local = read(), LocalMedia(host=OURS[0], port=20000)
    print(f"   INVITE of {len(MESSAGE)} octets with {len(request.headers)} header lines, CPU us:")
    for what, us in (
        ("parse", median_us(lambda: parse(MESSAGE))),
        ("parse and read all that routing needs", median_us(read)),
        ("serialise", median_us(request.to_bytes)),
        ("answer its offer", median_us(lambda: answer(SDP.encode(), local))),
        ("signalling of a whole call, INVITE to BYE", Signalling().median_us()),
    ):
        print(f"   {what:44} {us:7.1f}", flush=True)


if __name__ == "__main__":
    main()
