"""REFER both ways: blind and attended transfer (RFC 3515, RFC 5589)."""

from __future__ import annotations

import pytest
from sip_wire import OUR_SDP, Line, ack_of, invite, methods, reply, request, statuses

from gateway.core.errors import MisuseError, PeerError
from gateway.sip.commands import Accept, AnswerTransfer, HangUp, ReportTransfer, Transfer
from gateway.sip.events import CallOffered, TransferProgressed, TransferRequested
from gateway.sip.extensions.transfer import parse_refer_to
from gateway.sip.message import Request


def up(line: Line | None = None, **fields: str) -> tuple[Line, str]:
    """A call that is up, and our tag in it."""
    line = line or Line()
    line.receive(invite(**fields))
    (ok,) = line.do(Accept(_last_offered(line), OUR_SDP))
    line.receive(ack_of(ok, **{k: v for k, v in fields.items() if k in ("call_id", "from_tag")}))
    return line, ok.to.tag


def _last_offered(line: Line) -> str:
    return [e for e in line.events if isinstance(e, CallOffered)][-1].dialog


def refer(tag: str, *headers: str, cseq: int = 2) -> bytes:
    return request("REFER", branch=f"z9hG4bK-r{cseq}", cseq=cseq, to_tag=tag, headers=headers)


def test_a_blind_transfer_is_told_tried_and_reported() -> None:
    """202, NOTIFY 100 at once, NOTIFY with the outcome, and the subscription is over."""
    line, tag = up()
    assert line.receive(refer(tag, "Refer-To: <sip:sales@192.0.2.50>", "Referred-By: <sip:alice@example.org>")) == []
    asked = line.event(TransferRequested)
    assert (asked.target, asked.replaces, asked.referred_by) == ("sip:sales@192.0.2.50", "", "<sip:alice@example.org>")
    accepted, notify = line.do(AnswerTransfer(asked.dialog))
    assert statuses([accepted]) == [202]
    assert isinstance(notify, Request)
    assert (notify.method, notify.body) == ("NOTIFY", b"SIP/2.0 100 Trying\r\n")
    assert notify.required("Subscription-State").startswith("active")
    assert notify.content_type == "message/sipfrag"
    line.receive(reply(notify, 200))
    (ringing,) = line.do(ReportTransfer(asked.dialog, 180))
    line.receive(reply(ringing, 200))
    (done,) = line.do(ReportTransfer(asked.dialog, 200))
    assert done.body == b"SIP/2.0 200 OK\r\n"
    assert done.required("Subscription-State") == "terminated;reason=noresource"
    assert line.do(ReportTransfer(asked.dialog, 200)) == []


def test_a_transfer_may_be_refused() -> None:
    """No subscription, no NOTIFY."""
    line, tag = up()
    line.receive(refer(tag, "Refer-To: <sip:sales@192.0.2.50>"))
    assert statuses(line.do(AnswerTransfer(line.event(TransferRequested).dialog, 603))) == [603]
    assert line.do(ReportTransfer(line.event(TransferRequested).dialog, 200)) == []


def test_who_does_not_want_reports_gets_none() -> None:
    """RFC 4488."""
    line, tag = up()
    line.receive(refer(tag, "Refer-To: <sip:sales@192.0.2.50>", "Refer-Sub: false"))
    (accepted,) = line.do(AnswerTransfer(line.event(TransferRequested).dialog))
    assert accepted.required("Refer-Sub") == "false"


def test_an_attended_transfer_carries_the_call_to_replace() -> None:
    """RFC 5589 7.3: unescaped, ready to be sent as a Replaces header."""
    line, tag = up()
    line.receive(refer(tag, "Refer-To: <sip:b@h?Replaces=77%40x%3Bto-tag%3D1%3Bfrom-tag%3D2&Subject=x>"))
    asked = line.event(TransferRequested)
    assert (asked.target, asked.replaces) == ("sip:b@h", "77@x;to-tag=1;from-tag=2")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ((), 400),
        (("Refer-To: <sip:a@h>", "Refer-To: <sip:b@h>"), 400),
        (("Refer-To: nonsense",), 400),
        (("Refer-To: <http://example.com/>",), 416),
        (("Refer-To: <sip:a@h?Replaces=1%3Bto-tag%3D1%3Bfrom-tag%3D2%0D%0AX-Evil%3A+1>",), 400),
    ],
)
def test_broken_refers_are_refused(headers: tuple[str, ...], status: int) -> None:
    """RFC 3515 2.4.2."""
    line, tag = up()
    assert statuses(line.receive(refer(tag, *headers))) == [status]


def test_a_refer_from_nowhere_is_forbidden() -> None:
    """Strangers must not make us call whom they like."""
    assert statuses(Line().receive(request("REFER", headers=("Refer-To: <sip:sales@192.0.2.50>",)))) == [403]


def test_one_transfer_at_a_time() -> None:
    """The second finds the first undecided."""
    line, tag = up()
    line.receive(refer(tag, "Refer-To: <sip:a@h>"))
    assert statuses(line.receive(refer(tag, "Refer-To: <sip:b@h>", cseq=3))) == [491]


def test_hanging_up_answers_an_undecided_transfer() -> None:
    """No request stays unanswered."""
    line, tag = up()
    line.receive(refer(tag, "Refer-To: <sip:a@h>"))
    sent = line.do(HangUp(_last_offered(line)))
    assert (statuses(sent), methods(sent)) == ([603], ["BYE"])


# Ours


def notify(tag: str, line_: bytes, cseq: int, event: str = "refer") -> bytes:
    headers = (f"Event: {event}", "Subscription-State: active;expires=60")
    return request(
        "NOTIFY",
        branch=f"z9hG4bK-n{cseq}",
        cseq=cseq,
        to_tag=tag,
        headers=headers,
        body=line_,
        content_type="message/sipfrag",
    )


def test_we_transfer_a_caller_and_hear_how_it_goes() -> None:
    """REFER with who asks; each NOTIFY is a step, the final one the last."""
    line, tag = up()
    (sent,) = line.do(Transfer(line.offered, "sip:sales@192.0.2.50"))
    assert isinstance(sent, Request)
    assert (sent.method, sent.required("Refer-To")) == ("REFER", "<sip:sales@192.0.2.50>")
    assert sent.required("Referred-By") == "<sip:desk@192.0.2.1>"
    line.receive(reply(sent, 202))
    for cseq, news in ((2, b"SIP/2.0 100 Trying"), (3, b"SIP/2.0 200 OK\r\n"), (4, b"SIP/2.0 200 OK")):
        assert statuses(line.receive(notify(tag, news, cseq))) == [200]
    assert [e.status for e in line.events if isinstance(e, TransferProgressed)] == [100, 200]


def test_a_refused_transfer_is_told() -> None:
    """The call itself goes on."""
    line, _ = up()
    (sent,) = line.do(Transfer(line.offered, "sip:sales@192.0.2.50"))
    line.receive(reply(sent, 405))
    assert (line.event(TransferProgressed).status, line.event(TransferProgressed).refused) == (405, True)
    assert line.endpoint.calls == 1


def test_we_connect_two_callers_with_each_other() -> None:
    """Attended: the Replaces is written as the third party sees that call."""
    line, _ = up()
    first = _last_offered(line)
    up(line, call_id="call-2", from_tag="second", branch="z9hG4bK-x")
    other = _last_offered(line)
    (sent,) = line.do(Transfer(first, replaces=other))
    refer_to = parse_refer_to(sent.required("Refer-To"))
    assert str(refer_to.target) == "sip:alice@192.0.2.9"
    assert refer_to.replaces.startswith("call-2;to-tag=second;from-tag=")
    with pytest.raises(MisuseError):
        line.do(Transfer(first, replaces="nobody"))


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ((b"SIP/2.0 200 OK", "presence"), 489),
        ((b"SIP/2.0 200 OK", "refer"), 481),
    ],
)
def test_notifies_nobody_subscribed_to_are_refused(message: tuple[bytes, str], status: int) -> None:
    """RFC 6665 4.1.3."""
    line, tag = up()
    assert statuses(line.receive(notify(tag, message[0], 2, message[1]))) == [status]


def test_a_notify_that_says_nothing_is_refused() -> None:
    """A sipfrag starts with a status line."""
    line, tag = up()
    line.do(Transfer(line.offered, "sip:sales@192.0.2.50"))
    assert statuses(line.receive(notify(tag, b"hello", 2))) == [400]


@pytest.mark.parametrize("text", ["", "<>", "<sip:", "sip:a@h?Replaces=x"])
def test_broken_refer_tos(text: str) -> None:
    """`PeerError` and nothing else."""
    with pytest.raises(PeerError):
        parse_refer_to(text)
