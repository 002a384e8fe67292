"""Find in a wrong config.toml where database and disk are, so that what only reads can go on; never guess it."""

import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel

from screener.config import Config, ConfigError, make_config, read_text

_SALVAGED: Final = ("storage", "database")
"""The tables without which nothing can be told."""
_LIMITS_OF_THE_DISK: Final = {"reserve_mib", "clean_below_mib"}
"""Keys of [storage] that do not say where anything lies."""
_HEADER: Final = re.compile(r"^[ \t]*\[+([^\]#]*)")
_KEY: Final = re.compile(r"(?:^|[{,])[ \t]*((?:[\w-]+[ \t]*\.[ \t]*)*)[\"']?(folder|url)[\"']?[ \t]*=")
_URL: Final = re.compile(r"\b(?:sqlite|postgres(?:ql)?)(?:\+\w+)?://")
"""How the URL of a database begins; that of a web address does not."""
_ONE_WORD: Final = re.compile(r"(?m)^[^\w#\n]*([\w-]+)[^\w\n]*$")
"""A line that may be meant as a header."""


def salvage_config(path: Path) -> Config:
    """The settings of a wrong file as far as they name the database and the disk; ConfigError where those are unsure.

    A table that is not there stands for its defaults, unless anything in the file may be that table by another name.
    """
    text = read_text(path)
    try:
        tables, suspects = tomllib.loads(text), []
    except tomllib.TOMLDecodeError:
        tables, suspects = _read_part(text, path), _ONE_WORD.findall(text)
        if "storage" not in tables:
            raise ConfigError(f"{path}: no [storage] is found") from None
    absent = [name for name in _SALVAGED if name not in tables]
    _refuse_misplaced(text)
    headers = _list_headers(text)
    names = (name for header in headers for name in header)
    _refuse_misspelled({*tables, *(header[0] for header in headers)}, (*tables, *names, *suspects), absent)
    return _make_part({name: tables[name] for name in _SALVAGED if name in tables}, path.resolve().parent)


def _make_part(kept: dict[str, Any], base: Path) -> Config:
    """Check the salvaged tables; wrong limits of the disk are left out."""
    try:
        return make_config(kept, base=base, environment={})
    except ConfigError:
        if not isinstance(kept.get("storage"), dict):
            raise
        limited = {key: value for key, value in kept["storage"].items() if key not in _LIMITS_OF_THE_DISK}
        return make_config(kept | {"storage": limited}, base=base, environment={})


def _read_part(text: str, path: Path) -> dict[str, Any]:
    """Read the salvaged tables, and what stands before all tables, of a file that is no TOML elsewhere."""
    first, *others = re.split(r"(?m)^(?=[ \t]*\[)", text)
    mine = [part for part in others if _read_header(part)[:1] in [(name,) for name in _SALVAGED]]
    try:
        return tomllib.loads("".join((first, *mine)))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None


def _read_header(line: str) -> tuple[str, ...]:
    """The names in the header that a line is or may be meant to be; none where it is another line."""
    header = _HEADER.match(line)
    return tuple(part.strip(" \t\n\"'") for part in header[1].split(".")) if header else ()


def _list_headers(text: str) -> list[tuple[str, ...]]:
    return [header for line in text.splitlines() if (header := _read_header(line))]


def _refuse_misplaced(text: str) -> None:
    """Raise ConfigError where a folder or a URL stands in no table that knows it: the header above it may be wrong."""
    for table, line in _list_lines(text):
        if _URL.search(line) and table != ("database",):
            raise ConfigError(f"{'.'.join(table)}: the URL of a database outside of [database]")
        for prefix, key in _KEY.findall(line):
            place = (*table, *(part.strip() for part in prefix.split(".")[:-1]))
            if not _is_known(place, key):
                raise ConfigError(f"{'.'.join((*place, key))}: unknown key")


def _list_lines(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each line that is no comment, with the table in which it stands."""
    table: tuple[str, ...] = ()
    for line in text.splitlines():
        table = _read_header(line) or table
        if not line.lstrip().startswith("#"):
            yield table, line


def _is_known(table: Sequence[str], key: str) -> bool:
    """True: there is such a key in such a table of the settings."""
    model: type[BaseModel] = Config
    for name in table:
        kind = model.model_fields[name].annotation if name in model.model_fields else None
        inner = next(iter(get_args(kind)), kind)
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return False
        model = inner
    return key in model.model_fields


def _refuse_misspelled(tables: Iterable[str], names: Iterable[str], absent: Sequence[str]) -> None:
    """Raise ConfigError where a table may be a salvaged one by another name: the defaults would be another database.

    `tables` stand by themselves; `names` are theirs, those of tables within others, and of what may be one.
    """
    known = set(Config.model_fields)
    for name in set(names) - (known - set(absent)):
        if "=" in name or get_close_matches(name.lower(), _SALVAGED, n=1):  # a header that holds a key was that key
            raise ConfigError(f"{name}: unknown key")
    for name in set(tables) - known:
        if absent and not get_close_matches(name.lower(), known, n=1):
            raise ConfigError(f"{name}: unknown key, which may stand for {' or '.join(absent)}")
