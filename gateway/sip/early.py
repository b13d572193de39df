"""The peer's offers before the INVITE has its final answer, in UPDATE or PRACK (RFC 3262 5, 3311 5.2, 6337 3)."""

from __future__ import annotations

from typing import NamedTuple

from gateway.sip.core import Core
from gateway.sip.dialog import Dialog
from gateway.sip.events import OfferReceived
from gateway.sip.message import Request
from gateway.sip.transaction import ServerTransaction


class Agreed(NamedTuple):
    """What an early offer came to, in the dialog with that remote tag."""

    tag: str
    local: bytes
    remote: bytes


class _Open(NamedTuple):
    transaction: ServerTransaction
    dialog: Dialog
    sdp: bytes


class EarlyOffers:
    """At most one is open at a time. There can be one only after the INVITE's own offer was answered for good."""

    __slots__ = ("_contact_user", "_core", "_handle", "_theirs", "agreed")

    def __init__(self, core: Core, handle: str, contact_user: str) -> None:
        self._core = core
        self._handle = handle
        self._contact_user = contact_user
        self._theirs: _Open | None = None
        self.agreed: Agreed | None = None

    @property
    def open(self) -> bool:
        return self._theirs is not None

    def arrived(self, transaction: ServerTransaction, request: Request, dialog: Dialog, unsettled: int) -> None:
        """Answer, or ask the user. `unsettled` is the status that says which offer is still open; 0 when none is."""
        core, sdp = self._core, request.sdp()
        if (refusal := core.extensions.invite_arrived(core, request)) is not None:
            core.respond(transaction, *refusal)
        elif sdp is None:
            self._grant(transaction, dialog)
        elif self.open or unsettled:
            # RFC 3311 5.2: 500 while an offer of theirs is unanswered, 491 while ours is.
            status = 500 if self.open else unsettled
            core.respond(transaction, status, headers=core.soon() if status == 500 else ())
        else:
            self._theirs = _Open(transaction, dialog, sdp)
            core.emit(OfferReceived(core.now, self._handle, sdp))

    def answer(self, sdp: bytes) -> None:
        theirs, self._theirs = self._theirs, None
        if theirs is not None:
            self.agreed = Agreed(theirs.dialog.remote_tag, sdp, theirs.sdp)
            self._grant(theirs.transaction, theirs.dialog, sdp)

    def refuse(self, status: int, reason: str | None = None) -> None:
        theirs, self._theirs = self._theirs, None
        if theirs is not None:
            self._core.respond(theirs.transaction, status, reason)

    def _grant(self, transaction: ServerTransaction, dialog: Dialog, sdp: bytes | None = None) -> None:
        core = self._core
        if transaction.request.method == "UPDATE":
            dialog.refresh_target(transaction.request)
        contact = core.contact(transaction.flow, self._contact_user)
        core.respond(transaction, 200, headers=(("Contact", contact), *core.capabilities()), sdp=sdp)
