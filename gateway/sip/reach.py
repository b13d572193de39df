"""Which way messages go: answers back where the request came from, requests to where the dialog's peer can be found."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

import msgspec

from gateway.core.errors import PeerError
from gateway.sip.dialog import Dialog
from gateway.sip.flow import Flow, Transport
from gateway.sip.headers import Via, split_commas
from gateway.sip.message import Request
from gateway.sip.uri import Uri, bare

DEFAULT_PORTS: dict[Transport, int] = {"udp": 5060, "tcp": 5060, "tls": 5061}


def stamp(request: Request, flow: Flow) -> Flow:
    """Note in the top Via where the request really came from, and say where its answers go (RFC 3261 18.2, 3581).

    What the wire claims in `received` and `rport` is overwritten. `maddr` is not followed: it would let anybody aim
    our answers at anybody else.
    """
    via = request.via
    host, port = flow.remote
    by_port = "rport" in via.params
    via.params.pop("received", None)
    if by_port:
        via.params["rport"] = str(port)
    if by_port or bare(via.host) != host:
        via.params["received"] = host
    line = request.required("Via")
    if line != str(via):
        _replace_top(request, via, line)
    if flow.transport != "udp" or by_port:
        return flow
    return msgspec.structs.replace(flow, remote=(host, via.port or DEFAULT_PORTS["udp"]))


def _replace_top(request: Request, via: Via, line: str) -> None:
    index = next(i for i, (name, _) in enumerate(request.headers) if name == "Via")
    others = split_commas(line)[1:]
    request.headers[index] = ("Via", ", ".join((str(via), *others)))


def way_around(via: Via, flow: Flow) -> Flow:
    """For answers whose connection is lost: a new one to the host they came from, at the port its Via names."""
    return Flow(flow.transport, flow.local, (flow.remote[0], via.port or DEFAULT_PORTS[flow.transport]))


def behind_nat(via: Via, flow: Flow) -> bool:
    """Whether the sender does not know its own address: its Via names one literally, and it is another."""
    if literal(via.host) is None:
        return False
    if flow.transport != "udp":
        # A connection comes from a port of its own.
        return bare(via.host) != flow.remote[0]
    return (bare(via.host), via.port or DEFAULT_PORTS[flow.transport]) != flow.remote


def request_flow(dialog: Dialog, live_connections: set[int]) -> Flow:
    """The way for the next request in a dialog (RFC 3261 12.2.1.1, 18.1.1; RFC 5626 for peers behind NAT).

    Names are not looked up here, since nothing may wait: a peer that names itself is reached the way it came.
    """
    flow = dialog.flow
    if flow.connection in live_connections:
        return flow
    try:
        hop = dialog.next_hop()
    except PeerError:
        return flow
    if not hop.is_sip or literal(hop.host) is None or (not dialog.route and _hidden(dialog, hop)):
        return flow
    transport = transport_of(hop)
    remote = (bare(hop.host), hop.port or DEFAULT_PORTS[transport])
    if transport == flow.transport and remote == flow.remote and not flow.connection:
        return flow
    return Flow(transport, flow.local, remote)


def _hidden(dialog: Dialog, hop: Uri) -> bool:
    """The target is an address that means something only on the peer's side of a NAT."""
    if dialog.nat:
        return True
    target, seen = literal(hop.host), literal(dialog.flow.remote[0])
    return target is not None and seen is not None and target.is_private and not seen.is_private


def transport_of(hop: Uri) -> Transport:
    """As the address itself says, UDP when it says nothing."""
    if hop.scheme == "sips":
        return "tls"
    match (hop.param("transport") or "udp").lower():
        case "tcp":
            return "tcp"
        case "tls":
            return "tls"
        case _:
            return "udp"


def over_tcp(flow: Flow, port: int) -> Flow:
    """The same way on a connection; `port` is where we listen for TCP."""
    return Flow("tcp", (flow.local[0], port), flow.remote)


@lru_cache(maxsize=4096)
def literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(bare(host))
    except ValueError:
        return None
