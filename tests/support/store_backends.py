"""Every kind of store the tests can find, each with an empty place of its own for every test.

A third party's kind joins in when `GATEWAY_TEST_STORE_<KIND>` holds a URL of an empty store.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from postgres_server import PostgresServer, find_binaries
from redis_server import RedisServer, find_binary

from gateway.store import kinds

NewUrl = Callable[[], str]

# Kinds that need a server share it; with pytest-xdist they therefore share a worker.
KINDS = [pytest.param(kind, marks=pytest.mark.xdist_group("servers")) for kind in kinds()]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL; a test that stops it starts it again."""
    pytest.importorskip("asyncpg")
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    server = PostgresServer(binaries)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """A running Redis; a test that stops it starts it again."""
    pytest.importorskip("redis")
    binary = find_binary()
    if binary is None:
        pytest.skip("Redis is not installed (Debian: redis-tools)")
    server = RedisServer(binary)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def new_url(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> NewUrl:
    """Each call is the URL of an empty store of the `kind` the test is parametrised with."""
    if kind == "memory":
        return lambda: "memory:"
    if kind == "sqlite":
        numbers = count()
        return lambda: f"sqlite:///{tmp_path}/sessions{next(numbers)}.db"
    if kind == "postgresql":
        postgres: PostgresServer = request.getfixturevalue("postgres")
        return postgres.new_database
    if kind == "redis":
        redis: RedisServer = request.getfixturevalue("redis")
        return redis.new_store
    place = os.environ.get(f"GATEWAY_TEST_STORE_{kind.upper()}")
    if place is None:
        pytest.skip(f"GATEWAY_TEST_STORE_{kind.upper()} names no {kind} store to test with")
    return lambda: place
