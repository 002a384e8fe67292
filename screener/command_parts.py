"""What the commands share: their options, the settings and the database that they name, and how they refuse."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from screener.config import CONFIG_VARIABLE, Config, ConfigError, NoFileError, find_config, load_config
from screener.restore_config import Restored, restore_config
from screener.salvage_config import salvage_config
from screener.store import Store, open_store

PROGRAM: Final = "screener"
UNTOLD: Final = (
    "Only it says where the database is, so that nothing can be told without it; "
    "a daemon that runs goes on with the last good settings"
)
"""What a command without config.toml says; it looks into no other database."""


class UsageError(Exception):
    """What was asked for cannot be done; the message says why."""


class FolderClosedError(UsageError):
    """Whether there is a database cannot be told: the caller may not look into the storage folder."""


def add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    command: Callable[[argparse.Namespace], int],
    sentence: str,
) -> argparse.ArgumentParser:
    """Add a command that runs `command` and says of itself `sentence`; every one takes --config."""
    parser = commands.add_parser(name, help=sentence, description=f"{sentence[0].upper()}{sentence[1:]}.")
    parser.add_argument("--config", type=Path, help="settings (default: $SCREENER_CONFIG, then ./config.toml)")
    parser.set_defaults(command=command)
    return parser


def read_config(options: argparse.Namespace, *, needs_secrets: bool = False) -> tuple[Config, Path]:
    """The settings that a command names, and their file; ConfigError where they are wrong.

    What tells people or signs them in `needs_secrets`; any other command runs in a shell that lacks them.
    """
    path: Path = options.config or find_config()
    try:
        return load_config(path, needs_secrets=needs_secrets), path
    except NoFileError:
        said = f"{path.absolute()}: no such file; name it by --config or {CONFIG_VARIABLE}"
        raise NoFileError(said if needs_secrets else f"{said}. {UNTOLD}") from None


def open_database(options: argparse.Namespace, *, needs_secrets: bool = False) -> tuple[Config, Store]:
    """The settings and the database they name; UsageError where no daemon has made one yet."""
    config, _ = read_config(options, needs_secrets=needs_secrets)
    return config, open_existing(config)


def open_to_read(options: argparse.Namespace) -> tuple[Config, Store]:
    """As `open_database`, for a command that only reads: it goes on beside a wrong file, and says so on stderr."""
    known, store = open_to_judge(options)
    return known.config, store


def open_to_judge(options: argparse.Namespace) -> tuple[Restored, Store]:
    """As `open_to_read`, for a command that judges by settings: it is told which of those in force are not known."""
    known, store, problem = open_all_the_same(options)
    if problem:
        file = options.config or find_config()
        print(f"{file} is WRONG; told by the settings last in force, as far as known:", problem, file=sys.stderr)
        if known.unknown:
            print("not known of them:", ", ".join(known.unknown), file=sys.stderr)
    return known, store


def open_all_the_same(options: argparse.Namespace) -> tuple[Restored, Store, str]:
    """As `open_database`, also where the settings are wrong: then with the last good ones, and with what is wrong."""
    try:
        config, store = open_database(options)
    except ConfigError as error:
        return *_open_beside(options, error), str(error)
    return Restored(config), store, ""


def _open_beside(options: argparse.Namespace, error: ConfigError) -> tuple[Restored, Store]:
    """Open the database that a wrong file names all the same; raises `error` where it names none for certain.

    One that is named and cannot be read is told after `error`.
    """
    file = options.config or find_config()
    try:
        salvaged = salvage_config(file)
        store = open_existing(salvaged)
        line = store.last_settings_line()
    except (SQLAlchemyError, FolderClosedError) as refusal:
        print(f"{file} is WRONG:", error, file=sys.stderr)
        raise UsageError(_describe_refusal(refusal)) from None
    except (ConfigError, UsageError):
        raise error from None
    return restore_config({} if line is None else line.settings, salvaged), store


def _describe_refusal(refusal: SQLAlchemyError | FolderClosedError) -> str:
    """Say in one line what a database answers, or that its URL is none; the URL may hold a password and is not told."""
    if isinstance(refusal, FolderClosedError):
        return str(refusal)
    if isinstance(refusal, DBAPIError):
        return f"the database does not answer: {refusal.orig}".partition("\n")[0]
    return "database.url: not a SQLAlchemy URL"


def open_existing(config: Config) -> Store:
    """The database that the settings name; UsageError where no daemon has made one yet, or none can be seen."""
    if not config.database.url and not _is_there(config.storage_folder / "screener.sqlite"):
        raise UsageError(f"no database in {config.storage_folder} yet: start `{PROGRAM} run` once")
    return open_store(config.database_url)


def _is_there(file: Path) -> bool:
    try:
        return file.exists()
    except OSError as error:
        raise FolderClosedError(f"{file.parent}: {error.strerror}") from None


def find_study(store: Store, reference: str) -> int:
    """Our number of a study; UsageError where it was not received."""
    study_id = store.find_study(reference)
    if study_id is None:
        raise UsageError(f"no study {reference} was received; `{PROGRAM} status` counts those that were")
    return study_id
