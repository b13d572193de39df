"""Who is who: answering challenges to our requests, and challenging requests that come (RFC 3261 22)."""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from gateway.core.errors import PeerError
from gateway.core.ids import Ids
from gateway.sip.commands import Credentials
from gateway.sip.digest import (
    Challenge,
    Subject,
    parse_challenge,
    parse_fields,
    render_fields,
    response_value,
)
from gateway.sip.message import Lines, Request, Response
from gateway.sip.uri import parse_uri

_CHALLENGES = {401: ("WWW-Authenticate", "Authorization"), 407: ("Proxy-Authenticate", "Proxy-Authorization")}


class DigestClient:
    """Our credentials with whoever challenged them so far: one nonce per realm and header, counted up with each use."""

    def __init__(self, credentials: Credentials, ids: Ids) -> None:
        self._credentials = credentials
        self._ids = ids
        self._known: dict[tuple[str, str], tuple[Challenge, int]] = {}

    def challenged(self, request: Request, response: Response) -> bool:
        """Take the challenges of a 401 or 407; whether trying again can help.

        It cannot when `request` carried our answer already and the challenge does not call it stale: the password is
        wrong, and asking again would be a loop.
        """
        names = _CHALLENGES.get(response.status)
        if names is None:
            return False
        their_header, our_header = names
        tried = {_field(line, "realm"): _field(line, "nonce") for line in request.all(our_header)}
        fresh: set[str] = set()
        for line in response.all(their_header):
            challenge = _usable(line)
            # RFC 8760 2.4: of several for one realm the first that we understand.
            if challenge is None or challenge.realm in fresh:
                continue
            if challenge.realm in tried and (not challenge.stale or tried[challenge.realm] == challenge.nonce):
                continue
            fresh.add(challenge.realm)
            self._known[our_header, challenge.realm] = (challenge, 0)
        return bool(fresh)

    def authorize(self, request: Request) -> None:
        """Sign `request` for every realm known; call it when the body is complete."""
        for name in ("Authorization", "Proxy-Authorization"):
            request.remove(name)
        for (header, realm), (challenge, used) in self._known.items():
            self._known[header, realm] = (challenge, used + 1)
            request.add(header, self._answer(challenge, Subject(request.method, request.uri, request.body), used + 1))

    def _answer(self, challenge: Challenge, subject: Subject, used: int) -> str:
        username, password = self._credentials.username, self._credentials.password
        cnonce, count = self._ids.token(16), f"{used:08x}"
        fields = {
            "username": username,
            "realm": challenge.realm,
            "nonce": challenge.nonce,
            "uri": subject.uri,
            "response": response_value(challenge, subject, username, password, cnonce, count),
            "algorithm": challenge.algorithm,
        }
        if challenge.qop:
            fields |= {"cnonce": cnonce, "qop": challenge.qop, "nc": count}
        elif challenge.algorithm.upper().endswith("-SESS"):
            fields["cnonce"] = cnonce
        if challenge.opaque is not None:
            fields["opaque"] = challenge.opaque
        return render_fields(fields)


def _same_place(signed: str, request: Request) -> bool:
    """Whether the signed address is the Request-URI or its host's: real peers leave out the user (RFC 3261 22.4)."""
    if signed == request.uri:
        return True
    try:
        return parse_uri(signed).host.lower() == request.target.host.lower()
    except PeerError:
        return False


def _usable(line: str) -> Challenge | None:
    try:
        challenge = parse_challenge(line)
    except PeerError:
        return None
    return challenge if challenge.hash_name is not None else None


def _field(line: str, name: str) -> str:
    try:
        return parse_fields(line).get(name, "")
    except PeerError:
        return ""


class Verified(msgspec.Struct, frozen=True):
    """The request is by `username`."""

    username: str


Verdict: TypeAlias = Verified | Literal["missing", "stale", "wrong"]


class DigestServer:
    """Challenges without keeping anything per challenge: the nonce is a time and our signature under it.

    Servers with one `secret`, realm and accounts take one another's nonces, when they are asked with the same time.
    Only answered nonces are remembered, for the nc replay check, at most `remembered` of them;
    a replay to another server is not noticed.
    """

    def __init__(
        self,
        realm: str,
        accounts: Mapping[str, str],
        secret: bytes,
        *,
        algorithms: tuple[str, ...] = ("SHA-256", "MD5"),
        lifetime_s: float = 300.0,
        remembered: int = 10_000,
    ) -> None:
        self._realm = realm
        self._accounts = accounts
        self._secret = secret
        self._algorithms = algorithms
        self._lifetime_s = lifetime_s
        self._remembered = remembered
        self._counts: OrderedDict[str, int] = OrderedDict()

    def challenge(self, now: float, *, stale: bool = False) -> Lines:
        """One WWW-Authenticate line per algorithm, the strongest first."""
        nonce = self._nonce(now)
        lines: Lines = []
        for algorithm in self._algorithms:
            fields = {"realm": self._realm, "nonce": nonce, "algorithm": algorithm, "qop": '"auth"'}
            if stale:
                fields["stale"] = "true"
            lines.append(("WWW-Authenticate", render_fields(fields)))
        return lines

    def verify(self, request: Request, now: float) -> Verdict:
        for line in request.all("Authorization"):
            try:
                fields = parse_fields(line)
            except PeerError:
                continue
            if fields.get("realm") == self._realm:
                return self._verify(request, fields, now)
        return "missing"

    def _verify(self, request: Request, fields: dict[str, str], now: float) -> Verdict:
        nonce, username = fields.get("nonce", ""), fields.get("username", "")
        if not self._ours(nonce):
            return "stale"
        algorithm, count = fields.get("algorithm", "MD5"), fields.get("nc", "")
        if algorithm not in self._algorithms or fields.get("qop") != "auth" or len(count) != 8:
            return "wrong"
        challenge = Challenge(self._realm, nonce, algorithm, "auth")
        subject = Subject(request.method, fields.get("uri", ""), request.body)
        # An unknown name costs the same time as a wrong password.
        password = self._accounts.get(username, "")
        expected = response_value(challenge, subject, username, password, fields.get("cnonce", ""), count)
        given = fields.get("response", "").lower()
        if not hmac.compare_digest(expected.encode(), given.encode(errors="replace")) or username not in self._accounts:
            return "wrong"
        if not _same_place(subject.uri, request):
            return "wrong"
        # Another gateway's clock may be ahead of ours: a nonce of the future lives no longer than one of the past.
        if abs(now - self._issued_at(nonce)) > self._lifetime_s or not self._counted(nonce, count):
            return "stale"
        return Verified(username)

    def _counted(self, nonce: str, count: str) -> bool:
        """Note the nc. False when it was used before: a replay, or a repetition we need not trust."""
        try:
            number = int(count, 16)
        except ValueError:
            return False
        if number <= self._counts.get(nonce, 0):
            return False
        self._counts[nonce] = number
        self._counts.move_to_end(nonce)
        while len(self._counts) > self._remembered:
            self._counts.popitem(last=False)
        return True

    def _nonce(self, now: float) -> str:
        issued = f"{int(now * 1000):x}"
        return f"{issued}.{self._sign(issued)}"

    def _sign(self, issued: str) -> str:
        return hmac.new(self._secret, f"{issued}:{self._realm}".encode(), hashlib.sha256).hexdigest()[:32]

    def _ours(self, nonce: str) -> bool:
        issued, _, signature = nonce.partition(".")
        return hmac.compare_digest(self._sign(issued).encode(), signature.encode(errors="replace"))

    def _issued_at(self, nonce: str) -> float:
        return int(nonce.partition(".")[0], 16) / 1000
