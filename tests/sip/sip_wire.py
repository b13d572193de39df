"""One endpoint under a clock the test controls, and the messages a peer would send it."""

from __future__ import annotations

from typing import Any, TypeVar

from gateway.core.ids import SeededIds
from gateway.sip.commands import AnyCommand
from gateway.sip.endpoint import Endpoint, EndpointOptions
from gateway.sip.events import Action, CallOffered, Close, Send
from gateway.sip.flow import Flow
from gateway.sip.message import Request, Response, parse

E = TypeVar("E")

US = ("192.0.2.1", 5060)
PEER = ("192.0.2.9", 5060)
UDP = Flow("udp", US, PEER)
TCP = Flow("tcp", US, PEER, connection=7)

SDP = (
    b"v=0\r\no=peer 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"
)
OUR_SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n"


class Line:
    """`sent` holds everything the endpoint sent, parsed; `events` everything it told. Both are emptied by `clear`."""

    def __init__(self, flow: Flow = UDP, seed: str = "line", **options: Any) -> None:
        extensions, epoch = options.pop("extensions", None), options.pop("epoch", 0.0)
        self.endpoint = Endpoint(EndpointOptions(**options), SeededIds(seed), extensions, epoch=epoch)
        self.flow = flow
        self.now = 100.0
        self.sent: list[Request | Response] = []
        self.flows: list[Flow] = []
        self.raw: list[bytes] = []
        self.events: list[Any] = []
        self.closed: list[Flow] = []

    def receive(self, message: bytes | str, flow: Flow | None = None) -> list[Request | Response]:
        """Gives what was sent because of it."""
        data = message.encode() if isinstance(message, str) else message
        return self._take(self.endpoint.receive(data, flow or self.flow, self.now))

    def do(self, command: AnyCommand) -> list[Request | Response]:
        return self._take(self.endpoint.send(command, self.now))

    def lose(self, flow: Flow) -> list[Request | Response]:
        return self._take(self.endpoint.connection_lost(flow, self.now))

    def advance(self, seconds: float) -> list[Request | Response]:
        """Let time pass, each deadline met at its moment. Gives what was sent meanwhile."""
        end, sent = self.now + seconds, []
        while (due := self.endpoint.next_deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            sent += self._take(self.endpoint.on_deadline(self.now))
        self.now = end
        return sent

    def _take(self, actions: list[Action]) -> list[Request | Response]:
        sent: list[Request | Response] = []
        for action in actions:
            if isinstance(action, Send):
                self.raw.append(action.data)
                self.flows.append(action.flow)
                if action.data.strip():
                    sent.append(parse(action.data))
            elif isinstance(action, Close):
                self.closed.append(action.flow)
            else:
                self.events.append(action)
        self.sent += sent
        return sent

    def clear(self) -> None:
        self.sent.clear()
        self.events.clear()
        self.raw.clear()
        self.flows.clear()

    def event(self, kind: type[E]) -> E:
        """The one event of that kind."""
        (found,) = [event for event in self.events if isinstance(event, kind)]
        return found

    @property
    def offered(self) -> str:
        """The handle of the one call that was offered."""
        return self.event(CallOffered).dialog


def statuses(messages: list[Request | Response]) -> list[int]:
    return [message.status for message in messages if isinstance(message, Response)]


def methods(messages: list[Request | Response]) -> list[str]:
    return [message.method for message in messages if isinstance(message, Request)]


def request(
    method: str = "INVITE",
    *,
    uri: str = "sip:desk@192.0.2.1",
    branch: str = "z9hG4bK-1",
    cseq: int = 1,
    call_id: str = "call-1",
    from_tag: str = "theirs",
    to_tag: str = "",
    contact: str | None = "<sip:alice@192.0.2.9>",
    via: str | None = None,
    headers: tuple[str, ...] = (),
    body: bytes = b"",
    content_type: str = "application/sdp",
) -> bytes:
    """A request of the peer, `alice`."""
    via = via or f"SIP/2.0/UDP 192.0.2.9:5060;branch={branch};rport"
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: {via}",
        "Max-Forwards: 70",
        f"From: Alice <sip:alice@example.org>;tag={from_tag}",
        "To: <sip:desk@192.0.2.1>" + (f";tag={to_tag}" if to_tag else ""),
        f"Call-ID: {call_id}",
        f"CSeq: {cseq} {method}",
    ]
    if contact and method in ("INVITE", "UPDATE", "SUBSCRIBE", "REFER"):
        lines.append(f"Contact: {contact}")
    if body:
        lines.append(f"Content-Type: {content_type}")
    lines += [*headers, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode(errors="surrogateescape") + b"\r\n\r\n" + body


def invite(**fields: Any) -> bytes:
    return request("INVITE", **{"body": SDP, **fields})


def ack_of(response: Request | Response, **fields: Any) -> bytes:
    """The ACK of a final response to one of the peer's INVITEs; a 2xx's needs a branch of its own."""
    assert isinstance(response, Response)
    branch = response.via.branch if response.status >= 300 else f"z9hG4bK-ack-{response.cseq.number}"
    known = {"branch": branch, "cseq": response.cseq.number, "to_tag": response.to.tag, "call_id": response.call_id}
    return request("ACK", **{**known, **fields})


def reply(
    to: Request | Response,
    status: int,
    *,
    tag: str = "remote",
    contact: str | None = "<sip:bob@192.0.2.9>",
    headers: tuple[str, ...] = (),
    body: bytes = b"",
) -> bytes:
    """The peer's response to a request of ours."""
    assert isinstance(to, Request)
    to_line = to.required("To")
    if status > 100 and tag and "tag=" not in to_line:
        to_line += f";tag={tag}"
    lines = [
        f"SIP/2.0 {status} Whatever",
        *(f"Via: {via}" for via in to.all("Via")),
        f"From: {to.required('From')}",
        f"To: {to_line}",
        f"Call-ID: {to.call_id}",
        f"CSeq: {to.cseq}",
    ]
    if contact and 101 <= status < 300:
        lines.append(f"Contact: {contact}")
    if body:
        lines.append("Content-Type: application/sdp")
    lines += [*headers, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode(errors="surrogateescape") + b"\r\n\r\n" + body
