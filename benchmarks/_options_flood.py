"""OPTIONS at a steady rate from many pretended callers, for `bot_calls --flood`: a scanner in full flight.

    python -m benchmarks._options_flood PORT PER_SECOND SECONDS

Prints one line of JSON (`Flood`) at the end.
"""

from __future__ import annotations

import select
import socket
import sys
import time

import msgspec

_STEP_S = 0.005


class Flood(msgspec.Struct):
    sent: int
    answered: int


def options(number: int, port: int, ours: int) -> bytes:
    return (
        f"OPTIONS sip:{number}@127.0.0.1:{port} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{ours};branch=z9hG4bK{number}\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:{number}@127.0.0.1>;tag={number}\r\nTo: <sip:{number}@127.0.0.1>\r\n"
        f"Call-ID: {number}@flood\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def flood(port: int, per_s: int, seconds: float) -> Flood:
    done = Flood(0, 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        ours, began = sock.getsockname()[1], time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            while done.sent < passed * per_s:
                sock.sendto(options(done.sent, port, ours), ("127.0.0.1", port))
                done.sent += 1
            done.answered += _taken(sock)
            time.sleep(_STEP_S)
        while select.select([sock], [], [], 1.0)[0]:
            done.answered += _taken(sock)
    return done


def _taken(sock: socket.socket) -> int:
    taken = 0
    while True:
        try:
            sock.recv(65536)
        except BlockingIOError:
            return taken
        taken += 1


if __name__ == "__main__":
    print(msgspec.json.encode(flood(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))).decode())
