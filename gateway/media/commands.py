"""What the media plane can be told, and what it tells that is not an event of the call's log.

A leg is one audio stream both ways, named by a string (the call's id for a call's first leg). Commands for one leg
are carried out in order, at the start of the next tick. All PCM here is signed 16-bit little-endian mono.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Codec = Literal["PCMU", "PCMA", "G722", "opus"]
AudioFormat = Literal["ulaw_8k", "pcm_8k", "pcm_16k"]
Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]


def first_leg(leg: str) -> str:
    """The name of the call's first leg: `c-1.2` is opened where `c-1` is."""
    return leg.partition(".")[0]


class Command(msgspec.Struct, frozen=True, tag=True):
    leg: str


class Again(msgspec.Struct, frozen=True):
    """A leg that was open in a media process that died is opened again: on its port, with its files going on.

    Times are of the plane's clock. A recording goes on where the clock says, with silence for what is lost; the ticks
    of a trace count from `opened_at` as ever. None of `ssrcs` is taken again: under keys that stay the same, a second
    stream of one SSRC would repeat the first one's key stream (RFC 3711 9.1).
    """

    port: int
    opened_at: float
    recorded_since: float | None = None
    ssrcs: tuple[int, ...] = ()
    recorded_wide: bool = False


class OpenLeg(Command, frozen=True, tag=True):
    """Reserve a slot, and for `rtp` legs a port pair; answered by `LegOpened` or `LegFailed`.

    A `relayed` leg is as one of `rtp`, but somebody else has its socket (a browser's ICE): RTP and RTCP come by
    `RelayPacket` and leave by `PacketReady`, as they are on the wire. A `pcm` leg has no packets at all: audio
    comes by `PushPcm`, 20 ms at a time, and what is said, at 16 kHz with `wide`, is only recorded. `record` is a path
    for a stereo WAV (left the caller, right the bot), or None; it is of 16 kHz where the leg speaks wideband when it
    is connected first, whatever comes later. `trace` is a path for the packets and their timing, which a replay needs,
    or None. `silent_after_s` is when `LineFellSilent` is due.
    """

    kind: Literal["rtp", "relayed", "pcm"] = "rtp"
    wide: bool = False
    record: str | None = None
    trace: str | None = None
    silent_after_s: float = 10.0
    again: Again | None = None


class Srtp(msgspec.Struct, frozen=True):
    """Keys of a protected leg (RFC 3711). `suite` as in RFC 4568 6.2; `ours` and `theirs` are master key and salt."""

    suite: str
    ours: bytes
    theirs: bytes

    def __repr__(self) -> str:
        return f"Srtp({self.suite})"  # keys must not find their way into logs


class ConnectLeg(Command, frozen=True, tag=True):
    """Say where and how to send, and what to expect. May come again (hold, re-INVITE, codec change).

    `host`/`port` come from the peer's SDP; the leg latches once to the address that really sends. Until then it
    sends to the SDP's. `dtmf_payload_type` None: the peer does not take RFC 4733. `receives` names the codecs of all
    payload types that may come; G.711's two under their own numbers always may. Opus packets are of 10, 20, 40 or
    60 ms, the longest within `ptime_ms`. With `silence` nothing but comfort noise (RFC 3389) leaves while nothing is
    said. With `copies` Opus packets hold their predecessors as well, while the peer's reports tell of losses; without
    those they take `opus_bits_per_s`, or what does for a telephone.
    `direction` is ours: `recvonly` and `inactive` send nothing, and the playout waits meanwhile.
    With `newcomer` another peer takes over: what the one before still sends is not taken, and not latched to.
    With `srtp` nothing leaves unprotected and nothing is taken that is; keys as before go on as they are. Without it,
    the leg is plain.
    Of all this a `pcm` leg, which has no peer, obeys `direction` and `inband_digits`; a `relayed` one has its peer
    wherever it is, RTP and RTCP on one path.
    """

    host: str
    port: int
    codec: Codec
    payload_type: int
    dtmf_payload_type: int | None = None
    dtmf_clock_hz: int = 8000
    ptime_ms: int = 20
    direction: Direction = "sendrecv"
    rtcp_mux: bool = False
    newcomer: bool = False
    srtp: Srtp | None = None
    receives: dict[int, Codec] = {}
    silence: bool = False
    copies: bool = False
    opus_bits_per_s: int | None = None
    inband_digits: bool = False
    """Listen for keys as tones, too (see `inband`)."""


class CloseLeg(Command, frozen=True, tag=True):
    """Free the slot and ports, finish the recording; answered by `LegClosed` with the statistics."""


class QueueAudio(Command, frozen=True, tag=True):
    """Append 8 kHz PCM to `clip`'s audio, played after what is queued already. `last` completes the clip.

    `wide` is the same at 16 kHz, twice as many samples, for legs that send a wideband codec; others leave it alone.
    Where there is none, those legs send `pcm` at twice its rate.

    Its first sample out gives `UtteranceStarted`'s cue `ClipStarted`, its end (or a flush) `ClipFinished`.
    """

    clip: int
    pcm: bytes
    last: bool = False
    wide: bytes = b""


class PausePlayout(Command, frozen=True, tag=True):
    """Hold the playout where it is, from the next packet on (faded over a few ms)."""


class ResumePlayout(Command, frozen=True, tag=True):
    """Go on from the very sample that was next."""


class FlushPlayout(Command, frozen=True, tag=True):
    """Drop everything queued; every clip begun or queued gets its `ClipFinished` with what was really sent.

    A hold ends with it: what is queued next plays at once.
    """


class SetLoopback(Command, frozen=True, tag=True):
    """Send the caller's own audio back (after the jitter buffer), instead of the playout."""

    on: bool


class Bridge(Command, frozen=True, tag=True):
    """Let this leg and the leg `to` hear each other instead of their playouts; None ends that.

    Both are legs of one call: the name up to the first dot is the same, so that they are opened on the same plane.
    When either closes, the other falls back to its playout. Keys are not passed on.
    """

    to: str | None


class SetTone(Command, frozen=True, tag=True):
    """Send a sine of `hz` at `dbm0` (milliwatt: 1004 Hz, 0 dBm0) until told otherwise; None ends it."""

    hz: float | None
    dbm0: float = 0.0


class PlayMusic(Command, frozen=True, tag=True):
    """Play 8 kHz PCM round and round at `gain_db`, and at `under_db` while a clip plays (-96 and below: silent). None
    ends it. It says nothing of itself, and pausing or flushing the playout leaves it alone. `wide` is as in
    `QueueAudio`."""

    pcm: bytes | None
    gain_db: float = 0.0
    under_db: float = -14.0
    wide: bytes = b""


class SetGain(Command, frozen=True, tag=True):
    """Make what clips say louder or softer from the next packet on; what is too loud then is clipped."""

    db: float


class Listen(Command, frozen=True, tag=True):
    """Send the caller's speech out as `HeardAudio` in `format`, 100 ms pieces with 300 ms of preroll; None stops."""

    format: AudioFormat | None


class SetNoise(Command, frozen=True, tag=True):
    """Clean what is detected and recognised by the suppressor `kind`, by none ("off"), or by the configured one ("").

    A kind that is not to be had leaves it as it was.
    """

    kind: str


class HearTones(Command, frozen=True, tag=True):
    """Listen for keys as tones until the leg closes, whatever `ConnectLeg` says of them before or after."""


class SendDigits(Command, frozen=True, tag=True):
    """Send RFC 4733 events, `duration_ms` each with as much pause between them. A comma is a pause of a second.

    To a peer that does not take them the keys' tones are sent instead. The playout waits meanwhile.
    """

    digits: str
    duration_ms: int = 100


class TellStats(Command, frozen=True, tag=True):
    """Say how the leg is doing; answered by `LegDoing`."""


class RelayPacket(Command, frozen=True, tag=True):
    """A datagram for a `relayed` leg, RTP or RTCP, that came at `at` of the plane's clock."""

    data: bytes
    at: float


class PushPcm(Command, frozen=True, tag=True):
    """20 ms of the far side's audio into a `pcm` leg: 160 samples of 8 kHz, or 320 of 16 kHz."""

    pcm: bytes


AnyCommand: TypeAlias = (
    OpenLeg | ConnectLeg | CloseLeg | QueueAudio | PausePlayout | ResumePlayout | FlushPlayout
    | SetLoopback | Bridge | SetTone | Listen | SendDigits | PushPcm | TellStats
    | RelayPacket | PlayMusic | SetGain | SetNoise | HearTones
)  # fmt: skip


class Report(msgspec.Struct, frozen=True, tag=True):
    """What the plane says of a leg, beside the log events it makes (`SpeechBegan`, `DigitPressed`, ...)."""

    at: float
    leg: str


class LegOpened(Report, frozen=True, tag=True):
    """`port` is the local RTP port (RTCP is port + 1); 0 for a leg without a socket. `ssrc` is ours."""

    port: int
    ssrc: int


class LegFailed(Report, frozen=True, tag=True):
    """No leg: no slot, no port. The call should be refused with 503."""

    reason: str


class LegLatched(Report, frozen=True, tag=True):
    """The first media came, from `host`:`port`."""

    host: str
    port: int


class ClipStarted(Report, frozen=True, tag=True):
    clip: int


class ClipFinished(Report, frozen=True, tag=True):
    """`played_s` of the clip left for the caller; `complete` when that was all of it."""

    clip: int
    played_s: float
    complete: bool


class HeardAudio(Report, frozen=True, tag=True):
    """A piece of the caller's audio in the format asked for. `began_at` is when its first sample was due.

    `speech` marks pieces in which the detector holds that the caller is speaking; `last` the piece that closes a
    stretch of speech, which may be empty. Pieces are sent only from preroll to the end of a stretch.
    """

    began_at: float
    audio: bytes
    speech: bool
    last: bool = False


class PacketReady(Report, frozen=True, tag=True):
    """A datagram of a `relayed` leg, RTP or RTCP, to be sent at once."""

    data: bytes


class LegStats(msgspec.Struct, frozen=True):
    """One leg's life in numbers. `codec` is what we send, "" for a leg without packets. `packets_recovered`
    were missing when it was their time, lost or late, and played from the copy in a later one.
    `packets_forged` are those that SRTP did not find genuine.

    Times in ms, `mos` by the E-model (ITU-T G.107), None before enough media.
    """

    codec: str = ""
    packets_received: int = 0
    packets_sent: int = 0
    packets_lost: int = 0
    packets_recovered: int = 0
    packets_late: int = 0
    packets_foreign: int = 0
    packets_malformed: int = 0
    packets_forged: int = 0
    jitter_ms: float = 0.0
    round_trip_ms: float | None = None
    mos: float | None = None
    remote_lost: int | None = None


class LegClosed(Report, frozen=True, tag=True):
    stats: LegStats


class LegDoing(Report, frozen=True, tag=True):
    stats: LegStats


class LegRestored(Report, frozen=True, tag=True):
    """The media process that carried this leg died, and another one carries it now, on the same port. Nothing was
    heard either way for `without_s`. A clip that was being played goes on at its second `goes_on_at_s`, in its last
    pause. The statistics go on, but for what was counted in the last seconds before its death."""

    port: int
    ssrc: int
    without_s: float
    goes_on_at_s: float | None = None


class MediaDied(Report, frozen=True, tag=True):
    """The media process that carried this leg is gone, and no other one takes it over; the call must end. A `LegClosed`
    with what is known of it came before."""


AnyReport: TypeAlias = (
    LegOpened
    | LegFailed
    | LegLatched
    | ClipStarted
    | ClipFinished
    | HeardAudio
    | PacketReady
    | LegClosed
    | LegDoing
    | LegRestored
    | MediaDied
)
