"""Every key of config.toml has its field's sentence above it, also in the tables that stand there as comments."""

import re
import typing
from pathlib import Path

import pytest
from pydantic import BaseModel

from screener.config import Config

LINES = (Path(__file__).resolve().parents[2] / "config.toml").read_text(encoding="utf-8").splitlines()
LIVE = (re.compile(r"\[{1,2}([a-z0-9_.]+)\]{1,2}"), re.compile(r"([a-z0-9_]+) = "), "# ")
COMMENTED = (re.compile(r"#   \[\[([a-z0-9_.]+)\]\]"), re.compile(r"#   ([a-z0-9_]+) = "), "#   # ")


def find_model(annotation: object) -> type[BaseModel] | None:
    """The settings that a field holds, by itself or in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in typing.get_args(annotation) if (model := find_model(part))), None)


def model_of(table: str) -> type[BaseModel]:
    model: type[BaseModel] = Config
    for part in table.split("."):
        found = find_model(model.model_fields[part].annotation)
        assert found is not None, table
        model = found
    return model


def list_keys(head: re.Pattern[str], key: re.Pattern[str], mark: str) -> list[tuple[str, str, str, str]]:
    """Table, key, its field's sentence, and the line above; a second example of a table needs no sentences again."""
    found, table, told = [], "", set()
    for above, line in zip(["", *LINES], LINES, strict=False):
        if begun := head.match(line):
            table = begun[1]
        elif table and (named := key.match(line)) and (table, named[1]) not in told:
            told.add((table, named[1]))
            found.append((table, named[1], f"{mark}{model_of(table).model_fields[named[1]].description}", above))
    return found


@pytest.mark.parametrize(("shape", "least"), [(LIVE, 80), (COMMENTED, 60)], ids=["live", "commented"])
def test_every_key_has_the_sentence_of_its_field_above_it(
    shape: tuple[re.Pattern[str], re.Pattern[str], str], least: int
) -> None:
    keys = list_keys(*shape)
    assert len(keys) >= least
    wrong = [f"{table}.{key}" for table, key, sentence, above in keys if above != sentence]
    assert wrong == []
