"""Transactions (RFC 3261 17): every message sent until it is answered, every repetition answered once."""

from __future__ import annotations

from typing import Protocol, TypeAlias

from gateway.sip.events import Action, Send
from gateway.sip.flow import Flow
from gateway.sip.headers import COOKIE, split_commas
from gateway.sip.message import Lines, Request, Response
from gateway.sip.reach import way_around
from gateway.sip.status import phrase
from gateway.sip.tables import (
    AT_ONCE_ON_STREAMS,
    DOUBLING,
    INVITE_CLIENT,
    INVITE_SERVER,
    NEVER_ON_STREAMS,
    PLAIN_CLIENT,
    PLAIN_SERVER,
    Row,
    State,
    Table,
    event_of,
    first_interval,
)
from gateway.sip.timers import Timer, Timers, Timing

Key: TypeAlias = tuple[str | int | None, ...]


class ClientUser(Protocol):
    """Who sent a request and wants to know its answers."""

    def answered(self, transaction: ClientTransaction, response: Response) -> None: ...


class TimerOwner(Protocol):
    """Anything that starts timers on the endpoint's heap."""

    def on_timer(self, name: str, now: float) -> None: ...


class Transaction:
    """The machine both sides share: runs one of the tables, keeps the last message sent and the timers."""

    __slots__ = ("_interval", "_layer", "_timers", "flow", "key", "last", "request", "state", "table")

    def __init__(self, layer: Transactions, key: Key, table: Table, state: State, request: Request, flow: Flow) -> None:
        self._layer = layer
        self._timers: dict[str, Timer[TimerOwner]] = {}
        self._interval = 0.0
        self.key = key
        self.table = table
        self.state: State = state
        self.request = request
        self.flow = flow
        self.last = b""

    @property
    def ended(self) -> bool:
        return self.state == "terminated"

    def feed(self, event: str, now: float, message: Request | Response | None = None) -> Row | None:
        """Take one event. The row taken says whether the user must be told; None means that it changed nothing."""
        row = self.table.get((self.state, event))
        if row is None:
            return None
        if row.state != self.state:
            self.state = row.state
            self._stop_timers_without_row()
        for effect in row.effects:
            if effect == "send" and message is not None:
                self.last = message.to_bytes()
                self._transmit(self.last)
            elif effect == "repeat":
                self._repeat()
            elif effect == "acknowledge" and isinstance(message, Response):
                self._transmit(acknowledge_refusal(self.request, message).to_bytes())
        for name in row.start:
            self._start(name, now)
        if self.ended:
            self._layer.forget(self)
        return row

    def stop(self) -> None:
        for timer in self._timers.values():
            self._layer.timers.stop(timer)
        self._timers.clear()

    def on_timer(self, name: str, now: float) -> None:
        self._timers.pop(name, None)
        row = self.feed(name, now)
        if row is not None and "fail" in row.effects:
            self.failed(408)

    def failed(self, status: int, reason: str = "") -> None:
        """The other side is silent (408) or cannot be reached (503). Overridden where somebody waits."""

    def _repeat(self) -> None:
        if self.last:
            self._transmit(self.last)

    @property
    def way(self) -> Flow:
        """Where its messages go."""
        return self.flow

    def _transmit(self, data: bytes) -> None:
        self._layer.actions.append(Send(self.way, data))

    def _start(self, name: str, now: float) -> None:
        if self.flow.transport != "udp":
            if name in NEVER_ON_STREAMS:
                return
            if name in AT_ONCE_ON_STREAMS:
                self.feed(name, now)
                return
        timing = self._layer.timing
        if name in DOUBLING:
            longest = timing.patience if name == "A" else timing.t2
            self._interval = min(self._interval * 2, longest) if self._interval else timing.t1
            interval = self._interval
        else:
            interval = first_interval(name, timing)
        self._timers[name] = self._layer.timers.start(now + interval, self, name)

    def _stop_timers_without_row(self) -> None:
        for name in [name for name in self._timers if (self.state, name) not in self.table]:
            self._layer.timers.stop(self._timers.pop(name))


class ServerTransaction(Transaction):
    """A request that came. `to_tag` is put into every answer, so that all of them are of one dialog."""

    __slots__ = ("to_tag",)

    def __init__(self, layer: Transactions, key: Key, request: Request, flow: Flow) -> None:
        invite = request.method == "INVITE"
        table, state = (INVITE_SERVER, "proceeding") if invite else (PLAIN_SERVER, "trying")
        super().__init__(layer, key, table, state, request, flow)  # type: ignore[arg-type]
        self.to_tag = ""

    @property
    def way(self) -> Flow:
        """Back on the flow of the request; when its connection is lost, by a new one (RFC 3261 18.2.2)."""
        flow = self.flow
        if flow.transport == "udp" or flow.connection in self._layer.live_connections:
            return flow
        return way_around(self.request.via, flow)

    @property
    def answered(self) -> bool:
        """A final response has been given."""
        return self.state not in ("trying", "proceeding")

    def respond(self, response: Response, now: float) -> None:
        self.feed(event_of(response.status), now, response)


class ClientTransaction(Transaction):
    """A request we sent. `user` is told of every response the tables let through, and of silence."""

    __slots__ = ("user",)

    def __init__(self, layer: Transactions, key: Key, request: Request, flow: Flow, user: ClientUser) -> None:
        invite = request.method == "INVITE"
        table, state = (INVITE_CLIENT, "calling") if invite else (PLAIN_CLIENT, "trying")
        super().__init__(layer, key, table, state, request, flow)  # type: ignore[arg-type]
        self.user = user

    @property
    def provisional(self) -> bool:
        """The other side has it, and has not decided: the one state in which an INVITE may be cancelled."""
        return self.state == "proceeding"

    @property
    def pending(self) -> bool:
        return self.state in ("calling", "trying", "proceeding")

    def receive(self, response: Response, now: float) -> None:
        row = self.feed(event_of(response.status), now, response)
        if row is not None and "tell" in row.effects:
            self.user.answered(self, response)

    def failed(self, status: int, reason: str = "") -> None:
        self.user.answered(self, Response(status, reason or phrase(status), [], local=True))


class Transactions:
    """All transactions of an endpoint, by key. Appends what is to be transmitted to `actions`."""

    def __init__(self, timers: Timers[TimerOwner], timing: Timing, limit: int) -> None:
        self.timers = timers
        self.timing = timing
        self.limit = limit
        self.actions: list[Action] = []
        self.live_connections: set[int] = set()
        self._servers: dict[Key, ServerTransaction] = {}
        self._clients: dict[Key, ClientTransaction] = {}
        # RFC 3261 8.2.2.2: the same request by another way is recognised by what no hop changes.
        self._origins: dict[Key, Key] = {}

    def __len__(self) -> int:
        return len(self._servers) + len(self._clients)

    @property
    def full(self) -> bool:
        return len(self) >= self.limit

    @property
    def crowded(self) -> bool:
        """No room for new calls: the last tenth is for those that are up."""
        return len(self) >= self.limit * 0.9

    def find_server(self, request: Request, method: str | None = None) -> ServerTransaction | None:
        """The transaction of a repeated request, of an ACK's INVITE, or (with `method`) of a CANCEL's target."""
        return self._servers.get(server_key(request, method))

    def merged(self, request: Request) -> bool:
        """Whether it came before by another branch, and is still being dealt with."""
        return _origin(request) in self._origins

    def serve(self, request: Request, flow: Flow) -> ServerTransaction:
        """A new transaction for a request `find_server` does not know. `flow` is where its answers go."""
        key = server_key(request)
        transaction = ServerTransaction(self, key, request, flow)
        self._servers[key] = transaction
        if not request.to.tag:
            self._origins.setdefault(_origin(request), key)
        return transaction

    def send(self, request: Request, flow: Flow, user: ClientUser, now: float) -> ClientTransaction:
        """Send a request whose top Via holds a fresh branch. Never refused: calls bound how many of ours there are."""
        key = (request.via.branch, request.method)
        transaction = ClientTransaction(self, key, request, flow, user)
        self._clients[key] = transaction
        transaction.feed("send", now, request)
        return transaction

    def receive(self, response: Response, now: float) -> bool:
        """Whether somebody waited for it. A response that belongs to nothing is dropped (RFC 6026 7.2)."""
        transaction = self._clients.get((response.via.branch, response.cseq.method))
        if transaction is None:
            return False
        transaction.receive(response, now)
        return True

    def forget(self, transaction: Transaction) -> None:
        transaction.stop()
        if isinstance(transaction, ClientTransaction):
            self._clients.pop(transaction.key, None)
            return
        self._servers.pop(transaction.key, None)
        if not transaction.request.to.tag:
            origin = _origin(transaction.request)
            if self._origins.get(origin) == transaction.key:
                del self._origins[origin]

    def abandon(self, transaction: ClientTransaction) -> None:
        """Forget a request of ours; nobody is told."""
        transaction.state = "terminated"
        self.forget(transaction)

    def connection_lost(self, flow: Flow, reason: str = "") -> None:
        """Fail what waits for an answer on that connection; answers of ours will find their own way.

        Over UDP it is ICMP that tells, which a peer's restart is enough for: a call that is up outlives that.
        """
        lost = [
            t
            for t in self._clients.values()
            if t.pending and same_connection(t.flow, flow) and not (flow.transport == "udp" and t.request.to.tag)
        ]
        for transaction in lost:
            self.abandon(transaction)
            transaction.failed(503, reason)


class Abandonment:
    """Forgets a request that nobody waits for any more, when its timer goes off and it is still unanswered."""

    __slots__ = ("_transaction", "_transactions")

    def __init__(self, transactions: Transactions, transaction: ClientTransaction) -> None:
        self._transactions = transactions
        self._transaction = transaction

    def on_timer(self, name: str, now: float) -> None:
        if self._transaction.pending:
            self._transactions.abandon(self._transaction)


def same_connection(one: Flow, other: Flow) -> bool:
    """Whether what is sent on `one` goes by the connection of `other`."""
    if one.transport != other.transport or one.remote != other.remote:
        return False
    return one.connection in (0, other.connection)


def server_key(request: Request, method: str | None = None) -> Key:
    """RFC 3261 17.2.3; ACK matches its INVITE. A branch without the cookie is RFC 2543's and cannot be trusted."""
    via = request.via
    method = method or request.method
    if method == "ACK":
        method = "INVITE"
    branch = via.branch
    if branch.startswith(COOKIE) and len(branch) > len(COOKIE):
        return (branch, via.host.lower(), via.port, method)
    # An ACK carries our To tag where the INVITE had none, so the To tag stays out of it.
    return (request.uri, request.from_.tag, request.call_id, request.cseq.number, str(via), method)


def _origin(request: Request) -> Key:
    return (request.call_id, request.from_.tag, request.cseq.number, request.method)


def acknowledge_refusal(invite: Request, refusal: Response) -> Request:
    """The ACK of a 3xx-6xx: same branch, same route, the refusal's To (RFC 3261 17.1.1.3)."""
    headers: Lines = [("Via", split_commas(invite.required("Via"))[0]), ("Max-Forwards", "70")]
    headers += [("Route", route) for route in invite.all("Route")]
    headers += [
        ("From", invite.required("From")),
        ("To", refusal.required("To")),
        ("Call-ID", invite.call_id),
        ("CSeq", f"{invite.cseq.number} ACK"),
    ]
    return Request("ACK", invite.uri, headers)


def cancel(invite: Request) -> Request:
    """The CANCEL of an INVITE: its own transaction under the INVITE's branch (RFC 3261 9.1)."""
    headers: Lines = [("Via", split_commas(invite.required("Via"))[0]), ("Max-Forwards", "70")]
    headers += [("Route", route) for route in invite.all("Route")]
    headers += [(name, invite.required(name)) for name in ("From", "To", "Call-ID")]
    headers.append(("CSeq", f"{invite.cseq.number} CANCEL"))
    return Request("CANCEL", invite.uri, headers)
