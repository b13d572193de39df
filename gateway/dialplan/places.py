"""Where things stand in the files, and the faults that point there."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Literal, TypeAlias

from yaml.nodes import Node

from gateway.dialplan.model import Fault

Place: TypeAlias = tuple[str | int, ...]
"""Where a value stands in the document: `("routes", "desk", "steps", 0, "say", "text")`."""
Severity = Literal["error", "warning"]


def fault_at(node: Node, message: str, remedy: str = "", severity: Severity = "error") -> Fault:
    mark = node.start_mark
    return Fault(mark.name, mark.line + 1, mark.column + 1, message, remedy, severity)


def did_you_mean(word: str, known: Collection[str]) -> str:
    """A remedy for a word that is none of the known ones."""
    close = difflib.get_close_matches(word, list(known), n=1)
    if close:
        return f"did you mean `{close[0]}`?"
    return f"known: {', '.join(known)}" if known else ""


class Places:
    """The YAML nodes of values and of their keys, by place."""

    def __init__(self) -> None:
        self.nodes: dict[Place, Node] = {}
        self.keys: dict[Place, Node] = {}

    def names(self, *place: str | int) -> list[str]:
        """The keys that were written under a place, also those of which nothing could be made."""
        depth = len(place)
        return [str(key[-1]) for key in self.keys if len(key) == depth + 1 and key[:depth] == place]

    def fault(self, place: Place, message: str, remedy: str = "", severity: Severity = "error") -> Fault:
        """At the value, or the nearest place around it that was written."""
        return fault_at(self._nearest(place, self.nodes), message, remedy, severity)

    def key_fault(self, place: Place, message: str, remedy: str = "", severity: Severity = "error") -> Fault:
        """At the key that leads to the value; at the value of a list entry."""
        if place not in self.keys and place in self.nodes:
            return self.fault(place, message, remedy, severity)
        return fault_at(self._nearest(place, self.keys), message, remedy, severity)

    def _nearest(self, place: Place, nodes: dict[Place, Node]) -> Node:
        while place and place not in nodes:
            place = place[:-1]
        return nodes.get(place) or self.nodes[()]
