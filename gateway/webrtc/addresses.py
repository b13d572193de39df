"""Which local addresses ICE uses. The one place where we reach into aioice.

aioice gathers host candidates on every address of the machine but loopback, and has no option for it. A gateway
that is bound to one address must offer that one only, and one bound to 127.0.0.1 (a developer's laptop, a test, a
tunnel) must offer loopback. `aioice.ice.get_host_addresses` is a plain function looked up at every gathering; we put
ours in its place, which answers as before unless the gathering task was given addresses by `gathering_on`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import aioice.ice

from gateway.core.errors import ConfigError

LOOPBACK = "127.0.0.1"

_all_addresses = aioice.ice.get_host_addresses
_chosen: ContextVar[str | None] = ContextVar("ice_bind_host", default=None)


@contextmanager
def gathering_on(bind_host: str) -> Iterator[None]:
    """Peer connections that gather inside use `bind_host`; a wildcard (`0.0.0.0`, `::`) stands for all of its family.

    Tasks started inside inherit the choice, others never see it. Raises `ConfigError` for what is no IP address.
    """
    token = _chosen.set(_checked(bind_host))
    try:
        yield
    finally:
        _chosen.reset(token)


def _checked(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        raise ConfigError(f"{host!r} is no IP address to listen on; give one of this machine's, or 0.0.0.0") from None


def _host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    host = _chosen.get()
    if host is None:
        return list(_all_addresses(use_ipv4=use_ipv4, use_ipv6=use_ipv6))
    if not ipaddress.ip_address(host).is_unspecified:
        return [host]
    # A machine without a network still serves its own browser.
    return list(_all_addresses(use_ipv4=use_ipv4, use_ipv6=use_ipv6 and ":" in host)) or [LOOPBACK]


aioice.ice.get_host_addresses = _host_addresses
