"""Watch config.toml while the daemon runs: take over what decides, refuse what is wrong, and keep what happened.

Only [decision] is taken over; whatever else has changed waits for a restart,
and is named until then. A file that is wrong changes nothing. New content is
judged once two looks in a row have found the same, so that a file that is
being written is not taken for a finished one: half of it would be good TOML,
and put the missing half back to its defaults.
"""

import hashlib
import logging
import os
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from screener.config import Config, ConfigError, LoggableError, parse_config
from screener.find_lines import add_lines
from screener.show_config import Change, compare_configs, compare_shown, list_settings
from screener.store import Store
from screener.store.settings_log import SettingsEvent, SettingsLine
from screener.study import Thresholds

logger = logging.getLogger(__name__)

_PLACE: Final = re.compile(r" \((?:the table at )?line \d+\)$")
"""What `add_lines` writes behind a sentence."""


@dataclass(frozen=True, slots=True)
class _Content:
    """What a look at the file has found."""

    text: str | None
    """None where it is not text."""
    sha256: str
    """Empty where the file cannot be read at all."""


class SettingsInForce:
    """The settings of a running daemon; `watch` follows the file. Other threads may ask for them at any time."""

    def __init__(self, config: Config, path: Path, store: Store, environment: Mapping[str, str] = os.environ) -> None:
        """`config` was read from `path` at the start."""
        self._config = config
        self._path = path
        self._store = store
        self._environment = environment
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._seen: _Content | None = None
        self._judged: str | None = None
        self._waits: Sequence[Change] = ()

    def thresholds(self) -> Thresholds:
        """The decision settings in force, with their revision."""
        with self._lock:
            return self._config.thresholds()

    def begin(self, now: datetime) -> None:
        """Keep what comes into force with this start, where it is not what was in force before."""
        last = self._store.last_settings_line()
        changes = compare_shown(last.settings, list_settings(self._config)) if last is not None else []
        if last is None or changes or last.waits or last.problem:
            self._keep(SettingsEvent.START, self._config, _read(self._path).sha256, now, changes=changes)
        logger.info("settings: revision %s", self.thresholds().config_revision)

    def watch(self, now: datetime) -> None:
        """Look at the file; costs a question to the file system where nothing has changed."""
        stamp = _stamp(self._path)
        if stamp == self._stamp and self._seen is None:
            return
        content = _read(self._path)
        is_settled = content == self._seen
        self._stamp, self._seen = stamp, content
        if is_settled:
            if content.sha256 != self._judged:
                self._judge(content, now)
            # Only now: where the database is away, the next look judges it again.
            self._judged, self._seen = content.sha256, None

    def _judge(self, content: _Content, now: datetime) -> None:
        try:
            new = _parse(content, self._path, self._environment)
        except ConfigError as error:
            self._refuse(error, content.sha256, now)
            return
        changes = compare_configs(self._config, new)
        taken = [change for change in changes if change.is_hot]
        waits = [change for change in changes if not change.is_hot]
        config = self._config.model_copy(update={"decision": new.decision})
        last = self._store.last_settings_line()
        is_known = last is not None and not last.problem and last.waits == tuple(waits)
        if taken or not is_known:
            self._keep(SettingsEvent.CHANGE, config, content.sha256, now, changes=taken, waits=waits)
        with self._lock:
            self._config = config
        self._waits = waits
        self._tell(taken)

    def _tell(self, taken: Sequence[Change]) -> None:
        for change in taken:
            logger.warning("settings: %s is now %s, it was %s", change.key, change.after, change.before)
        if taken:
            logger.warning("settings: revision %s is in force", self.thresholds().config_revision)
        if self._waits:
            keys = ", ".join(change.key for change in self._waits)
            logger.warning("settings: changed in %s, needs a restart of daemon and workers: %s", self._path.name, keys)

    def _refuse(self, error: ConfigError, file_sha256: str, now: datetime) -> None:
        logger.error(
            "settings: %s is wrong and changes nothing, the last good ones stay in force%s",
            self._path.name,
            _tell_reason(error),
        )
        self._keep(SettingsEvent.REFUSED, self._config, file_sha256, now, waits=self._waits, problem=str(error))

    def _keep(
        self,
        kind: SettingsEvent,
        config: Config,
        file_sha256: str,
        now: datetime,
        *,
        changes: Sequence[Change] = (),
        waits: Sequence[Change] = (),
        problem: str = "",
    ) -> None:
        """Write down what is in force from now on, before it is."""
        line = SettingsLine(
            at=now,
            kind=kind,
            revision=config.thresholds().config_revision,
            file_sha256=file_sha256,
            changes=tuple(changes),
            waits=tuple(waits),
            problem=problem,
            settings=list_settings(config),
        )
        self._store.add_settings_line(line)


def _tell_reason(error: ConfigError) -> str:
    """Say what a log may hold of it; where that is no more than keys and lines, also which command tells the rest."""
    if isinstance(error, LoggableError):
        return ": " + "; ".join(error.logged.splitlines())
    places = ", ".join(_shorten(sentence) for sentence in str(error).splitlines())
    return f" (`screener config check`): {places}"


def _shorten(sentence: str) -> str:
    """Return the key and the line of a sentence, without the value that it may quote."""
    place = _PLACE.search(sentence)
    return sentence.partition(": ")[0] + (place[0] if place else "")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes with the file: when it was written, its size and which file it is; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(path: Path) -> _Content:
    try:
        data = path.read_bytes()
    except OSError:
        return _Content(None, "")
    try:
        return _Content(data.decode(), hashlib.sha256(data).hexdigest())
    except UnicodeDecodeError:
        return _Content(None, hashlib.sha256(data).hexdigest())


def _parse(content: _Content, path: Path, environment: Mapping[str, str]) -> Config:
    """Read the settings; ConfigError also for a file that holds none, as one that was cut off does."""
    if not content.sha256:
        raise LoggableError(f"{path.name}: it is not there, or cannot be read")
    if content.text is None:
        raise LoggableError(f"{path.name}: it is no text in UTF-8")
    if not content.text.strip():
        raise LoggableError(f"{path.name}: it is empty")
    config = parse_config(content.text, path, environment, needs_secrets=False)
    if config.missing_secrets:
        lacks = "\n".join(secret.lack for secret in config.missing_secrets)
        raise LoggableError(add_lines(lacks, content.text))
    return config
