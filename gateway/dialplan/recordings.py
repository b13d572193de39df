"""Stored recordings: a text that has one is played from its file, whoever speaks it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from gateway.core.speech import Expectation
from gateway.dialplan.control import (
    BargeIn,
    BotStep,
    CallControl,
    Heard,
    Outcome,
    Prompt,
    TransferOutcome,
    TransferStep,
)


class Recorded:
    """A `CallControl` that puts the recording's file beside each text it passes on."""

    def __init__(self, call: CallControl, files: Mapping[str, str]) -> None:
        self._call, self._files = call, files

    @property
    def caller(self) -> str:
        return self._call.caller

    @property
    def called(self) -> str:
        return self._call.called

    @property
    def headers(self) -> dict[str, str]:
        return self._call.headers

    @property
    def variables(self) -> dict[str, str]:
        return self._call.variables

    def set(self, name: str, value: str) -> None:
        self._call.set(name, value)

    async def ring(self) -> None:
        await self._call.ring()

    async def answer(self) -> None:
        await self._call.answer()

    async def wait(self, seconds: float) -> None:
        await self._call.wait(seconds)

    async def say(self, prompt: Prompt, *, barge_in: BargeIn = "on") -> bool:
        return await self._call.say(self._recorded(prompt), barge_in=barge_in)

    async def ask(self, prompt: Prompt, expectation: Expectation, *, barge_in: BargeIn = "on") -> Heard:
        return await self._call.ask(self._recorded(prompt), expectation, barge_in=barge_in)

    async def converse(self, bot: BotStep) -> Outcome:
        """The agent gets the recordings in its options, for the texts it says as they stand."""
        if self._files:
            bot = BotStep(bot.agent, {"recordings": dict(self._files), **bot.options}, bot.barge_in)
        return await self._call.converse(bot)

    async def loop_back(self, seconds: float | None = None) -> None:
        await self._call.loop_back(seconds)

    async def tone(self, hz: float, *, dbm0: float = 0.0, seconds: float | None = None) -> None:
        await self._call.tone(hz, dbm0=dbm0, seconds=seconds)

    async def music(
        self, file: str, *, level_db: float = -10.0, while_speaking_db: float = -24.0, seconds: float | None = None
    ) -> None:
        await self._call.music(file, level_db=level_db, while_speaking_db=while_speaking_db, seconds=seconds)

    async def stop_music(self) -> None:
        await self._call.stop_music()

    async def press(self, digits: str) -> None:
        await self._call.press(digits)

    async def transfer(self, step: TransferStep) -> TransferOutcome:
        return await self._call.transfer(step)

    async def hang_up(self) -> NoReturn:
        await self._call.hang_up()

    async def reject(self, status: int, reason: str | None = None) -> NoReturn:
        await self._call.reject(status, reason)

    def _recorded(self, prompt: Prompt) -> Prompt:
        return prompt if prompt.file else Prompt(prompt.text, self._files.get(prompt.text))
