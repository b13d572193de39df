"""Whatever registrars answer, and however their addresses change: one REGISTER at a time, and never a busy loop."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sip_wire import US, Line, reply

from gateway.sip.commands import Credentials, MoveRegistration, Register, Unregister
from gateway.sip.events import Registered, RegistrationFailed, Unregistered
from gateway.sip.flow import Flow
from gateway.sip.message import Request

WAYS = [Flow("udp", US, (f"192.0.2.{n}", 5060)) for n in (11, 12, 13)]
PER_WAY = 12
"""REGISTERs that one round of one way may take at most: some lessons, and repetitions of an unanswered one."""


class Registrars(RuleBasedStateMachine):
    """Three registrars with a mind of their own, and an operator's trunk that registers with them."""

    def __init__(self) -> None:
        super().__init__()
        self.line = Line()
        self.nonce = 0
        self.left = False
        self.line.do(
            Register(
                "trunk",
                "sip:provider.example",
                "sip:4711@provider.example",
                WAYS[0],
                Credentials("4711", "secret"),
                others=tuple(WAYS[1:]),
                silent_for_s=4.0,
            )
        )

    @property
    def last(self) -> Request:
        sent = [message for message in self.line.sent if isinstance(message, Request) and message.method == "REGISTER"]
        return sent[-1]

    @property
    def distinct(self) -> set[int]:
        return {message.cseq.number for message in self.line.sent if isinstance(message, Request)}

    def _answer(self, status: int, *headers: str) -> None:
        self.line.receive(reply(self.last, status, contact=None, headers=headers))

    @rule(expires=st.integers(0, 7200))
    def grant(self, expires: int) -> None:
        self._answer(200, f"Expires: {expires}")

    @rule(stale=st.booleans())
    def challenge(self, stale: bool) -> None:
        self.nonce += 1
        self._answer(
            401, f'WWW-Authenticate: Digest realm="p", nonce="{self.nonce}", qop="auth"{", stale=true" * stale}'
        )

    @rule(least=st.integers(0, 90_000))
    def too_short(self, least: int) -> None:
        self._answer(423, f"Min-Expires: {least}")

    @rule(status=st.sampled_from([403, 404, 408, 500, 503, 504, 603]))
    def refuse(self, status: int) -> None:
        self._answer(status)

    @rule(way=st.sampled_from(WAYS))
    def unreachable(self, way: Flow) -> None:
        self.line.lose(way)

    @rule(seconds=st.floats(0.1, 4000))
    def wait(self, seconds: float) -> None:
        self.line.advance(seconds)

    @precondition(lambda self: not self.left)
    @rule(order=st.permutations(WAYS), count=st.integers(1, 3))
    def move(self, order: list[Flow], count: int) -> None:
        self.line.do(MoveRegistration("trunk", order[0], tuple(order[1:count])))

    @precondition(lambda self: not self.left)
    @rule()
    def leave(self) -> None:
        self.left = True
        self.line.do(Unregister("trunk"))

    @rule()
    def obstinate(self) -> None:
        """Every REGISTER is answered at once with another stale nonce, for as long as more come."""
        before = len(self.distinct)
        for _ in range(100):
            last = self.last.cseq.number
            self.challenge(True)
            if self.last.cseq.number == last:
                break
        assert len(self.distinct) - before <= PER_WAY * len(WAYS)

    @invariant()
    def never_a_busy_loop(self) -> None:
        """Nothing is due at once; what is due lies ahead, unless the end has come."""
        due = self.line.endpoint.next_deadline()
        assert due is None or due > self.line.now - 1e-6

    @invariant()
    def one_voice(self) -> None:
        """CSeq grows by one each time, in one Call-ID."""
        sent = [message for message in self.line.sent if isinstance(message, Request)]
        numbers = sorted({message.cseq.number for message in sent})
        assert numbers == list(range(1, len(numbers) + 1))
        assert len({message.call_id for message in sent}) == 1

    @invariant()
    def told_in_words(self) -> None:
        """Failures say when it is tried again, and never at once."""
        for event in self.line.events:
            assert isinstance(event, Registered | RegistrationFailed | Unregistered)
            if isinstance(event, RegistrationFailed):
                assert event.retry_in_s >= 15

    def teardown(self) -> None:
        if not self.left:
            self.line.do(Unregister("trunk"))
        self.line.advance(200)
        assert self.line.endpoint.next_deadline() is None


Registrars.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestRegistrars = Registrars.TestCase
