"""A pjsua2 softphone in a process of its own: `python pjsua2_softphone.py FOLDER RTP SIP NUMBER [SUITE...]`.

RTP and SIP are its first port for each; 0 is any. Commands come as lines on standard input (`dial URI`, `say WAV`,
`press DIGITS`, `hold`, `retrieve`, `hang_up`, `hang_up_all`, `transfer URI`, `transfer_to_other`,
`incoming answer|busy|ring`, `quit`); what happens goes out as lines of JSON. What the phone hears is written to
FOLDER/heard.wav. Calls are numbered from 0; commands are for the newest, but for `transfer_to_other`, which lets the
first one's peer take our place in the newest.
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
    def __init__(self, account: pj.Account, phone: Softphone, number: int, call_id: int = -1) -> None:
        super().__init__(account, call_id)
        self._phone, self._number = phone, number

    def onCallState(self, prm: Any) -> None:  # noqa: N802
        info = self.getInfo()
        tell("state", call=self._number, state=info.stateText, status=info.lastStatusCode)

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

    def onInstantMessageStatus(self, prm: Any) -> None:  # noqa: N802
        tell("written", status=int(prm.code), reason=prm.reason)

    def onCallTransferStatus(self, prm: Any) -> None:  # noqa: N802
        tell("transfer", call=self._number, status=prm.statusCode, last=bool(prm.finalNotify))

    def onCallTransferRequest(self, prm: Any) -> None:  # noqa: N802
        # `prm.newCall` must not be touched; the library makes the new call by itself.
        tell("referred", call=self._number, to=prm.dstUri.strip("<>"))


class SoftAccount(pj.Account):  # type: ignore[misc]
    """Takes calls as it is told to."""

    incoming = "answer"

    def __init__(self, phone: Softphone) -> None:
        super().__init__()
        self._phone = phone

    def onIncomingCall(self, prm: Any) -> None:  # noqa: N802
        call = self._phone.take(prm.callId)
        number = call.getInfo().remoteUri.strip("<>").removeprefix("sip:").partition("@")[0]
        tell("incoming", call=len(self._phone.calls) - 1, number=number)
        answer = pj.CallOpParam(True)
        answer.statusCode = {"answer": 200, "busy": 486, "ring": 180}[self.incoming]
        call.answer(answer)


class Softphone:
    def __init__(self, folder: Path, rtp_port: int, sip_port: int, number: str, suites: list[str]) -> None:
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
        transport.port = sip_port
        self._transport = self.endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
        self.endpoint.libStart()
        self.endpoint.audDevManager().setNullDev()
        self._account = self._make_account(rtp_port)
        self.calls: list[SoftCall] = []
        self._line: Any = None
        self._recorder = pj.AudioMediaRecorder()
        self._recorder.createRecorder(str(folder / "heard.wav"))

    def _make_account(self, port: int) -> SoftAccount:
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
        account = SoftAccount(self)
        account.create(config)
        return account

    def take(self, call_id: int = -1) -> SoftCall:
        self.calls.append(SoftCall(self._account, self, len(self.calls), call_id))
        _kept.append(self.calls[-1])
        return self.calls[-1]

    def connect(self, line: Any) -> None:
        """The call's audio flows (again)."""
        self._line = line
        line.startTransmit(self._recorder)

    def do(self, command: str, rest: str) -> bool:
        """False when it is time to go."""
        if command == "dial":
            self.take().makeCall(rest, pj.CallOpParam(True))
        elif command == "incoming":
            self._account.incoming = rest
            tell("ready for", how=rest)
        elif command == "transfer":
            self.calls[-1].xfer(rest, pj.CallOpParam())
        elif command == "transfer_to_other":
            self.calls[0].xferReplaces(self.calls[-1], pj.CallOpParam())
        elif command == "hang_up_all":
            self.endpoint.hangupAllCalls()
        elif command == "say":
            player = pj.AudioMediaPlayer()
            player.createPlayer(rest, pj.PJMEDIA_FILE_NO_LOOP)
            _kept.append(player)
            player.startTransmit(self._line)
        elif command == "press":
            self.calls[-1].dialDtmf(rest)
        elif command == "write":
            message = pj.SendInstantMessageParam()
            message.content = rest
            self.calls[-1].sendInstantMessage(message)
        elif command == "hold":
            self.calls[-1].setHold(pj.CallOpParam(True))
        elif command == "retrieve":
            parameters = pj.CallOpParam(True)
            parameters.opt.flag = pj.PJSUA_CALL_UNHOLD
            self.calls[-1].reinvite(parameters)
        elif command == "hang_up":
            self.calls[-1].hangup(pj.CallOpParam())
        return command != "quit"

    def run(self) -> None:
        tell("ready", port=int(self.endpoint.transportGetInfo(self._transport).localName.rpartition(":")[2]))
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
        folder, rtp_port, sip_port, number, *suites = sys.argv[1:]
        Softphone(Path(folder), int(rtp_port), int(sip_port), number, suites).run()
        tell("gone")
    finally:
        sys.stdout.flush()
        os._exit(0)  # the library's own end crashes as often as not


if __name__ == "__main__":
    main()
