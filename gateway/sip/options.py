"""What an operator decides about the endpoint, as one documented value."""

from __future__ import annotations

from typing import Literal

import msgspec

from gateway.sip.flow import Transport
from gateway.sip.timers import Timing

SCANNERS = ("friendly-scanner", "sipvicious", "sipsak", "sundayddr", "sip-scan", "iwar", "sipcli", "vaxsipuseragent")


class EndpointOptions(msgspec.Struct, frozen=True):
    """Everything the endpoint may be told in advance. All durations are in seconds."""

    user_agent: str = "voicebot-gateway"
    """Our name in User-Agent and Server."""

    advertised: dict[Transport, tuple[str, int]] = {}
    """Host and port to name in Via and Contact instead of the socket's own, for gateways behind NAT."""

    methods: tuple[str, ...] = ("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "INFO", "UPDATE")
    """What we allow; the extensions add theirs. Anything else that is known gets 405, the unknown 501."""

    timing: Timing = Timing()
    """T1, T2 and T4 of RFC 3261."""

    max_calls: int = 2000
    """Calls at a time, ringing ones included; the next INVITE gets 503."""

    max_transactions: int = 50_000
    """Transactions at a time. A request too many is refused without keeping anything about it."""

    retry_after_s: int = 5
    """What a 503 asks for."""

    session_expires_s: int = 1800
    """The session interval we ask for (RFC 4028): a call without refresh for so long is over."""

    min_session_expires_s: int = 90
    """The shortest interval we agree to; 90 is the RFC's least."""

    provisional_every_s: float = 60.0
    """How often a ringing answer is repeated, so that proxies do not give the call up (RFC 3261 13.3.1.1)."""

    keep_alive_s: float = 25.0
    """How often an empty line keeps the way to a registrar open, through NATs and on connections (RFC 5626 4.4)."""

    unknown_sources: Literal["accept", "challenge", "reject"] = "accept"
    """What becomes of requests from outside `known_networks`: served, challenged for an account, or refused with 403
    (INVITE) and silence (the rest)."""

    known_networks: tuple[str, ...] = ()
    """Sources that need no account, as 192.0.2.0/24."""

    accounts: dict[str, str] = {}
    """User names and passwords for those who are challenged."""

    realm: str = "voicebot-gateway"
    """Shown to who is challenged, and part of what they sign."""

    digest_algorithms: tuple[str, ...] = ("SHA-256", "MD5")
    """Offered in this order; old peers look at the first challenge only, and want ("MD5",)."""

    nonce_secret: bytes = b""
    """Signs nonces. Empty takes a random one; name it where several gateways share their callers. Never logged."""

    invites_per_s: float = 0.0
    """New calls a second from everybody together, with a second's worth at once; the excess gets 503. 0: no limit."""

    invites_per_s_and_source: float = 0.0
    """The same for each source address."""

    ignored_agents: tuple[str, ...] = SCANNERS
    """Requests whose User-Agent contains one of these (lower case) get no answer at all."""
