"""Trunks as an operator writes them: every key documented, faults named by trunk, passwords only from outside."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.app.config import load, shipped
from gateway.app.trunk_config import Account, Address, Trunk, address, credentials, nonce_secret, passwords
from gateway.core.errors import ConfigError


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    return path


def documented(table: str) -> dict[str, Any]:
    """The keys of an example table in the shipped file."""
    text = shipped("config/gateway.toml").read_text().partition(f"#[[{table}]]")[2].partition("#[[")[0]
    lines = [line[1:] for line in text.splitlines() if line.startswith("#") and not line.startswith("# ")]
    return tomllib.loads("\n".join(lines))


@pytest.mark.parametrize(("table", "struct"), [("trunk", Trunk), ("account", Account)])
def test_every_key_is_documented_with_its_default(table: str, struct: type[msgspec.Struct]) -> None:
    """The shipped file is where an operator looks; keys without a default show an example."""
    shown = documented(table)
    assert set(shown) == set(struct.__struct_fields__)
    for field in msgspec.structs.fields(struct):
        if field.default not in (msgspec.NODEFAULT, None, ()):
            assert shown[field.name] == field.default, field.name


def test_a_trunk_is_known_by_its_addresses_and_reached_in_its_order(tmp_path: Path) -> None:
    """The proxy comes before the host, fail-over targets after."""
    path = written(
        tmp_path,
        "[[trunk]]\nname = 'a'\nhost = '192.0.2.1'\noutbound_proxy = '192.0.2.5:5070'\n"
        "failover = ['backup.example', '[2001:db8::1]:5080']\nnetworks = ['198.51.100.0/24']\n",
    )
    (trunk,) = load(path, {}, {}).trunk
    assert trunk.targets == (
        Address("192.0.2.5", 5070, "udp"),
        Address("backup.example", None, "udp"),
        Address("2001:db8::1", 5080, "udp"),
    )
    assert trunk.known_networks == ("198.51.100.0/24", "192.0.2.5", "2001:db8::1")


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        ("host = 'x y'", "no address"),
        ("host = 'x'\nregister = true", "username"),
        ("host = 'x'\nnetworks = ['192.0.2.0/40']", "not a network"),
        ("host = 'x'\nusername = 'u'\npassword_env = 'A'\npassword_file = 'B'", "exclude"),
        ("host = 'x'\npassword_env = 'A'", "username"),
        ("host = 'x'\nexpires_s = 5", "expires_s"),
        ("host = 'x'\nfailover = ['y:99999']", "no address"),
        ("host = 'x'\nmax_calls = -1", "negative"),
        ("host = 'x'\nregistr = true", "did you mean `register`"),
        ("host = 'x'\ntransport = 'sctp'", "sctp"),
    ],
)
def test_a_fault_names_the_trunk_or_the_line(tmp_path: Path, lines: str, word: str) -> None:
    """Before any door opens."""
    with pytest.raises(ConfigError, match=word):
        load(written(tmp_path, f"[[trunk]]\nname = 'provider'\n{lines}\n"), {}, {})


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        ("transport = 'sctp'", 6),
        ("max_calls = 'many'", 6),
        ("registr = true", 6),
        ("networks = ['x']", 6),
        ("failover = ['a b']", 6),
        ("session_expires_s = 30", 6),
        ("dtmf = 'smoke'", 6),
        ("register = true", 6),
        ("name = 'second'", None),
        ("# nothing more", None),
    ],
)
def test_a_fault_stands_at_its_place(tmp_path: Path, lines: str, line: int | None) -> None:
    """Of several trunks the right one, and there the right line; its heading for what is missing."""
    first = "[[trunk]]\nname = 'first'\nhost = '192.0.2.1'\n"
    host = "" if lines.startswith("#") else "host = '192.0.2.2'\n"
    name = "" if lines.startswith("name") else "name = 'second'\n"
    path = written(tmp_path, f"{first}[[trunk]]\n{name or host}{lines}\n{host if name else ''}")
    if lines.startswith("name"):
        load(path, {}, {})
        return
    with pytest.raises(ConfigError) as fault:
        load(path, {}, {})
    assert str(fault.value).startswith(f"{path}:{line or 4}"), str(fault.value)


def test_a_missing_host_is_asked_for(tmp_path: Path) -> None:
    """In the words of the file."""
    with pytest.raises(ConfigError, match="needs a `host`"):
        load(written(tmp_path, "[[trunk]]\nname = 'a'\n"), {}, {})


def test_two_trunks_need_two_names(tmp_path: Path) -> None:
    """A name says which is meant."""
    with pytest.raises(ConfigError, match="twice"):
        load(written(tmp_path, "[[trunk]]\nname = 'a'\nhost = 'x'\n" * 2), {}, {})


def test_a_closed_door_must_know_its_trunks(tmp_path: Path) -> None:
    """With strangers refused, a trunk that is only a name would be one."""
    text = "unknown_sources = 'reject'\n[[trunk]]\nname = 'a'\nhost = 'sip.example'\n"
    with pytest.raises(ConfigError, match="networks"):
        load(written(tmp_path, text), {}, {})
    load(written(tmp_path, text + "networks = ['192.0.2.0/24']\n"), {}, {})
    with pytest.raises(ConfigError, match="account"):
        load(written(tmp_path, "unknown_sources = 'challenge'\n"), {}, {})


def test_a_password_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    """And never from the configuration, which is copied around."""
    file = tmp_path / "secret"
    file.write_text("hush\n")
    by_env = Trunk("a", "x", username="u", password_env="PW")
    by_file = Trunk("a", "x", username="u", auth_username="v", password_file=str(file))
    assert credentials(Trunk("a", "x"), {}) is None
    found = credentials(by_env, {"PW": "shh"})
    assert found is not None
    assert (found.username, found.password) == ("u", "shh")
    found = credentials(by_file, {})
    assert found is not None
    assert (found.username, found.password) == ("v", "hush")
    assert passwords((Account("p", password_file=str(file)),), {}) == {"p": "hush"}


def test_a_missing_password_is_said_by_its_source() -> None:
    """The variable or the file is what the operator can mend."""
    with pytest.raises(ConfigError, match="variable PW holds no password"):
        credentials(Trunk("a", "x", username="u", password_env="PW"), {})
    with pytest.raises(ConfigError, match="cannot read"):
        credentials(Trunk("a", "x", username="u", password_file="/nowhere/secret"), {})
    with pytest.raises(ConfigError, match="password_env"):
        passwords((Account("p"),), {})


def test_the_nonce_secret_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    """The same as a password; without one each gateway makes up its own."""
    file = tmp_path / "secret"
    file.write_text("0123456789abcdef\n")
    assert nonce_secret(None, None, {}) == b""
    assert nonce_secret("NONCES", None, {"NONCES": "fedcba9876543210"}) == b"fedcba9876543210"
    assert nonce_secret(None, str(file), {}) == b"0123456789abcdef"


def test_a_nonce_secret_that_can_be_guessed_or_is_missing_is_refused_without_quoting_it() -> None:
    """Who has it can sign challenges of his own; what is wrong with it must not put it into a log."""
    with pytest.raises(ConfigError, match="at least 16") as refused:
        nonce_secret("NONCES", None, {"NONCES": "hush"})
    assert "hush" not in str(refused.value)
    with pytest.raises(ConfigError, match="variable NONCES holds no secret"):
        nonce_secret("NONCES", None, {})
    with pytest.raises(ConfigError, match="cannot read"):
        nonce_secret(None, "/nowhere/secret", {})


def test_the_nonce_secret_is_named_once(tmp_path: Path) -> None:
    """Of two sources nobody knows which counts."""
    with pytest.raises(ConfigError, match="exclude"):
        load(written(tmp_path, "nonce_secret_env = 'A'\nnonce_secret_file = 'B'\n"), {}, {})


@pytest.mark.parametrize("text", ["", "a b", "host:", "host:0", "host:70000", "[::1", "http://x"])
def test_what_is_no_address(text: str) -> None:
    """Said at start, not when the first call fails."""
    with pytest.raises(ConfigError):
        address(text)


def test_addresses_as_people_write_them() -> None:
    """A bare IPv6 address needs no brackets; TLS has a port of its own."""
    assert address("::1") == Address("::1")
    assert str(address("::1")) == "[::1]:5060"
    assert str(address("192.0.2.1", "tls")) == "192.0.2.1:5061"
    assert str(address("sip.example", "tls")) == "sip.example"
    assert address("sip.example:5070;transport=tcp", "tls") == Address("sip.example", 5070, "tcp")
    assert str(address("[::1]:5070")) == "[::1]:5070"
