"""A SIP caller made of text and one UDP socket: it sends exactly what a test wants sent, right or wrong."""

from __future__ import annotations

import re
import secrets
import socket
from types import TracebackType
from typing import NamedTuple, Self

PCMU = "m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"


class Reply(NamedTuple):
    status: int
    text: str

    def header(self, name: str) -> str:
        found = re.search(rf"^{name}:\s*(.*?)\r?$", self.text, re.MULTILINE | re.IGNORECASE)
        return found[1] if found else ""


class RawCaller:
    """A context manager. What it calls is `route` of the gateway at `port`."""

    def __init__(self, port: int, route: str = "milliwatt", *, number: str = "raw") -> None:
        self.far = ("127.0.0.1", port)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self.uri = f"sip:{route}@127.0.0.1:{port}"
        self._from = f"<sip:{number}@127.0.0.1>;tag={secrets.token_hex(4)}"
        self._to = f"<{self.uri}>"
        self._call_id = secrets.token_hex(8)
        self._sequence = 0
        self._contact = self.uri

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendto(data, self.far)

    def request(self, method: str, body: str = "", *extra: str, **changed: str | None) -> bytes:
        """A right request, but for what is `changed`: a header (`_` for `-`, None for none), or the first `line`."""
        if method != "ACK":
            self._sequence += 1
        headers: dict[str, str | None] = {
            "Via": f"SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bK{secrets.token_hex(6)};rport",
            "Max-Forwards": "70",
            "From": self._from,
            "To": self._to,
            "Call-ID": self._call_id,
            "CSeq": f"{self._sequence} {method}",
            "Contact": f"<sip:raw@127.0.0.1:{self.port}>",
            "Content-Type": "application/sdp" if body else None,
            "Content-Length": str(len(body.encode())),
        }
        line = changed.pop("line", None) or f"{method} {self._contact} SIP/2.0"
        headers |= {key.replace("_", "-"): value for key, value in changed.items()}
        lines = [line, *(f"{name}: {value}" for name, value in headers.items() if value is not None), *extra]
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

    def sdp(self, media_port: int, media: str = PCMU) -> str:
        session = "v=0\r\no=raw 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        return session + media.format(port=media_port)

    def ask(self, request: bytes, *, within_s: float = 5.0) -> Reply | None:
        """Send it; its final answer, or None. A final answer to an INVITE is acknowledged."""
        self.send(request)
        self._socket.settimeout(within_s)
        try:
            while True:
                text = self._socket.recv(65536).decode(errors="replace")
                status = re.match(r"SIP/2\.0 (\d{3})", text)
                if status and int(status[1]) >= 200:
                    return self._answered(Reply(int(status[1]), text))
        except TimeoutError:
            return None

    def _answered(self, reply: Reply) -> Reply:
        if reply.header("CSeq").endswith("INVITE"):
            if reply.status < 300:
                self._to = reply.header("To")
                self._contact = reply.header("Contact").partition("<")[2].partition(">")[0] or self._contact
                self.send(self.request("ACK"))
            else:
                self.send(self.request("ACK", Via=reply.header("Via"), To=reply.header("To")))
        return reply

    def call(self, media_port: int) -> int:
        """Be answered; the port the gateway wants its audio at."""
        reply = self._granted(self.request("INVITE", self.sdp(media_port)))
        found = re.search(r"^m=audio (\d+)", reply.text, re.MULTILINE)
        assert found
        return int(found[1])

    def hang_up(self) -> None:
        self._granted(self.request("BYE"))

    def _granted(self, request: bytes) -> Reply:
        reply = self.ask(request)
        assert reply is not None, "no answer"
        assert reply.status == 200, reply.text
        return reply
