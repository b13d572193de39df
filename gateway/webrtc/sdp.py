"""The browser's offer, cut down to what we take, and our answer, made whole again.

aiortc answers every m-line it understands. We want one audio stream and one data channel, so the other m-lines are
taken out before aiortc sees the offer and put back into its answer as rejected (port 0, RFC 3264 section 6).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.core.errors import PeerError
from gateway.media.commands import Codec

CODECS: dict[str, Codec] = {"opus": "opus", "pcmu": "PCMU"}
"""As they are written here, in lower case, and as elsewhere; by preference."""
MAX_OFFER_BYTES = 64 * 1024
MAX_CANDIDATES = 32
"""More than any browser gathers; a longer list would make us send connectivity checks all over the network."""

_CANDIDATE = re.compile(r"(?P<head>a=candidate:\S+ \d+ udp \d+ )(?P<host>\S+)(?P<tail> \d+ typ host.*)", re.IGNORECASE)


@dataclass(frozen=True)
class Section:
    """One m-line and the lines below it."""

    lines: tuple[str, ...]

    @property
    def kind(self) -> str:
        return self._words[0]

    @property
    def protocol(self) -> str:
        return self._words[2]

    @property
    def formats(self) -> list[str]:
        return self._words[3:]

    @property
    def disabled(self) -> bool:
        """Port 0 without `bundle-only` (RFC 9143 section 6) is a stream the offerer has switched off."""
        return self._words[1] == "0" and "a=bundle-only" not in self.lines

    @property
    def mid(self) -> str | None:
        return next((line.removeprefix("a=mid:") for line in self.lines if line.startswith("a=mid:")), None)

    def has(self, attribute: str) -> bool:
        return any(line.startswith(f"a={attribute}") for line in self.lines)

    def wants(self, parameter: str) -> bool:
        """Whether any of its codecs has such a parameter, as `useinbandfec=1`."""
        formats = (line.partition(" ")[2].split(";") for line in self.lines if line.startswith("a=fmtp:"))
        return any(parameter == one.strip() for parameters in formats for one in parameters)

    def codecs(self) -> dict[str, int]:
        """Their payload types by name (lower case), as preferred. PCMU's type 0 needs no rtpmap (RFC 3551)."""
        names = {"0": "pcmu"}
        for line in self.lines:
            payload_type, _, codec = line.removeprefix("a=rtpmap:").partition(" ")
            if line.startswith("a=rtpmap:"):
                names[payload_type] = codec.split("/")[0].lower()
        found: dict[str, int] = {}
        for payload_type in self.formats:
            if payload_type in names and payload_type.isascii() and payload_type.isdigit():
                found.setdefault(names[payload_type], int(payload_type))
        return found

    def rejected(self) -> tuple[str, ...]:
        """The same m-line as an answer that declines it."""
        mid = (f"a=mid:{self.mid}",) if self.mid is not None else ()
        return (
            f"m={self.kind} 0 {self.protocol} {' '.join(self.formats)}",
            "c=IN IP4 0.0.0.0",
            "a=inactive",
            *mid,
        )

    @property
    def _words(self) -> list[str]:
        return self.lines[0].removeprefix("m=").split()


@dataclass(frozen=True)
class Offer:
    """A browser's offer. `audio` and `data` are indices into `sections`; `data` is None without a data channel."""

    head: tuple[str, ...]
    sections: tuple[Section, ...]
    audio: int
    data: int | None

    @classmethod
    def parse(cls, text: str) -> Offer:
        """Raises `PeerError` with hint 400 for what is no offer, 488 for one without audio we can speak."""
        head, sections = _split(text)
        audio = _first_audio(sections)
        data = next((i for i, s in enumerate(sections) if s.kind == "application" and not s.disabled), None)
        everything = Section(("m=- 0 - -", *head, *sections[audio].lines))
        for needed, meaning in (("ice-ufrag:", "ICE"), ("ice-pwd:", "ICE"), ("fingerprint:", "DTLS")):
            if not everything.has(needed):
                raise PeerError(f"the offer has no {meaning} parameters: a={needed.rstrip(':')} is missing")
        return cls(head=head, sections=sections, audio=audio, data=data)

    def wants(self, parameter: str) -> bool:
        """Whether a codec of its audio has this parameter."""
        return self.sections[self.audio].wants(parameter)

    def taken(self) -> str:
        """The offer with the m-lines we take, as aiortc should see it."""
        kept = [i for i in range(len(self.sections)) if self._takes(i)]
        gone = {s.mid for i, s in enumerate(self.sections) if i not in kept}
        lines = [_without_mids(line, gone) for line in self.head]
        for index in kept:
            lines += _with_reachable_candidates(self.sections[index].lines)
        return _join(lines)

    def complete(self, answer: str, advertise_host: str | None = None) -> str:
        """aiortc's answer to `taken()`, with the rejected m-lines in their places again.

        It names no SSRC: the leg's is chosen later, and is another one when another process takes the leg over. And no
        header extensions: then the browser knows our one stream by its payload type (RFC 9143 9.2), where Chromium
        would else wait for the name of the m-line in each packet. `advertise_host` replaces the address of every host
        candidate: that of a 1:1 NAT in front of us.
        """
        head, answered = _split(answer)
        ours = iter(answered)
        lines = list(head)
        for index, section in enumerate(self.sections):
            lines += next(ours).lines if self._takes(index) else section.rejected()
        lines = [line for line in lines if not line.startswith(("a=ssrc", "a=extmap:"))]
        if advertise_host is not None:
            lines = [_advertised(line, advertise_host) for line in lines]
        return _join(lines)

    def _takes(self, index: int) -> bool:
        return index in (self.audio, self.data)


def spoken_codec(answer: str) -> tuple[Codec, int]:
    """The codec an answer settles on for its first audio stream, and its payload type."""
    _, sections = _split(answer)
    return next((CODECS[name], number) for name, number in sections[_first_audio(sections)].codecs().items())


def with_parameters(answer: str, payload_type: int, parameters: str) -> str:
    """An answer that has none for this payload type, with them."""
    head, sections = _split(answer)
    lines = list(head)
    for line in (line for section in sections for line in section.lines):
        lines.append(line)
        if line.startswith(f"a=rtpmap:{payload_type} "):
            lines.append(f"a=fmtp:{payload_type} {parameters}")
    return _join(lines)


def _split(text: str) -> tuple[tuple[str, ...], tuple[Section, ...]]:
    if len(text) > MAX_OFFER_BYTES:
        raise PeerError("the offer is too long")
    blocks: list[list[str]] = [[]]
    for line in (line.rstrip() for line in re.split(r"\r\n|\n", text)):
        if not line:
            continue
        if len(line) < 2 or line[1] != "=":
            raise PeerError("the body is not SDP: every line must look like `x=...`")
        if line.startswith("m="):
            _check_media_line(line)
            blocks.append([])
        blocks[-1].append(line)
    head, *media = blocks
    if not head or head[0] != "v=0":
        raise PeerError("the body is not SDP: it must begin with v=0")
    return tuple(head), tuple(Section(tuple(lines)) for lines in media)


def _check_media_line(line: str) -> None:
    words = line.removeprefix("m=").split()
    port = words[1] if len(words) > 3 else ""
    if not (port.isascii() and port.isdigit() and len(port) < 6) or int(port) > 65535:
        raise PeerError("the body is not SDP: malformed m-line")


def _first_audio(sections: tuple[Section, ...]) -> int:
    audio = [i for i, section in enumerate(sections) if section.kind == "audio" and not section.disabled]
    if not audio:
        raise PeerError("the offer has no audio", status_hint=488)
    for index in audio:
        if any(codec in CODECS for codec in sections[index].codecs()):
            return index
    raise PeerError("no common codec: we speak Opus and PCMU", status_hint=488)


def _without_mids(line: str, gone: set[str | None]) -> str:
    if not line.startswith("a=group:BUNDLE"):
        return line
    return " ".join(word for word in line.split() if word not in gone)


def _with_reachable_candidates(lines: tuple[str, ...]) -> list[str]:
    """Leave out `.local` names, and the promise that no candidate follows.

    Browsers hide their addresses behind mDNS names unless the microphone was granted. Resolving them costs seconds
    and multicast; we need not, since our own candidates are reachable and the browser's checks show us where it is
    (peer-reflexive, RFC 8445 section 7.3.1.3). aioice waits for such checks only while it expects more candidates,
    hence no `end-of-candidates`; `BrowserPeer` bounds the wait instead.
    """
    candidates = 0
    kept = []
    for line in lines:
        if line.startswith("a=end-of-candidates"):
            continue
        if line.startswith("a=candidate:"):
            candidates += 1
            if ".local " in line or candidates > MAX_CANDIDATES:
                continue
        kept.append(line)
    return kept


def _advertised(line: str, host: str) -> str:
    family = "IP6" if ":" in host else "IP4"
    if line.startswith("c=IN "):
        return f"c=IN {family} {host}"
    return _CANDIDATE.sub(rf"\g<head>{host}\g<tail>", line)


def _join(lines: list[str]) -> str:
    return "\r\n".join(lines) + "\r\n"
