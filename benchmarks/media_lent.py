"""How long another leg's command waits when a leg of the same worker is told to play something long.

    python -m benchmarks.media_lent

Each sound is played twice: the first time it is new to the gateway, then it is as for the next caller. Best of three.
"""

from __future__ import annotations

import asyncio
import itertools

import numpy as np

from gateway.core.clock import SystemClock
from gateway.media.commands import FlushPlayout, LegDoing, OpenLeg, PlayMusic, QueueAudio, TellStats
from gateway.media.io import MediaPool
from gateway.media.ports import Said


async def main() -> None:
    clock = SystemClock()
    pool = MediaPool(workers=1, bind="127.0.0.1", rtp_ports=(31000, 31099), clock=clock)
    await pool.start()
    answered: asyncio.Queue[float] = asyncio.Queue()

    def hear(said: Said) -> None:
        if isinstance(said, LegDoing):
            answered.put_nowait(clock.now())

    async def answered_after_ms(sound: PlayMusic | QueueAudio) -> float:
        start = clock.now()
        pool.send(sound)
        pool.send(TellStats("other"))
        took = 1e3 * (await answered.get() - start)
        await clock.sleep_until(clock.now() + 0.5)
        return took

    pool.subscribe("other", hear)
    for leg in ("plays", "other"):
        pool.send(OpenLeg(leg, kind="pcm", wide=True))
    await clock.sleep_until(clock.now() + 0.5)
    for kind, seconds in itertools.product(("clip", "music"), (10, 60, 300)):
        for wide in (False, True):
            both = []
            for seed in range(3):
                pcm = np.random.default_rng(seed).bytes(16000 * seconds)
                other = 2 * pcm if wide else b""
                sound = (
                    PlayMusic("plays", pcm, wide=other) if kind == "music" else QueueAudio("plays", 1, pcm, True, other)
                )
                both.append((await answered_after_ms(sound), await answered_after_ms(sound)))
                pool.send(FlushPlayout("plays"))
            first, again = (min(times) for times in zip(*both, strict=True))
            rates = "8 and 16 kHz" if wide else "8 kHz"
            print(
                f"{kind} of {seconds} s at {rates}: another leg is answered after {first:.0f} ms, then {again:.0f} ms"
            )
    await pool.close()


if __name__ == "__main__":
    asyncio.run(main())
