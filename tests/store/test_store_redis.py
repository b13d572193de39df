"""What is particular to Redis: how it is addressed, how it fails, and what it forgets."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis_server import RedisServer
from store_backends import redis
from structlog.testing import capture_logs

from gateway.core.errors import ConfigError, StoreError
from gateway.core.events import AnyEvent, StepEntered
from gateway.store import Identity, Numbered, SessionStore, open_store

__all__ = ["redis"]

pytestmark = pytest.mark.xdist_group("servers")

ANNA = Identity("anna", "1")


def step(text: str) -> AnyEvent:
    return StepEntered(at=0.0, call="c1", step=text)


async def filled(redis: RedisServer) -> SessionStore:
    store = open_store(redis.new_store())
    await store.open()
    await store.create("s1", ANNA, now=0.0)
    await store.append("s1", [Numbered(1, step("a"))], now=1.0)
    return store


async def test_a_killed_server_is_used_again_with_everything_in_it(redis: RedisServer) -> None:
    """With `appendfsync always`, kill -9 of Redis itself loses nothing; the store goes on without being reopened.

    By its default it answers before it has written, for up to two seconds, while the disk is still busy with earlier
    writes.
    """
    redis.command("CONFIG", "SET", "appendfsync", "always")
    store = await filled(redis)
    redis.stop()
    try:
        with pytest.raises(StoreError, match="cannot be reached or does not answer; check that it runs"):
            await store.append("s1", [Numbered(2, step("b"))], now=2.0)
    finally:
        redis.start()
    await store.append("s1", [Numbered(2, step("b"))], now=3.0)

    assert (await store.load("s1")).events == (step("a"), step("b"))
    await store.close()


@pytest.fixture
def setting(redis: RedisServer) -> Iterator[RedisServer]:
    """A Redis whose configuration a test may spoil."""
    yield redis
    redis.stop()
    redis.start()


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), "memory is full; raise maxmemory"),
        (("REPLICAOF", "127.0.0.1", "1"), "it is a replica; point the URL at the primary"),
        (("ACL", "SETUSER", "default", "-eval", "-evalsha"), "lacks a right; allow it all commands"),
    ],
    ids=["full", "replica", "rights"],
)
async def test_a_refused_write_changes_nothing_and_says_what_to_do(
    setting: RedisServer, command: tuple[str, ...], remedy: str
) -> None:
    """A Redis that takes reads only leaves the session as it was, with the remedy in the error."""
    store = await filled(setting)
    setting.command(*command)
    with pytest.raises(StoreError, match=remedy):
        await store.append("s1", [Numbered(2, step("b"))], now=2.0)

    session = await store.load("s1")
    assert (session.events, session.info.touched_at) == ((step("a"),), 1.0)
    await store.close()


async def test_a_password_is_asked_for_and_not_shown(setting: RedisServer) -> None:
    """A missing or wrong password is said at start; the URL's own is in no message."""
    setting.command("CONFIG", "SET", "requirepass", "right")
    with pytest.raises(StoreError, match="refused the user or password; check the URL"):
        await open_store(setting.url).open()
    with pytest.raises(StoreError) as refusal:
        await open_store(setting.url.replace("redis://", "redis://:wr%6Fng@")).open()
    assert "refused the user or password" in str(refusal.value)
    assert "wrong" not in str(refusal.value)
    store = open_store(setting.url.replace("redis://", "redis://:right@"))
    await store.open()
    await store.close()


async def test_nothing_at_the_address(tmp_path: Path) -> None:
    """No Redis at the address is said at once, with the address."""
    pytest.importorskip("redis")
    with pytest.raises(StoreError, match=r"session store redis://127\.0\.0\.1:1/2: it cannot be reached"):
        await open_store("redis://anna:secret@127.0.0.1:1/2").open()
    with pytest.raises(StoreError, match=f"{tmp_path}/none: it cannot be reached"):
        await open_store(f"redis://{tmp_path}/none").open()


async def test_a_redis_that_forgets_is_warned_about(setting: RedisServer) -> None:
    """Without an append-only file a restart of Redis loses sessions: allowed, but said once at start."""
    setting.command("CONFIG", "SET", "appendonly", "no")
    with capture_logs() as logs:
        store = open_store(setting.new_store())
        await store.open()
        await store.close()
    assert [(line["event"], line["log_level"]) for line in logs] == [("store.redis_forgets", "warning")]


async def test_data_of_a_newer_gateway_are_refused(redis: RedisServer) -> None:
    """As in the SQL stores, what we do not understand we do not write into."""
    url = redis.new_store()
    redis.command("SET", "gateway:schema", "999")
    with pytest.raises(StoreError, match=r"schema version 999, this gateway knows .*; run the newer gateway"):
        await open_store(url).open()


async def test_purged_sessions_leave_nothing(redis: RedisServer) -> None:
    """Retention means the data are gone: no key of a purged session stays behind."""
    store = await filled(redis)
    assert await store.purge(before=10.0) == 1
    await store.close()
    assert redis.command("DBSIZE") == ":1", "the schema version alone"


async def test_two_gateways_never_write_one_number_twice(redis: RedisServer) -> None:
    """A call moves to another gateway while the first still retries: each number is stored once, with one event."""
    one = await filled(redis)
    other = open_store(redis.url)
    await other.open()
    for number in range(2, 22):
        batches = [[Numbered(number, step(f"{name}{number}"))] for name in "ab"]
        await asyncio.gather(one.append("s1", batches[0], now=1.0), other.append("s1", batches[1], now=1.0))

    assert len((await one.load("s1")).events) == 21
    await one.close()
    await other.close()


@pytest.mark.parametrize(
    "url", ["redis://", "redis:///", "redis://host:port/0", "redis://host/first", "redis://h?db=1"]
)
def test_a_url_with_a_fault_says_how_to_write_it(url: str) -> None:
    """The complaint shows the right form and not the URL, which may hold a password."""
    pytest.importorskip("redis")
    with pytest.raises(ConfigError, match="write redis://host:6379/0"):
        open_store(url)


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without redis-py the gateway says what to install."""
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(ConfigError, match=r"voicebot-gateway\[redis\]"):
        open_store("redis://localhost/0")
