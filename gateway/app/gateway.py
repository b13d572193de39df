"""The whole house: builds the rooms from a configuration, opens the doors, and closes them in the right order."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from ipaddress import ip_address
from ssl import SSLContext
from typing import NamedTuple

import msgspec
import structlog

from gateway.app.browser import BrowserDoor
from gateway.app.certificate import calling_context, listening_context
from gateway.app.certificate_watch import CertificateWatch
from gateway.app.config import GatewayConfig
from gateway.app.guests import Guests, in_workers, parts
from gateway.app.housekeeping import Housekeeping
from gateway.app.office import Office
from gateway.app.outbound import Outbound, line_options
from gateway.app.prompts import PromptShelf
from gateway.app.reading_agent import ReadingAgent
from gateway.app.resolver import Resolver
from gateway.app.ticks import TickWatch
from gateway.app.trunk_config import nonce_secret, passwords
from gateway.app.trunk_office import TrunkOffice
from gateway.app.trunks import Trunks
from gateway.app.warmup import speak_ahead
from gateway.call.io import Desk
from gateway.call.ports import Bundle, NoBundle
from gateway.call.services import DeskOptions, Services
from gateway.call.sip_line import SipDoor
from gateway.call.sip_stream import SipLineOptions
from gateway.core.clock import Clock, SystemClock
from gateway.core.errors import ConfigError, StoreError
from gateway.core.ids import RandomIds
from gateway.core.loops import all_of
from gateway.dialplan import agents as agents_named
from gateway.dialplan import files as files_named
from gateway.dialplan import load as load_dialplan
from gateway.dialplan import prompts
from gateway.media.io import MediaPool
from gateway.media.plane import PlaneOptions
from gateway.ops.http import HttpOffice, HttpOptions
from gateway.providers.load import build_noise, build_vad
from gateway.replay.bundle import BundleFolder, Sources
from gateway.replay.layout import MediaSetup
from gateway.sip.endpoint import EndpointOptions
from gateway.sip.events import AnySipEvent
from gateway.sip.flow import Transport
from gateway.sip.io import SipServer
from gateway.store import open_store

log = structlog.get_logger()


class _Tls(NamedTuple):
    """Contexts of connections that come in, and of those that we make; None where there will be none."""

    listening: SSLContext | None
    calling: SSLContext | None

    @classmethod
    def of(cls, config: GatewayConfig) -> _Tls:
        calls = any(trunk.may_use_tls for trunk in config.trunk)
        return cls(listening_context(config, datetime.now(UTC)), calling_context(config) if calls else None)


class Gateway:
    """`start` raises `ConfigError` with the remedy when a door cannot open; nothing stays half open then."""

    def __init__(self, config: GatewayConfig) -> None:
        self.config = config
        self._clock, self._ids = SystemClock(), RandomIds()
        self._dialplan = load_dialplan(config.dialplan_path)
        for kind in self._dialplan.noises:
            build_noise(kind, slots=1)  # better now than in a call
        self._store = open_store(config.store_url)
        self._media = _media_pool(config, self._clock)
        self._ticks = TickWatch(self._clock.now, refuse_ms=config.limits.media_late_ms)
        self._media.on_pulse = self._ticks.observe
        self._guests = Guests(config, agents_named(self._dialplan))
        self._bundles = _bundles(config, self._clock) if config.recording.bundles else None
        self._shelf = PromptShelf(config.dialplan_path)
        self.desk = Desk(self._services(), _desk_options(config))
        self.trunks = Trunks(
            config.trunk, clock=self._clock, locator=Resolver(config.dns_servers, ipv6=":" in config.bind)
        )
        tls = _Tls.of(config)
        self.sip = SipServer(
            _endpoint_options(config),
            clock=self._clock,
            ids=self._ids,
            on_event=self._on_sip,
            tls_server=tls.listening,
            tls_client=tls.calling,
        )
        options = line_options(config)
        self._outbound = Outbound(self.desk, self.trunks, self.sip, options)
        self._sip_door = self._door(options)
        self._browsers = BrowserDoor(self.desk, self._media, self._clock, bind=config.bind, advertise=config.advertise)
        self.http = HttpOffice(self._office(), HttpOptions(token=config.http.token, origins=config.http.origins))
        certificate = CertificateWatch(config, tls, datetime.now(UTC))
        self._housekeeping = Housekeeping(config, self._store, self._clock, certificate)

    def _services(self) -> Services:
        """What calls need."""
        return Services(
            clock=self._clock,
            ids=self._ids,
            media=self._media,
            store=self._store,
            stt=self._guests.stt,
            tts=self._guests.tts,
            agent=lambda name: ReadingAgent(self._guests.agent(name), self._shelf),
            dial=lambda placing: self._outbound.dial(placing),
            turn_detector=self._guests.turn_detector,
            dialplan=lambda: self._dialplan,
            bundle=self._bundle,
            load_prompt=self._shelf,
            load_wide_prompt=self._shelf.wide,
            overload=self._overload,
        )

    def _overload(self) -> str:
        """Why the media could not carry one call more."""
        return self._ticks.overload() or ("" if self._media.has_room else "no media worker has room")

    def _door(self, options: SipLineOptions) -> SipDoor:
        """Where calls come in by SIP."""
        return SipDoor(
            send=self.sip.send,
            leg=self._media,
            clock=self._clock,
            options=options,
            incoming=self.desk.incoming,
            screen=self.trunks.book.screen,
            replace=self.desk.replace,
        )

    def _office(self) -> Office:
        """What the operator may know and do."""
        return Office(
            self.desk,
            self._browsers,
            self._store,
            lambda: self._dialplan,
            self.config.data_path / "calls",
            trunks=TrunkOffice(self.trunks, self._outbound),
            losses=self._media.losses,
        )

    def _on_sip(self, event: AnySipEvent) -> None:
        if not (self.trunks.on_event(event) or self._outbound.on_event(event)):
            self._sip_door.on_event(event)

    def _bundle(self, call_id: str) -> Bundle:
        return self._bundles(call_id) if self._bundles is not None else NoBundle()

    async def start(self) -> None:
        config = self.config
        try:
            await all_of(self._open_store(), self._media.start(), self._guests.start(), self._read_sounds())
            await self.desk.start()
            await self._open_sip()
            await self.http.start(config.bind, config.http_port)
        except BaseException:
            await self.close()
            raise
        self._housekeeping.start()
        if config.speak_ahead:
            self.desk.spawn(speak_ahead(self._guests.tts, prompts(self._dialplan)))
        log.info(
            "gateway.ready",
            sip=f"{config.bind}:{self.sip.port}",
            http=page_url(config.bind, self.http.port),
            rtp=config.rtp_ports,
            advertise=config.advertise,
            dialplan=str(config.dialplan_path),
            store=config.store_url.split("@")[-1],
            data=str(config.data_path),
        )

    async def _read_sounds(self) -> None:
        """What the dialplan and the conversation play: all other calls would wait for one that read a long file."""
        names = [*files_named(self._dialplan), *self.config.conversation.files]
        await asyncio.to_thread(self._shelf.read_ahead, names)

    async def _open_store(self) -> None:
        try:
            await self._store.open()
        except StoreError as error:
            raise ConfigError(f"{error} (--data, or `store` in the configuration)") from error

    async def _open_sip(self) -> None:
        transports: tuple[Transport, ...] = ("udp", "tcp", "tls") if self.config.tls_certificate else ("udp", "tcp")
        try:
            await self.sip.start(self.config.bind, self.config.sip_port, transports, tls_port=self.config.tls_port)
        except ConfigError as error:
            raise ConfigError(f"{error} (--sip-port, --bind)") from error
        self.trunks.start(self.sip)

    async def drain(self) -> None:
        """Refuse new calls and return when the last one has ended by itself."""
        log.info("gateway.draining", calls=len(self.desk.board))
        await asyncio.gather(self.trunks.close(), self.desk.drain())

    async def close(self) -> None:
        """Doors first, then calls, then what calls need. Safe to call on a house that never quite opened."""
        await self._housekeeping.close()
        await self.desk.close()
        await self._browsers.close()
        await self.http.close()
        await self.trunks.close()
        await self.sip.close()
        await self._media.close()
        await self._guests.close()
        if self._bundles is not None:
            await asyncio.to_thread(self._bundles.close)
        await self._store.close()
        log.info("gateway.stopped", **self._ticks.lateness())


def page_url(bind: str, port: int) -> str:
    """Where a browser on this machine finds the page. Of an address that is none (0.0.0.0) it may get no microphone:
    browsers give that to pages of the machine itself, and by https."""
    address = ip_address(bind)
    host = "localhost" if address.is_unspecified else f"[{bind}]" if address.version == 6 else bind
    return f"http://{host}:{port}/"


def _media_pool(config: GatewayConfig, clock: Clock) -> MediaPool:
    return MediaPool(
        workers=config.media_workers,
        bind=config.bind,
        rtp_ports=config.rtp_range,
        clock=clock,
        options=_plane_options(config),
        vad=in_workers(config.vad, "vad", build_vad),
        noise=in_workers(config.noise, "noise", build_noise) if config.noise else None,
        guests="gateway.providers.load",
        io_uring=config.media.io_uring,
    )


def _plane_options(config: GatewayConfig) -> PlaneOptions:
    return PlaneOptions(echo_guard=config.media.echo_guard, gain_control=config.media.gain_control)


def _desk_options(config: GatewayConfig) -> DeskOptions:
    return DeskOptions(
        max_calls=config.limits.max_calls,
        call=config.call,
        session=config.session,
        conversation=config.conversation,
    )


def _endpoint_options(config: GatewayConfig) -> EndpointOptions:
    return EndpointOptions(
        advertised=_advertised(config),
        # Two dialogs a call where it is connected on; the desk counts calls, and says no first.
        max_calls=max(2000, 2 * config.limits.max_calls),
        unknown_sources=config.unknown_sources,
        digest_algorithms=config.digest_algorithms,
        nonce_secret=nonce_secret(config.nonce_secret_env, config.nonce_secret_file, os.environ),
        known_networks=tuple(network for trunk in config.trunk for network in trunk.known_networks),
        accounts=passwords(config.account, os.environ),
        invites_per_s=config.limits.calls_per_s,
        invites_per_s_and_source=config.limits.calls_per_s_and_source,
    )


def _advertised(config: GatewayConfig) -> dict[Transport, tuple[str, int]]:
    if config.advertise is None:
        return {}
    advertised: dict[Transport, tuple[str, int]] = {
        "udp": (config.advertise, config.sip_port),
        "tcp": (config.advertise, config.sip_port),
    }
    if config.tls_certificate is not None:
        advertised["tls"] = config.advertise, config.tls_port
    return advertised


def _bundles(config: GatewayConfig, clock: Clock) -> BundleFolder:
    sources = Sources.read(config.dialplan_path)
    settings = msgspec.to_builtins(_desk_options(config))
    media = MediaSetup(
        _plane_options(config), parts(config.vad, "vad"), parts(config.noise, "noise") if config.noise else None
    )
    calls = config.data_path / "calls"
    return BundleFolder(calls, clock=clock, dialplan=lambda: sources, settings=settings, media=media)
