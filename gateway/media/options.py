"""How a media plane is set up. A plain value, so that it can be sent to a worker."""

from __future__ import annotations

import msgspec


class PlaneOptions(msgspec.Struct, frozen=True):
    slots: int = 1024
    """Legs a plane (and in a pool: a worker) can hold at once."""

    begin_probability: float = 0.5
    """Speech begins when the detector's probability stays at or above this for `begin_ms`."""

    begin_ms: int = 64
    end_probability: float = 0.35
    """Speech ends when the probability stays below this for `end_ms`. The turn's end is the session's business."""

    end_ms: int = 200
    echo_guard: bool = True
    """Whether the bot's own voice, returned by the line within 400 ms, is kept from being taken for a caller's."""

    gain_control: bool = False
    """Whether quiet callers are raised, up to 30 dB, in what recognisers get. The built-in one does so by itself."""

    preroll_ms: int = 300
    """Audio sent along from before the speech began."""

    piece_ms: int = 100
    """Length of a piece of `HeardAudio`."""

    rtcp_interval_s: float = 5.0
    """Between our reports, RFC 3550 6.2; spread over the legs so that they do not come all at once."""

    wall_ahead_s: float = 0.0
    """What a clock on the wall says beyond that of the ticks. Our reports tell the wall's time (RFC 3550 4)."""
