"""The endpoint on real sockets: UDP, TCP and TLS on one event loop, and one timer for all deadlines."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence

import structlog

from gateway.core.clock import Clock
from gateway.core.errors import ConfigError, MisuseError, PeerError
from gateway.core.ids import Ids
from gateway.sip.commands import AnyCommand
from gateway.sip.endpoint import Endpoint
from gateway.sip.events import Action, AnySipEvent, Close, Send
from gateway.sip.flow import Flow, Transport
from gateway.sip.framing import Framer
from gateway.sip.options import EndpointOptions
from gateway.sip.uri import bare

__all__ = ["EndpointOptions", "SipServer"]

log = structlog.get_logger()

_BATCH = 64  # datagrams taken before timers and other sockets get their turn
_SOCKET_BUFFER = 4 * 1024 * 1024  # bytes; a burst of 4,000 messages must not be lost while the loop is busy
_UNSENT_LIMIT = 1024 * 1024  # bytes; a peer that does not read is cut off
_MAX_CONNECTIONS = 4096
_FIRST_MESSAGE_WITHIN_S = 30.0
_IDLE_AFTER_S = 900.0
_CONNECT_WITHIN_S = 10.0
_EPHEMERAL_TRIES = 20


class SipServer:
    """Owns the sockets and the endpoint. Everything runs on the loop that `start` was called on; `send` too."""

    def __init__(
        self,
        options: EndpointOptions,
        *,
        clock: Clock,
        ids: Ids,
        on_event: Callable[[AnySipEvent], None],
        tls_server: ssl.SSLContext | None = None,
        tls_client: ssl.SSLContext | None = None,
    ) -> None:
        """`tls_server` is needed to listen on TLS, `tls_client` to call out on it (see `gateway.sip.tls`)."""
        self.endpoint = Endpoint(options, ids)
        self._clock = clock
        self._on_event = on_event
        self._tls_server = tls_server
        self._tls_client = tls_client
        self._host = ""
        self._ports: dict[Transport, int] = {}
        self._udp: socket.socket | None = None
        self._servers: list[asyncio.Server] = []
        self._connections: dict[int, _Connection] = {}
        self._by_remote: dict[tuple[Transport, tuple[str, int]], _Connection] = {}
        self._connecting: dict[tuple[Transport, tuple[str, int]], list[Send]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._locals: dict[str, str] = {}
        self._numbered = 0
        self._actions: deque[Action] = deque()
        self._draining = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at: float | None = None
        self._closed = False

    @property
    def port(self) -> int:
        """The port of UDP and TCP; of TLS when there is nothing else."""
        return next(iter(self._ports.values()), 0)

    @property
    def ports(self) -> dict[Transport, int]:
        return dict(self._ports)

    # Starting and stopping

    async def start(
        self, host: str, port: int, transports: Sequence[Transport] = ("udp", "tcp"), *, tls_port: int | None = None
    ) -> None:
        """Listen. Port 0 takes a free one, the same for UDP and TCP; TLS takes `tls_port`, else the next one.

        Raises `ConfigError` when a port is taken, the address is not this machine's, or TLS lacks a certificate.
        """
        if "tls" in transports and self._tls_server is None:
            raise ConfigError("SIP over TLS needs a certificate and its key; name both, or leave tls out")
        self._loop = asyncio.get_running_loop()
        self._host = bare(host)
        try:
            await self._open(port, transports, tls_port)
        except ConfigError:
            await self.close()
            raise
        self.endpoint.listening(self._ports)
        for transport, number in self._ports.items():
            log.info("sip.listening", transport=transport, host=self._host, port=number)

    async def _open(self, port: int, transports: Sequence[Transport], tls_port: int | None) -> None:
        udp, tcp = self._bind_pair(port, "udp" in transports, "tcp" in transports)
        if udp is not None:
            self._udp = udp
            self._ports["udp"] = udp.getsockname()[1]
            self._loop.add_reader(udp.fileno(), self._readable)
        if tcp is not None:
            await self._listen("tcp", tcp, None)
        if "tls" in transports:
            if tls_port is None:
                tls_port = port + 1 if port else 0
            await self._listen("tls", self._bind("tcp", tls_port), self._tls_server)

    def _bind_pair(self, port: int, udp: bool, tcp: bool) -> tuple[socket.socket | None, socket.socket | None]:
        """Both sockets on one port number. A free UDP port may be taken for TCP, so an ephemeral one is tried again."""
        for attempt in range(_EPHEMERAL_TRIES):
            datagrams = self._bind("udp", port) if udp else None
            if not tcp:
                return datagrams, None
            number = datagrams.getsockname()[1] if datagrams else port
            try:
                return datagrams, self._bind("tcp", number)
            except ConfigError:
                if datagrams is not None:
                    datagrams.close()
                if port or attempt == _EPHEMERAL_TRIES - 1:
                    raise
        return None, None

    def _bind(self, kind: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
        try:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if kind == "udp":
                for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                    sock.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER)
            else:
                # Only lets us back in while old connections are in TIME_WAIT; two listeners still collide.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setblocking(False)
            sock.bind((self._host, port))
        except OSError as error:
            sock.close()
            raise _bind_error(error, kind, self._host, port) from error
        return sock

    async def _listen(self, transport: Transport, sock: socket.socket, context: ssl.SSLContext | None) -> None:
        def connected() -> _Connection:
            return _Connection(self, transport)

        try:
            server = await self._loop.create_server(connected, sock=sock, ssl=context, backlog=512)
        except OSError as error:
            sock.close()
            raise _bind_error(error, "tcp", self._host, sock.getsockname()[1]) from error
        self._servers.append(server)
        self._ports[transport] = sock.getsockname()[1]

    async def close(self) -> None:
        """Stop listening and drop the connections. Calls still up are not told: hang up first."""
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        if self._udp is not None:
            self._loop.remove_reader(self._udp.fileno())
            self._udp.close()
            self._udp = None
        for server in self._servers:
            server.close()
        for connection in list(self._connections.values()):
            connection.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # What the gateway asks

    def send(self, command: AnyCommand) -> None:
        """Carry out a command; what comes of it comes as events. Raises `MisuseError` for one that makes no sense."""
        self._do(self.endpoint.send(command, self._clock.now()))

    def flow_to(self, host: str, port: int, transport: Transport = "udp", *, name: str = "") -> Flow:
        """The way to a literal address; `name` is who its certificate must be for.

        Raises `MisuseError` for a transport that is not in use.
        """
        if transport not in self._ports and not (transport == "tls" and self._tls_client):
            raise MisuseError(f"SIP over {transport} is not in use")
        return Flow(transport, self._local(bare(host), transport), (bare(host), port), name=name)

    def _local(self, host: str, transport: Transport) -> tuple[str, int]:
        """Our address as the peer at `host` sees it, by the routing table when we listen everywhere."""
        port = self._ports.get(transport, self.port)
        if self._host not in ("0.0.0.0", "::"):
            return self._host, port
        local = self._locals.get(host)
        if local is None:
            local = _source_address(host) or self._host
            if len(self._locals) > 4096:
                self._locals.clear()
            self._locals[host] = local
        return local, port

    # What comes from the wire

    def _readable(self) -> None:
        for _ in range(_BATCH):
            if self._udp is None:
                return
            try:
                data, address = self._udp.recvfrom(65_535)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                log.warning("sip.receive_failed", error=str(error))
                return
            self.received(data, Flow("udp", self._local(address[0], "udp"), (address[0], address[1])))

    def received(self, data: bytes, flow: Flow) -> None:
        try:
            actions = self.endpoint.receive(data, flow, self._clock.now())
        except Exception:
            # One message must not take the other calls down; the traceback is for us.
            log.exception("sip.receive_bug", remote=flow.remote, size=len(data))
            return
        self._do(actions)

    def _on_alarm(self) -> None:
        self._alarm = self._alarm_at = None
        try:
            actions = self.endpoint.on_deadline(self._clock.now())
        except Exception:
            log.exception("sip.timer_bug")
            actions = []
        self._do(actions)

    # Doing

    def _do(self, actions: list[Action]) -> None:
        """In order, also when a listener's command brings more actions while these are being done."""
        self._actions.extend(actions)
        if self._draining:
            return
        self._draining = True
        try:
            while self._actions:
                self._do_one(self._actions.popleft())
        finally:
            self._draining = False
        self._set_alarm()

    def _do_one(self, action: Action) -> None:
        if isinstance(action, Send):
            self._transmit(action)
        elif isinstance(action, Close):
            connection = self._connections.get(action.flow.connection)
            if connection is not None:
                connection.close()
        else:
            try:
                self._on_event(action)
            except Exception:
                log.exception("sip.listener_bug", event=type(action).__name__, dialog=action.dialog)

    def _set_alarm(self) -> None:
        due = self.endpoint.next_deadline()
        if due == self._alarm_at or self._closed:
            return
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._alarm_at = due
        if due is not None:
            self._alarm = self._loop.call_later(max(0.0, due - self._clock.now()), self._on_alarm)

    def _transmit(self, action: Send) -> None:
        flow = action.flow
        if flow.transport == "udp":
            self._transmit_datagram(action)
            return
        connection = self._connections.get(flow.connection) or self._by_remote.get((flow.transport, flow.remote))
        if connection is not None:
            connection.write(action.data)
        elif flow.connection:
            # The other end closed it, and an ephemeral port cannot be called back.
            log.info("sip.answer_undeliverable", transport=flow.transport, remote=flow.remote)
        else:
            self._connect_and_send(action)

    def _transmit_datagram(self, action: Send) -> None:
        if self._udp is None:
            return
        try:
            self._udp.sendto(action.data, action.flow.remote)
        except (BlockingIOError, InterruptedError):
            # As good as lost on the way; the transaction repeats it.
            self.endpoint.counters["datagrams_unsent"] += 1
        except OSError as error:
            log.warning("sip.send_failed", remote=action.flow.remote, error=str(error))
            self._loop.call_soon(self._lost, action.flow)

    def _lost(self, flow: Flow) -> None:
        self._do(self.endpoint.connection_lost(flow, self._clock.now()))

    def _connect_and_send(self, action: Send) -> None:
        key = (action.flow.transport, action.flow.remote)
        waiting = self._connecting.get(key)
        if waiting is not None:
            waiting.append(action)
            return
        self._connecting[key] = [action]
        task = self._loop.create_task(self._connect(action.flow))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, flow: Flow) -> None:
        context = self._tls_client if flow.transport == "tls" else None
        key = (flow.transport, flow.remote)
        try:
            if flow.transport == "tls" and context is None:
                raise ConfigError("calling over TLS needs a client context")
            async with asyncio.timeout(_CONNECT_WITHIN_S):
                _, connection = await self._loop.create_connection(
                    lambda: _Connection(self, flow.transport),
                    *flow.remote,
                    ssl=context,
                    server_hostname=(flow.name or flow.remote[0]) if context is not None else None,
                )
        except (OSError, ConfigError) as error:
            # TimeoutError and ssl.SSLError are OSErrors, too.
            del self._connecting[key]
            log.warning("sip.connect_failed", transport=flow.transport, remote=flow.remote, error=str(error))
            self._lost(flow)
            return
        for action in self._connecting.pop(key):
            connection.write(action.data)

    # Connections

    def opened(self, connection: _Connection) -> bool:
        if self._closed or len(self._connections) >= _MAX_CONNECTIONS:
            self.endpoint.counters["connections_refused"] += 1
            return False
        self._numbered += 1
        local = self._local(connection.remote[0], connection.kind)
        connection.flow = Flow(connection.kind, local, connection.remote, self._numbered)
        self._connections[self._numbered] = connection
        self._by_remote[connection.kind, connection.remote] = connection
        return True

    def closed(self, connection: _Connection) -> None:
        if self._connections.pop(connection.flow.connection, None) is None:
            return
        key = (connection.kind, connection.remote)
        if self._by_remote.get(key) is connection:
            del self._by_remote[key]
        if not self._closed:
            self._lost(connection.flow)


class _Connection(asyncio.Protocol):
    """One TCP or TLS connection, whoever opened it."""

    def __init__(self, server: SipServer, kind: Transport) -> None:
        self._server = server
        self._framer = Framer()
        self._transport: asyncio.Transport | None = None
        self._heard_of = False
        self._watch: asyncio.TimerHandle | None = None
        self.kind: Transport = kind
        self.remote = ("", 0)
        self.flow = Flow(kind, ("", 0), ("", 0))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        host, port = transport.get_extra_info("peername")[:2]
        self.remote = (host, port)
        if not self._server.opened(self):
            transport.abort()
            return
        self._watch_for(_FIRST_MESSAGE_WITHIN_S)

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._framer.feed(data)
        except PeerError as error:
            log.info("sip.stream_broken", remote=self.remote, error=str(error))
            self.close()
            return
        for message in messages:
            self._heard_of = True
            self._server.received(message, self.flow)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._server.closed(self)

    def write(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > _UNSENT_LIMIT:
            log.warning("sip.peer_does_not_read", remote=self.remote)
            self._transport.abort()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _watch_for(self, seconds: float) -> None:
        self._heard_of = False
        self._watch = asyncio.get_running_loop().call_later(seconds, self._on_watch)

    def _on_watch(self) -> None:
        """Close what said nothing since the last look, unless a call lives on it."""
        if self._heard_of or self._server.endpoint.uses(self.flow):
            self._watch_for(_IDLE_AFTER_S)
        else:
            self.close()


def _bind_error(error: OSError, kind: str, host: str, port: int) -> ConfigError:
    name = f"{kind.upper()} port {port} on {host}"
    if error.errno == errno.EADDRINUSE:
        remedy = "stop the other program (ss -lpn shows it) or choose another port"
        return ConfigError(f"{name} is in use: {remedy}")
    if error.errno == errno.EACCES:
        return ConfigError(f"{name} is not permitted: choose a port above 1023 or run with CAP_NET_BIND_SERVICE")
    if error.errno == errno.EADDRNOTAVAIL:
        return ConfigError(f"{host} is not an address of this machine: bind to one that `ip address` lists")
    return ConfigError(f"{name} cannot be used: {error.strerror or error}")


def _source_address(host: str) -> str | None:
    """The address the kernel would send from. Connecting a datagram socket sends nothing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))
        return str(probe.getsockname()[0])
    return None
