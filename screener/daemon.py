"""Builds every object and passes it in: the only place where things are wired."""

import logging
import signal
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pydicom.config

from screener.archive import Archive
from screener.channels.apprise import AppriseChannel
from screener.channels.email import EmailChannel
from screener.channels.hl7 import Hl7Channel
from screener.channels.message import Channel, Linker, no_link
from screener.channels.webhook import WebhookChannel
from screener.clock import parse_time
from screener.commit import report_commitments
from screener.complete import Completion
from screener.config import Config, ConfigError
from screener.count_at_pacs import PacsCounts
from screener.dispatch import send_hints
from screener.escalate import escalate_unacknowledged
from screener.expire import clean_disk, expire, sweep_orphans
from screener.hints import Hints
from screener.know_orders import forget_old_reports, know_new_orders
from screener.know_scanners import know_new_scanners
from screener.link_notices import make_linker
from screener.link_secret import load_link_secret
from screener.notice_settings import Notices
from screener.notify import send_owed_digests, send_owed_notices
from screener.one_daemon import TAKEN, OneDaemon
from screener.order_keys import load_order_keys
from screener.pull.ask_pacs import Caller, PacsSource
from screener.pull.backfill import STUDY_BYTES
from screener.pull.night_list import NightList
from screener.read_reports import read_new_documents
from screener.receive import Listener, answer_fetched
from screener.recover import recover_expired_deliveries, recover_expired_leases
from screener.run_listeners import ListenerProcesses
from screener.run_web import WebProcess
from screener.run_workers import Workers
from screener.schedule import Verb, start_schedule
from screener.store import open_store
from screener.store.daemon_lock import open_daemon_lock
from screener.take_reports import ReportDoor
from screener.tls import make_listener_tls, make_reports_tls
from screener.watch_config import SettingsInForce

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
END_SECONDS = 0.2
"""So soon a wish to end is heeded."""
RECOVER_SECONDS = 2.0
SETTINGS_SECONDS = 2.0
REPORTS_SECONDS = 10.0
ORDERS_SECONDS = 2.0
CLEAN_SECONDS = 10.0
EXPIRE_SECONDS = 3600.0
SWEEP_SECONDS = 86400.0


class Daemon:
    """The screener as one process, with or without workers of its own."""

    def __init__(self, config: Config, config_path: Path, *, has_workers: bool = True) -> None:
        """True: one worker per queue is started as a child. False: workers run elsewhere."""
        # A value that breaks a rule of its VR is a warning of pydicom's that quotes the value.
        pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
        self._config = config
        try:
            self.archive = Archive(config.storage_folder, config.storage.reserve_mib << 20)
        except OSError as error:
            raise ConfigError(f"storage.folder: {config.storage_folder}: {error.strerror}") from None
        self._is_over = threading.Event()
        self._one_daemon = OneDaemon(open_daemon_lock(config.database_url), on_lost=self._is_over.set)
        self._one_daemon.begin()  # before all that changes anything: a second daemon by mistake must not even migrate
        self.store = open_store(config.database_url, is_migrating=True, is_long_lived=True)
        try:
            self._begin_archive()
        except ConfigError:
            self.store.engine.dispose()
            self._one_daemon.end()
            raise
        tls = make_listener_tls(config)
        self.listener: Listener | ListenerProcesses
        if config.listener.processes > 1:
            self.listener = ListenerProcesses(config)
        else:
            self.listener = Listener(config.listener, self.archive, self.store, lambda: datetime.now(UTC), tls=tls)
        self._report_door = self._make_report_door()
        self._hints = Hints(config)
        self._channels = make_channels(config)
        self._notices = link_to_pages(config)
        self._linker = open_linker(config)
        self._night_list = self._make_night_list()
        self._pacs_counts = PacsCounts(
            config.completeness.pacs,
            self.store,
            ae_title=config.listener.ae_title,
            timeout_seconds=config.completeness.ask_timeout_seconds,
        )
        self._settings = SettingsInForce(config, config_path, self.store)
        self._completion = Completion(self.store, config, self._pacs_counts.ask, self._settings.thresholds)
        self._workers = Workers(config_path) if has_workers else None
        self._web = WebProcess(config_path) if config.web.enabled else None

    def _begin_archive(self) -> None:
        folder = self._config.storage_folder
        try:
            self.archive.begin(is_known=self.store.knows_files())
        except FileNotFoundError as error:
            raise ConfigError(
                f"storage.folder: {folder}: the database knows of received files, and {error.filename} is not there: "
                "is its disk mounted? If they are gone for good, make that folder"
            ) from None
        except OSError as error:
            raise ConfigError(f"storage.folder: {folder}: {error.strerror}") from None

    def _make_report_door(self) -> ReportDoor | None:
        if not self._config.reports.enabled:
            return None
        self._order_keys = load_order_keys(self._config.storage_folder)
        tls = make_reports_tls(self._config)
        return ReportDoor(self._config.reports, self.store, self._order_keys, lambda: datetime.now(UTC), tls=tls)

    def _make_night_list(self) -> NightList:
        def clock() -> datetime:
            return datetime.now(UTC)

        pull = self._config.pull
        clients = {}
        for source in pull.sources:
            caller = Caller(
                ae_title=self._config.listener.ae_title,
                timeout_seconds=pull.timeout_seconds,
                store=answer_fetched(self.archive, self.store, clock, source.ae_title),
            )
            clients[source.name] = PacsSource(source, caller)
        return NightList(self.store, pull, clients, has_room=lambda: self.archive.has_room(STUDY_BYTES), clock=clock)

    def run(self) -> None:
        """Listen and work until SIGTERM or SIGINT; ConfigError where another daemon takes the database meanwhile."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._is_over.set())
        self.start()
        # No lock is waited for: a signal that comes just before such a wait begins is not heard until it ends.
        while not self._is_over.is_set():
            time.sleep(END_SECONDS)
        self.stop()
        if self._one_daemon.is_lost:
            raise ConfigError(TAKEN)

    def start(self) -> None:
        """Open the door and start the clockwork; ConfigError where the address cannot be listened on."""
        self.archive.remove_unfinished()
        settings = self._config.listener
        try:
            self.listener.start()
        except OSError as error:  # before the clockwork: a second daemon by mistake must not tell anybody anything
            raise ConfigError(f"listener.port: {settings.host}:{settings.port}: {error.strerror}") from error
        self._open_report_door()
        self._settings.begin(datetime.now(UTC))
        self._completion.begin(datetime.now(UTC))
        self._night_list.begin()
        self._schedule = start_schedule(self._verbs())
        logger.info("listening as %s on %s:%d", settings.ae_title, settings.host, self.listener.port)

    def _open_report_door(self) -> None:
        """Let reports in where the settings ask for it; ConfigError where the address cannot be listened on."""
        if self._report_door is None:
            return
        settings = self._config.reports
        try:
            self._report_door.start()
        except OSError as error:
            self.listener.stop()
            raise ConfigError(f"reports.port: {settings.host}:{settings.port}: {error.strerror}") from error
        logger.info("listening for reports on %s:%d", settings.host, self._report_door.port)

    def _order_verbs(self) -> dict[str, tuple[float, Verb]]:
        """What files reports with their studies; nothing where none are taken."""
        if self._report_door is None:
            return {}
        store, folder, keys = self.store, self._config.storage_folder, self._order_keys
        wait_days = self._config.reports.wait_days
        return {
            "orders": (ORDERS_SECONDS, lambda now: know_new_orders(store, folder, keys, now)),
            "forget reports": (EXPIRE_SECONDS, lambda now: forget_old_reports(store, wait_days, now)),
        }

    def _verbs(self) -> dict[str, tuple[float, Verb]]:
        config, store = self._config, self.store
        verbs: dict[str, tuple[float, Verb]] = {
            "complete": (LOOK_SECONDS, self._completion.dispatch_complete_studies),
            "settings": (SETTINGS_SECONDS, self._settings.watch),
            "hint": (LOOK_SECONDS, lambda now: send_hints(store, self._hints.send, now)),
            "recover": (RECOVER_SECONDS, lambda now: recover_expired_leases(store, config.queue.max_attempts, now)),
            "recover deliveries": (
                RECOVER_SECONDS,
                lambda now: recover_expired_deliveries(store, config.results, now),
            ),
            "notify": (
                LOOK_SECONDS,
                lambda now: send_owed_notices(
                    store,
                    self._channels,
                    self._notices,
                    now,
                    storage_folder=config.storage_folder,
                    acknowledge=self._linker,
                ),
            ),
            "escalate": (LOOK_SECONDS, lambda now: escalate_unacknowledged(store, config.notices, now)),
        }
        archive = self.archive
        verbs |= {
            "scanners": (REPORTS_SECONDS, lambda now: know_new_scanners(store, config.storage_folder, now)),
            "reports": (REPORTS_SECONDS, lambda now: read_new_documents(store, config.storage_folder, now)),
            "commitments": (
                LOOK_SECONDS,
                lambda now: report_commitments(
                    store, archive, config.listener.ae_title, config.results, now, is_stopping=self._is_over.is_set
                ),
            ),
            "clean": (CLEAN_SECONDS, lambda now: clean_disk(store, archive, config.storage, config.retention, now)),
            "expire": (EXPIRE_SECONDS, lambda now: expire(store, archive, config.retention, now)),
            "sweep": (SWEEP_SECONDS, lambda now: sweep_orphans(store, archive, now)),
        }
        verbs |= self._order_verbs()
        digest_at = parse_time(config.pull.digest_at)
        verbs["digest"] = (
            LOOK_SECONDS,
            lambda now: send_owed_digests(
                store, self._channels, self._notices, now, digest_at=digest_at, acknowledge=self._linker
            ),
        )
        if config.pull.sources:
            verbs["pull"] = (LOOK_SECONDS, self._night_list.work)
        verbs = {name: (seconds, self._one_daemon.alone(verb)) for name, (seconds, verb) in verbs.items()}
        verbs["one daemon"] = (LOOK_SECONDS, self._one_daemon.watch)
        if isinstance(self.listener, ListenerProcesses):
            verbs["listeners"] = (LOOK_SECONDS, self.listener.watch)
        if self._workers is not None:
            verbs["workers"] = (LOOK_SECONDS, self._workers.watch)
        if self._web is not None:
            verbs["web"] = (LOOK_SECONDS, self._web.watch)
        return verbs

    def stop(self) -> None:
        """Close the door first, then let what is in hand finish."""
        logger.info("stopping")
        self._is_over.set()
        self._night_list.stop()
        self.listener.stop()
        if self._report_door is not None:
            self._report_door.stop()
        self._schedule.stop()
        if self._web is not None:
            self._web.stop()
        if self._workers is not None:
            self._workers.stop()
        self._pacs_counts.close()
        self._hints.close()
        self.store.engine.dispose()
        self._one_daemon.end()
        logger.info("stopped")


def make_channels(config: Config) -> list[Channel]:
    """The ways of telling someone that the settings name."""
    notices = config.notices
    channels: list[Channel] = [EmailChannel(notices.email)] if notices.email.host else []
    channels += [WebhookChannel(notices.webhooks)] if notices.webhooks else []
    channels += [Hl7Channel(notices.hl7, config.storage_folder)] if notices.hl7 else []
    channels += [AppriseChannel(notices.apprise)] if notices.apprise else []
    return channels


def open_linker(config: Config) -> Linker:
    """What makes the links that acknowledge; it needs a secret only where the settings say where the pages are."""
    if not config.web.url:
        return no_link
    return make_linker(config.web.url, load_link_secret(config.storage_folder), config.notices.acknowledge_days)


def link_to_pages(config: Config) -> Notices:
    """The settings for notices, their case page being ours where they name no other."""
    if config.notices.link or not config.web.url:
        return config.notices
    return config.notices.model_copy(update={"link": f"{config.web.url.rstrip('/')}/studies/{{study}}"})
