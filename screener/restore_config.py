"""The settings last in force, from what the log of the settings has kept of them."""

import json
import re
from collections.abc import Mapping
from typing import Any

from screener.config import Config, ConfigError, make_config
from screener.show_config import MASK


def restore_config(settings: Mapping[str, str], salvaged: Config) -> Config:
    """Make settings of what `list_settings` has listed; disk and database are where `salvaged` says.

    What was masked has its default. Where another version has kept the list, `salvaged` is all that is known.
    """
    try:
        config = make_config(_nest(settings), base=salvaged.resolve(""), environment={}, needs_secrets=False)
    except ConfigError:
        return salvaged
    storage = config.storage.model_copy(update={"folder": salvaged.storage.folder})
    return config.model_copy(update={"storage": storage, "database": salvaged.database})


def _nest(settings: Mapping[str, str]) -> dict[str, Any]:
    """Undo the flattening: `results.destinations[0].name` back to tables and lists of them."""
    tables: dict[str, Any] = {}
    for key, text in settings.items():
        if MASK in text:
            continue
        *path, last = re.findall(r"[^.\[\]]+", key)
        table = tables
        for part in path:
            table = table.setdefault(part, {})
        table[last] = json.loads(text)
    return {name: _list_again(table) for name, table in tables.items()}


def _list_again(value: Any) -> Any:
    """Return a table whose keys are all numbers as the list that it was."""
    if not isinstance(value, dict):
        return value
    if all(key.isdecimal() for key in value):
        return [_list_again(inner) for inner in value.values()]
    return {key: _list_again(inner) for key, inner in value.items()}
