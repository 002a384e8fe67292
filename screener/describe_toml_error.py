"""Say of a file that is no TOML which key or table is meant, beside the line and column that tomllib tells."""

import re
import tomllib
from typing import Final

from screener.find_lines import find_lines

_PLACE: Final = re.compile(r" \(at line (\d+), column (\d+)\)")
_TABLE: Final = re.compile(r"Cannot declare \((.*)\) twice")
_HEADER: Final = re.compile(r"[ \t]*\[\[?([^\[\]]+)\]")
_IN_CAPITALS: Final = re.compile(r"(True|False|TRUE|FALSE)\b")


def describe_toml_error(error: tomllib.TOMLDecodeError, text: str) -> str:
    """Return what tomllib says, with the key or the table where the place of the error tells it."""
    said = str(error)
    place = _PLACE.search(said)
    if place is None:
        return said
    number, column = int(place[1]), int(place[2])
    table = _TABLE.match(said)
    if table:
        name = ".".join(re.findall("'([^']*)'", table[1]))
        return _tell_first(f"the table [{name}]", name, text, number) or said
    key = _name_key(text, number, column)
    if said.startswith("Cannot overwrite"):
        return _tell_first(key, key, text, number) or said
    if key and _IN_CAPITALS.match(text.splitlines()[number - 1][column - 1 :]):
        return f"{key}: TOML writes true and false in small letters (at line {number})"
    return f"{key}: {said}" if key else said


def _name_key(text: str, number: int, column: int) -> str:
    """Name the key whose value holds this place; empty where none stands before it on its line."""
    rows = text.splitlines()[:number]
    if len(rows) < number or not 0 < rows[-1].find("=") < column:
        return ""
    headers = [found[1].strip() for found in map(_HEADER.match, rows) if found]
    return ".".join((*headers[-1:], rows[-1].partition("=")[0].strip()))


def _tell_first(what: str, key: str, text: str, number: int) -> str:
    """Say where `what` stands for the first time; empty where that cannot be found."""
    lines = find_lines(text)
    first = lines.get(key, lines.get(f"{key}.0", number))
    return f"{what} stands at line {first} already (at line {number})" if first < number else ""
