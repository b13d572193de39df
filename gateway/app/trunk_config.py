"""What an operator writes about those who connect us to the telephone network, and who may call without them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import msgspec

from gateway.core.errors import ConfigError
from gateway.media.commands import Codec
from gateway.sip.commands import Credentials, SessionMode
from gateway.sip.crypto import SrtpPolicy
from gateway.sip.flow import Transport
from gateway.sip.reach import DEFAULT_PORTS, literal
from gateway.sip.uri import bracketed

ADDRESS = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>\d{1,5}))?(?:;transport=(?P<transport>udp|tcp|tls))?"
)
DNS_PORT = 53
SHORTEST_NONCE_SECRET = 16
NAME = re.compile(r"[A-Za-z0-9_.-]+")


class Address(msgspec.Struct, frozen=True):
    """Where a peer listens; `host` is a name or a literal address without brackets.

    `port` None is the transport's own, or what SRV records say; `transport` None what NAPTR records say.
    """

    host: str
    port: int | None = None
    transport: Transport | None = None

    def __str__(self) -> str:
        port = self.port or (DEFAULT_PORTS[self.transport or "udp"] if self.is_literal else None)
        return f"{bracketed(self.host)}:{port}" if port else self.host

    @property
    def is_literal(self) -> bool:
        return literal(self.host) is not None


class Trunk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A provider or PBX that sends us calls, takes ours, or both."""

    name: str
    """What logs, the dialplan's `trunk:` and `gateway trunks` call it."""
    host: str
    """Name or address of its registrar or proxy."""
    port: int | None = None
    transport: Literal["udp", "tcp", "tls", "auto"] = "udp"
    """`auto` takes what the domain's NAPTR and SRV records offer."""
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
    """`host`, `host:port` or `host:port;transport=tcp` that everything is sent to, in place of `host`."""
    failover: tuple[str, ...] = ()
    """The same, to try for calls and registration in this order when the first does not answer or has no room."""
    networks: tuple[str, ...] = ()
    """Sources its calls come from, as 192.0.2.0/24; besides `host`, where that is an address."""
    trusted: bool = False
    """Believe its P-Asserted-Identity, Diversion and the like about who calls."""
    codecs: tuple[Codec, ...] = ()
    """In our order of preference; none given takes those of the gateway."""
    srtp: SrtpPolicy | None = None
    """`off`, `optional` or `required`, where it is not as for the gateway."""
    dtmf: Literal["rfc4733", "info", "inband"] = "rfc4733"
    """How keys go both ways; `info` and `inband` (tones) leave telephone-event out of the negotiation."""
    session_timer: SessionMode = "request"
    """Whether calls that vanish are found out (RFC 4028): we ask for it, take part when asked, or do neither."""
    session_expires_s: int = 1800
    """How long a call may go without a refresh."""
    transfers: bool = False
    """Let it send our calls elsewhere (REFER), and let others take their place (Replaces); it costs what they cost."""
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
        host = bracketed(address(self.host).host)
        first = self.outbound_proxy or (f"{host}:{self.port}" if self.port else host)
        transport = None if self.transport == "auto" else self.transport
        return tuple(address(text, transport) for text in (first, *self.failover))

    @property
    def may_use_tls(self) -> bool:
        return any(target.transport in (None, "tls") for target in self.targets)

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


def address(text: str, transport: Transport | None = None) -> Address:
    """Read `host`, `host:port`, `[v6]:port`, each with `;transport=tcp` or not. Raises `ConfigError`."""
    found = ADDRESS.fullmatch(text) or ADDRESS.fullmatch(f"[{text}]")
    port = int(found["port"]) if found and found["port"] else None
    if found is None or (port is not None and not 0 < port < 65536):
        raise ConfigError(f"{text!r} is no address: write host, host:port or [2001:db8::1]:port")
    host = found["host"].strip("[]")
    if ":" in host and literal(host) is None:
        raise ConfigError(f"{text!r} is no IPv6 address")
    return Address(host, port, cast("Transport | None", found["transport"]) or transport)


def name_server(text: str) -> tuple[str, int]:
    """Address and port of a DNS server. Raises `ConfigError`."""
    server = address(text)
    if not server.is_literal:
        raise ConfigError(f"dns_servers wants addresses such as 192.0.2.53, not {text!r}")
    return server.host, server.port or DNS_PORT


class Fault(NamedTuple):
    """What is wrong with one entry; `key` is where."""

    key: str
    message: str


Where = Callable[[int, str], Mapping[str, Any]]
"""Arguments that tell a `ConfigError` its place: that of a key in the trunk of this number."""


def check(
    trunks: tuple[Trunk, ...],
    accounts: tuple[Account, ...],
    unknown_sources: str,
    *,
    where: Where = lambda number, key: {},
) -> None:
    """Raises `ConfigError` for what no single value shows to be wrong."""
    names = [trunk.name for trunk in trunks]
    for number, trunk in enumerate(trunks):
        faults = [*_faults(trunk)]
        if trunk.name in names[:number]:
            faults.append(Fault("name", "is there twice; give each its own name"))
        if unknown_sources != "accept" and not faults and not trunk.known_networks:
            remedy = "name the `networks` its calls come from, since unknown sources are not accepted"
            faults.append(Fault("host", remedy))
        for fault in faults:
            raise ConfigError(f"trunk {trunk.name!r}: {fault.message}", **where(number, fault.key))
    if unknown_sources == "challenge" and not accounts:
        raise ConfigError('unknown_sources = "challenge" needs an [[account]] that somebody could answer with')


def _faults(trunk: Trunk) -> Iterator[Fault]:
    if not NAME.fullmatch(trunk.name):
        yield Fault("name", "a name is letters, digits, and any of _ . -")
    if trunk.port is not None and not 0 < trunk.port < 65536:
        yield Fault("port", f"port must lie within 1..65535, not {trunk.port}")
    yield from _credential_faults(trunk)
    yield from _number_faults(trunk)
    yield from _address_faults(trunk)


def _credential_faults(trunk: Trunk) -> Iterator[Fault]:
    if trunk.register and not trunk.username:
        yield Fault("register", "to register it needs a `username`")
    if trunk.password_env and trunk.password_file:
        yield Fault("password_file", "`password_env` and `password_file` exclude each other")
    if (trunk.password_env or trunk.password_file) and not (trunk.auth_username or trunk.username):
        yield Fault("password_env" if trunk.password_env else "password_file", "a password needs its `username`")


def _number_faults(trunk: Trunk) -> Iterator[Fault]:
    if not 60 <= trunk.expires_s <= 86_400:
        yield Fault("expires_s", f"expires_s must lie within 60..86400, not {trunk.expires_s}")
    if not 90 <= trunk.session_expires_s <= 86_400:
        # RFC 4028 5: nobody may ask for less.
        yield Fault("session_expires_s", f"session_expires_s must lie within 90..86400, not {trunk.session_expires_s}")
    if trunk.options_interval_s and trunk.options_interval_s < 1:
        yield Fault("options_interval_s", "options_interval_s must be at least 1, or 0 to not ask")
    if trunk.ring_s < 1:
        yield Fault("ring_s", "ring_s must be at least 1")
    if trunk.failover_after_s < 0.5:
        yield Fault("failover_after_s", "failover_after_s must be at least 0.5")
    for key in ("max_calls", "calls_per_s"):
        if getattr(trunk, key) < 0:
            yield Fault(key, f"{key} cannot be negative; 0 is no limit")


def _address_faults(trunk: Trunk) -> Iterator[Fault]:
    written = [("host", trunk.host), *(("failover", text) for text in trunk.failover)]
    for key, text in [*written, *([("outbound_proxy", trunk.outbound_proxy)] if trunk.outbound_proxy else [])]:
        try:
            address(text)
        except ConfigError as error:
            yield Fault(key, str(error))
    for text in trunk.networks:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            yield Fault("networks", f"{text!r} is not a network: write it as 192.0.2.0/24 or 2001:db8::/32")


def credentials(trunk: Trunk, environment: Mapping[str, str]) -> Credentials | None:
    """None for a trunk without a password. Raises `ConfigError` when the password is not where it should be."""
    if trunk.password_env is None and trunk.password_file is None:
        return None
    username = trunk.auth_username or trunk.username or ""
    return Credentials(username, _password(trunk, f"trunk {trunk.name!r}", environment))


def passwords(accounts: tuple[Account, ...], environment: Mapping[str, str]) -> dict[str, str]:
    """By user name. Raises `ConfigError`."""
    return {one.username: _password(one, f"account {one.username!r}", environment) for one in accounts}


def nonce_secret(variable: str | None, file: str | None, environment: Mapping[str, str]) -> bytes:
    """What signs our challenges; empty for one of this process alone. Raises `ConfigError`."""
    if variable is None and file is None:
        return b""
    whose = "the nonce secret"
    secret = _secret(whose, variable, file, environment, "secret")
    if len(secret) < SHORTEST_NONCE_SECRET:
        # Whoever guesses it forges nonces that never grow old.
        raise ConfigError(f"{whose} must have at least {SHORTEST_NONCE_SECRET} characters, not {len(secret)}")
    return secret.encode()


def _password(owner: Trunk | Account, whose: str, environment: Mapping[str, str]) -> str:
    if owner.password_file is None and owner.password_env is None:
        raise ConfigError(f"{whose}: name its `password_env` or `password_file`")
    return _secret(whose, owner.password_env, owner.password_file, environment)


def _secret(
    whose: str, variable: str | None, file: str | None, environment: Mapping[str, str], what: str = "password"
) -> str:
    """From the first line of a file, or the environment. Raises `ConfigError`, which never quotes it."""
    if file is not None:
        try:
            secret = Path(file).read_text(encoding="utf-8").partition("\n")[0].strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{whose}: cannot read its {what} file: {error}", path=file) from error
    else:
        secret = environment.get(variable or "", "")
    if not secret:
        source = f"the file {file}" if file else f"the variable {variable}"
        raise ConfigError(f"{whose}: {source} holds no {what}")
    return secret
