"""Admission, the journal's numbering, and the writer that brings journals home."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest
from structlog.testing import capture_logs

from gateway.call.journal import Journal, lost_recording, summary
from gateway.call.switchboard import Switchboard
from gateway.call.worker import SessionWriter
from gateway.core import events as e
from gateway.core.clock import LoopClock
from gateway.core.errors import CapacityError, MisuseError, StoreError
from gateway.core.loops import run_virtual
from gateway.store.memory import MemoryStore
from gateway.store.ports import Identity, Numbered

ALICE = Identity("1001", "desk")


class Caller(msgspec.Struct, frozen=True):
    id: str
    identity: Identity


def test_a_full_board_admits_nobody_and_says_when_to_come_again() -> None:
    """Overload is refused at the door, with a time to retry; those inside are not disturbed."""
    board: Switchboard[Caller] = Switchboard(max_calls=1)
    board.check_room()
    board.admit(Caller("c-1", ALICE))
    with pytest.raises(CapacityError) as refused:
        board.check_room()
    assert refused.value.retry_after_s > 0
    board.release("c-1")
    board.check_room()


def test_an_overloaded_board_admits_nobody_until_it_is_over() -> None:
    """Live calls come before new ones; who is refused is told why, and when to come again."""
    reason = "the audio of live calls is 40 ms late"
    board: Switchboard[Caller] = Switchboard(max_calls=9, overload=lambda: reason)
    board.admit(Caller("c-1", ALICE))
    with pytest.raises(CapacityError, match="40 ms late") as refused:
        board.check_room()
    assert refused.value.retry_after_s > 0
    assert board.find("c-1") is not None
    reason = ""
    board.check_room()


def test_draining_refuses_new_calls_and_keeps_live_ones() -> None:
    """Drain: nobody new, nobody thrown out."""
    board: Switchboard[Caller] = Switchboard(max_calls=9)
    board.admit(Caller("c-1", ALICE))
    board.drain()
    with pytest.raises(CapacityError):
        board.check_room()
    assert board.find("c-1") is not None


def test_the_anonymous_have_no_identity_in_common() -> None:
    """Two withheld numbers are not one caller."""
    board: Switchboard[Caller] = Switchboard(max_calls=9)
    board.admit(Caller("c-1", Identity("", "desk")))
    board.admit(Caller("c-2", ALICE))
    assert board.of_identity(Identity("", "desk")) == []
    assert [one.id for one in board.of_identity(ALICE)] == ["c-2"]


def test_a_journal_goes_on_where_its_session_stopped() -> None:
    """A call back numbers its events after those of the call before."""
    journal = Journal(next_sequence=8)
    journal.add(e.CallHeld(1.0, "c-2"))
    journal.add(e.CallRetrieved(2.0, "c-2"))
    assert [one.sequence for one in journal.pending()] == [8, 9]
    journal.acknowledged(8)
    assert [one.sequence for one in journal.pending()] == [9]


def test_the_closing_line_counts_what_happened() -> None:
    """Response time is from the end of the caller's speech to the bot's next sample, and turns are not silences."""
    events: list[e.AnyEvent] = [
        e.SpeechEnded(10.2, "c", ended_at=10.0),
        e.UserTurnEnded(10.8, "c", 1, "monday"),
        e.UtteranceStarted(11.0, "c", 2),
        e.UserTurnEnded(30.0, "c", 2, "", silent=True),
        e.DigitPressed(31.0, "c", "1", 100),
        e.DialogueCompleted(40.0, "c", "booked"),
    ]
    line = summary(events)
    assert line["turns"] == 1
    assert line["digits"] == 1
    assert line["response_ms"] == 1000.0
    assert line["outcome"] == "booked"


def test_the_closing_line_tells_of_a_recording_that_is_not_whole() -> None:
    """By what went wrong first; a lost packet trace is nothing to its listeners."""
    trace = e.RecordingFailed(1.0, "c", "No space left on device", "trace")
    events: list[e.AnyEvent] = [trace]
    assert lost_recording(events) is None
    events += [e.RecordingFailed(2.0, "c", "the disk is too slow")]
    assert lost_recording(events) == "the disk is too slow"


class ReluctantStore(MemoryStore):
    """Refuses its first appends, as a full disk does until somebody makes room."""

    def __init__(self, refusals: int) -> None:
        super().__init__()
        self.refusals = refusals
        self.attempts = 0

    async def append(self, session_id: str, events: Sequence[Numbered], now: float) -> None:
        self.attempts += 1
        if self.attempts <= self.refusals:
            raise StoreError("disk full")
        await super().append(session_id, events, now)


async def _write_through(store: ReluctantStore) -> tuple[bool, float]:
    clock = LoopClock(asyncio.get_running_loop())
    await store.open()
    writer = SessionWriter(store, clock)
    writer.start()
    journal = Journal()
    journal.add(e.SessionStarted(0.0, "c-1", "s-1"))
    writer.changed("s-1", ALICE, journal)
    journal.add(e.StepEntered(0.1, "c-1", "desk/0:answer"))
    writer.changed("s-1", ALICE, journal)
    flushed = await writer.flushed("s-1", within_s=60.0)
    session = await store.load("s-1")
    assert [type(event).__name__ for event in session.events] == ["SessionStarted", "StepEntered"]
    await writer.close()
    return flushed, clock.now()


def test_a_session_is_created_with_its_first_events() -> None:
    """No empty sessions, and no wait for the store before a call is served."""
    flushed, _ = run_virtual(_write_through(ReluctantStore(0)))
    assert flushed


def test_a_store_that_refuses_is_asked_again_with_backoff_until_nothing_is_missing() -> None:
    """A full disk costs time, never events."""
    store = ReluctantStore(4)
    flushed, took_s = run_virtual(_write_through(store))
    assert flushed
    assert 3.0 < took_s < 5.0
    assert store.attempts < 12


def test_what_cannot_be_saved_is_said_to_be_unsaved() -> None:
    """`flushed` tells the truth about a store that stays away."""

    async def scenario() -> bool:
        store = ReluctantStore(1_000)
        writer = SessionWriter(store, LoopClock(asyncio.get_running_loop()))
        writer.start()
        journal = Journal()
        journal.add(e.SessionStarted(0.0, "c-1", "s-1"))
        writer.changed("s-1", ALICE, journal)
        flushed = await writer.flushed("s-1", within_s=3.0)
        await writer.close(within_s=1.0)
        return flushed

    assert run_virtual(scenario()) is False


def test_a_caller_who_is_back_at_once_waits_for_what_is_not_saved_yet() -> None:
    """What a call back reads is all that the call before has left; sessions that go on elsewhere are not waited for."""

    async def scenario() -> tuple[set[str], int, set[str]]:
        store = ReluctantStore(1)
        await store.open()
        writer = SessionWriter(store, LoopClock(asyncio.get_running_loop()))
        writer.start()
        journal = Journal()
        journal.add(e.SessionStarted(0.0, "c-1", "s-1"))
        writer.changed("s-1", ALICE, journal)
        besides = await writer.unsaved(ALICE, besides={"s-1"}, within_s=0.0)
        unsaved = await writer.unsaved(ALICE, within_s=5.0)
        saved = len((await store.load("s-1")).events)
        store.refusals = 1_000
        journal.add(e.StepEntered(0.1, "c-1", "desk/0:answer"))
        writer.changed("s-1", ALICE, journal)
        stuck = await writer.unsaved(ALICE, within_s=1.0)
        assert not await writer.unsaved(Identity("1002", "desk"), within_s=0.0)
        await writer.close(within_s=0.0)
        return besides | unsaved, saved, stuck

    assert run_virtual(scenario()) == (set(), 1, {"s-1"})


class BrokenStore(MemoryStore):
    """A bug of ours in one session's events."""

    async def append(self, session_id: str, events: Sequence[Numbered], now: float) -> None:
        if session_id == "s-bad":
            raise MisuseError("a gap in the sequence")
        await super().append(session_id, events, now)


def test_a_fault_in_one_session_holds_up_no_other() -> None:
    """What can never be written is logged and let go; the others are written at once."""

    async def scenario() -> tuple[bool, bool, float]:
        store, clock = BrokenStore(), LoopClock(asyncio.get_running_loop())
        await store.open()
        writer = SessionWriter(store, clock)
        writer.start()
        for session in ("s-bad", "s-good"):
            journal = Journal()
            journal.add(e.SessionStarted(0.0, "c-1", session))
            writer.changed(session, ALICE, journal)
        bad = await writer.flushed("s-bad", within_s=5.0)
        good = len((await store.load("s-good")).events) == 1
        await writer.close()
        return bad, good, clock.now()

    with capture_logs() as logs:
        bad, good, took_s = run_virtual(scenario())
    assert (bad, good) == (True, True)
    assert took_s < 0.1
    assert [entry["session"] for entry in logs if entry["event"] == "session.unsaved"] == ["s-bad"]
