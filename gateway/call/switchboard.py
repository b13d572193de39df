"""The sole owner of live calls: admits, finds, and drains them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from gateway.core.errors import CapacityError, MisuseError
from gateway.store.ports import Identity


class Member(Protocol):
    @property
    def id(self) -> str: ...

    @property
    def identity(self) -> Identity: ...


M = TypeVar("M", bound=Member)


class Switchboard(Generic[M]):
    """`max_calls` is the limit of live calls; a full board says so with `CapacityError` (503 and Retry-After), and so
    does one whose `overload` gives a reason."""

    def __init__(self, *, max_calls: int, overload: Callable[[], str] = lambda: "") -> None:
        self._max, self._overload = max_calls, overload
        self._calls: dict[str, M] = {}
        self._draining = False

    def check_room(self) -> None:
        """Raises `CapacityError` when no further call may come in."""
        if self._draining:
            raise CapacityError("the gateway is draining", retry_after_s=30)
        if len(self._calls) >= self._max:
            raise CapacityError(f"all {self._max} calls are taken")
        if reason := self._overload():
            raise CapacityError(reason)

    def admit(self, call: M) -> None:
        if call.id in self._calls:
            raise MisuseError(f"call {call.id} is admitted already")
        self._calls[call.id] = call

    def release(self, call_id: str) -> None:
        self._calls.pop(call_id, None)

    def find(self, call_id: str) -> M | None:
        return self._calls.get(call_id)

    def of_identity(self, identity: Identity) -> list[M]:
        """Live calls of one caller to one number; none for the anonymous, who have no identity."""
        if not identity.caller:
            return []
        return [call for call in self._calls.values() if call.identity == identity]

    def drain(self) -> None:
        """Admit nobody any more; live calls go on."""
        self._draining = True

    @property
    def draining(self) -> bool:
        return self._draining

    def __iter__(self) -> Iterator[M]:
        return iter(list(self._calls.values()))

    def __len__(self) -> int:
        return len(self._calls)
