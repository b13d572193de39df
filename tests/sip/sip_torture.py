"""The messages of RFC 4475 and RFC 5118 that torment parsers, by the RFC's short names.

Each keeps the fault or oddity that the RFC made it for; where the RFC fills up with plain headers, `_request` does so
here. Line ends become CRLF, all else is sent as it stands.
"""

from __future__ import annotations

_SDP = (
    "v=0\no=mhandley 29739 7272939 IN IP4 192.0.2.3\ns=-\nc=IN IP4 192.0.2.4\nt=0 0\n"
    "m=audio 49217 RTP/AVP 0 12\nm=video 3227 RTP/AVP 31\na=rtpmap:31 LPC\n"
)


def _wire(head: str, body: str = "") -> bytes:
    return (head.strip("\n") + "\n\n" + body).replace("\n", "\r\n").encode()


def _request(
    line: str,
    *more: str,
    method: str = "",
    to: str = "To: sip:user@example.com",
    sender: str = "From: sip:caller@example.net;tag=33242",
    call_id: str = "Call-ID: torture.0ha0isndaksdj@192.0.2.5",
    cseq: str = "",
    via: str = "Via: SIP/2.0/UDP 192.0.2.5;branch=z9hG4bKkdjuw",
    hops: str = "Max-Forwards: 70",
    length: str | None = None,
    body: str = "",
) -> bytes:
    method = method or line.split()[0]
    lines = [line, to, sender, hops, call_id, cseq or f"CSeq: 8 {method}", via]
    if method == "INVITE":
        lines.append("Contact: <sip:caller@host5.example.net>")
    if body:
        lines.append("Content-Type: application/sdp")
    lines += more
    size = len(body.replace("\n", "\r\n").encode())
    lines.append(f"Content-Length: {size}" if length is None else length)
    return _wire("\n".join(line for line in lines if line), body)


def _invite(line: str = "INVITE sip:user@example.com SIP/2.0", *more: str, **fields: str) -> bytes:
    return _request(line, *more, body=_SDP, **fields)


_LONG = "longvalue" * 20

# RFC 4475 3.1.1: valid, however odd.
VALID = {
    "wsinv": _wire(
        r"""
INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0
TO :
 sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n
from   : "J Rosenberg \\\""       <sip:jdrosen@example.com>
  ;
  tag = 98asjd8
MaX-fOrWaRdS: 0068
Call-ID: wsinv.ndaksdj@192.0.2.1
Content-Length   : 150
cseq: 0009
  INVITE
Via  : SIP  /   2.0
 /UDP
    192.0.2.2;branch=390skdjuw
s :
NewFangledHeader:   newfangled value
 continued newfangled value
UnknownHeaderWithUnusualValue: ;;,,;;,;
Content-Type: application/sdp
Route:
 <sip:services.example.com;lr;unknownwith=value;unknown-no-value>
v:  SIP  / 2.0  / TCP     spindle.example.com   ;
  branch  =   z9hG4bK9ikj8  ,
 SIP  /    2.0   / UDP  192.168.255.111   ; branch=
 z9hG4bK30239
m:"Quoted string \"\"" <sip:jdrosen@example.com> ; newparam =
      newvalue ;
  secondparam ; q = 0.33
""",
        _SDP,
    ),
    "intmeth": _request(
        "!interesting-Method0123456789_*+`.%indeed'~ sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:"
        "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com SIP/2.0",
        "extensionHeader-!.%*+_`'~:\ufeff\u5927\u505c\u96fb",
        via="Via: SIP/2.0/UDP host1.example.com;branch=z9hG4bK-.!%66*_+`'~",
        to='To: "BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f" <sip:1_unusual.URI~(to-be!sure)&isn\'t+it$/crazy?,/;;*@example.com>',
        sender="From: token1~` token2'+_ token3*%!.- <sip:mundane@example.com> "
        ";fromParam''~+*_!.-%=\"\u0440\u0430\u0431\u043e\u0442\u0430\u044e\u0449\u0438\u0439\";tag=_token~1'+`*%!-.",
        call_id="Call-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{",
        cseq="CSeq: 139122385 !interesting-Method0123456789_*+`.%indeed'~",
        hops="Max-Forwards: 255",
    ),
    "esc01": _invite(
        "INVITE sip:sips%3Auser%40example.com@example.net SIP/2.0",
        to="To: sip:%75se%72@example.com",
        sender="From: <sip:I%20have%20spaces@example.net>;tag=938",
    ),
    "escnull": _request(
        "REGISTER sip:example.com SIP/2.0",
        "L:0",
        "Contact: <sip:%00@host5.example.com>",
        "Contact: <sip:%00%00@host5.example.com>",
        to="To: sip:null-%00-null@example.com",
        length="",
    ),
    "esc02": _request(
        "RE%47IST%45R sip:registrar.example.com SIP/2.0", sender='f: "%Z%45" <sip:res@h>;tag=f232jadfj23'
    ),
    "lwsdisp": _request("OPTIONS sip:user@example.com SIP/2.0", sender="From: caller<sip:caller@example.com>;tag=323"),
    "longreq": _invite(
        "INVITE sip:user@example.com SIP/2.0",
        "Unknown-" + _LONG + "-Header: unknown-" + _LONG + "-value; unknown-" + _LONG + "-parameter-name = " + _LONG,
        *(f"v: SIP/2.0/TCP sip{n}.example.com" for n in range(33, 0, -1)),
        f"Via: SIP/2.0/TCP host.example.com;received=192.0.2.5;branch=very{_LONG}",
        to=f'To: "I have a user name of {_LONG} proportion"<sip:user@example.com:6000;unknownparam1={_LONG}>',
        sender=f"F: sip:{_LONG}@example.net;tag=12{'982' * 50}424;unknownheaderparam{_LONG}=unknownvalue{_LONG}",
        call_id=f"Call-ID: longreq.one{_LONG}callid",
    ),
    "dblreq": _request("REGISTER sip:example.com SIP/2.0") + _invite(),
    "semiuri": _request("OPTIONS sip:user;par=u%40example.net@example.com SIP/2.0"),
    "transports": _request(
        "OPTIONS sip:user@example.com SIP/2.0",
        "Via: SIP/2.0/SCTP t2.example.com;branch=z9hG4bKklasjdhf",
        "Via: SIP/2.0/TLS t3.example.com;branch=z9hG4bK2980unddj",
        "Via: SIP/2.0/UNKNOWN t4.example.com;branch=z9hG4bKasd0f3en",
        "Via: SIP/2.0/TCP t5.example.com;branch=z9hG4bK0a9idfnee",
    ),
    "mpart01": _request(
        "MESSAGE sip:kumiko@example.org SIP/2.0",
        "MIME-Version: 1.0",
        "Content-Type: multipart/signed; micalg=sha1; boundary=7a9cbec02ceef655",
    ),
}

RESPONSES = {
    "unreason": "SIP/2.0 200 = 2**3 * 5**2 \u043d\u043e \u0441\u0442\u043e",
    "noreason": "SIP/2.0 100 ",
}

# RFC 4475 3.1.2: invalid.
INVALID = {
    "badinv01": _invite(via="Via: SIP/2.0/UDP 192.0.2.15;;,;,,"),
    "clerr": _invite(length="Content-Length: 9999"),
    "ncl": _invite(length="Content-Length: -999"),
    "scalar02": _request(
        "OPTIONS sip:example.com SIP/2.0",
        "Expires: 10000000000000000000000000",
        cseq="CSeq: 36893488147419103232 OPTIONS",
        hops="Max-Forwards: 300",
    ),
    "quotbal": _invite(to='To: "Mr. J. User <sip:j.user@example.com>'),
    "ltgtruri": _invite("INVITE <sip:user@example.com> SIP/2.0"),
    "lwsruri": _invite("INVITE sip:user@example.com; lr SIP/2.0"),
    "lwsstart": _invite("INVITE  sip:user@example.com  SIP/2.0"),
    "trws": _request("OPTIONS sip:remote-target@example.com SIP/2.0  "),
    "escruri": _invite("INVITE sip:user@example.com?Route=%3Csip:example.com%3E SIP/2.0"),
    "badaspec": _request("OPTIONS sip:user@example.org SIP/2.0", to='To: "Watson, Thomas" < t.watson@example.org >'),
    "badvers": _request(
        "OPTIONS sip:t.watson@example.org SIP/7.0", via="Via: SIP/7.0/UDP c.example.com;branch=z9hG4bKk"
    ),
    "mismatch01": _request("OPTIONS sip:user@example.com SIP/2.0", cseq="CSeq: 8 INVITE"),
    "mismatch02": _request("NEWMETHOD sip:user@example.com SIP/2.0", cseq="CSeq: 8 INVITE"),
    "insuf": _wire(
        "INVITE sip:user@example.com SIP/2.0\nCSeq: 193942 INVITE\nVia: SIP/2.0/UDP 192.0.2.95;branch=z9hG4bKinsuf\n"
        "Content-Type: application/sdp\nl: 0"
    ),
    "multi01": _invite(
        "INVITE sip:user@company.com SIP/2.0",
        "Call-ID: multi01.98asdh@192.0.2.1",
        "CSeq: 59 INVITE",
        "From: sip:caller@example.com;tag=3413415",
        "To: sip:user@example.com",
    ),
    "mcl01": _request("OPTIONS sip:user@example.com SIP/2.0", "Content-Length: 13", length="Content-Length: 5")
    + b"hello",
}

# RFC 4475 3.1.2 again: an element may refuse these or be liberal.
TOLERABLE = {
    "baddate": _invite("INVITE sip:user@example.com SIP/2.0", "Date: Fri, 01 Jan 2010 16:00:00 EST"),
    "baddn": _request(
        "OPTIONS sip:user@example.com SIP/2.0", sender="From: Bell, Alexander <sip:a.g.bell@example.com>;tag=43"
    ),
}

# RFC 4475 3.1.2.13 in its own words (a REGISTER, which is not our business), and as an INVITE, which is.
UNBRACKETED = "Contact: sip:user@example.com?Route=%3Csip:sip.example.com%3E"

# RFC 4475 3.1.2 and 3.3: responses that must be dropped.
DROPPED = {
    "scalarlg": _wire(
        "SIP/2.0 503 Service Unavailable\nVia: SIP/2.0/TCP host129.example.com;branch=z9hG4bKzzxdiwo34sw\n"
        "To: <sip:user@example.com>;tag=1\nFrom: <sip:other@example.net>;tag=2easdjfejw\n"
        "CSeq: 9292394834772304023312 OPTIONS\n"
        "Call-ID: scalarlg.noase0of0234hn2qofoaf0232aewf2394r\nRetry-After: 949302838503028349304023988\n"
        'Warning: 1812 overture "In Progress"\nContent-Length: 0'
    ),
    "bigcode": _wire(
        "SIP/2.0 4294967301 better not break the receiver\nVia: SIP/2.0/UDP 192.0.2.105;branch=z9hG4bK2398ndaoe\n"
        "Call-ID: bigcode.asdof3uj203asdnf3429uasdhfas3ehjasdfas9i\nCSeq: 353494 INVITE\n"
        "From: <sip:user@example.com>;tag=39ansfi3\nTo: <sip:user@example.edu>;tag=902jndnke3\nContent-Length: 0"
    ),
    "bcast": _wire(
        "SIP/2.0 200 OK\nVia: SIP/2.0/UDP 192.0.2.198;branch=z9hG4bK1324923\n"
        "Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK1saber23\nCall-ID: bcast.0384840201234ksdfak3j2erwedfsASdf\n"
        "CSeq: 35 INVITE\nFrom: sip:user@example.com;tag=11141343\nTo: sip:user@example.edu;tag=2229\nContent-Length: 0"
    ),
}

# RFC 4475 3.2 to 3.4: well-formed, and a matter for whoever acts on them; with the status for us.
SEMANTIC = {
    "badbranch": (
        _request("OPTIONS sip:user@example.com SIP/2.0", via="Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK"),
        200,
    ),
    "unkscm": (_request("OPTIONS nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0"), 416),
    "novelsc": (_request("OPTIONS soap.beep://192.0.2.103:3002 SIP/2.0"), 416),
    "unksm2": (
        _request(
            "REGISTER sip:example.com SIP/2.0",
            "Contact: <name:John_Smith>",
            to="To: isbn:2983792873",
            sender="From: <http://www.example.com>;tag=3234233",
        ),
        405,
    ),
    "bext01": (
        _request(
            "OPTIONS sip:user@example.com SIP/2.0",
            "Require: nothingSupportsThis, nothingSupportsThisEither",
            "Proxy-Require: noProxiesSupportThis, norDoAnyProxiesSupportThis",
        ),
        420,
    ),
    "invut": (
        _request(
            "INVITE sip:user@example.com SIP/2.0",
            "Content-Type: application/unknownformat",
            length="Content-Length: 5",
        )
        + b"audio",
        415,
    ),
    "regaut01": (_request("REGISTER sip:h SIP/2.0", "Authorization: NoOneKnowsThisScheme opaque-data=here"), 405),
    "zeromf": (_request("OPTIONS sip:user@example.com SIP/2.0", hops="Max-Forwards: 0"), 200),
    "cparam01": (_request("REGISTER sip:h SIP/2.0", "Contact: sip:+19725552222@gw1.example.net;unknownparam"), 405),
    "cparam02": (_request("REGISTER sip:h SIP/2.0", "Contact: <sip:+19725552222@gw1.example.net;unknownparam>"), 405),
    "regbadct": (_request("REGISTER sip:h SIP/2.0", UNBRACKETED), 405),
    "regescrt": (_request("REGISTER sip:h SIP/2.0", "Contact: <sip:user@h?Route=%3Csip:sip.example.com%3E>"), 405),
    "sdp01": (_invite("INVITE sip:user@example.com SIP/2.0", "Accept: text/nobodyKnowsThis"), 406),
    "inv2543": (
        _wire(
            "INVITE sip:UserB@example.com SIP/2.0\nVia: SIP/2.0/UDP iftgw.example.com\n"
            "From: <sip:+13035551111@ift.client.example.net;user=phone>\n"
            "Record-Route: <sip:UserB@example.com;maddr=ss1.example.com>\n"
            "To: sip:+16505552222@ss1.example.net;user=phone\nCall-ID: inv2543.1717@ift.client.example.com\n"
            "CSeq: 56 INVITE\nContent-Type: application/sdp",
            _SDP,
        ),
        100,
    ),
}

MIXED_SDP = (
    "v=0\no=bob 280744730 28977631 IN IP4 host.example.com\ns=-\nt=0 0\nm=audio 22334 RTP/AVP 0\nc=IN IP4 192.0.2.1\n"
    "m=video 6024 RTP/AVP 107\nc=IN IP6 2001:db8::1\na=rtpmap:107 H263-1998/90000\n"
)
_SDP6 = (
    "v=0\no=assistant 971731711378798081 0 IN IP6 2001:db8::20\ns=-\nc=IN IP6 2001:db8::20\nt=3338481189 3370017201\n"
    "m=audio 6000 RTP/AVP 2\na=rtpmap:2 G726-32/8000\n"
)
_V6 = "Via: SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3-111"

# RFC 5118: addresses of version 6, with the status for us.
IPV6 = {
    "ipv6-good": (_request("OPTIONS sip:[2001:db8::10] SIP/2.0", via=_V6), 200),
    "ipv6-bad": (_request("OPTIONS sip:2001:db8::10 SIP/2.0", via=_V6), 400),
    "port-ambiguous": (_request("OPTIONS sip:[2001:db8::10:5070] SIP/2.0", via=_V6), 200),
    "port-unambiguous": (_request("OPTIONS sip:[2001:db8::10]:5070 SIP/2.0", via=_V6), 200),
    "via-received-param-with-delim": (
        _request(
            "OPTIONS sip:h SIP/2.0", via="Via: SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bKa"
        ),
        200,
    ),
    "via-received-param-no-delim": (
        _request(
            "OPTIONS sip:h SIP/2.0", via="Via: SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255;branch=z9hG4bKa"
        ),
        200,
    ),
    "ipv6-in-sdp": (_request("INVITE sip:user@[2001:db8::10] SIP/2.0", via=_V6, body=_SDP6), 100),
    "mult-ip-in-header": (
        _request(
            "BYE sip:user@host.example.net SIP/2.0",
            "Via: SIP/2.0/UDP 192.0.2.1:6050;branch=z9hG4bKas3-222;received=192.0.2.254",
            "Via: SIP/2.0/TCP [2001:db8::9:2];branch=z9hG4bKas3-333",
            via="Via: SIP/2.0/UDP [2001:db8::9:1]:6050;branch=z9hG4bKas3-111",
            to="To: sip:user@example.com;tag=bd76ya",
        ),
        481,
    ),
    "mult-ip-in-sdp": (_request("INVITE sip:user@[2001:db8::10] SIP/2.0", via=_V6, body=MIXED_SDP), 100),
    "ipv4-mapped-ipv6": (
        _request(
            "INVITE sip:user@example.com SIP/2.0",
            "Record-Route: <sip:[::ffff:192.0.2.10]:5060;lr>",
            via="Via: SIP/2.0/UDP [::ffff:192.0.2.10]:19823;branch=z9hG4bKbh19",
            body="v=0\no=- 1 1 IN IP6 ::ffff:192.0.2.2\ns=-\nc=IN IP6 ::ffff:192.0.2.2\nt=0 0\n"
            "m=audio 6000 RTP/AVP 0\n",
        ),
        100,
    ),
    "ipv6-bug-abnf-3-colons": (_request("OPTIONS sip:user@[2001:db8:::192.0.2.1] SIP/2.0", via=_V6), 200),
}

# The messages by section, as the two documents name them: what is not here is not there.
RFC_4475 = {
    "3.1.1": "wsinv intmeth esc01 escnull esc02 lwsdisp longreq dblreq semiuri transports mpart01 unreason noreason",
    "3.1.2": "badinv01 clerr ncl scalar02 scalarlg quotbal ltgtruri lwsruri lwsstart trws escruri baddate regbadct "
    "badaspec baddn badvers mismatch01 mismatch02 bigcode",
    "3.2": "badbranch",
    "3.3": "insuf unkscm novelsc unksm2 bext01 invut regaut01 multi01 mcl01 bcast zeromf cparam01 cparam02 "
    "regescrt sdp01",
    "3.4": "inv2543",
}
RFC_5118 = (
    "ipv6-good ipv6-bad port-ambiguous port-unambiguous via-received-param-with-delim via-received-param-no-delim "
    "ipv6-in-sdp mult-ip-in-header mult-ip-in-sdp ipv4-mapped-ipv6 ipv6-bug-abnf-3-colons"
)
