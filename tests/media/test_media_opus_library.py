"""libopus as it is found and called: PyAV's or the system's, and what is said where there is neither."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_world import speech
from scipy.signal import resample_poly
from wide_world import Ffmpeg, wide_speech

from gateway.core.errors import ConfigError, PeerError
from gateway.media import codecs, opus_library
from gateway.media.opus_library import OpusDecoder, OpusEncoder


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Where it is looked for; nothing is remembered from one test to the next."""
    found: list[str] = []
    monkeypatch.setattr(opus_library, "_places", lambda: found)
    opus_library._library.cache_clear()
    yield found
    opus_library._library.cache_clear()


def test_it_decodes_as_ffmpeg_does() -> None:
    """At 16 kHz what FFmpeg decodes to 48: the same sound to 20 dB, but for the delay between the two resamplers."""
    coder, theirs, ours = Ffmpeg("opus"), Ffmpeg("opus"), OpusDecoder()
    packets = [coder.code(piece) for piece in wide_speech()[16000:64000].reshape(-1, 320)]
    narrow = np.concatenate([ours.decode(packet) for packet in packets]).astype(float)
    wide = np.concatenate([theirs.decode(packet) for packet in packets]).astype(float)
    spectra = [np.fft.rfft(pcm[: len(pcm) // 480 * 480])[:20000] / len(pcm) for pcm in (narrow, wide)]
    apart = np.abs(np.abs(spectra[0]) - np.abs(spectra[1]))
    assert 10 * np.log10(np.sum(np.abs(spectra[1]) ** 2) / np.sum(apart**2)) > 20


def test_a_packet_in_two_halves_is_no_packet() -> None:
    """What is cut off is refused, and the next one is decoded."""
    encoder, decoder = OpusEncoder(), OpusDecoder()
    packet = encoder.encode(wide_speech()[16000:16320])
    with pytest.raises(PeerError):
        decoder.decode(b"\xff\xff" + packet)
    assert len(decoder.decode(packet)) == 320


def recovered(code: Callable[[np.ndarray], bytes]) -> float:
    """Every tenth packet of speech is lost: what its follower gives for it, as dB of signal over error."""
    whole, lossy = OpusDecoder(), OpusDecoder()
    said_at_16_khz = np.rint(resample_poly(speech()[6000:36400], 2, 1)).astype(np.int16)
    packets = [code(piece) for piece in said_at_16_khz.reshape(-1, 320)]
    said = np.stack([whole.decode(packet) for packet in packets])[8::10].astype(float)
    heard: list[np.ndarray] = []
    for number, packet in enumerate(packets):
        if number % 10 == 9:
            heard.append(lossy.recover(packet, 320))
        if number % 10 != 8:
            heard.append(lossy.decode(packet))
    error = np.stack(heard)[8::10] - said
    return float(10 * np.log10(np.sum(said**2) / np.sum(error**2)))


def test_what_was_lost_comes_of_the_next_packet() -> None:
    """By the copy that it holds, in its own place and length; where it holds none, the voice goes on as it was."""
    with_copy, without = (recovered(Ffmpeg("opus", copies=copies).code) for copies in (True, False))
    assert with_copy > 15
    assert 3 < without < with_copy - 10


def test_our_packets_hold_copies_while_losses_are_expected() -> None:
    """From when it is told, until it is told otherwise."""
    coder = OpusEncoder(48_000)
    found = []
    for percent in (0, 10, 0):
        coder.expect_loss(percent)
        found.append(recovered(coder.encode))
    assert found[1] > max(found[0], found[2]) + 6, found


def test_a_longer_loss_fades() -> None:
    """For 120 ms nothing comes: it does not drone on, and what then comes is decoded. No other length is made."""
    encoder, decoder = OpusEncoder(), OpusDecoder()
    packets = [encoder.encode(piece) for piece in wide_speech()[16000:32000].reshape(-1, 320)]
    for packet in packets[:20]:
        decoder.decode(packet)
    levels = np.abs(decoder.recover(b"", 1920).reshape(-1, 320)).max(axis=1)
    assert levels[0] > 1000
    assert levels[-1] < 10
    assert len(decoder.recover(packets[26], 320)) == 320
    with pytest.raises(PeerError):
        decoder.recover(packets[26], 333)


def stereo_packets(ptime_ms: int) -> list[bytes]:
    """As browsers send them, each with a copy of the one before where that held a voice."""
    coder = av.CodecContext.create("libopus", "w")
    coder.format, coder.layout, coder.sample_rate, coder.bit_rate = "s16", "stereo", 48000, 28000
    options = {"application": "voip", "fec": "1", "packet_loss": "20"}
    coder.options = {**options, "frame_duration": str(ptime_ms)}
    pieces = resample_poly(wide_speech(), 3, 1).astype("<i2")[: 48 * ptime_ms * 75].reshape(75, -1)
    packets = []
    for piece in pieces:
        frame = av.AudioFrame.from_ndarray(np.stack([piece, piece // 3], 1).reshape(1, -1), "s16", "stereo")
        frame.sample_rate = 48000
        packets += [bytes(packet) for packet in coder.encode(frame)]
    return packets


@pytest.mark.parametrize("ptime_ms", [10, 20, 40, 60])
@pytest.mark.parametrize("stereo", [False, True])
def test_a_copy_is_seen_from_outside(ptime_ms: int, stereo: bool) -> None:
    """Without decoding anything, and as libopus itself tells in its newer versions."""
    tells = getattr(opus_library._loaded(), "opus_packet_has_lbrr", None)
    if tells is None:
        pytest.skip("this libopus is older than 1.4")
    coder = Ffmpeg("opus", ptime_ms, copies=True)
    pieces = wide_speech()[: 16 * ptime_ms * 75].reshape(75, -1)
    packets = stereo_packets(ptime_ms) if stereo else [coder.code(piece) for piece in pieces]
    held = [codecs.holds_copy(packet) for packet in packets]
    assert held == [tells(packet, len(packet)) == 1 for packet in packets]
    assert 10 < sum(held) < len(held)


@pytest.mark.parametrize("mixed", [False, True], ids=["all as long", "of many lengths"])
@pytest.mark.parametrize("padding", [b"", b"\0", b"\x20", b"\xff\xff\x07"], ids=bytes.hex)
@pytest.mark.parametrize("count", [3, 6])
def test_a_copy_is_seen_in_packets_of_many_frames(count: int, padding: bytes, mixed: bool) -> None:
    """RFC 6716 3.2.5: with a count, with lengths of their own or without, and with padding."""
    tells = getattr(opus_library._loaded(), "opus_packet_has_lbrr", None)
    if tells is None:
        pytest.skip("this libopus is older than 1.4")
    encoder = OpusEncoder(loss_percent=20)
    coded = [encoder.encode(piece) for piece in wide_speech()[: 160 * 300].reshape(300, -1)]
    heads = {packet[0] for packet in coded}
    packets = [many_frames(coded[k : k + count], padding, mixed=mixed) for k in range(0, 300 - count, count)]
    held = [codecs.holds_copy(packet) for packet in packets]
    assert len(heads) == 1
    assert held == [tells(packet, len(packet)) == 1 for packet in packets]
    assert 5 < sum(held) < len(held)


def many_frames(packets: list[bytes], padding: bytes, *, mixed: bool) -> bytes:
    """In one packet (code 3), with this length of padding; where not `mixed`, all as long as the longest."""
    frames = [packet[1:] for packet in packets]
    if not mixed:
        frames = [frame.ljust(max(map(len, frames)), b"\0") for frame in frames]
    head = bytes([packets[0][0] | 3, mixed << 7 | bool(padding) << 6 | len(frames)])
    sizes = b"".join(one_size(len(frame)) for frame in frames[:-1]) if mixed else b""
    return head + padding + sizes + b"".join(frames) + bytes(sum(min(octet, 254) for octet in padding))


def one_size(octets: int) -> bytes:
    """RFC 6716 3.2.1."""
    if octets < 252:
        return bytes([octets])
    return bytes([252 + (octets & 3), octets - 252 - (octets & 3) >> 2])


@given(st.binary(max_size=40))
def test_no_octets_hold_a_copy_that_cannot_be_there(packet: bytes) -> None:
    """Whatever comes: an answer, and none that libopus would contradict where it says anything of such a packet."""
    tells = getattr(opus_library._loaded(), "opus_packet_has_lbrr", None)
    held = codecs.holds_copy(packet)
    if tells is not None and packet:
        assert held == (tells(packet, len(packet)) == 1)


def test_where_there_is_none_the_codec_is_not_to_be_had(places: list[str]) -> None:
    """The configuration is refused at the start, by `available`; who calls all the same is told the remedy."""
    places += ["/nowhere/libopus.so.0"]
    assert not codecs.available("opus")
    assert codecs.available("PCMU")
    with pytest.raises(ConfigError, match="apt-get install libopus0"):
        codecs.encoder("opus")


def test_the_next_place_is_tried(places: list[str]) -> None:
    """One that cannot be loaded does not hide another."""
    places += ["/nowhere/libopus.so.0", *_real_places]
    assert codecs.available("opus")


_real_places = opus_library._places()
