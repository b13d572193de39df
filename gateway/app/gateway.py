"""The whole house: builds the rooms from a configuration, opens the doors, and closes them in the right order."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec
import structlog

from gateway.app.browser import BrowserDoor
from gateway.app.certificate import calling_context, listening_context
from gateway.app.certificate_watch import CertificateWatch
from gateway.app.config import GatewayConfig, provider
from gateway.app.housekeeping import Housekeeping
from gateway.app.office import Office
from gateway.app.outbound import Outbound, line_options
from gateway.app.prompts import PromptShelf
from gateway.app.resolver import Resolver
from gateway.app.ticks import TickWatch
from gateway.app.trunk_config import nonce_secret, passwords
from gateway.app.trunk_office import TrunkOffice
from gateway.app.trunks import Trunks
from gateway.app.warmup import speak_ahead, start_engines
from gateway.call.io import Desk
from gateway.call.live import DeskOptions, Services
from gateway.call.ports import Bundle, NoBundle
from gateway.call.sip_line import SipDoor
from gateway.core.clock import Clock, SystemClock
from gateway.core.errors import ConfigError, StoreError
from gateway.core.ids import RandomIds
from gateway.dialplan import agents as agents_named
from gateway.dialplan import load as load_dialplan
from gateway.dialplan import prompts
from gateway.media.io import MediaPool
from gateway.media.plane import PlaneOptions
from gateway.media.wire import Guest
from gateway.ops.http import HttpOffice, HttpOptions
from gateway.providers.load import build_agent, build_noise, build_stt, build_tts, build_turn_detector, build_vad
from gateway.replay.bundle import BundleFolder, Sources
from gateway.replay.layout import MediaSetup
from gateway.session.ports import Agent
from gateway.sip.endpoint import EndpointOptions
from gateway.sip.events import AnySipEvent
from gateway.sip.flow import Transport
from gateway.sip.io import SipServer
from gateway.store import open_store

log = structlog.get_logger()


class Closing(Protocol):
    async def close(self) -> None: ...


class Gateway:
    """`start` raises `ConfigError` with the remedy when a door cannot open; nothing stays half open then."""

    def __init__(self, config: GatewayConfig) -> None:
        self.config = config
        self._clock, ids = SystemClock(), RandomIds()
        self._dialplan = load_dialplan(config.dialplan_path)
        for kind in self._dialplan.noises:
            build_noise(kind, slots=1)  # better now than in a call
        self._store = open_store(config.store_url)
        self._media = _media_pool(config, self._clock)
        self._ticks = TickWatch()
        self._media.on_pulse = self._ticks.observe
        self._stt = build_stt(*_parts(config.stt, "stt"))
        self._tts = build_tts(*_parts(config.tts, "tts"))
        self._agents: dict[str, Agent] = {}
        self._build_agents()
        self._bundles = _bundles(config, self._clock) if config.recording.bundles else None
        shelf = PromptShelf(config.dialplan_path)
        self.desk = Desk(
            Services(
                clock=self._clock,
                ids=ids,
                media=self._media,
                store=self._store,
                stt=self._stt,
                tts=self._tts,
                agent=self._agent,
                dial=lambda placing: self._outbound.dial(placing),
                turn_detector=build_turn_detector(*_parts(config.turn, "turn")) if config.turn else None,
                dialplan=lambda: self._dialplan,
                bundle=self._bundle,
                load_prompt=shelf,
                load_wide_prompt=shelf.wide,
            ),
            _desk_options(config),
        )
        resolver = Resolver(config.dns_servers, ipv6=":" in config.bind)
        self.trunks = Trunks(config.trunk, clock=self._clock, locator=resolver)
        tls_server = listening_context(config, datetime.now(UTC))
        tls_client = calling_context(config) if any(trunk.may_use_tls for trunk in config.trunk) else None
        self.sip = SipServer(
            _endpoint_options(config),
            clock=self._clock,
            ids=ids,
            on_event=self._on_sip,
            tls_server=tls_server,
            tls_client=tls_client,
        )
        options = line_options(config)
        self._outbound = Outbound(self.desk, self.trunks, self.sip, options)
        self._sip_door = SipDoor(
            send=self.sip.send,
            leg=self._media,
            clock=self._clock,
            options=options,
            incoming=self.desk.incoming,
            screen=self.trunks.book.screen,
            replace=self.desk.replace,
        )
        self._browsers = BrowserDoor(self.desk, self._media, self._clock, bind=config.bind, advertise=config.advertise)
        self.http = HttpOffice(
            Office(
                self.desk,
                self._browsers,
                self._store,
                lambda: self._dialplan,
                config.data_path / "calls",
                trunks=TrunkOffice(self.trunks, self._outbound),
            ),
            HttpOptions(token=config.http.token, origins=config.http.origins),
        )
        certificate = CertificateWatch(config, (tls_server, tls_client), datetime.now(UTC))
        self._housekeeping = Housekeeping(config, self._store, self._clock, certificate)

    def _on_sip(self, event: AnySipEvent) -> None:
        if not (self.trunks.on_event(event) or self._outbound.on_event(event)):
            self._sip_door.on_event(event)

    def _agent(self, name: str) -> Agent:
        """The agent of this name, built once: from its `[agents.NAME]` table, or the provider of that name."""
        if name not in self._agents:
            table = self.config.agents.get(name, {"kind": name})
            self._agents[name] = build_agent(*_parts(table, f"agents.{name}"))
        return self._agents[name]

    def _build_agents(self) -> None:
        """All that may be asked to talk, so that a name nobody knows is found at the start and not by a caller."""
        for name in (*self.config.agents, *agents_named(self._dialplan)):
            try:
                self._agent(name)
            except ConfigError as error:
                raise ConfigError(f"agent `{name}`: {error}") from error

    def _bundle(self, call_id: str) -> Bundle:
        return self._bundles(call_id) if self._bundles is not None else NoBundle()

    async def start(self) -> None:
        config = self.config
        try:
            await self._open_store()
            await self._media.start()
            await start_engines(self._stt, self._tts)
            await self.desk.start()
            await self._open_sip()
            await self.http.start(config.bind, config.http_port)
        except BaseException:
            await self.close()
            raise
        self._housekeeping.start()
        if config.speak_ahead:
            self.desk.spawn(speak_ahead(self._tts, prompts(self._dialplan)))
        log.info(
            "gateway.ready",
            sip=f"{config.bind}:{self.sip.port}",
            http=f"http://{config.bind}:{self.http.port}/",
            rtp=config.rtp_ports,
            advertise=config.advertise,
            dialplan=str(config.dialplan_path),
            store=config.store_url.split("@")[-1],
            data=str(config.data_path),
        )

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
        closing: list[Closing] = [self._stt, self._tts, *self._agents.values()]
        for one in closing:
            await one.close()
        if self._bundles is not None:
            await asyncio.to_thread(self._bundles.close)
        await self._store.close()
        log.info("gateway.stopped", **self._ticks.lateness())


def _parts(table: dict[str, object], what: str) -> tuple[str, dict[str, object]]:
    config = provider(table, what)
    return config.kind, config.options


def _guest(table: dict[str, Any], what: str, build: Callable[..., object]) -> Guest:
    """A provider that is built in the media workers; built here once too, so that a fault is told before they start."""
    kind, options = _parts(table, what)
    if kind != "none":
        build(kind, options, slots=1)
    return Guest(kind, options)


def _media_pool(config: GatewayConfig, clock: Clock) -> MediaPool:
    return MediaPool(
        workers=config.media_workers,
        bind=config.bind,
        rtp_ports=config.rtp_range,
        clock=clock,
        options=_plane_options(config),
        vad=_guest(config.vad, "vad", build_vad),
        noise=_guest(config.noise, "noise", build_noise) if config.noise else None,
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
        _plane_options(config), _parts(config.vad, "vad"), _parts(config.noise, "noise") if config.noise else None
    )
    calls = config.data_path / "calls"
    return BundleFolder(calls, clock=clock, dialplan=lambda: sources, settings=settings, media=media)
