"""A call without a telephone: plays a dialplan against a script of what the caller does. For testing one's own plans.

played = rehearse(dialplan, Offer("menu", "4930123", "sip"), ["1", "yes"])
assert played.log[-1] == "hang up"
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from datetime import datetime
from typing import Any, NoReturn, cast, get_args

import msgspec

from gateway.core.speech import Expectation
from gateway.dialplan.control import BargeIn, BotStep, Heard, Outcome, Prompt, TransferOutcome, TransferStep
from gateway.dialplan.plan import Dialplan, Offer, run

Does = str | Heard | Outcome | None
"""What the caller does when asked: says a text, presses digits ("12#"), stays silent (""), or hangs up (None).
An `Outcome` is how a conversation with a bot ends; a transfer ends as its text says: "busy", "finished", or
"connected", which ends the call."""
MONDAY_NOON = datetime(2026, 3, 2, 12, 0)


class Request(msgspec.Struct, frozen=True):
    """What the dialplan waits for; the script answers."""

    what: str
    details: Any = None

    def __await__(self) -> Generator[Request, Any, Any]:
        return (yield self)


class Rehearsal:
    """A `CallControl` that notes everything done to it in `log`, in plain words."""

    def __init__(self, offer: Offer, script: Iterable[Does] = (), variables: dict[str, str] | None = None) -> None:
        self.log: list[str] = []
        self.steps: list[str] = []
        self.asked: list[tuple[Prompt, Expectation]] = []
        self.bots: list[BotStep] = []
        self.transfers: list[TransferStep] = []
        self._offer, self._script = offer, iter(script)
        self._variables = dict(variables or {})

    def play(
        self, dialplan: Dialplan, *, at: datetime = MONDAY_NOON, start: str | None = None, answered: bool = False
    ) -> Rehearsal:
        """Drive the dialplan by hand until the call is over or the script is."""
        plan = dialplan.route(self._offer, at)
        program = run(dialplan, plan, self, start=start, answered=answered, on_step=self.steps.append)
        answer: Any = None
        while True:
            request = program.send(answer)
            if not isinstance(request, Request):
                raise TypeError(f"a dialplan may await nothing but its call, not {request!r}")
            if request.what in ("hang up", "reject"):
                break
            answer = self._answer(request)
            if answer is None:
                self.log.append("the caller hung up")
                break
        program.close()
        return self

    def _answer(self, request: Request) -> Any:
        if request.what not in ("ask", "converse", "transfer"):
            return True
        does = next(self._script, None)
        if request.what == "transfer":
            return does
        if isinstance(does, str):
            return Heard(silent=True) if not does else Heard(digits=does) if _is_digits(does) else Heard(does)
        return does

    @property
    def caller(self) -> str:
        return self._offer.caller

    @property
    def called(self) -> str:
        return self._offer.called

    @property
    def headers(self) -> dict[str, str]:
        return dict(self._offer.headers)

    @property
    def variables(self) -> dict[str, str]:
        return dict(self._variables)

    def set(self, name: str, value: str) -> None:
        self._variables[name] = value
        self.log.append(f"{name} = {value}")

    async def ring(self) -> None:
        await self._do("ring")

    async def answer(self) -> None:
        if "answer" not in self.log:
            await self._do("answer")

    async def wait(self, seconds: float) -> None:
        await self._do("wait", f"{seconds:g} s")

    async def say(self, prompt: Prompt, *, barge_in: BargeIn = "on") -> bool:
        return bool(await self._do("say", _written(prompt)))

    async def ask(self, prompt: Prompt, expectation: Expectation, *, barge_in: BargeIn = "on") -> Heard:
        self.asked.append((prompt, expectation))
        heard = await self._do("ask", _written(prompt))
        assert isinstance(heard, Heard), f"the script has {heard!r} where the caller is asked {prompt.text!r}"
        return heard

    async def converse(self, bot: BotStep) -> Outcome:
        self.bots.append(bot)
        outcome = await self._do("converse", bot.agent)
        assert isinstance(outcome, Outcome), f"the script has {outcome!r} where a bot talks: give an Outcome"
        return outcome

    async def loop_back(self, seconds: float | None = None) -> None:
        await self._do("echo", _span(seconds))

    async def tone(self, hz: float, *, dbm0: float = 0.0, seconds: float | None = None) -> None:
        await self._do("tone", f"{hz:g} Hz {dbm0:g} dBm0 {_span(seconds)}")

    async def music(
        self, file: str, *, level_db: float = -10.0, while_speaking_db: float = -24.0, seconds: float | None = None
    ) -> None:
        await self._do("music", f"{file}{'' if seconds is None else ' ' + _span(seconds)}")

    async def stop_music(self) -> None:
        await self._do("music", "stops")

    async def press(self, digits: str) -> None:
        await self._do("press", digits)

    async def transfer(self, step: TransferStep) -> TransferOutcome:
        self.transfers.append(step)
        outcome = await self._do("transfer", f"{step.mode} to {step.to}")
        if outcome == "connected":
            await self.hang_up()
        assert outcome in get_args(TransferOutcome), f"the script has {outcome!r} where a transfer ends"
        return cast(TransferOutcome, outcome)

    async def hang_up(self) -> NoReturn:
        await self._do("hang up")
        raise AssertionError("a call that is over went on")

    async def reject(self, status: int, reason: str | None = None) -> NoReturn:
        await self._do("reject", f"{status} {reason or ''}")
        raise AssertionError("a call that is over went on")

    async def _do(self, what: str, details: str = "") -> Any:
        self.log.append(f"{what} {details}".strip())
        return await Request(what, details)


def rehearse(
    dialplan: Dialplan,
    offer: Offer,
    script: Iterable[Does] = (),
    *,
    at: datetime = MONDAY_NOON,
    start: str | None = None,
    answered: bool = False,
    variables: dict[str, str] | None = None,
) -> Rehearsal:
    """Play one call to its end."""
    return Rehearsal(offer, script, variables).play(dialplan, at=at, start=start, answered=answered)


def _is_digits(text: str) -> bool:
    return all(character in "0123456789ABCD*#" for character in text)


def _written(prompt: Prompt) -> str:
    return f"{prompt.text} [{prompt.file}]".strip() if prompt.file else prompt.text


def _span(seconds: float | None) -> str:
    return "for ever" if seconds is None else f"for {seconds:g} s"
