"""A process that answers every call, and is nothing but SIP on sockets: what `sip_calls` calls.

Prints its port, then a line of figures whenever a line arrives on its standard input; ends with that input.
"""

from __future__ import annotations

import asyncio
import sys
import time

import msgspec
import structlog

from gateway.core.clock import SystemClock
from gateway.core.ids import RandomIds
from gateway.core.loops import rarely_collect
from gateway.sip.commands import Accept
from gateway.sip.events import AnySipEvent, CallEnded, CallOffered
from gateway.sip.io import SipServer
from gateway.sip.offer_answer import LocalMedia, answer
from gateway.sip.options import EndpointOptions


class Figures(msgspec.Struct):
    """Of this process since it began."""

    cpu_s: float
    resident_kb: int
    live: int
    offered: int
    ended: int


def resident_kb() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


async def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    offered = ended = 0
    media = LocalMedia(host="127.0.0.1", port=40000, session_id=1, version=1)

    def heard(event: AnySipEvent) -> None:
        nonlocal offered, ended
        match event:
            case CallOffered(dialog=dialog, sdp=sdp) if sdp:
                offered += 1
                server.send(Accept(dialog, answer(sdp, media).sdp))
            case CallEnded():
                ended += 1

    options = EndpointOptions(max_calls=20_000, max_transactions=200_000)
    server = SipServer(options, clock=SystemClock(), ids=RandomIds(), on_event=heard)
    await server.start("127.0.0.1", 0)
    rarely_collect()
    print(server.port, flush=True)
    asked = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(asked), sys.stdin)
    while await asked.readline():
        figures = Figures(time.process_time(), resident_kb(), server.endpoint.calls, offered, ended)
        print(msgspec.json.encode(figures).decode(), flush=True)
    await server.close()


if __name__ == "__main__":
    asyncio.run(main())
