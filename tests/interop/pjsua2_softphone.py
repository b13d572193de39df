"""A pjsua2 softphone in a process of its own: `python pjsua2_softphone.py FOLDER PORT NUMBER [SUITE...]`.

Commands come as lines on standard input (`dial URI`, `say WAV`, `press DIGITS`, `hold`, `retrieve`, `hang_up`,
`quit`); what happens goes out as lines of JSON. What the phone hears is written to FOLDER/heard.wav.
"""

from __future__ import annotations

import json
import os
import select
import sys
from pathlib import Path
from typing import Any

import pjsua2 as pj

# pjsua2's objects are C++'s: one that Python lets go of while the library still uses it takes the process with it.
_kept: list[Any] = []


def tell(event: str, **facts: Any) -> None:
    print(json.dumps({"event": event, **facts}), flush=True)


class SoftCall(pj.Call):  # type: ignore[misc]
    def __init__(self, account: pj.Account, phone: Softphone) -> None:
        super().__init__(account)
        self._phone = phone

    def onCallState(self, prm: Any) -> None:  # noqa: N802
        info = self.getInfo()
        tell("state", state=info.stateText, status=info.lastStatusCode)

    def onCallMediaState(self, prm: Any) -> None:  # noqa: N802
        info = self.getInfo()  # kept while its media are read: they are parts of it
        for number, media in enumerate(info.media):
            if media.type == pj.PJMEDIA_TYPE_AUDIO:
                active = media.status == pj.PJSUA_CALL_MEDIA_ACTIVE
                if active:
                    self._phone.connect(self.getAudioMedia(number))
                tell("media", active=active, status=int(media.status))

    def onDtmfDigit(self, prm: Any) -> None:  # noqa: N802
        tell("digit", digit=prm.digit)


class Softphone:
    def __init__(self, folder: Path, port: int, number: str, suites: list[str]) -> None:
        """With `suites`, SRTP is mandatory."""
        self._folder = folder
        self._suites = suites
        self._number = number
        self.endpoint = pj.Endpoint()
        self.endpoint.libCreate()
        config = pj.EpConfig()
        config.uaConfig.threadCnt = 0
        config.uaConfig.mainThreadOnly = True
        config.logConfig.level = config.logConfig.consoleLevel = 0
        config.medConfig.noVad = True
        config.medConfig.ecTailLen = 0
        config.medConfig.clockRate = 8000
        config.medConfig.sndClockRate = 8000
        self.endpoint.libInit(config)
        transport = pj.TransportConfig()
        transport.boundAddress = "127.0.0.1"
        self.endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
        self.endpoint.libStart()
        self.endpoint.audDevManager().setNullDev()
        self._account = self._make_account(port)
        self._call: SoftCall | None = None
        self._line: Any = None
        self._recorder = pj.AudioMediaRecorder()
        self._recorder.createRecorder(str(folder / "heard.wav"))

    def _make_account(self, port: int) -> pj.Account:
        config = pj.AccountConfig()
        config.idUri = f"sip:{self._number}@127.0.0.1"
        config.regConfig.registerOnAdd = False
        config.mediaConfig.transportConfig.port = port
        config.mediaConfig.transportConfig.boundAddress = "127.0.0.1"
        if self._suites:
            config.mediaConfig.srtpUse = 2  # PJMEDIA_SRTP_MANDATORY
            config.mediaConfig.srtpSecureSignaling = 0  # not only over TLS
            config.mediaConfig.srtpOpt.keyings.append(0)  # PJMEDIA_SRTP_KEYING_SDES
            for suite in self._suites:
                crypto = pj.SrtpCrypto()
                crypto.name = suite
                config.mediaConfig.srtpOpt.cryptos.append(crypto)
        account = pj.Account()
        account.create(config)
        return account

    def connect(self, line: Any) -> None:
        """The call's audio flows (again)."""
        self._line = line
        line.startTransmit(self._recorder)

    def do(self, command: str, rest: str) -> bool:
        """False when it is time to go."""
        if command == "dial":
            self._call = SoftCall(self._account, self)
            _kept.append(self._call)
            self._call.makeCall(rest, pj.CallOpParam(True))
        elif command == "say":
            player = pj.AudioMediaPlayer()
            player.createPlayer(rest, pj.PJMEDIA_FILE_NO_LOOP)
            _kept.append(player)
            player.startTransmit(self._line)
        elif command == "press":
            self._call.dialDtmf(rest)
        elif command == "hold":
            self._call.setHold(pj.CallOpParam(True))
        elif command == "retrieve":
            parameters = pj.CallOpParam(True)
            parameters.opt.flag = pj.PJSUA_CALL_UNHOLD
            self._call.reinvite(parameters)
        elif command == "hang_up":
            self._call.hangup(pj.CallOpParam())
        return command != "quit"

    def run(self) -> None:
        tell("ready")
        while True:
            self.endpoint.libHandleEvents(10)
            if select.select([sys.stdin], [], [], 0)[0]:
                command, _, rest = sys.stdin.readline().strip().partition(" ")
                if not self.do(command or "quit", rest):
                    break
        del self._recorder  # completes the file, on a thread of the library's
        for _ in range(30):
            self.endpoint.libHandleEvents(10)


def main() -> None:
    try:
        Softphone(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]).run()
        tell("gone")
    finally:
        sys.stdout.flush()
        os._exit(0)  # the library's own end crashes as often as not


if __name__ == "__main__":
    main()
