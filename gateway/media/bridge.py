"""Bridges: two legs of one plane that hear each other, and no bot.

A bridge is the loopback of another row: what a leg sends comes from its partner's history, after the jitter buffer and
its concealment, coded as this leg's peer wants it. So both may differ in codec, packet length and protection, each is
recorded as ever, and a plane on which nobody is bridged does not notice that there are bridges.
"""

from __future__ import annotations

from gateway.media.legs import Leg, LegTable


class Bridges:
    def __init__(self, table: LegTable) -> None:
        self._table = table
        self._partner: dict[str, str] = {}

    def join(self, leg: Leg, other: str) -> None:
        """Let both hear each other, and nobody else any more. Nothing when `other` is not open here."""
        self.part(leg)
        partner = self._table.legs.get(other)
        if partner is None or partner is leg:
            return
        self.part(partner)
        for one, its_partner in ((leg, partner), (partner, leg)):
            self._partner[one.name] = its_partner.name
            self._table.sounds_like[one.row] = its_partner.row
            self._table.loopback[one.row] = True

    def part(self, leg: Leg) -> None:
        """Each goes on with its own playout. Always before a leg closes: its row will be somebody else's."""
        partner = self._partner.get(leg.name)
        for name in (leg.name, partner):
            if name is not None and self._partner.pop(name, None) is not None:
                row = self._table.legs[name].row
                self._table.sounds_like[row] = row
                self._table.loopback[row] = False
