"""aiortp: a session a call, its adaptive playout giving PCM every 20 ms, its paced sender fed with PCM."""

from __future__ import annotations

from aiortp import RTPSession

from benchmarks.peers._calls import Calls, Talk, run


async def serve(calls: Calls) -> Talk:
    sessions = []
    for port, phone in zip(calls.ports, calls.phones, strict=True):
        session = await RTPSession.create(
            ("127.0.0.1", port), ("127.0.0.1", phone), payload_type=0, playout=True, paced=True
        )
        session.on_audio = lambda pcm, timestamp: None
        sessions.append(session)

    def talk(call: int, pcm: bytes) -> None:
        for k in range(0, len(pcm) - 319, 320):
            sessions[call].send_audio_pcm_auto(pcm[k : k + 320])

    return talk


if __name__ == "__main__":
    run(serve)
