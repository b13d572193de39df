"""Two endpoints on a wire that loses, repeats and reorders: whatever happens, both end in the same state."""

from __future__ import annotations

import heapq
from collections import Counter
from random import Random
from typing import Any, Literal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.core.ids import SeededIds
from gateway.sip.commands import Accept, AnswerOffer, AnyCommand, HangUp, Offer, Place, RefuseOffer, Reject, Ring
from gateway.sip.endpoint import Endpoint, EndpointOptions
from gateway.sip.events import (
    CallAccepted,
    CallCancelled,
    CallConfirmed,
    CallEnded,
    CallFailed,
    CallOffered,
    OfferAnswered,
    OfferReceived,
    Send,
)
from gateway.sip.flow import Flow

ADDRESS = {"a": ("192.0.2.1", 5060), "b": ("192.0.2.2", 5060)}
PATIENCE_S = 70.0

# What one side holds to be agreed: its own description and the peer's.
Session = tuple[bytes, bytes]


class Side:
    """An endpoint and the simplest user of it: knows whether its call is up, and on which session."""

    def __init__(self, name: Literal["a", "b"]) -> None:
        self.name = name
        # The shortest session interval there is, so that its refreshing meets everything else.
        self.endpoint = Endpoint(EndpointOptions(user_agent=name, session_expires_s=90), SeededIds(name))
        self.handle = "call"
        self.state: Literal["idle", "offered", "calling", "up", "over"] = "idle"
        self.session: Session | None = None
        self.remote_offer = b""
        self.pending: OfferReceived | None = None
        self.offers = 0
        self.confirmed = False

    def answer_to(self, offer: bytes) -> bytes:
        return b"answer of " + self.name.encode() + b" to " + offer

    def on_event(self, event: Any) -> None:
        match event:
            case CallOffered(dialog=dialog, sdp=sdp):
                assert self.state == "idle"
                self.state, self.handle, self.remote_offer = "offered", dialog, sdp or b""
            case CallAccepted(sdp=sdp):
                assert self.state == "calling"
                self.state, self.session = "up", (b"offer 0 of a", sdp or b"")
            case CallEnded():
                assert self.state == "up"
                self.state = "over"
            case CallConfirmed():
                self.confirmed = True
            case CallCancelled():
                # Our acceptance may have been waiting for a PRACK.
                assert self.state in ("offered", "up")
                assert not self.confirmed
                self.state = "over"
            case CallFailed():
                assert self.state == "calling"
                self.state = "over"
            case OfferReceived():
                assert self.state == "up"
                self.pending = event
            case OfferAnswered(sdp=sdp):
                assert self.state == "up"
                self.session = (sdp.partition(b" to ")[2], sdp)


class LossyWire(RuleBasedStateMachine):
    """No message is lost more than three times: beyond that nobody could tell loss from absence."""

    @initialize(seed=st.integers(0, 2**32), loss=st.sampled_from([0.0, 0.1, 0.4]), quick=st.integers(0, 3))
    def begin(self, seed: int, loss: float, quick: int) -> None:
        self.chance = Random(seed)
        self.loss = loss
        self.now = 0.0
        self.sides = {"a": Side("a"), "b": Side("b")}
        self.wire: list[tuple[float, int, str, bytes]] = []
        self.sent = 0
        self.losses: Counter[bytes] = Counter()
        self.do("a", Place("call", "sip:b@192.0.2.2", self.flow("a"), b"offer 0 of a", "sip:a@192.0.2.1"))
        self.sides["a"].state = "calling"
        if quick:
            # Most runs are about what happens within a call.
            self.run(5.0)
            self.accept()

    def flow(self, name: str) -> Flow:
        return Flow("udp", ADDRESS[name], ADDRESS["b" if name == "a" else "a"])

    def do(self, name: str, command: AnyCommand) -> None:
        self.act(name, self.sides[name].endpoint.send(command, self.now))

    def act(self, name: str, actions: list[Any]) -> None:
        for action in actions:
            if isinstance(action, Send):
                self.put(action)
            else:
                self.sides[name].on_event(action)

    def put(self, send: Send) -> None:
        to = "b" if send.flow.remote == ADDRESS["b"] else "a"
        if self.losses[send.data] < 3 and self.chance.random() < self.loss:
            self.losses[send.data] += 1
            return
        for _ in range(2 if self.chance.random() < 0.15 else 1):
            self.sent += 1
            heapq.heappush(self.wire, (self.now + self.chance.uniform(0.0, 0.4), self.sent, to, send.data))

    def run(self, seconds: float) -> None:
        """Deliver and time out in order of time."""
        end = self.now + seconds
        while True:
            due = [(side.endpoint.next_deadline(), name) for name, side in self.sides.items()]
            deadlines = [(at, name) for at, name in due if at is not None]
            arrival = self.wire[0][0] if self.wire else float("inf")
            deadline = min(deadlines, default=(float("inf"), ""))
            if min(arrival, deadline[0]) > end:
                break
            if arrival <= deadline[0]:
                self.now, _, to, data = heapq.heappop(self.wire)
                self.act(to, self.sides[to].endpoint.receive(data, self.flow(to), self.now))
            else:
                self.now = max(self.now, deadline[0])
                self.act(deadline[1], self.sides[deadline[1]].endpoint.on_deadline(self.now))
        self.now = end

    # What the users do

    @rule(seconds=st.sampled_from([0.05, 0.2, 0.5, 1.0, 3.0]))
    def wait(self, seconds: float) -> None:
        self.run(seconds)

    @precondition(lambda self: self.sides["a"].state == "up")
    @rule(seconds=st.sampled_from([44.0, 46.0, 91.0, 200.0]))
    def talk_on(self, seconds: float) -> None:
        """The session is refreshed by UPDATE at half its interval, by the side that agreed to; nobody is lost."""
        self.run(seconds)

    @precondition(lambda self: self.sides["a"].state == "calling")
    @rule(seconds=st.sampled_from([0.0, 0.1, 0.3]))
    def give_up(self, seconds: float) -> None:
        """CANCEL, which may cross the 200, overtake the INVITE, or be lost."""
        if self.chance.random() < 0.3:
            self.do("a", HangUp("call"))
            self.sides["a"].state = "over"
            self.run(seconds)

    @rule(agree=st.booleans())
    def both_offer(self, agree: bool) -> None:
        """Glare: re-INVITEs that cross. Each is refused with 491, and tried again at different times."""
        for name in ("a", "b"):
            self.make_offer(name)
        self.run(0.5)
        for name in ("a", "b"):
            self.answer(name, agree)

    @precondition(lambda self: self.sides["b"].state == "offered")
    @rule()
    def ring(self) -> None:
        self.do("b", Ring(self.sides["b"].handle))

    @precondition(lambda self: self.sides["b"].state == "offered")
    @rule()
    def early_media(self) -> None:
        """Both sides know 100rel, so that this one is repeated until its PRACK."""
        side = self.sides["b"]
        self.do("b", Ring(side.handle, 183, side.answer_to(side.remote_offer)))

    @precondition(lambda self: self.sides["b"].state == "offered")
    @rule()
    def accept(self) -> None:
        side = self.sides["b"]
        answer = side.answer_to(side.remote_offer)
        self.do("b", Accept(side.handle, answer))
        side.state, side.session = "up", (answer, side.remote_offer)

    @precondition(lambda self: self.sides["b"].state == "offered")
    @rule()
    def reject(self) -> None:
        self.do("b", Reject(self.sides["b"].handle, 486))
        self.sides["b"].state = "over"

    @rule(name=st.sampled_from(["a", "b"]))
    def hang_up(self, name: str) -> None:
        side = self.sides[name]
        if side.state != "idle" and self.chance.random() < 0.1:
            self.do(name, HangUp(side.handle))
            side.state = "over"

    @rule(name=st.sampled_from(["a", "b"]))
    def make_offer(self, name: str) -> None:
        side = self.sides[name]
        if side.state == "up":
            side.offers += 1
            self.do(name, Offer(side.handle, f"offer {side.offers} of {name}".encode()))

    @rule(name=st.sampled_from(["a", "b"]), agree=st.booleans())
    def answer_offer(self, name: str, agree: bool) -> None:
        self.answer(name, agree)

    def answer(self, name: str, agree: bool) -> None:
        side = self.sides[name]
        pending, side.pending = side.pending, None
        if pending is None or side.state != "up":
            return
        if agree:
            offer = pending.sdp or b""
            answer = side.answer_to(offer)
            self.do(name, AnswerOffer(side.handle, answer))
            side.session = (answer, offer)
        else:
            self.do(name, RefuseOffer(side.handle))

    # What must hold

    @invariant()
    def nothing_malformed(self) -> None:
        for side in getattr(self, "sides", {}).values():
            assert not side.endpoint.counters["malformed"]

    def teardown(self) -> None:
        if not hasattr(self, "sides"):
            return
        a, b = self.sides["a"], self.sides["b"]
        for _ in range(12):
            self.run(5.0)
            self.answer("a", True)
            self.answer("b", True)
        if "up" in (a.state, b.state):
            assert (a.state, b.state) == ("up", "up")
            assert a.session is not None
            assert a.session == (b.session or ())[::-1]
            self.do("a", HangUp(a.handle))
            a.state = "over"
        elif b.state == "offered":
            self.do("b", HangUp(b.handle))
            b.state = "over"
        self.run(2 * PATIENCE_S)
        for side in (a, b):
            assert side.state in ("idle", "over")
            assert (side.endpoint.calls, side.endpoint.transactions) == (0, 0)
            assert side.endpoint.next_deadline() is None
            assert not side.endpoint._core.dialogs


LossyWire.TestCase.settings = settings(
    max_examples=150, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLossyWire = LossyWire.TestCase
