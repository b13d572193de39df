"""The guests of a gateway: the providers its configuration names, each built once and told of its faults at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gateway.app.config import GatewayConfig, provider
from gateway.app.warmup import start_engines
from gateway.core.errors import ConfigError
from gateway.media.wire import Guest
from gateway.providers.load import build_agent, build_stt, build_tts, build_turn_detector
from gateway.session.ports import Agent, SpeechToText, TextToSpeech


class Guests:
    """Who listens, speaks and answers. Raises `ConfigError` for a name that nobody knows."""

    def __init__(self, config: GatewayConfig, agents: Iterable[str]) -> None:
        """`agents` are those that the dialplan names, besides the configuration's own."""
        self.stt = build_stt(*parts(config.stt, "stt"))
        self.tts = build_tts(*parts(config.tts, "tts"))
        self.turn_detector = build_turn_detector(*parts(config.turn, "turn")) if config.turn else None
        self._tables = config.agents
        self._agents: dict[str, Agent] = {}
        for name in (*config.agents, *agents):
            try:
                self.agent(name)  # not first for a caller
            except ConfigError as error:
                raise ConfigError(f"agent `{name}`: {error}") from error

    def agent(self, name: str) -> Agent:
        """The agent of this name, built once: from its `[agents.NAME]` table, or the provider of that name."""
        if name not in self._agents:
            table = self._tables.get(name, {"kind": name})
            self._agents[name] = build_agent(*parts(table, f"agents.{name}"))
        return self._agents[name]

    async def start(self) -> None:
        await start_engines(self.stt, self.tts)

    async def close(self) -> None:
        guests: list[SpeechToText | TextToSpeech | Agent] = [self.stt, self.tts, *self._agents.values()]
        for guest in guests:
            await guest.close()


def parts(table: dict[str, object], what: str) -> tuple[str, dict[str, object]]:
    """A provider's kind, and its options."""
    config = provider(table, what)
    return config.kind, config.options


def in_workers(table: dict[str, Any], what: str, build: Callable[..., object]) -> Guest:
    """A provider that is built in the media workers; built here once too, so that a fault is told before they start."""
    kind, options = parts(table, what)
    if kind != "none":
        build(kind, options, slots=1)
    return Guest(kind, options)
