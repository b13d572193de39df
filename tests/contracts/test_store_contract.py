"""What every session store promises (`gateway/store/ports.py`), held against every kind that can be found."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator

import pytest
from store_backends import KINDS, NewUrl, new_url, postgres, redis
from waiting import turns

from gateway.core.errors import MisuseError, SessionError
from gateway.core.events import AgentRemembered, AnyEvent, CallEnded, DialogueCompleted, Side, StepEntered, VariableSet
from gateway.store import Identity, Numbered, SessionStore, open_store

__all__ = ["new_url", "postgres", "redis"]  # pytest finds fixtures by name

pytestmark = pytest.mark.parametrize("kind", KINDS)

ANNA = Identity(caller="+4930123", called="100")
WINDOW_S = 1800.0


@pytest.fixture
async def store(new_url: NewUrl) -> AsyncIterator[SessionStore]:
    store = open_store(new_url())
    await store.open()
    yield store
    await store.close()


def step(text: str) -> AnyEvent:
    return StepEntered(at=1.0, call="c1", step=text)


def numbered(*events: AnyEvent, first: int = 1) -> list[Numbered]:
    return [Numbered(sequence, event) for sequence, event in enumerate(events, start=first)]


async def test_what_was_appended_is_loaded_in_order(store: SessionStore) -> None:
    """The events of a session come back equal and in the order of their numbers, however many appends it took."""
    state = AgentRemembered(at=2.5, call="c1", state={"slots": {"day": "Thursday"}, "asked": [1, None, True]})
    quirky = VariableSet(at=3.0, call="c1", name="naïve\n", value='☎ " \\ \0')
    created = await store.create("s1", ANNA, now=1000.0)
    await store.append("s1", numbered(step("desk/1:agent"), state), now=1001.0)
    await store.append("s1", numbered(quirky, first=3), now=1002.0)

    session = await store.load("s1")

    assert (created.created_at, created.touched_at, created.status, created.events) == (1000.0, 1000.0, "open", 0)
    assert session.events == (step("desk/1:agent"), state, quirky)
    assert session.info.id == "s1"
    assert session.info.identity == ANNA
    assert (session.info.created_at, session.info.touched_at, session.info.events) == (1000.0, 1002.0, 3)
    assert session.info.status == "open"


async def test_a_repeated_append_changes_nothing(store: SessionStore) -> None:
    """A writer that does not know whether its append arrived may send it again, alone or with what came since."""
    await store.create("s1", ANNA, now=0.0)
    await store.append("s1", numbered(step("a"), step("b")), now=1.0)
    await store.append("s1", numbered(step("a"), step("b")), now=2.0)
    await store.append("s1", numbered(step("other"), step("b"), step("c")), now=3.0)

    assert (await store.load("s1")).events == (step("a"), step("b"), step("c"))
    assert (await store.load("s1")).info.events == 3


@pytest.mark.parametrize("sequences", [[2], [0], [1, 3], [1, 1], [2, 1]])
async def test_a_gap_is_refused_whole(store: SessionStore, sequences: list[int]) -> None:
    """Events are counted from 1 without gaps; a batch that breaks that is our own bug and leaves nothing behind."""
    await store.create("s1", ANNA, now=0.0)
    with pytest.raises(MisuseError, match="gap"):
        await store.append("s1", [Numbered(sequence, step("x")) for sequence in sequences], now=1.0)

    assert await store.load("s1") == await store.load("s1")
    assert (await store.load("s1")).events == ()
    assert (await store.load("s1")).info.touched_at == 0.0


@pytest.mark.parametrize(
    "broken",
    [
        VariableSet(at=0.0, call="c1", name="half a character", value="\ud83d"),
        VariableSet(at=math.nan, call="c1", name="no time", value=""),
        AgentRemembered(at=0.0, call="c1", state={"an object": object()}),
    ],
    ids=["half a character", "not a number", "an object"],
)
async def test_an_event_that_cannot_come_back_is_refused_whole(store: SessionStore, broken: AnyEvent) -> None:
    """What a session holds can be loaded, always: one event that could not be spoils its batch, loudly and at once."""
    await store.create("s1", ANNA, now=0.0)
    with pytest.raises(MisuseError, match=f"a {type(broken).__name__} cannot be stored"):
        await store.append("s1", numbered(step("fine"), broken), now=1.0)

    assert (await store.load("s1")).events == ()


async def test_an_empty_append_touches(store: SessionStore) -> None:
    """A long silent call keeps its session young."""
    await store.create("s1", ANNA, now=0.0)
    await store.append("s1", [], now=60.0)

    assert (await store.load("s1")).info.touched_at == 60.0


async def test_a_session_id_is_used_once(store: SessionStore) -> None:
    """Two calls that make the same session id would mix their dialogues: the second is told, the first is unharmed."""
    await store.create("s1", ANNA, now=0.0)
    await store.append("s1", numbered(step("a")), now=1.0)
    with pytest.raises(SessionError) as refusal:
        await store.create("s1", Identity("somebody", "else"), now=2.0)

    assert refusal.value.code == "already_active"
    assert (await store.load("s1")).info.identity == ANNA
    assert (await store.load("s1")).events == (step("a"),)


async def test_an_unknown_session_is_said_to_be_unknown(store: SessionStore) -> None:
    """Loading or appending to a session that never was (or was purged) is the caller's error, not the store's."""
    with pytest.raises(SessionError) as on_load:
        await store.load("nobody's")
    with pytest.raises(SessionError) as on_append:
        await store.append("nobody's", numbered(step("a")), now=0.0)

    assert on_load.value.code == on_append.value.code == "session_not_found"
    assert await store.recent() == []


async def test_the_newest_open_session_of_the_caller_resumes(store: SessionStore) -> None:
    """Only the caller's own sessions with the same called number count, and of those the one touched last."""
    await store.create("older", ANNA, now=0.0)
    await store.create("newer", ANNA, now=10.0)
    await store.create("elsewhere", Identity(ANNA.caller, "200"), now=20.0)
    await store.create("somebody", Identity("+4930999", ANNA.called), now=20.0)
    found = await store.find_resumable(ANNA, now=30.0, window_s=WINDOW_S)
    assert found is not None
    assert found.id == "newer"

    await store.append("older", [], now=40.0)
    found = await store.find_resumable(ANNA, now=50.0, window_s=WINDOW_S)
    assert found is not None
    assert (found.id, found.touched_at) == ("older", 40.0)


async def test_the_window_is_counted_from_the_last_touch(store: SessionStore) -> None:
    """Resumable up to and including the window's last second, and not after it."""
    await store.create("s1", ANNA, now=0.0)
    await store.append("s1", numbered(step("a")), now=100.0)

    assert await store.find_resumable(ANNA, now=100.0 + WINDOW_S, window_s=WINDOW_S) is not None
    assert await store.find_resumable(ANNA, now=100.5 + WINDOW_S, window_s=WINDOW_S) is None


async def test_a_completed_dialogue_never_resumes(store: SessionStore) -> None:
    """`DialogueCompleted` closes the session, although the events of the goodbye may still follow it."""
    await store.create("s1", ANNA, now=0.0)
    done = DialogueCompleted(at=5.0, call="c1", outcome="booked", data={"day": "Thursday"})
    await store.append("s1", numbered(step("a"), done), now=5.0)
    await store.append("s1", numbered(step("goodbye"), first=3), now=6.0)

    assert (await store.load("s1")).info.status == "completed"
    assert (await store.load("s1")).events == (step("a"), done, step("goodbye"))
    assert await store.find_resumable(ANNA, now=7.0, window_s=WINDOW_S) is None


@pytest.mark.parametrize(("by", "status"), [("bot", "completed"), ("caller", "open"), ("gateway", "open")])
async def test_a_call_that_the_dialplan_ended_never_resumes(store: SessionStore, by: Side, status: str) -> None:
    """Whatever else ended it leaves the session open."""
    await store.create("s1", ANNA, now=0.0)
    await store.append("s1", numbered(step("a"), CallEnded(5.0, "c1", "hangup", by, 4.0)), now=5.0)
    assert (await store.load("s1")).info.status == status
    assert (await store.find_resumable(ANNA, now=6.0, window_s=WINDOW_S) is None) == (status == "completed")


async def test_a_repeated_number_does_not_complete(store: SessionStore) -> None:
    """What is there stays as it is: an event that arrives under a number already taken has no effect at all."""
    await store.create("s1", ANNA, now=0.0)
    await store.append("s1", numbered(step("a")), now=1.0)
    await store.append("s1", numbered(DialogueCompleted(at=2.0, call="c1", outcome="booked")), now=2.0)

    assert (await store.load("s1")).info.status == "open"


async def test_an_anonymous_caller_never_resumes(store: SessionStore) -> None:
    """Nobody may be handed the dialogue of another caller who also withheld the number."""
    anonymous = Identity(caller="", called="100")
    await store.create("s1", anonymous, now=0.0)

    assert await store.find_resumable(anonymous, now=1.0, window_s=WINDOW_S) is None


@pytest.mark.parametrize("caller", ["\0", "\ud800", "'; DROP TABLE sessions; --", "%", "ü" * 3000, "a\\x00b"])
async def test_a_strange_caller_is_a_caller(store: SessionStore, caller: str) -> None:
    """The caller's name comes from the wire, where anything goes; it is found again and it is nobody else's."""
    strange = Identity(caller=caller, called="100")
    await store.create("other", ANNA, now=2.0)
    await store.create("s1", strange, now=1.0)

    found = await store.find_resumable(strange, now=3.0, window_s=WINDOW_S)
    assert found is not None
    assert found.id == "s1"


async def test_recent_lists_the_last_touched_first(store: SessionStore) -> None:
    """An operator sees what happened last at the top, completed or not, and no more than asked for."""
    for index in range(4):
        await store.create(f"s{index}", ANNA, now=float(index))
    await store.append("s0", numbered(DialogueCompleted(at=0.0, call="c1", outcome="booked")), now=10.0)

    assert [info.id for info in await store.recent()] == ["s0", "s3", "s2", "s1"]
    assert [info.id for info in await store.recent(limit=2)] == ["s0", "s3"]
    assert await store.recent(limit=0) == []


async def test_purge_forgets_old_sessions_and_only_those(store: SessionStore) -> None:
    """Retention: what was last touched before the date is gone with its events, the rest is untouched."""
    for index in range(250):
        await store.create(f"old{index}", ANNA, now=1.0)
        if index % 10 == 0:
            await store.append(f"old{index}", numbered(step("a")), now=2.0)
    await store.create("new", ANNA, now=3.0)
    await store.append("new", numbered(step("b")), now=4.0)

    assert await store.purge(before=4.0) == 250
    assert await store.purge(before=4.0) == 0
    assert [info.id for info in await store.recent()] == ["new"]
    assert (await store.load("new")).events == (step("b"),)
    await store.create("old0", ANNA, now=5.0)
    assert (await store.load("old0")).events == ()


async def test_appends_to_many_sessions_at_once_do_not_mix(store: SessionStore) -> None:
    """Hundreds of calls run side by side: every session ends with exactly its own events."""
    names = [f"s{index}" for index in range(300)]

    async def talk(name: str) -> None:
        await store.create(name, ANNA, now=0.0)
        for turn in range(1, 4):
            await store.append(name, [Numbered(turn, step(f"{name}/{turn}"))], now=float(turn))

    await asyncio.gather(*(talk(name) for name in names))

    for name in names:
        assert (await store.load(name)).events == tuple(step(f"{name}/{turn}") for turn in range(1, 4))


async def test_one_bad_append_does_not_harm_its_neighbours(store: SessionStore) -> None:
    """Of appends that arrive together, those that must fail do and the others do not."""
    await store.create("good", ANNA, now=0.0)
    await store.create("bad", ANNA, now=0.0)

    outcomes = await asyncio.gather(
        store.append("good", numbered(step("a")), now=1.0),
        store.append("bad", numbered(step("a"), first=5), now=1.0),
        store.append("unknown", numbered(step("a")), now=1.0),
        store.append("good", numbered(step("b"), first=2), now=2.0),
        return_exceptions=True,
    )

    assert [type(outcome) for outcome in outcomes] == [type(None), MisuseError, SessionError, type(None)]
    assert (await store.load("good")).events == (step("a"), step("b"))
    assert (await store.load("bad")).events == ()


async def test_the_same_append_twice_at_once_is_one(store: SessionStore) -> None:
    """A retry may overtake the original; both succeed and the events are there once."""
    await store.create("s1", ANNA, now=0.0)
    events = numbered(*(step(str(index)) for index in range(5)))
    await asyncio.gather(*(store.append("s1", events, now=1.0) for _ in range(8)))

    assert (await store.load("s1")).info.events == 5
    assert len((await store.load("s1")).events) == 5


async def test_a_cancelled_append_is_whole_or_absent(store: SessionStore) -> None:
    """A call torn down in the middle of an append leaves a store that works, with all of the batch or none of it."""
    await store.create("s1", ANNA, now=0.0)
    events = numbered(*(step(str(index)) for index in range(50)))
    for hops in range(12):
        appending = asyncio.ensure_future(store.append("s1", events, now=1.0))
        await turns(hops)
        appending.cancel()
        await asyncio.gather(appending, return_exceptions=True)
        assert len((await store.load("s1")).events) in (0, 50)

    await store.append("s1", events, now=2.0)
    assert (await store.load("s1")).events == tuple(each.event for each in events)


async def test_a_store_is_opened_before_it_is_used(new_url: NewUrl) -> None:
    """Using a store before `open` or after `close` is a bug on our side and says so; closing twice is none."""
    store = open_store(new_url())
    with pytest.raises(MisuseError):
        await store.recent()
    await store.open()
    await store.close()
    await store.close()
    with pytest.raises(MisuseError):
        await store.create("s1", ANNA, now=0.0)
