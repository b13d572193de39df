"""What a conversation says, as commands to its media leg."""

from __future__ import annotations

from gateway.call.parties import Parties
from gateway.media import commands as media
from gateway.media.ports import MediaControl


class LegPlayout:
    """Implements the session's `Playout` over a media leg."""

    def __init__(self, leg: str, control: MediaControl, parties: Parties) -> None:
        self._leg, self._control, self._parties = leg, control, parties

    @property
    def wideband(self) -> bool:
        return self._parties.line.wideband

    def queue(self, clip: int, pcm: bytes, last: bool, wide: bytes = b"") -> None:
        self._control.send(media.QueueAudio(self._leg, clip, pcm, last, wide))

    def pause(self) -> None:
        self._control.send(media.PausePlayout(self._leg))

    def resume(self) -> None:
        self._control.send(media.ResumePlayout(self._leg))

    def flush(self) -> None:
        self._control.send(media.FlushPlayout(self._leg))
