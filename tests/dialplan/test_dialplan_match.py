"""Which route takes a call: the first whose conditions all hold, by the time of the dialplan's own place."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from gateway.core.errors import MisuseError
from gateway.dialplan import Dialplan, Offer
from gateway.dialplan.actions.reject import Options as Reject

PlanOf = Callable[[str], Dialplan]
MONDAY = datetime(2026, 3, 2, 12, 0)


def offer(called: str = "100", caller: str = "4930123", **more: object) -> Offer:
    return Offer(called, caller, more.pop("door", "sip"), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("condition", "taken", "left"),
    [
        ("called: 100", offer("100"), offer("1000")),
        ("called: 10*", offer("1000"), offer("110")),
        ("called: '*72'", offer("*72"), offer("72")),
        ("called: '*'", offer(""), None),
        ("called: [100, 2*]", offer("29"), offer("101")),
        ("called: '/^1[0-9]{2}$/'", offer("199"), offer("1999")),
        ("called: /desk/i", offer("Desk"), offer("des")),
        ("caller: anonymous", offer(caller=""), offer(caller="1")),
        ("caller: +49*", offer(caller="+4930"), offer(caller="4930")),
        ("trunk: main", offer(trunk="main"), offer()),
        ("door: browser", offer(door="browser"), offer()),
        ("facts: {diverted-from: 49*}", offer(facts={"diverted-from": "4930"}), offer()),
        ("facts: {account: desk}", offer(facts={"account": "desk"}), offer(headers={"account": "desk"})),
        ("headers: {x-campaign: spring}", offer(headers={"X-Campaign": "spring"}), offer()),
        ("headers: {Diversion: /911/}", offer(headers={"diversion": "<sip:911@h>"}), offer(headers={"Diversion": "1"})),
        ("{called: 100, caller: 49*}", offer("100", "491"), offer("100", "331")),
        ("{}", offer("anything"), None),
    ],
)
def test_a_condition_takes_its_calls_and_leaves_the_others(
    plan_of: PlanOf, condition: str, taken: Offer, left: Offer | None
) -> None:
    """Strings, lists, prefixes and regular expressions; all conditions of a route together."""
    inside = condition if condition.startswith("{") else f"{{{condition}}}"
    plan = plan_of(f"routes: {{a: {{match: {inside}, steps: [answer]}}}}")
    assert plan.route(taken, MONDAY).route == "a"
    assert left is None or plan.route(left, MONDAY).route == ""


@pytest.mark.parametrize(
    ("condition", "at", "open_"),
    [
        ("time: mon-fri 9:00-17:30", "2026-03-02T09:00", True),
        ("time: mon-fri 9:00-17:30", "2026-03-02T17:30", False),
        ("time: mon-fri 9:00-17:30", "2026-03-07T12:00", False),
        ("time: 'sat,sun'", "2026-03-07T23:59", True),
        ("time: fri-mon", "2026-03-02T00:00", True),
        ("time: fri-mon", "2026-03-03T00:00", False),
        ("time: 22:00-6:00", "2026-03-02T23:00", True),
        ("time: 22:00-6:00", "2026-03-02T06:00", False),
        ("time: fri 22:00-6:00", "2026-03-07T05:59", True),
        ("time: fri 22:00-6:00", "2026-03-06T05:59", False),
        ("time: 18:00-24:00", "2026-03-02T23:59", True),
        ("time: [mon 9:00-12:00, mon 13:00-17:00]", "2026-03-02T12:30", False),
        ("date: 12-24..12-26", "2026-12-26T08:00", True),
        ("date: 12-24..12-26", "2026-12-27T08:00", False),
        ("date: 12-31..01-01", "2027-01-01T08:00", True),
        ("date: 2026-05-01", "2026-05-01T23:59", True),
        ("date: 2026-05-01", "2027-05-01T08:00", False),
    ],
)
def test_hours_and_dates_open_and_close(plan_of: PlanOf, condition: str, at: str, open_: bool) -> None:
    """The end of a window is outside of it; a night belongs to the day it began on."""
    plan = plan_of(f"routes: {{a: {{match: {{{condition}}}, steps: [answer]}}}}")
    assert (plan.route(offer(), datetime.fromisoformat(at)).route == "a") is open_


def test_hours_go_by_the_place_of_the_dialplan(plan_of: PlanOf) -> None:
    """A machine in another zone opens the desk in Berlin at nine o'clock Berlin time, in summer too."""
    plan = plan_of("timezone: Europe/Berlin\nroutes: {a: {match: {time: 9:00-17:00}, steps: [answer]}}")
    utc = ZoneInfo("UTC")
    assert plan.route(offer(), datetime(2026, 1, 5, 8, 0, tzinfo=utc)).route == "a"
    assert plan.route(offer(), datetime(2026, 1, 5, 7, 0, tzinfo=utc)).route == ""
    assert plan.route(offer(), datetime(2026, 7, 6, 7, 0, tzinfo=utc)).route == "a"


def test_the_first_route_that_matches_wins_and_the_default_takes_the_rest(plan_of: PlanOf) -> None:
    """Order is what the operator sees in the file."""
    plan = plan_of("""
        default: desk
        routes:
          vip: {match: {caller: "491*"}, steps: [answer]}
          echo: {match: {called: echo}, steps: [answer]}
          desk: {steps: [answer]}
    """)
    assert plan.route(offer("echo", "491"), MONDAY).route == "vip"
    assert plan.route(offer("echo", "33"), MONDAY).route == "echo"
    assert plan.route(offer("other", "33"), MONDAY).route == "desk"


def test_a_call_without_a_route_is_rejected_with_404(plan_of: PlanOf) -> None:
    """The number is not in use here, in the words of the field."""
    plan = plan_of("routes: {a: {match: {called: 1}, steps: [answer]}}").route(offer("2"), MONDAY)
    (step,) = plan.steps
    assert (plan.route, step.action, step.options) == ("", "reject", Reject(404))


def test_a_share_of_callers_is_the_same_callers_every_time(plan_of: PlanOf) -> None:
    """A test on a tenth of the traffic does not give one caller another bot on every call."""
    plan = plan_of("default: b\nroutes: {a: {match: {share: 10%}, steps: [answer]}, b: {steps: [answer]}}")
    callers = [f"49{number}" for number in range(2000)]
    taken = {caller for caller in callers if plan.route(offer(caller=caller), MONDAY).route == "a"}
    again = {caller for caller in callers if plan.route(offer(caller=caller), datetime(2027, 1, 1)).route == "a"}
    assert taken == again
    assert 140 <= len(taken) <= 260


def test_a_share_of_anonymous_calls_is_by_call(plan_of: PlanOf) -> None:
    """Who withholds the number has no identity to stick to."""
    plan = plan_of("default: b\nroutes: {a: {match: {share: 50%}, steps: [answer]}, b: {steps: [answer]}}")
    times = [datetime(2026, 3, 2, 12, 0, second) for second in range(60)]
    assert {plan.route(offer(caller=""), at).route for at in times} == {"a", "b"}


def test_an_explanation_names_the_winner_and_every_reason(plan_of: PlanOf) -> None:
    """`gateway route` answers the question that operators ask: why did this call go there?"""
    plan = plan_of("""
        default: b
        routes:
          a: {match: {called: 49*, time: mon-fri 9:00-17:00}, steps: [answer]}
          b: {steps: [answer]}
          c: {match: {called: 5}, steps: [answer]}
    """)
    sunday = datetime(2026, 3, 1, 12, 0)
    explanation = plan.explain(offer("4930"), sunday)
    assert (explanation.winner, explanation.by_default) == ("b", True)
    assert explanation.text().splitlines() == [
        "- a: time 'Sun 12:00' does not match mon-fri 9:00-17:00",
        "- b: has no `match`; reached by goto only",
        "- c: called '4930' does not match 5",
        "=> b (the default)",
    ]
    (verdict, _) = plan.explain(offer("4930"), MONDAY).routes[0].verdicts
    assert (verdict.condition, verdict.holds) == ("called", True)
    assert plan.explain(offer("4930"), MONDAY).winner == "a"


def test_an_explanation_says_when_nobody_takes_the_call(plan_of: PlanOf) -> None:
    """A 404 is explained too."""
    explanation = plan_of("routes: {a: {match: {called: 1}, steps: [answer]}}").explain(offer("2"), MONDAY)
    assert explanation.winner is None
    assert explanation.text().endswith("=> rejected with 404: no route matches and there is no default")


def test_only_routes_that_exist_have_a_plan(shipped: Dialplan) -> None:
    """A door that asks for a route by name learns that it made it up."""
    assert shipped.plan("echo").steps[0].position == "echo/0:answer"
    with pytest.raises(MisuseError):
        shipped.plan("nowhere")


def test_a_route_may_name_its_noise_suppressor(plan_of: PlanOf) -> None:
    """Its plan says so; a route that does not leaves it to the configuration. Written `off`, it is a word."""
    routes = "a: {noise: spectral, steps: [answer]}, b: {noise: off, steps: [answer]}, c: {steps: [answer]}"
    dialplan = plan_of(f"routes: {{{routes}}}")
    assert [dialplan.plan(name).noise for name in "abc"] == ["spectral", "off", ""]
    assert dialplan.noises == {"spectral"}


def test_a_route_may_hear_tones(plan_of: PlanOf) -> None:
    """Its plan says so; a route that does not leaves it to the call's trunk."""
    dialplan = plan_of("routes: {a: {hear_tones: true, steps: [answer]}, b: {steps: [answer]}}")
    assert [dialplan.plan(name).hear_tones for name in "ab"] == [True, False]
