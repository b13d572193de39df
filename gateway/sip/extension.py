"""What a SIP extension may do, and where it is asked. One behaviour is one file under `extensions/`.

A module there defines `EXTENSION`, an `Extension`; nothing else has to be edited. State that belongs to one call lives
in `call.notes` under the extension's name and moves with the call from phase to phase.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from importlib.metadata import entry_points
from typing import Any, NamedTuple, Protocol

from gateway.sip.commands import AnyCommand, Headers
from gateway.sip.dialog import Dialog
from gateway.sip.flow import Flow
from gateway.sip.message import Request, Response
from gateway.sip.transaction import ClientTransaction, ServerTransaction

ENTRY_POINTS = "gateway.sip.extensions"


class Refusal(NamedTuple):
    """A final answer given instead of going on."""

    status: int
    reason: str | None = None
    headers: Headers = ()


class AnyCall(Protocol):
    """What extensions see of a call in whatever phase."""

    handle: str
    notes: dict[str, Any]
    core: Any

    @property
    def dialog(self) -> Dialog | None: ...


class Extension:
    """Override what the behaviour needs; every hook does nothing by itself."""

    name: str = ""
    option_tag: str = ""
    """Offered in Supported, accepted in Require. Empty for extensions that are only a header."""
    methods: tuple[str, ...] = ()
    """Methods it answers, added to Allow."""

    def invite_arrived(self, core: Any, invite: Request) -> Refusal | None:
        """Look at a new INVITE, or a re-INVITE or UPDATE, before anybody else; a `Refusal` ends it."""
        return None

    def facts(self, invite: Request) -> Headers:
        """What the INVITE's headers mean, as names and values for the dialplan to match."""
        return ()

    def call_arrived(self, call: AnyCall, invite: Request) -> None:
        """A new incoming call exists; keep what the INVITE said."""

    def request_leaves(self, call: AnyCall, request: Request) -> None:
        """Add to an INVITE, re-INVITE or UPDATE of ours."""

    def provisional_leaves(self, call: AnyCall, transaction: ServerTransaction, response: Response) -> bool:
        """Take over the sending of a 101..199; True when it has been taken over."""
        return False

    def holds_final(self, call: AnyCall) -> bool:
        """Whether the 2xx must wait; the extension lets `call.go_on()` send it later."""
        return False

    def response_leaves(self, call: AnyCall, request: Request, response: Response) -> None:
        """Add to our 2xx of an INVITE, re-INVITE or UPDATE."""

    def response_arrived(self, call: AnyCall, transaction: ClientTransaction, response: Response) -> bool:
        """See a response to an INVITE, re-INVITE or UPDATE of ours; True when nobody else need see it."""
        return False

    def command_given(self, call: AnyCall, command: AnyCommand) -> bool:
        """Carry out a command to a confirmed call; True when it was ours."""
        return False

    def request_arrived(self, call: AnyCall, transaction: ServerTransaction, request: Request) -> bool:
        """See a request in a dialog; True when it has been answered."""
        return False

    def call_meant(self, core: Any, request: Request, flow: Flow) -> str | Refusal | None:
        """The handle of the call that a request without a dialog is for, or why there is none; None: not ours."""
        return None

    def call_confirmed(self, call: AnyCall) -> None:
        """The call has its 2xx; `call` is the confirmed one from now on."""

    def call_ended(self, call: AnyCall) -> None:
        """Stop the timers."""


class Extensions:
    """The extensions in use. A hook is asked only of those that override it, so that an unused one costs nothing."""

    def __init__(self, extensions: Iterable[Extension]) -> None:
        self.all = tuple(extensions)
        self.option_tags = frozenset(e.option_tag for e in self.all if e.option_tag)
        self.supported = ", ".join(sorted(self.option_tags))
        self.methods = tuple(dict.fromkeys(method for e in self.all for method in e.methods))
        self._hooks = {name: self._overriding(name) for name in vars(Extension) if callable(getattr(Extension, name))}

    def _overriding(self, hook: str) -> tuple[Extension, ...]:
        return tuple(e for e in self.all if getattr(type(e), hook) is not getattr(Extension, hook))

    def invite_arrived(self, core: Any, invite: Request) -> Refusal | None:
        for extension in self._hooks["invite_arrived"]:
            if (refusal := extension.invite_arrived(core, invite)) is not None:
                return refusal
        return None

    def facts(self, invite: Request) -> Headers:
        return tuple(fact for extension in self._hooks["facts"] for fact in extension.facts(invite))

    def call_arrived(self, call: AnyCall, invite: Request) -> None:
        for extension in self._hooks["call_arrived"]:
            extension.call_arrived(call, invite)

    def request_leaves(self, call: AnyCall, request: Request) -> None:
        for extension in self._hooks["request_leaves"]:
            extension.request_leaves(call, request)

    def provisional_leaves(self, call: AnyCall, transaction: ServerTransaction, response: Response) -> bool:
        return any(e.provisional_leaves(call, transaction, response) for e in self._hooks["provisional_leaves"])

    def holds_final(self, call: AnyCall) -> bool:
        return any(e.holds_final(call) for e in self._hooks["holds_final"])

    def response_leaves(self, call: AnyCall, request: Request, response: Response) -> None:
        for extension in self._hooks["response_leaves"]:
            extension.response_leaves(call, request, response)

    def response_arrived(self, call: AnyCall, transaction: ClientTransaction, response: Response) -> bool:
        return any(e.response_arrived(call, transaction, response) for e in self._hooks["response_arrived"])

    def command_given(self, call: AnyCall, command: AnyCommand) -> bool:
        return any(e.command_given(call, command) for e in self._hooks["command_given"])

    def request_arrived(self, call: AnyCall, transaction: ServerTransaction, request: Request) -> bool:
        return any(e.request_arrived(call, transaction, request) for e in self._hooks["request_arrived"])

    def call_meant(self, core: Any, request: Request, flow: Flow) -> str | Refusal | None:
        found = (extension.call_meant(core, request, flow) for extension in self._hooks["call_meant"])
        return next((one for one in found if one is not None), None)

    def call_confirmed(self, call: AnyCall) -> None:
        for extension in self._hooks["call_confirmed"]:
            extension.call_confirmed(call)

    def call_ended(self, call: AnyCall) -> None:
        for extension in self._hooks["call_ended"]:
            extension.call_ended(call)


def found() -> tuple[Extension, ...]:
    """Every extension of the package, by file name, then those that installed packages register as entry points."""
    package = importlib.import_module("gateway.sip.extensions")
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    modules = (importlib.import_module(f"{package.__name__}.{name}") for name in names)
    ours = [module.EXTENSION for module in modules if hasattr(module, "EXTENSION")]
    return (*ours, *(point.load() for point in entry_points(group=ENTRY_POINTS)))
