"""Find in a wrong config.toml where database and disk are, so that what only reads can go on; never guess it."""

import re
import tomllib
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from screener.config import Config, ConfigError, make_config, read_text

_SALVAGED: Final = ("storage", "database")
"""The tables without which nothing can be told."""
_LIMITS_OF_THE_DISK: Final = {"reserve_mib", "clean_below_mib"}
"""Keys of [storage] that do not say where anything lies."""
_HEADER: Final = re.compile(r"(?m)^[ \t]*\[+[ \t]*[\"']?([\w-]+)")


def salvage_config(path: Path) -> Config:
    """The settings of a wrong file as far as they name the database and the disk; ConfigError where those are wrong."""
    text = read_text(path)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        tables = _read_part(text, path)
    _refuse_misspelled((*tables, *_HEADER.findall(text)))
    kept: dict[str, Any] = {name: tables[name] for name in _SALVAGED if name in tables}
    base = path.resolve().parent
    try:
        return make_config(kept, base=base, environment={})
    except ConfigError:
        if not isinstance(kept.get("storage"), dict):
            raise
        kept["storage"] = {key: value for key, value in kept["storage"].items() if key not in _LIMITS_OF_THE_DISK}
        return make_config(kept, base=base, environment={})


def _read_part(text: str, path: Path) -> dict[str, Any]:
    """Read the salvaged tables, and what stands before all tables, of a file that is no TOML elsewhere."""
    first, *others = re.split(r"(?m)^(?=[ \t]*\[)", text)
    named = [(part, _HEADER.match(part)) for part in others]
    mine = [part for part, header in named if header and header[1] in _SALVAGED]
    try:
        return tomllib.loads("".join((first, *mine)))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None


def _refuse_misspelled(names: Iterable[str]) -> None:
    """Raise ConfigError where a table may be a salvaged one by another name: the defaults would be another database."""
    for name in set(names) - set(Config.model_fields):
        if get_close_matches(name.lower(), _SALVAGED, n=1):
            raise ConfigError(f"{name}: unknown key")
