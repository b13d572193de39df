"""`gateway run`: start, serve until told otherwise, drain, stop."""

from __future__ import annotations

import asyncio
import signal

import structlog

from gateway.app.config import GatewayConfig
from gateway.app.gateway import Gateway
from gateway.core.loops import rarely_collect
from gateway.ops.logs import configure

log = structlog.get_logger()


def serve(config: GatewayConfig) -> int:
    configure(config.log_format)
    return asyncio.run(_serve(config))


async def _serve(config: GatewayConfig) -> int:
    """The first SIGTERM or SIGINT drains, the second ends at once; both keep every session."""
    first, second = asyncio.Event(), asyncio.Event()

    def on_signal(name: str) -> None:
        log.info("gateway.signal", signal=name)
        (second if first.is_set() else first).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number.name)
    gateway = Gateway(config)
    await gateway.start()
    rarely_collect()
    try:
        await first.wait()
        draining = asyncio.create_task(gateway.drain())
        at_once = asyncio.create_task(second.wait())
        await asyncio.wait({draining, at_once}, return_when=asyncio.FIRST_COMPLETED)
        for task in (draining, at_once):
            task.cancel()
    finally:
        await gateway.close()
    return 0
