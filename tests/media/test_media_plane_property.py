"""The whole plane as a machine: any commands, any datagrams, any order, and its promises all the same."""

from __future__ import annotations

import struct
from collections import Counter

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from media_world import PHONE, STRANGER, Phone, World, sine
from wide_world import NUMBER, Ffmpeg

from gateway.core.events import SpeechBegan, SpeechEnded
from gateway.media import codecs, rtcp, rtp
from gateway.media import commands as c
from gateway.media.files import NoFiles
from gateway.media.legs import RELAY
from gateway.media.plane import PlaneOptions, Received
from gateway.media.ports import Float32s, Int64s

LEGS = ["a", "b", "c", "d"]
legs = st.sampled_from(LEGS)
SOUND = sine(300, 0.02, 12000)
OPUS = {
    length: [coder.code(piece) for piece in np.tile(np.repeat(SOUND, 2), 12).reshape(-1, 16 * length)]
    for length, coder in {length: Ffmpeg("opus", length, copies=True) for length in (10, 20, 40, 60)}.items()
}
"""Packets by their length in ms, each with a copy of the one before."""

CODECS = [codec for codec in ("PCMU", "PCMA", "PCMU", "PCMA", "G722", "opus", "opus") if codecs.available(codec)]


class LoudIsSpeech:
    window = 256

    def probabilities(self, rows: Int64s, audio: Float32s) -> Float32s:
        return np.abs(audio).max(axis=1) * 3

    def reset(self, rows: Int64s) -> None:
        pass


class PlaneMachine(RuleBasedStateMachine):
    """Three slots and four names, so that legs are refused, closed and reopened in each other's rows."""

    def __init__(self) -> None:
        super().__init__()
        options = PlaneOptions(slots=3, rtcp_interval_s=0.1)
        self.world = World(vad=LoudIsSpeech(), files=NoFiles(), options=options)
        self.phones = {leg: Phone(leg, ssrc=k) for k, leg in enumerate(LEGS)}
        self.queued: Counter[tuple[str, int]] = Counter()
        self.clip = 0
        self.pending: list[Received] = []

    @rule(
        leg=legs,
        kind=st.sampled_from(["rtp", "rtp", "relayed", "pcm"]),
        wide=st.booleans(),
        record=st.booleans(),
        trace=st.booleans(),
    )
    def open(self, leg: str, kind: str, wide: bool, record: bool, trace: bool) -> None:
        silent, path, packets = 0.3 if record else 10.0, "r" if record else None, "t" if trace else None
        self.world.open(leg, kind=kind, wide=wide, record=path, trace=packets, silent_after_s=silent)

    @rule(
        leg=legs,
        codec=st.sampled_from(CODECS),
        direction=st.sampled_from(["sendrecv", "sendrecv", "sendonly", "recvonly", "inactive"]),
        host=st.sampled_from([PHONE[0], "0.0.0.0", "2001:db8::1", "not an address"]),
        port=st.sampled_from([4000, 0, 65535]),
        ptime_ms=st.sampled_from([20, 20, 10, 30, 60, 1000]),
        mux=st.booleans(),
    )
    def connect(self, leg: str, codec: str, direction: str, host: str, port: int, ptime_ms: int, mux: bool) -> None:
        number = NUMBER.get(codec, 0 if codec == "PCMU" else 8)
        self.world.connect(
            leg,
            codec=codec,
            payload_type=number,
            direction=direction,
            host=host,
            port=port,
            ptime_ms=ptime_ms,
            rtcp_mux=mux,
        )

    @rule(leg=legs)
    def close(self, leg: str) -> None:
        self.world.do(c.CloseLeg(leg))

    @rule(leg=legs, samples=st.integers(0, 3000), last=st.booleans())
    def queue(self, leg: str, samples: int, last: bool) -> None:
        self.clip += 1
        if leg in self.world.plane.table.legs:
            self.queued[leg, self.clip] += 1
        self.world.do(c.QueueAudio(leg, self.clip, bytes(2 * samples + 1), last, bytes(4 * samples)))

    @rule(
        leg=legs,
        command=st.sampled_from(
            [
                lambda leg: c.PausePlayout(leg),
                lambda leg: c.ResumePlayout(leg),
                lambda leg: c.FlushPlayout(leg),
                lambda leg: c.SetLoopback(leg, True),
                lambda leg: c.SetLoopback(leg, False),
                lambda leg: c.SetTone(leg, 1004.0),
                lambda leg: c.SetTone(leg, float("nan"), 300.0),
                lambda leg: c.SetTone(leg, None),
                lambda leg: c.Listen(leg, "pcm_16k"),
                lambda leg: c.Listen(leg, "ulaw_8k"),
                lambda leg: c.Listen(leg, None),
                lambda leg: c.SendDigits(leg, "1,x#", 40),
                lambda leg: c.PushPcm(leg, SOUND.tobytes()),
                lambda leg: c.PushPcm(leg, 2 * SOUND.tobytes()),
                lambda leg: c.PlayMusic(leg, SOUND.tobytes(), wide=2 * SOUND.tobytes()),
                lambda leg: c.PlayMusic(leg, None),
                lambda leg: c.PushPcm(leg, b"odd"),
            ]
        ),
    )
    def command(self, leg: str, command: object) -> None:
        self.world.do(command(leg))  # type: ignore[operator]

    @rule(leg=legs, count=st.integers(1, 3), stranger=st.booleans(), jump=st.sampled_from([0, 0, 0, 160, -800, 2**31]))
    def speak(self, leg: str, count: int, stranger: bool, jump: int) -> None:
        phone = self.phones[leg]
        phone.timestamp += jump
        for _ in range(count):
            self._arrive(leg, phone.packet(SOUND), STRANGER if stranger else PHONE)

    @rule(
        leg=legs,
        length=st.sampled_from([10, 20, 20, 40, 60]),
        what=st.lists(st.sampled_from(["came", "came", "came", "lost", "late", "rest", "broken"]), max_size=20),
    )
    def speak_opus(self, leg: str, length: int, what: list[str]) -> None:
        """At the pace of a call, with losses, packets that are overtaken, and rests."""
        phone, late = self.phones[leg], b""
        for k, fate in enumerate(what):
            payload = OPUS[length][k % len(OPUS[length])]
            phone.timestamp += 48 * length * (1 + 20 * (fate == "rest"))
            packet = phone.build(NUMBER["opus"], payload[:9] if fate == "broken" else payload)
            came = {"lost": [], "late": []}.get(fate, [packet, late] if late else [packet])
            late = packet if fate == "late" else b""
            self.world.take([Received(leg, data, PHONE, self.world.now) for data in came])
            self.world.ticks(length // 20 - 1)

    @rule(
        leg=legs,
        count=st.integers(1, 4),
        payload=st.sampled_from([b"", OPUS[20][0], OPUS[60][0], bytes(160)]) | st.binary(max_size=200),
        payload_type=st.sampled_from([0, 8, *NUMBER.values(), 13]),
        ago=st.sampled_from([0.0, 0.02, 3.0]),
    )
    def relay(self, leg: str, count: int, payload: bytes, payload_type: int, ago: float) -> None:
        """By somebody who carries packets, whether or not this is such a leg."""
        phone = self.phones[leg]
        for _ in range(count):
            phone.timestamp += 160
            self.world.do(c.RelayPacket(leg, phone.build(payload_type, payload), self.world.now - ago))

    @rule(leg=legs, event=st.integers(0, 17), end=st.booleans(), duration=st.integers(0, 0xFFFF))
    def press(self, leg: str, event: int, end: bool, duration: int) -> None:
        payload = struct.pack("!BBH", event, 0x80 * end, duration)
        self._arrive(leg, self.phones[leg].build(101, payload), PHONE)

    @rule(leg=legs, ours=st.booleans(), ntp=st.integers(0, 2**64 - 1), field=st.integers(0, 2**32 - 1))
    def report(self, leg: str, ours: bool, ntp: int, field: int) -> None:
        row = self.world.plane.table.row_of.get(leg, 0)
        ssrc = int(self.world.plane.table.ssrc[row]) if ours else 5
        block = rtcp.Block(ssrc, 255, -5, field, field, field, field)
        data = rtcp.build(rtcp.Report(9, rtcp.SenderInfo(ntp, field, field, field), (block,)), "x")
        self._arrive(leg, data, (PHONE[0], PHONE[1] + 1))

    @rule(leg=legs, data=st.binary(max_size=200))
    def rubbish(self, leg: str, data: bytes) -> None:
        self._arrive(leg, data, PHONE)

    def _arrive(self, leg: str, data: bytes, source: tuple[str, int]) -> None:
        # Live arrivals may lie after the tick's due time as well as before it.
        self.pending.append(Received(leg, data, source, self.world.now + 0.004))

    @rule(count=st.integers(1, 12))
    def tick(self, count: int) -> None:
        pending, self.pending = self.pending, []
        self.world.take(pending)
        self.world.ticks(count - 1)

    @rule(leg=legs, count=st.integers(1, 25), every=st.integers(1, 3))
    def converse(self, leg: str, count: int, every: int) -> None:
        """Loud audio at the pace of a call, or with losses, then perhaps silence."""
        for k in range(count):
            packet = self.phones[leg].packet(SOUND)
            self.world.take([] if k % every else [Received(leg, packet, PHONE, self.world.now)])

    @rule(seconds=st.sampled_from([0.03, 0.5, 30.0]))
    def stall(self, seconds: float) -> None:
        self.world.now += seconds

    @invariant()
    def only_good_packets_leave(self) -> None:
        for handed_over in self.world.all(c.PacketReady):
            if rtp.is_rtcp(handed_over.data):
                rtcp.parse(handed_over.data)
                continue
            assert rtp.parse(handed_over.data).payload_type in (0, 8, 9, 13, 101, NUMBER["opus"])
        for datagram in self.world.sent:
            assert datagram.destination is not RELAY
            assert 0 < datagram.destination[1] <= 0xFFFF
            if rtp.is_rtcp(datagram.data):
                rtcp.parse(datagram.data)
            else:
                rtp.parse(datagram.data)
        self.world.sent.clear()

    def teardown(self) -> None:
        """Everything ends, and the books are balanced."""
        world = self.world
        for leg in LEGS:
            world.do(c.CloseLeg(leg))
        world.ticks(2)
        assert not world.plane.busy
        opened, closed = Counter(s.leg for s in world.all(c.LegOpened)), Counter(s.leg for s in world.all(c.LegClosed))
        assert opened == closed
        ended = Counter((f.leg, f.clip) for f in world.all(c.ClipFinished))
        assert set(ended) == set(self.queued)
        assert set(ended.values()) <= {1}
        for leg in LEGS:
            self._speech_alternates(leg)

    def _speech_alternates(self, leg: str) -> None:
        """Speech begins and ends in turn, and audio comes between the two only."""
        speaking = False
        for said in self.world.said:
            if isinstance(said, c.LegOpened) and said.leg == leg:
                speaking = False
            elif isinstance(said, SpeechBegan) and said.call == leg:
                assert not speaking
                speaking = True
            elif isinstance(said, SpeechEnded) and said.call == leg:
                assert speaking
                speaking = False
            elif isinstance(said, c.HeardAudio) and said.leg == leg:
                assert speaking


TestPlane = PlaneMachine.TestCase
TestPlane.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
