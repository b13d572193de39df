"""`CallControl` for a dialplan's coroutine: each method is a request that the call carries out and answers by hand."""

from __future__ import annotations

from typing import NoReturn, cast

from gateway.call import commands as c
from gateway.call import transferring
from gateway.call.request import Request
from gateway.call.transferring import Note
from gateway.core import events as e
from gateway.core.speech import Expectation
from gateway.dialplan.control import BargeIn, BotStep, Heard, Outcome, Prompt, TransferOutcome, TransferStep


class Control:
    """Implements `gateway.dialplan.control.CallControl`. Awaits nothing but `Request`s."""

    def __init__(
        self,
        *,
        caller: str,
        called: str,
        headers: dict[str, str],
        variables: dict[str, str],
        now_answered: bool = False,
    ) -> None:
        self._caller, self._called, self._headers = caller, called, headers
        self._variables = variables
        self._noted: list[Note] = []
        self.answered = now_answered
        self.resumed_away_s: float | None = None
        """Set on a call back until the first conversation takes it up."""
        self.transferring = False
        self.now = 0.0
        """When the step at hand goes on; kept by the call."""

    @property
    def caller(self) -> str:
        return self._caller

    @property
    def called(self) -> str:
        return self._called

    @property
    def headers(self) -> dict[str, str]:
        return dict(self._headers)

    @property
    def variables(self) -> dict[str, str]:
        return dict(self._variables)

    def set(self, name: str, value: str) -> None:
        self._variables[name] = value
        self.note(lambda at, call: e.VariableSet(at, call, name, value))

    def note(self, note: Note) -> None:
        """Something for the call's log."""
        self._noted.append(note)

    def take_noted(self) -> list[Note]:
        """What there is for the log since the last look, in order."""
        noted, self._noted = self._noted, []
        return noted

    def meet(self, caller: str) -> None:
        """Another caller has taken this one's place."""
        self._caller = caller

    async def ring(self) -> None:
        if not self.answered:
            await Request((c.RingLine(),), seconds=0.0)

    async def answer(self) -> None:
        if not self.answered:
            await Request((c.AnswerLine(),), until=c.LineAnswered)
            self.answered = True

    async def wait(self, seconds: float) -> None:
        await Request((), seconds=seconds)

    async def say(self, prompt: Prompt, *, barge_in: BargeIn = "on") -> bool:
        await self.answer()
        said = cast(c.Said, await Request((c.Say(prompt, barge_in),), until=c.Said))
        return said.heard_whole

    async def ask(self, prompt: Prompt, expectation: Expectation, *, barge_in: BargeIn = "on") -> Heard:
        await self.answer()
        got = cast(c.Heard, await Request((c.Ask(prompt, expectation, barge_in),), until=c.Heard))
        return Heard(text=got.text, digits=got.digits, confidence=got.confidence, silent=got.silent)

    async def converse(self, bot: BotStep) -> Outcome:
        await self.answer()
        away_s, self.resumed_away_s = self.resumed_away_s, None
        begin = c.Converse(bot, resumed=away_s is not None, away_s=away_s or 0.0)
        finished = cast(c.Finished, await Request((begin,), until=c.Finished))
        return Outcome(finished.outcome, finished.data)

    async def loop_back(self, seconds: float | None = None) -> None:
        await self.answer()
        await Request((c.LoopBack(True),), seconds=seconds, after=(c.LoopBack(False),))

    async def tone(self, hz: float, *, dbm0: float = 0.0, seconds: float | None = None) -> None:
        await self.answer()
        await Request((c.Tone(hz, dbm0),), seconds=seconds, after=(c.Tone(None),))

    async def music(
        self, file: str, *, level_db: float = -10.0, while_speaking_db: float = -24.0, seconds: float | None = None
    ) -> None:
        await self.answer()
        after = () if seconds is None else (c.Music(None),)
        await Request((c.Music(file, level_db, while_speaking_db),), seconds=seconds or 0.0, after=after)

    async def stop_music(self) -> None:
        await Request((c.Music(None),), seconds=0.0)

    async def press(self, digits: str) -> None:
        await self.answer()
        await Request((c.Press(digits),), seconds=0.25 * len(digits))

    async def transfer(self, step: TransferStep) -> TransferOutcome:
        await self.answer()
        self.transferring = True
        try:
            outcome = await transferring.transfer(self, step)
        finally:
            self.transferring = False
        if outcome == "connected":
            await Request((c.HangUpLine(), c.Release("transferred", "bot")))
        return cast(TransferOutcome, outcome)

    async def hang_up(self) -> NoReturn:
        await Request((c.HangUpLine(), c.Release("hangup", "bot")))
        raise AssertionError("a call that ended resumed its dialplan")

    async def reject(self, status: int, reason: str | None = None) -> NoReturn:
        if self.answered:
            await self.hang_up()
        await Request((c.RejectLine(status, reason), c.Release("rejected", "bot")))
        raise AssertionError("a call that was refused resumed its dialplan")
