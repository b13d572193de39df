"""The legs: hot facts in columns for all of them at once, cold ones in an object each."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address

import numpy as np
import numpy.typing as npt

from gateway.core.errors import CapacityError, MisuseError
from gateway.core.ids import Ids
from gateway.media import g711
from gateway.media.cells import Cells
from gateway.media.codecs import CLOCK_RATIO, Wide
from gateway.media.commands import Codec, ConnectLeg, OpenLeg
from gateway.media.datagrams import Address
from gateway.media.dtmf import DigitReceiver
from gateway.media.history import FRAME
from gateway.media.ports import Int64s
from gateway.media.rtp import Headers
from gateway.media.wide_send import WideSender, sender_for

RELAY: Address = ("127.0.0.1", 9)
"""Where the packets of all `relayed` legs come from and go to."""


@dataclass(slots=True)
class Leg:
    """What is looked at when something happens, not every tick."""

    name: str
    row: int
    kind: str
    opened: int
    """Position of the plane's sample clock when the leg was opened; where it would have been, for one opened again."""

    record: str | None
    again: bool = False
    """It was open in another process before."""

    recorded: int = 0
    """Samples of 8 kHz that its recording holds already, or should."""

    recorded_wide: bool | None = None
    """Whether the recording is of 16 kHz; None where it has not begun."""

    wide_pcm: bool = False
    """It has no packets, and speaks 16 kHz."""

    connected: bool = False
    signalled: Address | None = None
    """Where the peer's SDP says it is."""

    latched: Address | None = None
    """Where its media really comes from."""

    codec: Codec | None = None
    """What we send; None for a leg without packets."""

    receives: dict[int, Codec] = field(default_factory=dict)
    sender: WideSender | None = None
    """The coder of a codec that has a memory."""

    copies: bool = False
    """What the peer loses may be sent a second time."""

    clock_ratio: int = 1
    """RTP clock of our audio over 8000 Hz."""

    former: Address | None = None
    """Where the media of the peer before this one came from; it may take a while to cease."""

    moved_from: Address | None = None
    """Where this peer's media came from before its latest move, which was at `moved_at`."""

    moved_at: float = 0.0
    dtmf_payload_type: int | None = None
    dtmf_clock_hz: int = 8000
    rtcp_mux: bool = False
    reports_from: Address | None = None
    """Where the peer's RTCP came from last, where that is not where its audio does."""

    traced: bool = False
    secured: bool = False
    cname: str = ""
    digits: DigitReceiver = field(default_factory=DigitReceiver)
    cells: Cells = field(default_factory=Cells)
    """What came in packets that are not of whole cells."""

    hears_tones: bool = False
    """Whether keys are listened for as tones whatever the peer may agree to."""

    probation: tuple[int, int, int] | None = None
    """An SSRC that came once in place of the known one, the sequence number that would confirm it, and how many packets
    of the known one had come by then."""

    unsent: bytearray = field(default_factory=bytearray)
    """Coded audio that does not fill a packet yet, where packets are not 20 ms."""

    pushed: int = 0
    """Samples pushed into a `pcm` leg: its timestamps."""

    foreign: int = 0
    malformed: int = 0
    forged: int = 0
    round_trip_s: float | None = None
    remote_lost: int | None = None
    last_sender_report: int = 0
    last_sender_report_at: float | None = None

    @property
    def speaks_wide(self) -> bool:
        return self.wide_pcm or self.sender is not None

    @property
    def has_unsent(self) -> bool:
        return bool(self.unsent) or (self.sender is not None and self.sender.has_unsent)


class LegTable:
    """Columns by row (slot)."""

    def __init__(self, slots: int, ids: Ids) -> None:
        self._ids = ids
        self._free = list(range(slots - 1, -1, -1))
        self.legs: dict[str, Leg] = {}
        self.by_row: list[Leg | None] = [None] * slots
        self.names: list[str] = [""] * slots
        self.row_of: dict[str, int] = {}
        """Rows of connected legs by name: whoever is not here receives nothing."""

        self.latched: list[Address | None] = [None] * slots
        self.usual_source = np.zeros(slots, np.bool_)
        """Where the audio of who is latched may cross the plane's edge as `Usual`: no single packet is looked at."""

        self.remote: list[Address | None] = [None] * slots
        """Where a row's packets go."""

        self.law = np.zeros(slots, np.int64)
        self.payload_type = np.zeros(slots, np.int64)
        self.heard_type = np.full(slots, -1, np.int64)
        """Payload type of the audio that comes: G.711 by `heard_law`, or what `heard_wide` says. Not always what we
        send. -1 where none is known."""

        self.heard_law = np.zeros(slots, np.int64)
        self.heard_wide: dict[int, Wide] = {}
        """The codec with a memory that comes, by row."""

        self.senders: dict[int, WideSender] = {}
        """The coders of the rows that send by a codec with a memory."""

        self.speaking_wide: set[int] = set()
        """These rows, and those without a socket that speak 16 kHz."""

        self.usual = np.ones(slots, np.bool_)
        """Rows whose packets are of 20 ms and 160 octets: G.711, or G.722."""

        self.packet_samples = np.full(slots, FRAME, np.int64)
        self.ssrc = np.zeros(slots, np.int64)
        self.remote_ssrc = np.full(slots, -1, np.int64)
        self.sequence = np.zeros(slots, np.int64)
        self.timestamp = np.zeros(slots, np.int64)
        self.may_rest = np.zeros(slots, np.bool_)
        """Whose silence may go as comfort noise."""

        self.marker = np.zeros(slots, np.bool_)
        self.sent = np.zeros(slots, np.int64)
        self.octets_beside = np.zeros(slots, np.int64)
        """By how much the payloads sent are more or less than as many usual ones."""

        self.singly = np.zeros(slots, np.bool_)
        """Whose packets are to be protected or handed over: they leave one by one."""

        self.reachable = np.zeros(slots, np.bool_)
        """Where `remote` is known."""

        self.sends = np.zeros(slots, np.bool_)
        self.hears = np.zeros(slots, np.bool_)
        self.loopback = np.zeros(slots, np.bool_)
        self.sounds_like = np.arange(slots)
        """Whose audio a looped row sends: its own, or its partner's on a bridge."""

        self.silent = np.zeros(slots, np.bool_)
        self.silent_after = np.zeros(slots, np.float64)
        self.last_media = np.zeros(slots, np.float64)
        self.next_report = np.zeros(slots, np.float64)
        self.rows: Int64s = np.zeros(0, np.int64)
        """Connected legs."""

        self.sending: Int64s = np.zeros(0, np.int64)
        """Those of them that send."""

        self.sending_wide: Int64s = np.zeros(0, np.int64)
        """Those of these that speak 16 kHz."""

    def open(self, command: OpenLeg, position: int, now: float) -> Leg:
        """Raises `MisuseError` for a name in use and `CapacityError` when all slots are."""
        if command.leg in self.legs:
            raise MisuseError("a leg of this name is open")
        if not self._free:
            raise CapacityError("all media slots are in use")
        row = self._free.pop()
        leg = Leg(command.leg, row, command.kind, position, command.record)
        leg.wide_pcm = command.wide and command.kind == "pcm"
        leg.cname = f"{self._ids.token(16)}@gateway"
        if (again := command.again) is not None:
            leg.again = True
            leg.opened -= _frames(now - again.opened_at)
            if again.recorded_since is not None:
                leg.recorded, leg.recorded_wide = _frames(now - again.recorded_since), again.recorded_wide
        self.legs[leg.name] = self.by_row[row] = leg
        self.names[row] = leg.name
        former = command.again.ssrcs if command.again is not None else ()
        self.ssrc[row] = next(ssrc for ssrc in iter(self._ids.uint32, None) if ssrc not in former)
        self.sequence[row] = self._ids.uint32() & 0x7FFF  # below the middle: RFC 3711 wraps are easier to keep then
        self.timestamp[row] = self._ids.uint32()
        self.remote_ssrc[row] = -1
        self.latched[row] = self.remote[row] = None
        self.reachable[row] = False
        self.law[row], self.packet_samples[row], self.usual[row] = 0, FRAME, True
        self.heard_type[row], self.heard_law[row] = -1, 0
        self._forget_wide(row)
        self._know_wide(leg)
        self.sent[row] = self.octets_beside[row] = 0
        self.silent_after[row] = command.silent_after_s
        flags = (self.loopback, self.may_rest, self.silent, self.sends, self.hears, self.marker, self.singly)
        for flag in (*flags, self.usual_source):
            flag[row] = False
        return leg

    def connect(self, leg: Leg, command: ConnectLeg, now: float) -> None:
        if leg.kind == "relayed":
            self.latch(leg, RELAY)
            leg.rtcp_mux = True
            self._agree(leg, command)
        elif leg.kind == "rtp":
            self._find(leg, command, now)
            self._agree(leg, command)
        self.connect_row(leg, now, sends=command.direction in ("sendrecv", "sendonly"))
        self.hears[leg.row] = command.direction in ("sendrecv", "recvonly")

    def _find(self, leg: Leg, command: ConnectLeg, now: float) -> None:
        """Where packets go until the peer's own come."""
        row, signalled = leg.row, (command.host, command.port)
        leg.dtmf_payload_type, leg.rtcp_mux = command.dtmf_payload_type, command.rtcp_mux
        if command.newcomer:
            leg.former = leg.latched
        if signalled != leg.signalled or command.newcomer:
            # The peer has moved: whoever sends now may be latched to.
            leg.moved_from, leg.moved_at = leg.latched, now
            leg.signalled, leg.latched, leg.reports_from = signalled, None, None
            self.latched[row] = None
            self.know_usual(leg)
            reachable = 0 < command.port <= 0xFFFF and _is_somewhere(command.host)
            self.remote[row] = signalled if reachable else None
            self.reachable[row] = reachable

    def _agree(self, leg: Leg, command: ConnectLeg) -> None:
        """What is sent, and what may come."""
        row, ptime_ms = leg.row, min(max(command.ptime_ms // 10 * 10, 10), 60)
        law = g711.LAW_OF_CODEC.get(command.codec)
        leg.codec, leg.clock_ratio = command.codec, CLOCK_RATIO.get(command.codec, 1)
        leg.sender, leg.copies = sender_for(command, ptime_ms, leg.sender), command.copies
        leg.dtmf_clock_hz = leg.digits.clock_hz = command.dtmf_clock_hz
        number = command.payload_type & 0x7F
        # RFC 3264 8.3: what was agreed on before is still on its way.
        before = {} if command.newcomer else leg.receives
        leg.receives = {0: "PCMU", 8: "PCMA", **before, **command.receives, number: command.codec}
        self.payload_type[row], self.law[row] = number, law or 0
        self._forget_wide(row)
        self._know_wide(leg)
        self.hear(row, number, command.codec)
        self.packet_samples[row] = 8 * ptime_ms
        self.may_rest[row] = command.silence
        self.usual[row] = command.codec != "opus" and ptime_ms == 20

    def hear(self, row: int, payload_type: int, codec: Codec) -> None:
        """The peer sends by this codec now."""
        self.heard_type[row], self.heard_law[row] = payload_type, g711.LAW_OF_CODEC.get(codec, 0)
        self.heard_wide.pop(row, None)
        if codec == "G722" or codec == "opus":
            self.heard_wide[row] = codec

    def expects(self, rows: Int64s, headers: Headers) -> npt.NDArray[np.bool_]:
        """Which packets are of the codec that comes, of the source that is played, and wanted."""
        good: npt.NDArray[np.bool_] = headers.plain & (headers.payload_types == self.heard_type[rows])
        good &= self.hears[rows] & (headers.ssrcs == self.remote_ssrc[rows])
        return good

    def _know_wide(self, leg: Leg) -> None:
        if leg.sender is not None:
            self.senders[leg.row] = leg.sender
        if leg.speaks_wide:
            self.speaking_wide.add(leg.row)

    def _forget_wide(self, row: int) -> None:
        self.heard_wide.pop(row, None)
        self.senders.pop(row, None)
        self.speaking_wide.discard(row)

    def connect_row(self, leg: Leg, now: float, *, sends: bool) -> None:
        """Let the row take part in the ticks. Waiting for media begins anew."""
        row = leg.row
        self.marker[row] |= sends and not self.sends[row]
        self.sends[row], self.hears[row] = sends, True
        self.last_media[row] = now
        leg.connected = True
        self.row_of[leg.name] = row
        self._know_rows()

    def latch(self, leg: Leg, source: Address) -> None:
        leg.latched = self.latched[leg.row] = self.remote[leg.row] = source
        self.reachable[leg.row] = True
        self.know_usual(leg)

    def know_usual(self, leg: Leg) -> None:
        """To be called when the leg was latched, traced, protected, or one of these no longer."""
        self.singly[leg.row] = leg.secured or leg.kind == "relayed"
        self.usual_source[leg.row] = leg.latched is not None and not (leg.traced or leg.secured)

    def close(self, leg: Leg) -> None:
        del self.legs[leg.name]
        self.row_of.pop(leg.name, None)
        self._forget_wide(leg.row)
        self.by_row[leg.row] = self.latched[leg.row] = None
        self.usual_source[leg.row] = False
        self._free.append(leg.row)
        self._know_rows()

    def at(self, row: int) -> Leg:
        leg = self.by_row[row]
        assert leg is not None, "an open row"
        return leg

    def _know_rows(self) -> None:
        self.rows = np.array(sorted(self.row_of.values()), np.int64)
        self.sending = self.rows[self.sends[self.rows]]
        if self.speaking_wide or len(self.sending_wide):
            self.sending_wide = self.sending[np.isin(self.sending, list(self.speaking_wide))]


def _frames(seconds: float) -> int:
    """In samples, whole ticks of them."""
    return max(0, round(seconds * 8000 / FRAME)) * FRAME


def _is_somewhere(host: str) -> bool:
    """Whether packets can go there at once: names would have to be looked up, and 0.0.0.0 is the old way to hold."""
    try:
        return not ip_address(host).is_unspecified
    except ValueError:
        return False
