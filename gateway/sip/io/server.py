"""The endpoint on a loop: datagrams and connections in, actions out, and one timer for all deadlines."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence

import structlog

from gateway.core.clock import Clock
from gateway.core.errors import ConfigError, MisuseError
from gateway.core.ids import Ids
from gateway.sip.commands import AnswerMessage, AnyCommand, RefuseOffer, Reject
from gateway.sip.endpoint import Endpoint
from gateway.sip.events import Action, AnySipEvent, CallOffered, Close, MessageReceived, OfferReceived, Send
from gateway.sip.flow import Flow, Transport
from gateway.sip.io.connections import USUAL_PATIENCE, Connections, Listener, Patience
from gateway.sip.io.handshakes import TlsListener
from gateway.sip.io.sockets import OurAddresses, Unreached, bind, bind_error, bind_pair, undelivered
from gateway.sip.options import EndpointOptions
from gateway.sip.uri import bare

log = structlog.get_logger()

_BATCH = 64  # datagrams taken before timers and other sockets get their turn


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
        patience: Patience = USUAL_PATIENCE,
    ) -> None:
        """`tls_server` is needed to listen on TLS, `tls_client` to call out on it (see `gateway.sip.tls`)."""
        self.endpoint = Endpoint(options, ids, epoch=clock.wall() - clock.now())
        self._clock = clock
        self._on_event = on_event
        self._tls_server = tls_server
        self._calls_by_tls = tls_client is not None
        self._host = ""
        self._addresses = OurAddresses("")
        self._ports: dict[Transport, int] = {}
        self._udp: socket.socket | None = None
        self._servers: list[asyncio.Server] = []
        self._tls_listener: TlsListener | None = None
        self._unreached = Unreached()
        listener = Listener(self.received, self._lost, self._local, self.endpoint.uses, self._count_refused)
        self._connections = Connections(listener, tls_client, self._unreached, patience)
        self._patience = patience
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
    def transports(self) -> tuple[Transport, ...]:
        """Those that we can call out on, the plainest first."""
        named: tuple[Transport, ...] = ("udp", "tcp", "tls")
        return tuple(one for one in named if one in self._ports or (one == "tls" and self._calls_by_tls))

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
        self._addresses = OurAddresses(self._host)
        try:
            await self._open(port, transports, tls_port)
        except ConfigError:
            await self.close()
            raise
        self.endpoint.listening(self._ports)
        for transport, number in self._ports.items():
            log.info("sip.listening", transport=transport, host=self._host, port=number)

    async def _open(self, port: int, transports: Sequence[Transport], tls_port: int | None) -> None:
        udp, tcp = bind_pair(self._host, port, udp="udp" in transports, tcp="tcp" in transports)
        if udp is not None:
            self._udp = udp
            self._ports["udp"] = udp.getsockname()[1]
            self._loop.add_reader(udp.fileno(), self._readable)
        if tcp is not None:
            await self._listen(tcp)
        if "tls" in transports:
            if tls_port is None:
                tls_port = port + 1 if port else 0
            self._listen_tls(bind("tcp", self._host, tls_port))

    async def _listen(self, sock: socket.socket) -> None:
        try:
            server = await self._loop.create_server(self._connections.incoming("tcp"), sock=sock, backlog=512)
        except OSError as error:
            sock.close()
            raise bind_error(error, "tcp", self._host, sock.getsockname()[1]) from error
        self._servers.append(server)
        self._ports["tcp"] = sock.getsockname()[1]

    def _listen_tls(self, sock: socket.socket) -> None:
        assert self._tls_server is not None
        protocol = self._connections.incoming("tls")
        try:
            self._tls_listener = TlsListener(sock, self._tls_server, protocol, within_s=self._patience.handshake_s)
        except OSError as error:
            sock.close()
            raise bind_error(error, "tcp", self._host, sock.getsockname()[1]) from error
        self._ports["tls"] = sock.getsockname()[1]

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
        if self._tls_listener is not None:
            await self._tls_listener.close()
            self._tls_listener = None
        await self._connections.close()

    # What the gateway asks

    def send(self, command: AnyCommand) -> None:
        """Carry out a command; what comes of it comes as events. Raises `MisuseError` for one that makes no sense."""
        self._do(self.endpoint.send(command, self._clock.now()))

    def flow_to(self, host: str, port: int, transport: Transport = "udp", *, name: str = "") -> Flow:
        """The way to a literal address; `name` is who its certificate must be for.

        Raises `MisuseError` for a transport that is not in use.
        """
        if transport not in self._ports and not (transport == "tls" and self._calls_by_tls):
            raise MisuseError(f"SIP over {transport} is not in use")
        return Flow(transport, self._local(bare(host), transport), (bare(host), port), name=name)

    def _local(self, host: str, transport: Transport) -> tuple[str, int]:
        """Our address as the peer at `host` sees it, by the routing table when we listen everywhere."""
        return self._addresses.towards(host), self._ports.get(transport, self.port)

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
                if not self._tell_unreachable():
                    log.warning("sip.receive_failed", error=str(error))
                    return
                continue
            self.received(data, Flow("udp", self._local(address[0], "udp"), (address[0], address[1])))

    def _tell_unreachable(self) -> bool:
        """Whether ICMP has told of anything that did not get through (RFC 3261 18.4)."""
        assert self._udp is not None
        told, requests = undelivered(self._udp)
        for remote, reason in requests:
            flow = Flow("udp", self._local(remote[0], "udp"), remote)
            if self._lost(flow, reason):
                self._unreached.tell("sip.unreachable", flow, reason)
        return told > 0

    def received(self, data: bytes, flow: Flow) -> None:
        self._unreached.forget(flow)
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
            self._connections.hang_up(action.flow)
        else:
            try:
                self._on_event(action)
            except Exception:
                log.exception("sip.listener_bug", kind=type(action).__name__, dialog=action.dialog)
                if isinstance(action, CallOffered):
                    # Nobody else will answer this caller, who would hear nothing until it gives up.
                    self.send(Reject(action.dialog, 500))
                elif isinstance(action, OfferReceived):
                    self.send(RefuseOffer(action.dialog, 500))
                elif isinstance(action, MessageReceived):
                    self.send(AnswerMessage(action.dialog, action.number, 500))

    def _set_alarm(self) -> None:
        """Never ring too late. Too early does no harm, and spares an alarm for every timer that is stopped in time."""
        due = self.endpoint.next_deadline()
        if due is None or self._closed or (self._alarm_at is not None and self._alarm_at <= due):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = due
        self._alarm = self._loop.call_later(max(0.0, due - self._clock.now()), self._on_alarm)

    def _transmit(self, action: Send) -> None:
        if action.flow.transport == "udp":
            self._transmit_datagram(action)
        else:
            self._connections.send(action)

    def _transmit_datagram(self, action: Send) -> None:
        if self._udp is None:
            return
        for _ in range(2):
            try:
                self._udp.sendto(action.data, action.flow.remote)
                return
            except (BlockingIOError, InterruptedError):
                # As good as lost on the way; the transaction repeats it.
                self.endpoint.counters["datagrams_unsent"] += 1
                return
            except OSError as error:
                # What ICMP tells of an earlier datagram is raised by the next one, whoever that is for.
                if not self._tell_unreachable():
                    reason = error.strerror or str(error)
                    self._unreached.tell("sip.send_failed", action.flow, reason)
                    self._loop.call_soon(self._lost, action.flow, reason)
                    return

    def _lost(self, flow: Flow, reason: str = "") -> bool:
        """Whether anybody minds."""
        actions = self.endpoint.connection_lost(flow, self._clock.now(), reason)
        self._do(actions)
        return bool(actions)

    def _count_refused(self) -> None:
        self.endpoint.counters["connections_refused"] += 1
