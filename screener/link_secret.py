"""The secret that signs links: made at first use, kept in the storage folder, readable by its owner only."""

import os
import secrets
from pathlib import Path

from screener.config import ConfigError

SECRET_BYTES = 32
FILE_NAME = "links.key"


def load_link_secret(folder: Path) -> bytes:
    """Give the secret of the storage folder; two processes that ask for the first time get the same.

    A new one in place of a damaged one would make every link that was sent worthless.
    """
    return load_secret(folder / FILE_NAME, "links that were sent work no more")


def load_secret(path: Path, loss: str) -> bytes:
    """Give the secret at `path`, made where there is none; `loss` says what its removal costs.

    Raises ConfigError where the file is too short to be one, or cannot be read or written.
    """
    try:
        if not path.exists():
            _make(path)
        secret = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"storage.folder: {path}: {error.strerror}") from None
    if len(secret) < SECRET_BYTES:
        raise ConfigError(f"storage.folder: {path} is damaged: remove it, and {loss}")
    return secret


def _make(path: Path) -> None:
    """Write a whole file under another name and link it, so that the first of two stays and nobody reads a half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(unfinished)
        except FileExistsError:
            return
    finally:
        unfinished.unlink()
