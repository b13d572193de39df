"""Which trunk a call came by, whom to believe about its caller, and how much of each trunk is in use."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Literal, TypeAlias

import msgspec

from gateway.core.errors import CapacityError, PeerError
from gateway.core.token_bucket import TokenBucket
from gateway.sip.admission import Network
from gateway.sip.commands import Headers, SessionPolicy
from gateway.sip.crypto import SrtpPolicy
from gateway.sip.events import CallOffered
from gateway.sip.headers import parse_name_addr, split_commas

IDENTITIES = ("P-Asserted-Identity", "P-Preferred-Identity")
"""What a proxy knows of the caller, and what a PBX (RFC 3325: a user agent) wishes to be known; the former first."""
OUR_OWN = ("account",)
"""Facts that do not rest on what the caller's side wrote."""
INTERNAL = ("replaces",)
"""Facts for the hallway, not for dialplans."""
LONGEST_FACT = 256
"""In characters: facts are matched and spoken, and come from outside."""
FAST_RETRY_S = 1.0


DtmfMode: TypeAlias = Literal["rfc4733", "info", "inband"]
"""How keys go: as telephone events, as INFO, or as tones."""


class TrunkRules(msgspec.Struct, frozen=True):
    """What is agreed with one trunk. Limits of 0 are none; no `codecs` means those of the gateway."""

    name: str
    networks: tuple[str, ...] = ()
    username: str = ""
    """The account registered there: its calls are addressed to it."""
    trusted: bool = False
    max_calls: int = 0
    calls_per_s: float = 0.0
    codecs: tuple[str, ...] = ()
    dtmf: DtmfMode = "rfc4733"
    session: SessionPolicy = SessionPolicy()
    srtp: SrtpPolicy | None = None
    """None is that of the gateway."""
    transfers: bool = False
    """Whether its side may send our calls elsewhere."""


class Screened(msgspec.Struct, frozen=True):
    """A call that may come in, and what was found out about it."""

    caller: str
    headers: dict[str, str]
    facts: dict[str, str] = {}
    trunk: str = ""
    rules: TrunkRules | None = None
    release: Callable[[], None] = lambda: None
    """To be called once, when the call is over or did not come about."""


Screen: TypeAlias = Callable[[CallOffered], Screened]
"""Raises `PeerError` or `CapacityError` for a call that may not come in."""


class TrunkBook:
    """Sans-IO: time comes with the events. Its `screen` is a `Screen`."""

    def __init__(self, trunks: Iterable[TrunkRules]) -> None:
        self._seats = {rules.name: _Seats(rules) for rules in trunks}
        self._networks: dict[str, list[Network]] = {}
        for name, seats in self._seats.items():
            self.learn(name, seats.rules.networks)

    def learn(self, trunk: str, networks: Sequence[str]) -> None:
        """Its calls come from there, too: what its name was looked up to be."""
        known = self._networks.setdefault(trunk, [])
        known += [network for text in networks if (network := ipaddress.ip_network(text, strict=False)) not in known]

    def rules(self, trunk: str) -> TrunkRules | None:
        seats = self._seats.get(trunk)
        return seats.rules if seats else None

    def live(self, trunk: str) -> int:
        return self._seats[trunk].taken

    def screen(self, offered: CallOffered) -> Screened:
        rules = self.trunk_of(offered.flow.remote[0], offered.called)
        trusted = rules is not None and rules.trusted
        caller = (trusted and asserted_caller(offered.headers)) or offered.caller
        # RFC 3325 5: an identity that somebody we do not trust asserts is worth nothing, and must not look like one.
        headers = {name: value for name, value in offered.headers if trusted or name not in IDENTITIES}
        facts = known_facts(offered, rules)
        if rules is None:
            return Screened(caller, headers, facts)
        return Screened(caller, headers, facts, rules.name, rules, self.take(rules.name, offered.at))

    def take(self, trunk: str, now: float) -> Callable[[], None]:
        """A seat for one call either way, until what is returned is called. Raises `CapacityError`."""
        return self._seats[trunk].take(now)

    def trunk_of(self, source: str, called: str) -> TrunkRules | None:
        """The trunk with the narrowest network around `source`; of several alike the one registered as `called`."""
        address = ipaddress.ip_address(source)
        found = [
            (network.prefixlen, self._seats[name].rules)
            for name, networks in self._networks.items()
            for network in networks
            if address in network
        ]
        if not found:
            return None
        narrowest = max(prefix for prefix, _ in found)
        alike = [rules for prefix, rules in found if prefix == narrowest]
        return next((rules for rules in alike if rules.username and rules.username == called), alike[0])


class _Seats:
    """How much of one trunk is in use."""

    def __init__(self, rules: TrunkRules) -> None:
        self.rules = rules
        self.taken = 0
        self._rate = TokenBucket(rules.calls_per_s, max(1.0, rules.calls_per_s)) if rules.calls_per_s else None

    def take(self, now: float) -> Callable[[], None]:
        rules = self.rules
        if rules.max_calls and self.taken >= rules.max_calls:
            raise CapacityError(f"all {rules.max_calls} calls of trunk {rules.name} are taken")
        if self._rate is not None and not self._rate.take(now):
            raise CapacityError(f"too many new calls on trunk {rules.name}", retry_after_s=FAST_RETRY_S)
        self.taken += 1
        given_back = False

        def give_back() -> None:
            nonlocal given_back
            if not given_back:
                given_back = True
                self.taken -= 1

        return give_back


def asserted_caller(headers: Headers) -> str:
    """The number or name a trusted peer asserts, a telephone number before a name; "" when it asserts none.

    A caller who asked for privacy (RFC 3323 `id`, `user`) stays anonymous to us.
    """
    if {"id", "user"} & {
        token.strip().lower() for name, text in headers if name == "Privacy" for token in text.split(";")
    }:
        return ""
    for identity in IDENTITIES:
        users = [user for name, text in headers if name == identity for user in _users(text)]
        users.sort(key=lambda user: not user.lstrip("+").isdigit())
        if users:
            return users[0]
    return ""


def _users(text: str) -> list[str]:
    """Of every address in a header's value that can be read: trusted peers pass on what strangers wrote."""
    users = []
    with suppress(PeerError):
        for value in split_commas(text):
            with suppress(PeerError):
                users.append(parse_name_addr(value).uri.user)
    return users


def known_facts(offered: CallOffered, rules: TrunkRules | None) -> dict[str, str]:
    """What the dialplan may rely on: what we found out ourselves, and what a trusted trunk says.

    Diversion and History-Info of anybody else are worth as little as their asserted identity (RFC 5806 6, 7044 10).
    """
    trusted = rules is not None and rules.trusted
    facts = {
        name: value[:LONGEST_FACT]
        for name, value in offered.facts
        if name not in INTERNAL and (trusted or name in OUR_OWN)
    }
    if rules is not None:
        facts["trunk"] = rules.name
    if trusted and (asserted := asserted_caller(offered.headers)):
        facts["asserted-identity"] = asserted[:LONGEST_FACT]
    return facts


def unscreened(offered: CallOffered) -> Screened:
    """For gateways without trunks: everybody may come in, and nobody is believed more than anybody else."""
    return Screened(offered.caller, dict(offered.headers), known_facts(offered, None))
