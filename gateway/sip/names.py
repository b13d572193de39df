"""Header names: the long form of each, whatever case or compact form came over the wire (RFC 3261 7.3)."""

from __future__ import annotations

COMPACT = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "d": "Request-Disposition",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "j": "Reject-Contact",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "n": "Identity-Info",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
    "y": "Identity",
}

# These may be one comma-separated line or several lines, which means the same (RFC 3261 7.3.1).
COMMA_SEPARATED = frozenset(
    """Accept Accept-Contact Accept-Encoding Accept-Language Alert-Info Allow Allow-Events Call-Info Contact
    Content-Encoding Content-Language Diversion Error-Info History-Info In-Reply-To P-Asserted-Identity
    P-Preferred-Identity Path Proxy-Require Reason Record-Route Recv-Info Reject-Contact Require Route
    Security-Client Security-Server Security-Verify Service-Route Supported Unsupported User-to-User Via
    Warning""".split()  # noqa: SIM905 - as quoted words nobody could read it
)

# These take part in every decision; twice in one message is malformed (RFC 4475 3.3.8).
SINGLE = ("From", "To", "Call-ID", "CSeq", "Max-Forwards", "Content-Length", "Content-Type")

_OTHERS = """Authentication-Info Authorization CSeq Call-ID Content-Disposition Content-Length Content-Type Date Event
    Expires From Identity Identity-Info Info-Package MIME-Version Max-Breadth Max-Forwards Min-Expires Min-SE
    Organization P-Access-Network-Info P-Charging-Vector Priority Privacy Proxy-Authenticate Proxy-Authorization RAck
    RSeq Refer-Sub Refer-To Referred-By Remote-Party-ID Replaces Replied-To Reply-To Request-Disposition Retry-After
    SIP-ETag SIP-If-Match Server Session-Expires Session-ID Subject Subscription-State Target-Dialog Timestamp To
    User-Agent WWW-Authenticate""".split()  # noqa: SIM905

# Every spelling met in practice at one dictionary access; rarer ones cost a `lower` more.
LONG: dict[str, str] = {}
for _name in (*COMMA_SEPARATED, *_OTHERS):
    for _spelling in (_name, _name.lower(), _name.upper(), _name.title()):
        LONG[_spelling] = _name
for _letter, _name in COMPACT.items():
    LONG[_letter] = LONG[_letter.upper()] = _name


def long_name(name: str) -> str:
    """The registered spelling; a name nobody registered comes back as it is."""
    return LONG.get(name) or LONG.get(name.lower()) or name
