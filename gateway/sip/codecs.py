"""Audio formats as session descriptions name them: codecs, telephone events, comfort noise, packet lengths."""

from __future__ import annotations

from typing import NamedTuple

from gateway.sip.sdp import Attributes, Media, find_attribute


class Codec(NamedTuple):
    """An encoding under its RTP name. `clock_hz` is RTP's, which for G722 is half of its sampling rate (RFC 3551
    4.5.2). `payload_type` is the static number, or the one we give it in our offers."""

    payload_type: int
    clock_hz: int
    channels: int = 1
    parameters: str = ""


CODECS = {
    "PCMU": Codec(0, 8000),
    "PCMA": Codec(8, 8000),
    "G722": Codec(9, 8000),
    # RFC 7587: always named 48000/2, whatever is in it. We play and capture wideband, and mono, and recover what was
    # lost from the copies in other packets (6.1).
    "opus": Codec(107, 48000, 2, "maxplaybackrate=16000;sprop-maxcapturerate=16000;stereo=0;useinbandfec=1"),
}
DTMF = "telephone-event"
COMFORT_NOISE = "cn"
COMFORT_NOISE_PAYLOAD_TYPE = 13
PTIME_MS = 20
_LONGEST_PTIME_MS = 60
_EVENT_PAYLOAD_TYPES = {8000: 101, 48000: 102}
_STATIC = {codec.payload_type: name for name, codec in CODECS.items() if codec.payload_type < 96}
_BY_ENCODING = {name.lower(): name for name in CODECS}


class Events(NamedTuple):
    """Telephone events under one payload number; they count time by the clock of the audio (RFC 4733 2.1)."""

    payload_type: int
    clock_hz: int = 8000


class Formats(NamedTuple):
    """What a section names. `codecs` maps names to payload numbers, in the section's order."""

    codecs: dict[str, int]
    events: tuple[Events, ...]
    comfort_noise: bool

    def events_of(self, codec: str) -> Events | None:
        """Those that go with a codec. Peers that know only 8000 Hz beside Opus are taken at that."""
        clock_hz = CODECS[codec].clock_hz
        fitting = [events for events in self.events if events.clock_hz == clock_hz]
        return next(iter(fitting or self.events), None)


def read_formats(media: Media) -> Formats:
    maps = media.rtpmaps()
    codecs: dict[str, int] = {}
    events: list[Events] = []
    comfort_noise = False
    for text in media.formats:
        if not (text.isascii() and text.isdigit() and len(text) < 4) or int(text) > 127:
            continue
        number = int(text)
        mapped = maps.get(number)
        if mapped is None:
            comfort_noise |= number == COMFORT_NOISE_PAYLOAD_TYPE
            name = _STATIC.get(number, "")
        elif mapped.encoding == DTMF:
            if mapped.clock_hz in _EVENT_PAYLOAD_TYPES:
                events.append(Events(number, mapped.clock_hz))
            continue
        elif mapped.encoding == COMFORT_NOISE:
            comfort_noise |= (number, mapped.clock_hz) == (COMFORT_NOISE_PAYLOAD_TYPE, 8000)
            continue
        else:
            name = _BY_ENCODING.get(mapped.encoding, "")
            if name and (mapped.clock_hz, mapped.channels) != CODECS[name][1:3]:
                continue
        if name:
            codecs.setdefault(name, number)
    return Formats(codecs, tuple(events), comfort_noise)


def our_formats(names: tuple[str, ...], *, dtmf: bool, comfort_noise: bool) -> Formats:
    """What we offer: telephone events once for each clock."""
    clocks = dict.fromkeys(CODECS[name].clock_hz for name in names)
    events = tuple(Events(_EVENT_PAYLOAD_TYPES[clock], clock) for clock in clocks) if dtmf else ()
    return Formats({name: CODECS[name].payload_type for name in names}, events, comfort_noise)


def describe(formats: Formats, ptime_ms: int) -> tuple[list[str], Attributes]:
    """The numbers of an m= line and the attributes that say what they mean."""
    numbers: list[str] = []
    attributes: Attributes = []
    for name, number in formats.codecs.items():
        codec = CODECS[name]
        channels = f"/{codec.channels}" if codec.channels > 1 else ""
        numbers.append(str(number))
        attributes.append(("rtpmap", f"{number} {name}/{codec.clock_hz}{channels}"))
        if codec.parameters:
            attributes.append(("fmtp", f"{number} {codec.parameters}"))
    if formats.comfort_noise:
        numbers.append(str(COMFORT_NOISE_PAYLOAD_TYPE))
        attributes.append(("rtpmap", f"{COMFORT_NOISE_PAYLOAD_TYPE} CN/8000"))
    for events in formats.events:
        numbers.append(str(events.payload_type))
        attributes += [
            ("rtpmap", f"{events.payload_type} {DTMF}/{events.clock_hz}"),
            ("fmtp", f"{events.payload_type} 0-15"),
        ]
    return numbers, [*attributes, ("ptime", str(ptime_ms)), ("maxptime", str(_LONGEST_PTIME_MS))]


def wants_copies(media: Media, payload_type: int) -> bool:
    """Whether the peer can make use of a lost packet's copy in the next one (RFC 7587 6.1)."""
    for name, value in media.attributes:
        number, _, parameters = (value or "").partition(" ")
        if name == "fmtp" and number == str(payload_type):
            return "useinbandfec=1" in [parameter.strip() for parameter in parameters.split(";")]
    return False


def ptime_of(media: Media) -> int:
    """The packet length the peer wants, in ms: its ptime, no longer than its maxptime; whole 10 ms from 10 to 60."""
    wanted = _milliseconds(media, "ptime") or PTIME_MS
    longest = _milliseconds(media, "maxptime") or _LONGEST_PTIME_MS
    return min(_LONGEST_PTIME_MS, max(10, min(wanted, longest) // 10 * 10))


def _milliseconds(media: Media, name: str) -> int | None:
    text = find_attribute(media.attributes, name) or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 5 else None
