"""The endpoint on real sockets: `server` drives it, `connections` are TCP and TLS, `sockets` binds and routes."""

from gateway.sip.io.connections import Patience
from gateway.sip.io.server import SipServer
from gateway.sip.options import EndpointOptions

__all__ = ["EndpointOptions", "Patience", "SipServer"]
