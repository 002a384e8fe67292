"""Find on which line of a config.toml each key stands, so that what is said of a key can name it."""

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

Lines = Mapping[str, int]
"""Dotted key, the tables of a list counted from 0 as in `listener.peers.0.port`, to its line from 1."""


def find_lines(text: str) -> Lines:
    """Return the line of every table and key; empty where `text` is no TOML.

    Statements are told apart by tomllib itself: one ends at the first line with which it can be read.
    """
    lines: dict[str, int] = {}
    tables: dict[str, int] = {}
    place = ""
    for number, statement in _split_statements(text):
        header = statement.lstrip().startswith("[")
        keys = list(_list_paths(tomllib.loads(statement)))
        if header and keys:
            name = max(keys, key=len).removesuffix(".0")
            place = _enter(name, tables, is_list=statement.lstrip().startswith("[["))
            keys = [place]
        elif place:
            keys = [f"{place}.{key}" for key in keys]
        for key in keys:
            lines.setdefault(key, number)
    return lines


def find_line(lines: Lines, key: str) -> int | None:
    """Return the line of `key`, else of the table that it belongs to; None where neither stands in the file."""
    while key and key not in lines:
        key = key.rpartition(".")[0]
    return lines.get(key)


def add_lines(message: str, text: str) -> str:
    """Return `message`, a line `key: sentence` for each wrong key, with the lines of `text` at which the keys stand."""
    lines = find_lines(text)
    return "\n".join(_add_line(sentence, lines) for sentence in message.splitlines())


def _add_line(sentence: str, lines: Lines) -> str:
    key = sentence.partition(": ")[0]
    number = find_line(lines, key)
    if number is None:
        return sentence
    where = f"line {number}" if key in lines else f"the table at line {number}"
    return f"{sentence} ({where})"


def _split_statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield each statement with the number of its first line; nothing more once no end of one is found."""
    statement, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if not statement and (not line.strip() or line.lstrip().startswith("#")):
            continue
        first = first if statement else number
        statement += f"{line}\n"
        try:
            tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        yield first, statement
        statement = ""


def _list_paths(value: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted path of every key in `value`, those of tables before those of what is in them."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield f"{prefix}{key}"
            yield from _list_paths(inner, f"{prefix}{key}.")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield f"{prefix}{number}"
            yield from _list_paths(inner, f"{prefix}{number}.")


def _enter(name: str, tables: dict[str, int], *, is_list: bool) -> str:
    """Return the path of the table that a header opens; `tables` counts those of each list so far."""
    path = ""
    parts = name.split(".")
    for depth, part in enumerate(parts, 1):
        path = f"{path}.{part}".lstrip(".")
        if is_list and depth == len(parts):
            tables[path] = tables.get(path, -1) + 1
        if path in tables:
            path = f"{path}.{tables[path]}"
    return path
