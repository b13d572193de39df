"""Asks the domain name system on the loop, without ever waiting on it, and keeps answers as long as they are good."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.rdatatype
import dns.resolver

from gateway.app.trunk_config import Address, name_server
from gateway.core.errors import GatewayError
from gateway.sip.flow import Transport
from gateway.sip.locate import Answers, Kind, Naptr, Question, Record, Server, Srv, locate
from gateway.sip.reach import literal

WITHIN_S = 5.0
"""How long one question may take, repetitions to all servers included."""
REMEMBERED = 4096


class Unresolved(GatewayError):
    """No server could be found. `gone` says that the name decidedly leads nowhere; else nobody answered."""

    def __init__(self, message: str, *, gone: bool) -> None:
        super().__init__(message)
        self.gone = gone


class Resolver:
    """One for the whole gateway. Answers, also that there is none, are kept for their time to live."""

    def __init__(self, servers: Sequence[str] = (), *, ipv6: bool = False) -> None:
        """`servers` (`host` or `host:port`, literal) are asked in place of the system's; raises `ConfigError`.

        `ipv6` says which of both internets we speak.
        """
        self._family: Kind = "AAAA" if ipv6 else "A"
        self._own_servers = bool(servers)
        self._resolver = _resolver(servers)
        self._resolver.lifetime = WITHIN_S
        self._resolver.cache = dns.resolver.LRUCache(REMEMBERED)

    async def locate(self, target: Address, usable: Sequence[Transport]) -> list[Server]:
        """Where `target` is; at least one server with one way. Raises `Unresolved`."""
        search = locate(target.host, target.port, target.transport, usable=usable, address=self._family)
        try:
            questions = next(search)
            while True:
                questions = search.send(await self._ask(questions))
        except StopIteration as found:
            servers: list[Server] = found.value
        if not servers:
            raise Unresolved("no such name, or no address behind it", gone=True)
        return servers

    async def _ask(self, questions: tuple[Question, ...]) -> Answers:
        return await asyncio.gather(*(self._answer(question) for question in questions))

    async def _answer(self, question: Question) -> list[Record]:
        if literal(question.name) is not None:
            return [question.name]
        fault: Unresolved | None = None
        records: list[Record] = []
        try:
            records = await self._records(question)
        except Unresolved as error:
            fault = error
        if not records and question.kind == self._family and not self._own_servers:
            records = await self._from_system(question.name)
        if fault is not None and not records and not _advice(question):
            raise fault
        return records

    async def _records(self, question: Question) -> list[Record]:
        if not self._resolver.nameservers:
            # A machine without any: what the system knows of addresses is all there is.
            return []
        try:
            answer = await self._resolver.resolve(question.name, question.kind, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return []
        except (dns.exception.DNSException, OSError, ValueError) as error:
            raise Unresolved(f"{question.kind} of {question.name}: {_reason(error)}", gone=False) from error
        return [_record(question.kind, data) for data in answer.rrset or ()]

    async def _from_system(self, name: str) -> list[Record]:
        """/etc/hosts, and whatever else the system knows; in a thread of its own."""
        family = socket.AF_INET6 if self._family == "AAAA" else socket.AF_INET
        try:
            found = await asyncio.get_running_loop().getaddrinfo(name, None, family=family, type=socket.SOCK_DGRAM)
        except OSError:
            return []
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _resolver(servers: Sequence[str]) -> dns.asyncresolver.Resolver:
    if not servers:
        try:
            return dns.asyncresolver.Resolver()
        except dns.resolver.NoResolverConfiguration:
            return dns.asyncresolver.Resolver(configure=False)
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = [dns.nameserver.Do53Nameserver(*name_server(text)) for text in servers]
    return resolver


def _record(kind: Kind, data: object) -> Record:
    match kind:
        case "NAPTR":
            return Naptr(
                data.order,  # type: ignore[attr-defined]
                data.preference,  # type: ignore[attr-defined]
                data.flags.decode("ascii", "replace"),  # type: ignore[attr-defined]
                data.service.decode("ascii", "replace"),  # type: ignore[attr-defined]
                data.replacement.to_text(omit_final_dot=True),  # type: ignore[attr-defined]
            )
        case "SRV":
            host = data.target.to_text(omit_final_dot=True)  # type: ignore[attr-defined]
            return Srv(data.priority, data.weight, data.port, host)  # type: ignore[attr-defined]
        case _:
            return str(data.address)  # type: ignore[attr-defined]


def _advice(question: Question) -> bool:
    """Whether nothing is lost when nobody can tell.

    Some resolvers know no NAPTR, and it is only advice. SRV decides where calls go; but a name of one label is of our
    own network (a container's, say), whose resolver may have nobody to ask for more.
    """
    domain = question.name.split(".", 2)[-1] if question.kind == "SRV" else question.name
    return question.kind == "NAPTR" or (question.kind == "SRV" and "." not in domain)


def _reason(error: Exception) -> str:
    match error:
        case dns.exception.Timeout():
            return "no name server answers"
        case dns.resolver.NoNameservers():
            return "no name server could tell"
        case _:
            return str(error) or type(error).__name__
