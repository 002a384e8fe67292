"""Change values of [decision] in config.toml: its comments stay, and it is whole and valid at every moment."""

import hashlib
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from screener.config import Config, ConfigError, parse_config, read_text


def change_settings(path: Path, changes: Mapping[str, Any], *, file_sha256: str) -> Config:
    """Write `changes`, values by key of [decision], into the file at `path`; returns the settings that it then holds.

    Raises ConfigError, and writes nothing, where a value is wrong, where the file is no longer the one with the digest
    `file_sha256`, which the person has seen, or where it cannot be written.
    """
    text = read_text(path)
    if digest_text(text) != file_sha256:
        raise ConfigError(f"{path.name} has been changed by somebody else meanwhile: look at it again")
    changed = set_values(text, changes)
    config = parse_config(changed, path)
    _write(path, changed)
    return config


def set_values(text: str, changes: Mapping[str, Any]) -> str:
    """Return the text of a config.toml with other values in [decision], everything else as it was."""
    try:
        document = tomlkit.parse(text)
        table: Any = document.setdefault("decision", tomlkit.table())
        for key, value in changes.items():
            table[key] = value
    except TOMLKitError as error:
        raise ConfigError(f"config.toml: {error}") from None
    return tomlkit.dumps(document)


def digest_text(text: str) -> str:
    """Return the digest by which a page knows the file that it has shown."""
    return hashlib.sha256(text.encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    """Write the file so that it holds all of the text or what it held before, with the rights that it had."""
    target = path.resolve()  # a link stays a link
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with unfinished.open("x", encoding="utf-8", newline="") as file:
            shutil.copymode(target, unfinished)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise ConfigError(f"{path}: it cannot be written ({error.strerror}): change it by hand") from None
