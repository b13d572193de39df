"""TLS connections that peers open: accepted one by one, so that a handshake that fails can be told of."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

import structlog

from gateway.sip.tls import accept_fault

log = structlog.get_logger()

MAX_HANDSHAKES = 512
"""At a time; whoever comes then is sent away, as a handshake costs a hundred messages."""
_BATCH = 64
_REMEMBERED = 1024


class TlsListener:
    """Owns the listening socket. `protocol` makes what a connection talks to once it is protected."""

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        protocol: Callable[[], asyncio.Protocol],
        *,
        within_s: float,
    ) -> None:
        self._socket = sock
        self._context = context
        self._protocol = protocol
        self._within_s = within_s
        self._shaking: set[asyncio.Task[None]] = set()
        self._told: dict[str, str] = {}
        self._loop = asyncio.get_running_loop()
        sock.listen(512)
        self._loop.add_reader(sock.fileno(), self._acceptable)

    async def close(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        for task in list(self._shaking):
            task.cancel()
        await asyncio.gather(*self._shaking, return_exceptions=True)

    def _acceptable(self) -> None:
        for _ in range(_BATCH):
            try:
                peer, address = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                # Out of files, or it was gone before we came to it.
                log.warning("sip.accept_failed", error=error.strerror)
                return
            if len(self._shaking) >= MAX_HANDSHAKES:
                peer.close()
                continue
            peer.setblocking(False)
            task = self._loop.create_task(self._shake_hands(peer, address[0]))
            self._shaking.add(task)
            task.add_done_callback(self._shaking.discard)

    async def _shake_hands(self, peer: socket.socket, host: str) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._protocol, peer, ssl=self._context, ssl_handshake_timeout=self._within_s
            )
        except OSError as error:
            # ssl.SSLError is one, and so is what a time-out raises.
            self._tell(host, accept_fault(error))

    def _tell(self, host: str, reason: str) -> None:
        """Once for each fault of a peer: phones try again for ever, and scanners come by the thousand."""
        if self._told.get(host) == reason:
            return
        if len(self._told) >= _REMEMBERED:
            self._told.clear()
        self._told[host] = reason
        log.warning("sip.tls_refused", remote=host, error=reason)
