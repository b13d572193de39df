"""A name server on loopback, in a thread of its own: answers from a table, and counts what it is asked."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from typing import Self

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class DnsServer:
    """`zone` maps (name, kind) to record texts; a name that stands in it nowhere is NXDOMAIN. A context manager."""

    def __init__(self, zone: dict[tuple[str, str], list[str]], *, ttl_s: int = 300) -> None:
        self.zone, self.ttl_s = zone, ttl_s
        self.asked: Counter[tuple[str, str]] = Counter()
        self.heard = threading.Event()
        """Set by the first question."""
        self.silent = False
        self.broken = False
        """Answers SERVFAIL."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def address(self) -> str:
        host, port = self._socket.getsockname()
        return f"{host}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as farewell:
            farewell.sendto(b"", self._socket.getsockname())
        self._thread.join(5)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            data, peer = self._socket.recvfrom(4096)
            if not data:
                return
            answer = self._answer(dns.message.from_wire(data))
            if not self.silent:
                self._socket.sendto(answer.to_wire(), peer)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
        self.asked[name, kind] += 1
        self.heard.set()
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if self.broken:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif records := self.zone.get((name, kind)):
            response.answer.append(dns.rrset.from_text_list(question.name, self.ttl_s, "IN", kind, records))
        else:
            if not any(known == name for known, _ in self.zone):
                response.set_rcode(dns.rcode.NXDOMAIN)
            soa = "ns.test. admin.test. 1 3600 600 86400 60"
            response.authority.append(dns.rrset.from_text("test.", 60, "IN", "SOA", soa))
        return response
