"""Who may start something here, and how often: known networks, digest accounts (RFC 3261 22), rates."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import TypeAlias

import msgspec

from gateway.core.errors import ConfigError
from gateway.core.ids import Ids
from gateway.core.token_bucket import TokenBucket
from gateway.sip.auth import DigestServer, Verified
from gateway.sip.extension import Refusal
from gateway.sip.flow import Flow
from gateway.sip.message import Request
from gateway.sip.options import EndpointOptions

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

REMEMBERED_SOURCES = 10_000


class Admitted(msgspec.Struct, frozen=True):
    """`username` is the account that signed the request, "" when none had to."""

    username: str = ""


class Dropped(msgspec.Struct, frozen=True):
    """Not even an answer: it would only say that somebody is here."""


Admission: TypeAlias = Admitted | Dropped | Refusal


class Doorkeeper:
    """Asked once for every request that belongs to no dialog and no transaction yet."""

    def __init__(self, options: EndpointOptions, ids: Ids, epoch: float = 0.0) -> None:
        """`epoch` is the time since 1970 at `now` 0: machines that share nonces do not share `now`."""
        self._epoch = epoch
        self._options = options
        self._known = tuple(_network(text) for text in options.known_networks)
        self._knows: OrderedDict[str, bool] = OrderedDict()
        self._total = TokenBucket(options.invites_per_s, max(1.0, options.invites_per_s))
        self._sources: OrderedDict[str, TokenBucket] = OrderedDict()
        secret = options.nonce_secret or ids.token(32).encode()
        self._digest = DigestServer(options.realm, options.accounts, secret, algorithms=options.digest_algorithms)

    def admit(self, request: Request, flow: Flow, now: float) -> Admission:
        """Rates come first: a flood must not cost a signature each."""
        source = flow.remote[0]
        if request.method == "INVITE" and not self._in_rate(source, now):
            return Refusal(503, headers=(("Retry-After", str(self._options.retry_after_s)),))
        policy = self._options.unknown_sources
        if policy == "accept" or self._is_known(source):
            return Admitted()
        if policy == "challenge":
            return self._challenge(request, now)
        return Refusal(403) if request.method == "INVITE" else Dropped()

    def _in_rate(self, source: str, now: float) -> bool:
        options = self._options
        if options.invites_per_s_and_source:
            bucket = self._sources.get(source)
            if bucket is None:
                bucket = TokenBucket(options.invites_per_s_and_source, max(1.0, options.invites_per_s_and_source))
                self._sources[source] = bucket
                if len(self._sources) > REMEMBERED_SOURCES:
                    self._sources.popitem(last=False)
            if not bucket.take(now):
                return False
        return not options.invites_per_s or self._total.take(now)

    def _is_known(self, source: str) -> bool:
        known = self._knows.get(source)
        if known is None:
            address = ipaddress.ip_address(source)
            known = any(address in network for network in self._known)
            self._knows[source] = known
            if len(self._knows) > REMEMBERED_SOURCES:
                self._knows.popitem(last=False)
        return known

    def _challenge(self, request: Request, now: float) -> Admission:
        now += self._epoch
        verdict = self._digest.verify(request, now)
        if isinstance(verdict, Verified):
            return Admitted(verdict.username)
        return Refusal(401, headers=tuple(self._digest.challenge(now, stale=verdict == "stale")))


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a network: write it as 192.0.2.0/24 or 2001:db8::/32") from error
