"""Any sequence of operations, in any order and repeated, against the simplest thing that could be right: a dict."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from gateway.core.errors import SessionError
from gateway.core.events import AnyEvent, CallEnded, DialogueCompleted, StepEntered, VariableSet, completes
from gateway.store import Identity, Numbered, open_store

T = TypeVar("T")

IDENTITIES = [Identity("anna", "1"), Identity("anna", "2"), Identity("bert", "1"), Identity("", "1")]
EVENTS = st.one_of(
    st.builds(StepEntered, at=st.floats(0, 1e6), call=st.just("c"), step=st.text(max_size=5)),
    st.builds(VariableSet, at=st.just(0.0), call=st.just("c"), name=st.just("n"), value=st.text(max_size=5)),
    st.builds(DialogueCompleted, at=st.just(0.0), call=st.just("c"), outcome=st.just("booked")),
    st.builds(CallEnded, st.just(0.0), st.just("c"), st.just("hangup"), st.sampled_from(["bot", "caller"]), st.just(1)),
)  # fmt: skip


@dataclass
class Modelled:
    identity: Identity
    created_at: float
    touched_at: float
    events: list[AnyEvent] = field(default_factory=list)

    @property
    def completed(self) -> bool:
        return any(completes(event) for event in self.events)


class StoreMachine(RuleBasedStateMachine):
    """Time passes with every write, so that the order of sessions is never a matter of taste."""

    kind: str
    ids = Bundle("ids")

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        url = "memory:" if self.kind == "memory" else f"sqlite:///{Path(self.folder.name)}/sessions.db"
        self.store = open_store(url)
        self.run(self.store.open())
        self.model: dict[str, Modelled] = {}
        self.now = 0.0

    def run(self, operation: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(operation)

    def tick(self) -> float:
        self.now += 1.0
        return self.now

    @rule(target=ids, session=st.integers(0, 8).map("s{}".format), identity=st.sampled_from(IDENTITIES))
    def create(self, session: str, identity: Identity) -> str:
        now = self.tick()
        if session in self.model:
            with pytest.raises(SessionError):
                self.run(self.store.create(session, identity, now))
        else:
            self.run(self.store.create(session, identity, now))
            self.model[session] = Modelled(identity, now, now)
        return session

    @rule(session=ids, events=st.lists(EVENTS, max_size=3), overlap=st.integers(0, 3))
    def append(self, session: str, events: list[AnyEvent], overlap: int) -> None:
        """`overlap` events of the batch repeat numbers that are already taken."""
        now = self.tick()
        modelled = self.model.get(session)
        stored = len(modelled.events) if modelled else 0
        first = max(1, stored + 1 - overlap)
        batch = [Numbered(number, event) for number, event in enumerate(events, start=first)]
        if modelled is None:
            with pytest.raises(SessionError):
                self.run(self.store.append(session, batch, now))
            return
        self.run(self.store.append(session, batch, now))
        modelled.events += events[stored + 1 - first :]
        modelled.touched_at = now

    @rule(keep=st.integers(0, 12))
    def purge(self, keep: int) -> None:
        old = [key for key, modelled in self.model.items() if modelled.touched_at < self.now - keep]
        assert self.run(self.store.purge(self.now - keep)) == len(old)
        for key in old:
            del self.model[key]

    @rule(session=consumes(ids))
    def reopen(self, session: str) -> None:
        """The gateway restarts: a store on disk has forgotten nothing."""
        if self.kind != "memory":
            self.run(self.store.close())
            self.run(self.store.open())

    @rule(identity=st.sampled_from(IDENTITIES), window=st.integers(0, 15))
    def find(self, identity: Identity, window: int) -> None:
        candidates = [
            (modelled.touched_at, key)
            for key, modelled in self.model.items()
            if modelled.identity == identity and not modelled.completed and modelled.touched_at >= self.now - window
        ]
        found = self.run(self.store.find_resumable(identity, self.now, float(window)))
        expected = max(candidates)[1] if candidates and identity.caller else None
        assert (found.id if found else None) == expected

    @invariant()
    def listed(self) -> None:
        if hasattr(self, "store"):
            newest = sorted(self.model, key=lambda key: -self.model[key].touched_at)
            assert [info.id for info in self.run(self.store.recent())] == newest

    @rule(session=ids)
    def load(self, session: str) -> None:
        modelled = self.model.get(session)
        if modelled is None:
            with pytest.raises(SessionError):
                self.run(self.store.load(session))
            return
        loaded = self.run(self.store.load(session))
        assert loaded.events == tuple(modelled.events)
        assert loaded.info.events == len(modelled.events)
        assert (loaded.info.created_at, loaded.info.touched_at) == (modelled.created_at, modelled.touched_at)
        assert (loaded.info.status == "completed") == modelled.completed

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.run(self.store.close())
            self.loop.close()
            self.folder.cleanup()


class MemoryMachine(StoreMachine):
    kind = "memory"


class SqliteMachine(StoreMachine):
    kind = "sqlite"


TestMemory = MemoryMachine.TestCase
TestMemory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestSqlite = SqliteMachine.TestCase
TestSqlite.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)
