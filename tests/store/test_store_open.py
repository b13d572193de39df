"""From URLs to stores: what is found, and what an operator reads when nothing is."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from gateway.core.errors import ConfigError
from gateway.store import SessionStore, kinds, open_store
from gateway.store.memory import MemoryStore
from gateway.store.sqlalchemy import SqlStore


def test_the_scheme_chooses_the_backend(tmp_path: Path) -> None:
    """One setting, the URL, decides; no list of backends exists beside the modules themselves."""
    assert isinstance(open_store("memory:"), MemoryStore)
    assert isinstance(open_store(f"sqlite:///{tmp_path}/s.db"), SqlStore)
    assert {"memory", "postgresql", "sqlite"} <= set(kinds())


@pytest.mark.parametrize("url", ["acme://host/1", "ports:", "rules:", "sqlalchemy://x", "mysql://host/db"])
def test_an_unknown_kind_lists_the_known_ones(url: str) -> None:
    """A typo in the configuration is answered with what could have been meant; helper modules are no kinds."""
    with pytest.raises(ConfigError, match=r"unknown kind of store '\w+'; known: memory, postgresql, .*sqlite"):
        open_store(url)


@pytest.mark.parametrize("url", ["", "sessions.db", "/var/lib/x.db", "os.path:", "..sqlite:///x", "SQLite:///x"])
def test_what_is_no_store_url_is_refused(url: str) -> None:
    """A path alone, or a name that might reach other modules, is not a URL of a store."""
    with pytest.raises(ConfigError, match="begins with its kind and a colon, one of: memory"):
        open_store(url)


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///", "sqlite://host/file.db", "sqlite:///f.db?timeout=soon", "sqlite:///f.db?sync=off",
     "sqlite:///f.db?synchronous=off"],
)  # fmt: skip
def test_a_sqlite_url_with_a_fault_says_how_to_write_it(url: str) -> None:
    """What cannot be meant is refused at once, not when the first call comes."""
    with pytest.raises(ConfigError, match="store URL"):
        open_store(url)


def test_a_third_party_adds_a_kind_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution's kind is found, listed, and given the whole URL."""
    point = EntryPoint(name="acme", value="test_store_open:build_acme", group="gateway.store")
    monkeypatch.setattr("gateway.store.open.entry_points", lambda **wanted: EntryPoints([point]).select(**wanted))

    assert "acme" in kinds()
    store = open_store("acme://host/7")
    assert isinstance(store, AcmeStore)
    assert store.url == "acme://host/7"


class AcmeStore(MemoryStore):
    url = ""


def build_acme(url: str) -> SessionStore:
    store = AcmeStore()
    store.url = url
    return store


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without asyncpg the gateway says what to install, and never shows the password of the URL."""
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ConfigError, match=r"voicebot-gateway\[postgres\]") as refusal:
        open_store("postgresql://anna:secret@host/db")
    assert "secret" not in str(refusal.value)


def test_an_unreadable_postgresql_url_keeps_its_secret() -> None:
    """The URL may hold a password, so the complaint about it does not repeat it."""
    with pytest.raises(ConfigError, match="cannot be read") as refusal:
        open_store("postgresql://anna:secret@host:port/db")
    assert "secret" not in str(refusal.value)
