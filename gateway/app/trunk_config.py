"""What an operator writes about those who connect us to the telephone network, and who may call without them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from gateway.core.errors import ConfigError
from gateway.sip.commands import Credentials
from gateway.sip.crypto import SrtpPolicy
from gateway.sip.flow import Transport
from gateway.sip.reach import DEFAULT_PORTS
from gateway.sip.uri import bracketed

ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>\d{1,5}))?")
NAME = re.compile(r"[A-Za-z0-9_.-]+")


class Address(msgspec.Struct, frozen=True):
    """Where a peer listens; `host` is a name or a literal address without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_literal(self) -> bool:
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True


class Trunk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A provider or PBX that sends us calls, takes ours, or both."""

    name: str
    """What logs, the dialplan's `trunk:` and `gateway trunks` call it."""
    host: str
    """Name or address of its registrar or proxy."""
    port: int | None = None
    transport: Transport = "udp"
    register: bool = False
    """Keep `username` registered there; otherwise it knows where to find us."""
    domain: str | None = None
    """The domain of our address and of the numbers we call, where it is not `host`."""
    username: str | None = None
    auth_username: str | None = None
    """The name we authenticate with, where it is not `username`."""
    password_env: str | None = None
    """The environment variable that holds the password."""
    password_file: str | None = None
    """Or the file whose first line it is."""
    expires_s: int = 3600
    """How long a registration shall last; it is refreshed before."""
    outbound_proxy: str | None = None
    """`host` or `host:port` that everything is sent to, in place of `host`."""
    failover: tuple[str, ...] = ()
    """`host` or `host:port` to try for outbound calls, in this order, when the first does not answer or has no room."""
    networks: tuple[str, ...] = ()
    """Sources its calls come from, as 192.0.2.0/24; besides `host`, where that is an address."""
    trusted: bool = False
    """Believe its P-Asserted-Identity about who calls."""
    codecs: tuple[Literal["PCMU", "PCMA"], ...] = ()
    """In our order of preference; none given takes those of the gateway."""
    srtp: SrtpPolicy | None = None
    """`off`, `optional` or `required`, where it is not as for the gateway."""
    dtmf: Literal["rfc4733", "info"] = "rfc4733"
    """How it sends keys; `info` leaves telephone-event out of the negotiation."""
    caller: str | None = None
    """The number we show when we call; else `username`."""
    options_interval_s: float = 30.0
    """How often it is asked whether it is there; 0 does not ask."""
    max_calls: int = 0
    """Calls at a time both ways; further ones get 503 with Retry-After. 0: no limit."""
    calls_per_s: float = 0.0
    """New calls a second, with a second's worth at once. 0: no limit."""
    ring_s: float = 60.0
    """How long a called party may let it ring before we give up."""
    failover_after_s: float = 4.0
    """How long a target may say nothing at all to a call before the next one is tried."""

    @property
    def targets(self) -> tuple[Address, ...]:
        """Where calls go, in order of preference."""
        first = self.outbound_proxy or (f"{self.host}:{self.port}" if self.port else self.host)
        return tuple(address(text, self.transport) for text in (first, *self.failover))

    @property
    def realm(self) -> str:
        """The host part of addresses on this trunk. Where messages really go is another matter: `targets`."""
        return self.domain or bracketed(address(self.host).host)

    @property
    def known_networks(self) -> tuple[str, ...]:
        literal = [target.host for target in self.targets if target.is_literal]
        return (*self.networks, *literal)


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody who may call from anywhere after `unknown_sources = "challenge"`."""

    username: str
    password_env: str | None = None
    password_file: str | None = None


def address(text: str, transport: Transport = "udp") -> Address:
    """Read `host`, `host:port`, `[v6]:port`. Raises `ConfigError`."""
    found = ADDRESS.fullmatch(text) or ADDRESS.fullmatch(f"[{text}]")
    port = int(found["port"] or DEFAULT_PORTS[transport]) if found else 0
    if found is None or not 0 < port < 65536:
        raise ConfigError(f"{text!r} is no address: write host, host:port or [2001:db8::1]:port")
    return Address(found["host"].strip("[]"), port)


def check(trunks: tuple[Trunk, ...], accounts: tuple[Account, ...], unknown_sources: str) -> None:
    """Raises `ConfigError` for what no single value shows to be wrong."""
    names = [trunk.name for trunk in trunks]
    for trunk in trunks:
        for fault in _faults(trunk):
            raise ConfigError(f"trunk {trunk.name!r}: {fault}")
        if names.count(trunk.name) > 1:
            raise ConfigError(f"trunk {trunk.name!r} is there twice; give each its own name")
        if unknown_sources != "accept" and not trunk.known_networks:
            raise ConfigError(
                f"trunk {trunk.name!r}: name the `networks` its calls come from, since unknown sources are not accepted"
            )
    if unknown_sources == "challenge" and not accounts:
        raise ConfigError('unknown_sources = "challenge" needs an [[account]] that somebody could answer with')


def _faults(trunk: Trunk) -> Iterator[str]:
    if not NAME.fullmatch(trunk.name):
        yield "a name is letters, digits, and any of _ . -"
    if trunk.port is not None and not 0 < trunk.port < 65536:
        yield f"port must lie within 1..65535, not {trunk.port}"
    if trunk.register and not trunk.username:
        yield "to register it needs a `username`"
    if trunk.password_env and trunk.password_file:
        yield "`password_env` and `password_file` exclude each other"
    if (trunk.password_env or trunk.password_file) and not (trunk.auth_username or trunk.username):
        yield "a password needs its `username`"
    if not 60 <= trunk.expires_s <= 86_400:
        yield f"expires_s must lie within 60..86400, not {trunk.expires_s}"
    if trunk.options_interval_s and trunk.options_interval_s < 1:
        yield "options_interval_s must be at least 1, or 0 to not ask"
    if trunk.ring_s < 1 or trunk.failover_after_s < 0.5:
        yield "ring_s must be at least 1 and failover_after_s at least 0.5"
    if trunk.max_calls < 0 or trunk.calls_per_s < 0:
        yield "limits cannot be negative; 0 is none"
    for text in trunk.networks:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            yield f"{text!r} is not a network: write it as 192.0.2.0/24 or 2001:db8::/32"
    _ = trunk.targets, trunk.realm


def credentials(trunk: Trunk, environment: Mapping[str, str]) -> Credentials | None:
    """None for a trunk without a password. Raises `ConfigError` when the password is not where it should be."""
    if trunk.password_env is None and trunk.password_file is None:
        return None
    username = trunk.auth_username or trunk.username or ""
    return Credentials(username, _password(trunk, f"trunk {trunk.name!r}", environment))


def passwords(accounts: tuple[Account, ...], environment: Mapping[str, str]) -> dict[str, str]:
    """By user name. Raises `ConfigError`."""
    return {one.username: _password(one, f"account {one.username!r}", environment) for one in accounts}


def _password(owner: Trunk | Account, whose: str, environment: Mapping[str, str]) -> str:
    if owner.password_file is not None:
        try:
            password = Path(owner.password_file).read_text(encoding="utf-8").partition("\n")[0].strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{whose}: cannot read its password file: {error}", path=owner.password_file) from error
    elif owner.password_env is not None:
        password = environment.get(owner.password_env, "")
    else:
        raise ConfigError(f"{whose}: name its `password_env` or `password_file`")
    if not password:
        source = f"the file {owner.password_file}" if owner.password_file else f"the variable {owner.password_env}"
        raise ConfigError(f"{whose}: {source} holds no password")
    return password
