"""A line whose far side is in this process: a browser peer, or a recorded call. Its leg carries PCM, not RTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.call import commands as c
from gateway.call.ports import Tell
from gateway.media import commands as media
from gateway.media.ports import MediaControl


class Peer(Protocol):
    """The far side, set up before the call is offered: there is nothing left to negotiate."""

    codec: str
    wideband: bool
    """Its pieces are of 16 kHz instead of 8, both ways."""

    @property
    def stats(self) -> media.LegStats:
        """Of its packets."""
        ...

    def play(self, pcm: bytes) -> None:
        """20 ms for the far side's ears."""
        ...

    def hang_up(self) -> None:
        """The gateway's side ended the call."""
        ...


class PcmLine:
    """Implements `gateway.call.ports.Line`.

    The owner calls `far_side_ready` when the far side can hear (a browser: ICE and DTLS are through); only then is
    the line answered, so that no greeting plays to nobody.
    """

    def __init__(
        self,
        call_id: str,
        peer: Peer,
        *,
        leg: MediaControl,
        tell: Tell,
        record: str | None,
        trace: str | None,
        silent_after_s: float,
        gone: Callable[[], None] = lambda: None,
    ) -> None:
        self._id, self._peer, self._leg, self.tell, self._gone = call_id, peer, leg, tell, gone
        self._open = media.OpenLeg(
            call_id, kind="pcm", wide=peer.wideband, record=record, trace=trace, silent_after_s=silent_after_s
        )
        self._opened = self._leg_ready = self._far_ready = False

    def far_side_ready(self) -> None:
        self._far_ready = True
        self._tell_when_ready()

    def _tell_when_ready(self) -> None:
        if self._leg_ready and self._far_ready:
            self.tell(c.LineAnswered(self._peer.codec))

    def ring(self) -> None:
        pass

    def answer(self) -> None:
        self._opened = True
        self._leg.send(self._open)

    def reject(self, status: int, reason: str | None) -> None:
        self._peer.hang_up()

    @property
    def referral(self) -> None:
        """There is no signalling that could send a browser elsewhere."""

    @property
    def wideband(self) -> bool:
        return self._peer.wideband

    @property
    def stats(self) -> media.LegStats:
        return self._peer.stats

    def press(self, digits: str) -> None:
        self._leg.send(media.SendDigits(self._id, digits))

    def answer_text(self, number: int, *, taken: bool) -> None:
        """No texts come this way."""

    def hang_up(self) -> None:
        self._peer.hang_up()

    def release(self) -> None:
        if self._opened:
            self._leg.send(media.CloseLeg(self._id))
        self._gone()

    def push(self, pcm: bytes) -> None:
        """20 ms from the far side's microphone."""
        if self._opened:
            self._leg.send(media.PushPcm(self._id, pcm))

    def media_said(self, report: media.AnyReport) -> None:
        match report:
            case media.LegOpened():
                self._leg_ready = True
                self._tell_when_ready()
            case media.PcmReady(pcm=pcm):
                self._peer.play(pcm)
            case media.LegFailed() | media.MediaDied():
                self._peer.hang_up()
                self.tell(c.LineEnded("error", "gateway"))
            case _:
                pass
