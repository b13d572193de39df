"""A phone made of text and one UDP socket: it rings, answers and hangs up exactly when a test says so."""

from __future__ import annotations

import re
import secrets
import select
import socket
from types import TracebackType
from typing import NamedTuple, Self

SDP = (
    "v=0\r\no=raw 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 9 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
)
COPIED = ("Via", "Record-Route", "From", "Call-ID", "CSeq")


class Received(NamedTuple):
    method: str
    text: str
    source: tuple[str, int]

    def lines(self, *names: str) -> list[str]:
        wanted = tuple(f"{name.lower()}:" for name in names)
        return [line for line in self.text.split("\r\n") if line.lower().startswith(wanted)]


class RawCallee:
    """A context manager."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(10)
        self.port = int(self._socket.getsockname()[1])
        self._tag = secrets.token_hex(4)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._socket.close()

    def register(self, address: str, registrar_port: int, *, expires_s: int = 60) -> None:
        """As one of the contacts of `address`, with a registrar that asks for no password; for 0 s: no more."""
        self._socket.sendto(
            (
                f"REGISTER sip:127.0.0.1:{registrar_port} SIP/2.0\r\n"
                f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bK{secrets.token_hex(6)}\r\n"
                f"Max-Forwards: 5\r\nFrom: <{address}>;tag={self._tag}\r\nTo: <{address}>\r\n"
                f"Call-ID: {secrets.token_hex(6)}\r\nCSeq: 1 REGISTER\r\n"
                f"Contact: <sip:{self.name}@127.0.0.1:{self.port}>;expires={expires_s}\r\nContent-Length: 0\r\n\r\n"
            ).encode(),
            ("127.0.0.1", registrar_port),
        )
        answer = self._socket.recv(4096).decode()
        assert answer.startswith("SIP/2.0 200"), answer

    def receive(self, method: str) -> Received:
        """The next request of that kind; repetitions of an INVITE that came before are passed over."""
        while True:
            data, source = self._socket.recvfrom(65_536)
            got = Received(data.split(b" ", 1)[0].decode(), data.decode(errors="replace"), source)
            if got.method == method:
                return got
            assert got.method == "INVITE", f"{self.name} wanted {method}, and got:\n{got.text}"

    @staticmethod
    def first_to_hear(*phones: RawCallee) -> RawCallee:
        """Which of them is spoken to first."""
        ready, _, _ = select.select([phone._socket for phone in phones], [], [], 10)
        assert ready, "nobody is spoken to"
        return next(phone for phone in phones if phone._socket in ready)

    def hears_nothing(self, *, for_s: float) -> bool:
        """Whether no request comes for so long."""
        self._socket.settimeout(for_s)
        try:
            self._socket.recv(65_536)
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(10)
        return False

    def reply(self, to: Received, status: int, body: str = "") -> None:
        lines = [f"SIP/2.0 {status} Whatever", *to.lines(*COPIED)]
        (address,) = to.lines("To")
        lines.append(address if re.search(";tag=", address) else f"{address};tag={self._tag}")
        lines.append(f"Contact: <sip:{self.name}@127.0.0.1:{self.port}>")
        lines += ["Content-Type: application/sdp"] if body else []
        lines.append(f"Content-Length: {len(body)}")
        self._socket.sendto(("\r\n".join(lines) + "\r\n\r\n" + body).encode(), to.source)
