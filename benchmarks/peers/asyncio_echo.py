"""The least that asyncio can do: a protocol object a call, sending each packet back. No codec, no clock."""

from __future__ import annotations

import asyncio

from benchmarks.peers._calls import Calls, Talk, run


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data, addr)  # type: ignore[attr-defined]


async def serve(calls: Calls) -> Talk:
    loop = asyncio.get_running_loop()
    for port in calls.ports:
        await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", port))
    return lambda call, pcm: None


if __name__ == "__main__":
    run(serve)
