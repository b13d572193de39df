"""Replaces (RFC 3891): an INVITE that takes the place of a call we have, as attended transfers and pick-ups do."""

from __future__ import annotations

import msgspec

from gateway.core.errors import PeerError
from gateway.sip.confirmed import ConfirmedCall
from gateway.sip.core import Core
from gateway.sip.dialog import DialogId
from gateway.sip.extension import AnyCall, Extension, Refusal
from gateway.sip.headers import parse_params
from gateway.sip.message import Request

NAME = "replaces"


class Replaces(msgspec.Struct, frozen=True):
    """`to_tag` and `from_tag` as the sender of the header sees them: `to_tag` is its receiver's."""

    call_id: str
    to_tag: str
    from_tag: str
    early_only: bool = False

    def __str__(self) -> str:
        early = ";early-only" if self.early_only else ""
        return f"{self.call_id};to-tag={self.to_tag};from-tag={self.from_tag}{early}"


def parse_replaces(text: str) -> Replaces:
    """Raises `PeerError` 400."""
    call_id, semicolon, rest = text.strip().partition(";")
    params = parse_params(semicolon + rest)
    to_tag, from_tag = params.get("to-tag"), params.get("from-tag")
    if not call_id or to_tag is None or from_tag is None:
        raise PeerError("a Replaces without Call-ID and both tags")
    return Replaces(call_id.strip(), to_tag, from_tag, "early-only" in params)


class ReplacesExtension(Extension):
    name = NAME
    option_tag = "replaces"

    def invite_arrived(self, core: Core, invite: Request) -> Refusal | None:
        lines = invite.all("Replaces")
        if not lines or invite.to.tag:
            return None
        if len(lines) > 1:
            return Refusal(400, "More than one Replaces")
        try:
            wanted = parse_replaces(lines[0])
        except PeerError as error:
            return Refusal(400, str(error))
        call = core.dialogs.get(_dialog_id(wanted))
        if not isinstance(call, ConfirmedCall):
            # RFC 3891 3: early dialogs of calls that came to us cannot be replaced.
            return Refusal(481)
        if not call.up:
            return Refusal(603)
        return Refusal(486) if wanted.early_only else None

    def call_arrived(self, call: AnyCall, invite: Request) -> None:
        line = invite.first("Replaces")
        if line is not None:
            replaced = call.core.dialogs[_dialog_id(parse_replaces(line))]
            call.notes[NAME] = replaced
            call.notes["facts"] = (*call.notes.get("facts", ()), ("replaces", replaced.handle))

    def call_confirmed(self, call: AnyCall) -> None:
        """The new call stands: say BYE to the old one, and tell its owner."""
        replaced = call.notes.pop(NAME, None)
        if replaced is not None:
            replaced.end("replaced", f"Replaced by {call.handle}")


def _dialog_id(wanted: Replaces) -> DialogId:
    return DialogId(wanted.call_id, wanted.to_tag, wanted.from_tag)


EXTENSION = ReplacesExtension()
