"""The commands of the settings: check, show, diff, replay and history."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy.exc

from screener.check_start import check_start, describe_failing_start
from screener.command_parts import (
    FolderClosedError,
    UsageError,
    add_command,
    open_existing,
    open_to_read,
    read_config,
)
from screener.config import Config, ConfigError, load_config, read_text
from screener.describe_settings import describe_difference, describe_history, describe_state
from screener.find_lines import add_lines
from screener.list_notices import list_notice_warnings
from screener.pull.backfill import admits
from screener.read_days import read_days
from screener.show_config import HOT, compare_configs, compare_shown, list_settings, show_config
from screener.store import Store
from screener.store.engine import reading
from screener.tell_changes import ASKED
from screener.try_settings import DAYS, NOT_REPLAYED, read_value, try_settings
from screener.web_settings import OpenId

PROVIDER_KEYS: Final = ("client_id", "readers", "radiologists", "administrators")
"""Keys of [web.openid] that mean nothing without a provider."""


def add_settings_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Everything below `screener config`."""
    sentence = "Check, show, compare or try the settings."
    config = commands.add_parser("config", help="check, show, compare or try the settings", description=sentence)
    parts = config.add_subparsers(required=True, metavar="check|show|diff|replay|history")
    add_command(parts, "check", _check, "read config.toml as the daemon would and name every key that is wrong")
    add_command(
        parts,
        "show",
        _show,
        "print what config.toml says, defaults included, secrets masked; on stderr what of it waits for a restart",
    )
    diff = add_command(parts, "diff", _diff, "say how another file differs from config.toml, and what needs a restart")
    diff.add_argument("file", type=Path, metavar="FILE", help="another config.toml")
    sentence = "say what another setting would have flagged, from what is stored; nothing is written"
    again = add_command(parts, "replay", _replay, sentence)
    again.add_argument(
        "--set", dest="changes", action="append", required=True, metavar="KEY=VALUE", help="decision.min_voxels=300"
    )
    again.add_argument("--days", type=read_days, default=DAYS, help="of so many days (default: %(default)g)")
    add_command(parts, "history", _history, "list when the settings were changed, and from what to what")


def _check(options: argparse.Namespace) -> int:
    config, path = read_config(options)
    _refuse_unread_secrets(config)
    check_start(config)
    for warning in list_warnings(config):
        print(f"warning: {warning}")
    for remark in (*list_remarks(config), *list_missing_secrets(config)):
        print(f"remark: {remark}")
    print(f"{path}: good; revision of the decision settings {config.thresholds().config_revision}")
    return 0


def _refuse_unread_secrets(config: Config) -> None:
    """Raise ConfigError for each variable that is set here and names a file that cannot be read."""
    unread = [secret.refusal for secret in config.missing_secrets if secret.problem]
    if unread:
        raise ConfigError("\n".join(unread))


def list_missing_secrets(config: Config) -> list[str]:
    """What this shell lacks of what the daemon needs, each with the line of the key that calls for it."""
    if config.file is None or not config.missing_secrets:
        return []
    remarks = "\n".join(secret.remark for secret in config.missing_secrets)
    return add_lines(remarks, read_text(config.file)).splitlines()


def list_warnings(config: Config) -> list[str]:
    """What is allowed in the settings, and hardly meant."""
    warnings = list_notice_warnings(config.notices)
    if config.completeness.max_wait_seconds < config.completeness.quiet_seconds:
        warnings.append("completeness.max_wait_seconds is shorter than completeness.quiet_seconds")
    if 0 < config.storage.clean_below_mib < config.storage.reserve_mib:
        warnings.append("storage.clean_below_mib is less than storage.reserve_mib: images are refused before any goes")
    warnings += _warn_of_no_provider(config.web.openid)
    warnings += [
        f"pull.sources {source.name} sends by C-MOVE, but no [[listener.peers]] entry admits "
        f"{source.ae_title} at {source.host}"
        for source in config.pull.sources
        if source.how == "move" and not admits(config, source)
    ]
    return warnings


def _warn_of_no_provider(openid: OpenId) -> list[str]:
    """Say that keys are set which mean nothing without an issuer; nothing where there is one."""
    meant = [f"web.openid.{key}" for key in PROVIDER_KEYS if getattr(openid, key)]
    if openid.issuer or not meant:
        return []
    are = "are" if len(meant) > 1 else "is"
    return [f"{' and '.join(meant)} {are} set, but web.openid.issuer is empty: nobody signs in through a provider"]


def list_remarks(config: Config) -> list[str]:
    """What is sound and as it comes out of the box, and had better be known before anybody relies on it."""
    remarks = []
    if not config.notices.all_addresses:
        remarks.append("nobody is told of a finding: there is no recipient; see notices.email and notices.rules")
    if not config.results.destinations:
        remarks.append("results go to no PACS: there is no [[results.destinations]]")
    return remarks


def _show(options: argparse.Namespace) -> int:
    config, _ = read_config(options)
    print(show_config(config))
    for remark in (*list_missing_secrets(config), *_remark_waits(config), *_remark_start(config)):
        print(f"remark: {remark}", file=sys.stderr)
    return 0


def _remark_waits(config: Config) -> list[str]:
    """Name the keys of which another value is in force; none where no daemon has started yet."""
    try:
        line = open_existing(config).last_settings_line()
    except FolderClosedError as error:
        return [f"nobody can tell what waits for a restart: {error}"]
    except UsageError:
        return []
    except sqlalchemy.exc.SQLAlchemyError:
        return ["nobody can tell what waits for a restart: the database does not answer"]
    if line is None:
        return []
    waits = [change for change in compare_shown(line.settings, list_settings(config)) if not change.is_hot]
    told = [f"{change.key} ({change.before} in force)" for change in waits]
    told += [
        f"{change.key} (another secret, as the daemon has seen)"
        for change in line.waits
        if change.is_secret and change.key not in {each.key for each in waits}
    ]
    return [f"not in force yet, needs a restart of daemon and workers: {', '.join(told)}"] if told else []


def _remark_start(config: Config) -> list[str]:
    """Say what would stop a start with the file; none where nothing would."""
    fault = describe_failing_start(config)
    return [f"no daemon and no worker would start with it: {fault}"] if fault else []


def _diff(options: argparse.Namespace) -> int:
    config, _ = read_config(options)
    print(
        describe_difference(compare_configs(config, load_config(options.file, needs_secrets=False)), str(options.file))
    )
    return 0


def _replay(options: argparse.Namespace) -> int:
    config, store = open_to_read(options)
    changes = read_changes(options.changes)
    reader = Store(reading(store.engine))  # a long look keeps no daemon from writing
    print(try_settings(reader, config, changes, datetime.now(UTC), days=options.days).text)
    return 0


def _history(options: argparse.Namespace) -> int:
    _, store = open_to_read(options)
    print(describe_state(store), describe_history(store.settings_lines(ASKED)), sep="\n")
    return 0


def read_changes(texts: Sequence[str]) -> dict[str, Any]:
    """Read `decision.key=value` pairs into values by key; UsageError where one is none, or cannot be replayed."""
    changes: dict[str, Any] = {}
    for text in texts:
        key, is_pair, value = (part.strip() for part in text.partition("="))
        if not is_pair:
            raise UsageError(f"{text}: write KEY=VALUE, such as decision.min_voxels=300")
        name = key.removeprefix(HOT)
        if "." in name:
            raise UsageError(f"{key}: only the keys of [decision] can be tried on what is stored")
        if name == NOT_REPLAYED:
            raise UsageError(f"{key}: candidates are formed by it; another one takes a new screening of every study")
        changes[name] = read_value(value)
    return changes
