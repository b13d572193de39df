"""TCP and TLS: connections that peers open, those we open ourselves, and what is cut out of their streams."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import structlog

from gateway.core.errors import ConfigError, PeerError
from gateway.sip.events import Send
from gateway.sip.flow import Flow, Transport
from gateway.sip.framing import Framer
from gateway.sip.io.sockets import Unreached
from gateway.sip.tls import connect_fault

log = structlog.get_logger()

UNSENT_LIMIT = 1024 * 1024  # bytes; a peer that does not read is cut off
MAX_CONNECTIONS = 4096
PING, PONG = b"\r\n\r\n", b"\r\n"

Far: TypeAlias = tuple[Transport, tuple[str, int], str]
"""The other end of a connection, and the name its certificate was checked for: "" where none was asked for."""


class Patience(NamedTuple):
    """How long peers on connections are waited for, in seconds."""

    connect_s: float = 10.0
    handshake_s: float = 10.0
    first_message_s: float = 30.0
    idle_s: float = 900.0
    """A connection that says nothing for so long is closed, unless a call or a registration lives on it."""
    pong_s: float = 10.0
    """After our keep-alive, before the connection counts as dead (RFC 5626 4.4.1)."""


USUAL_PATIENCE = Patience()


class Listener(NamedTuple):
    """What the connections need of the server."""

    received: Callable[[bytes, Flow], None]
    lost: Callable[[Flow, str], object]
    local: Callable[[str, Transport], tuple[str, int]]
    in_use: Callable[[Flow], bool]
    refused: Callable[[], None]


class Connections:
    """All of them, by number and by the far end, so that a message finds the one that is open already."""

    def __init__(
        self, listener: Listener, client_context: ssl.SSLContext | None, unreached: Unreached, patience: Patience
    ) -> None:
        self.listener = listener
        self.patience = patience
        self._unreached = unreached
        self._client_context = client_context
        self._by_number: dict[int, Connection] = {}
        self._by_far: dict[Far, Connection] = {}
        self._waiting: dict[Far, list[Send]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbered = 0
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        for connection in list(self._by_number.values()):
            connection.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def hang_up(self, flow: Flow) -> None:
        connection = self._by_number.get(flow.connection)
        if connection is not None:
            connection.close()

    # Sending

    def send(self, action: Send) -> None:
        flow = action.flow
        connection = self._by_number.get(flow.connection) or self._by_far.get(_far(flow))
        if connection is not None:
            connection.write(action.data)
        elif flow.connection:
            # The other end closed it, and an ephemeral port cannot be called back.
            log.info("sip.answer_undeliverable", transport=flow.transport, remote=flow.remote)
        else:
            self._connect_and_send(action)

    def _connect_and_send(self, action: Send) -> None:
        far = _far(action.flow)
        waiting = self._waiting.get(far)
        if waiting is not None:
            waiting.append(action)
            return
        self._waiting[far] = [action]
        task = asyncio.get_running_loop().create_task(self._connect(action.flow))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, flow: Flow) -> None:
        context = self._client_context if flow.transport == "tls" else None
        far = _far(flow)
        try:
            if flow.transport == "tls" and context is None:
                raise ConfigError("calling over TLS needs a client context")
            async with asyncio.timeout(self.patience.connect_s):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(self, flow.transport, flow.name),
                    *flow.remote,
                    ssl=context,
                    server_hostname=(flow.name or flow.remote[0]) if context is not None else None,
                )
        except (OSError, ConfigError) as error:
            # TimeoutError and ssl.SSLError are OSErrors, too.
            del self._waiting[far]
            reason = connect_fault(error)
            self._unreached.tell("sip.connect_failed", flow, reason)
            self.listener.lost(flow, reason)
            return
        for action in self._waiting.pop(far):
            connection.write(action.data)

    def incoming(self, kind: Transport) -> Callable[[], Connection]:
        """What a listener makes of each connection."""
        return lambda: Connection(self, kind)

    # What connections say of themselves

    def opened(self, connection: Connection) -> bool:
        if self._closed or len(self._by_number) >= MAX_CONNECTIONS:
            self.listener.refused()
            return False
        self._numbered += 1
        local = self.listener.local(connection.remote[0], connection.kind)
        connection.flow = Flow(connection.kind, local, connection.remote, self._numbered)
        self._by_number[self._numbered] = connection
        for name in connection.names:
            self._by_far[connection.kind, connection.remote, name] = connection
        return True

    def gone(self, connection: Connection, error: Exception | None) -> None:
        if self._by_number.pop(connection.flow.connection, None) is None:
            return
        for name in connection.names:
            far = (connection.kind, connection.remote, name)
            if self._by_far.get(far) is connection:
                del self._by_far[far]
        if self._closed:
            return
        if isinstance(error, ssl.SSLError):
            # TLS 1.3 tells a client that its certificate is refused only after its own handshake is over.
            self._unreached.tell("sip.connection_refused", connection.flow, connect_fault(error))
        self.listener.lost(connection.flow, connect_fault(error) if error else "the connection was closed")


class Connection(asyncio.Protocol):
    """One TCP or TLS connection, whoever opened it."""

    def __init__(self, connections: Connections, kind: Transport, name: str = "") -> None:
        """`name` is what the peer's certificate was checked for."""
        self._connections = connections
        self._listener = connections.listener
        self._framer = Framer()
        self._transport: asyncio.Transport | None = None
        self._heard_of = False
        self._watch: asyncio.TimerHandle | None = None
        self._pong_due: asyncio.TimerHandle | None = None
        self.kind: Transport = kind
        # Who asks for a name gets no connection but one checked for it (RFC 5923 8.1); who asks for none, any.
        self.names = {name, ""}
        self.remote = ("", 0)
        self.flow = Flow(kind, ("", 0), ("", 0))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        host, port = transport.get_extra_info("peername")[:2]
        self.remote = (host, port)
        if not self._connections.opened(self):
            transport.abort()
            return
        self._watch_for(self._connections.patience.first_message_s)

    def data_received(self, data: bytes) -> None:
        if self._pong_due is not None:
            # Whatever comes shows that the way is open; a pong by itself is nothing more.
            self._pong_due.cancel()
            self._pong_due = None
            if data == PONG and not self._framer.pending:
                return
        try:
            messages = self._framer.feed(data)
        except PeerError as error:
            log.info("sip.stream_broken", remote=self.remote, error=str(error))
            self.close()
            return
        for message in messages:
            self._heard_of = True
            self._listener.received(message, self.flow)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._watch, self._pong_due):
            if timer is not None:
                timer.cancel()
        self._connections.gone(self, exc)

    def write(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(data)
        if data == PING and self._pong_due is None:
            due = self._connections.patience.pong_s
            self._pong_due = asyncio.get_running_loop().call_later(due, self._no_pong)
        if self._transport.get_write_buffer_size() > UNSENT_LIMIT:
            log.warning("sip.peer_does_not_read", remote=self.remote)
            self._transport.abort()

    def _no_pong(self) -> None:
        log.warning("sip.connection_dead", transport=self.kind, remote=self.remote, error="no answer to our keep-alive")
        self._abort()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _watch_for(self, seconds: float) -> None:
        self._heard_of = False
        self._watch = asyncio.get_running_loop().call_later(seconds, self._on_watch)

    def _on_watch(self) -> None:
        """Close what said nothing since the last look, unless a call lives on it."""
        if self._heard_of or self._listener.in_use(self.flow):
            self._watch_for(self._connections.patience.idle_s)
        else:
            self.close()


def _far(flow: Flow) -> Far:
    return (flow.transport, flow.remote, flow.name if flow.transport == "tls" else "")
