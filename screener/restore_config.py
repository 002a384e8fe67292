"""The settings last in force, from what the log of the settings has kept of them."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from screener.config import Config
from screener.section import Section
from screener.show_config import MASK


class Restored(NamedTuple):
    """What is known of the settings in force."""

    config: Config
    unknown: tuple[str, ...] = ()
    """Tables and keys of which it is not known what is in force; the settings have the default in their place."""

    def knows(self, table: str) -> bool:
        """True: nothing of this table is unknown."""
        return all(key.partition(".")[0] != table for key in self.unknown)


def restore_config(settings: Mapping[str, str], salvaged: Config) -> Restored:
    """Make settings of what `list_settings` has listed; disk and database are where `salvaged` says.

    What was masked has its default. Of what another version has kept, only that is left out which this one refuses.
    """
    tables = _nest(settings)
    sections: dict[str, Section] = {}
    unknown: list[str] = []
    for name in (each for each in Config.model_fields if each != "database"):
        if name in tables:
            sections[name], dropped = _restore_table(name, tables[name])
            unknown += dropped
        else:
            unknown.append(name)
    if "storage" in sections:
        sections["storage"] = sections["storage"].model_copy(update={"folder": salvaged.storage.folder})
    return Restored(salvaged.model_copy(update=sections), tuple(unknown))


def _restore_table(name: str, table: Any) -> tuple[Section, list[str]]:
    """Check one table; what is wrong with it is taken out, and named."""
    tables: dict[str, Any] = {name: table}
    dropped: list[str] = []
    while True:
        try:
            return getattr(Config.model_validate(tables), name), dropped
        except ValidationError as error:
            place = error.errors(include_url=False)[-1]["loc"]  # one by one: the numbers in a list change by each
            dropped.append(".".join(str(part) for part in _take_out(tables, place)))


def _take_out(tables: Any, place: Sequence[str | int]) -> Sequence[str | int]:
    """Remove what stands at `place`, or the nearest above it that is there; returns which that was."""
    first, *rest = place
    if rest and _holds(tables[first], rest[0]):
        return (first, *_take_out(tables[first], rest))
    del tables[first]
    return (first,)


def _holds(table: Any, key: str | int) -> bool:
    """True: there is such a key in this table, or a table of such a number in this list."""
    return key in table if isinstance(table, dict) else isinstance(table, list) and key in range(len(table))


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
