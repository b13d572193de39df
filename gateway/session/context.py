"""The history an agent builds on: lines of both sides, the bot's only as far as they were heard."""

from __future__ import annotations

from gateway.session.ports import Message
from gateway.session.words import joined


def add_heard(history: list[Message], text: str) -> None:
    """What the caller heard of the bot; clips that follow each other are one line."""
    if not text:
        return
    if history and history[-1].role == "agent":
        history[-1] = Message("agent", joined(history[-1].text, text))
    else:
        history.append(Message("agent", text))


def add_said(history: list[Message], text: str, digits: str) -> None:
    """What the caller said, or keyed. A turn that nobody understood leaves no line."""
    if said := joined(text, digits):
        history.append(Message("user", said))
