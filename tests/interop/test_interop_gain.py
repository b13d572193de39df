"""How loud the bot is on the wire: by its engine, and by how much the configuration raises or lowers it."""

from __future__ import annotations

from pathlib import Path

import pytest
from gateway_process import NO_WORDS, GatewayProcess
from raw_caller import RawCaller
from rtp_peer import RtpPeer
from sounds import silence, tone

pytestmark = pytest.mark.interop

ENGINE_DBM0 = -15.0
PLAN = "routes: {tone: {match: {}, steps: [play: tone.wav, music: {file: tone.wav, level: 0}, wait: 20s]}}\n"


@pytest.mark.parametrize("gain_db", [-9.5, 6.0])
def test_the_bot_is_so_much_louder_or_softer(tmp_path: Path, gain_db: float) -> None:
    """Measured in the packets that a phone receives, within 0.1 dB; music has a level of its own."""
    tone(1004, 1.2, ENGINE_DBM0).write(tmp_path / "tone.wav")
    (tmp_path / "plan.yaml").write_text(PLAN)
    config = f"[call]\nvoice_gain_db = {gain_db}\n{NO_WORDS}"
    with (
        GatewayProcess(tmp_path / "data", "--dialplan", str(tmp_path / "plan.yaml"), config=config) as gateway,
        RtpPeer(silence(0.1)) as peer,
        RawCaller(gateway.sip_port, "tone") as caller,
    ):
        caller.call(peer.port)
        call = gateway.call()
        played = call.wait("UtterancePlayed")
        peer.wait_until(played["at"] + 0.8)
        caller.hang_up()
        gateway.ended(call)
    began = call.find("UtteranceStarted")[0]["at"]
    for since, dbm0 in ((began + 0.3, ENGINE_DBM0 + gain_db), (played["at"] + 0.2, ENGINE_DBM0)):
        heard = peer.heard(since, since + 0.5)
        assert heard.seconds > 0.4
        assert heard.hz() == pytest.approx(1004, abs=0.5)
        assert heard.dbm0() == pytest.approx(dbm0, abs=0.1)
