"""A line whose packets somebody in this process carries: a browser's peer, by WebRTC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from gateway.call import commands as c
from gateway.call.ports import Tell
from gateway.media import commands as media
from gateway.media.codecs import WIDE
from gateway.media.ports import MediaControl

SILENT_AFTER_S = 5.0
"""When a line that carries no media is noticed, of calls and of their replays; a telephone's is `SipLineOptions`'."""


class Carrier(Protocol):
    def send(self, packet: bytes) -> None:
        """A datagram for the far side, RTP or RTCP."""
        ...

    def hang_up(self) -> None:
        """The gateway's side ended the call."""
        ...


class RelayedLine:
    """Implements `gateway.call.ports.Line`.

    `agreed` is what offer and answer came to: there is nothing left to negotiate but keys. The owner calls
    `far_side_ready` with them when the far side can hear (a browser: ICE and DTLS are through); only then is the leg
    opened and the line answered, so that no greeting plays to nobody.
    """

    def __init__(
        self,
        agreed: media.ConnectLeg,
        carrier: Carrier,
        *,
        leg: MediaControl,
        tell: Tell,
        record: str | None,
        trace: str | None,
        gone: Callable[[], None] = lambda: None,
    ) -> None:
        self._id, self._agreed, self._carrier, self._leg, self._gone = agreed.leg, agreed, carrier, leg, gone
        self.tell = tell
        self._open = media.OpenLeg(self._id, kind="relayed", record=record, trace=trace, silent_after_s=SILENT_AFTER_S)
        self._wanted = self._opened = False

    def far_side_ready(self, keys: media.Srtp) -> None:
        self._agreed = msgspec.structs.replace(self._agreed, srtp=keys)
        self._open_when_ready()

    def ring(self) -> None:
        pass

    def answer(self) -> None:
        self._wanted = True
        self._open_when_ready()

    def _open_when_ready(self) -> None:
        if self._wanted and self._agreed.srtp is not None and not self._opened:
            self._opened = True
            self._leg.send(self._open)
            self._leg.send(self._agreed)

    def reject(self, status: int, reason: str | None) -> None:
        self._carrier.hang_up()

    @property
    def referral(self) -> None:
        """There is no signalling that could send a browser elsewhere."""

    @property
    def wideband(self) -> bool:
        return self._agreed.codec in WIDE

    def press(self, digits: str) -> None:
        self._leg.send(media.SendDigits(self._id, digits))

    def answer_text(self, number: int, *, taken: bool) -> None:
        """No texts come this way."""

    def hang_up(self) -> None:
        self._carrier.hang_up()

    def release(self) -> None:
        if self._opened:
            self._leg.send(media.CloseLeg(self._id))
        self._gone()

    def receive(self, packet: bytes, at: float) -> None:
        """A datagram from the far side, RTP or RTCP, that came at `at`."""
        if self._opened:
            self._leg.send(media.RelayPacket(self._id, packet, at))

    def media_said(self, report: media.AnyReport) -> None:
        match report:
            case media.LegOpened():
                self.tell(c.LineAnswered(self._agreed.codec))
            case media.PacketReady(data=data):
                self._carrier.send(data)
            case media.LegFailed() | media.MediaDied():
                self._carrier.hang_up()
                self.tell(c.LineEnded("error", "gateway"))
            case _:
                pass
