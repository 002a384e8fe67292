"""Passwords: kept as argon2id digests only."""

import secrets
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MIN_CHARACTERS = 12
MAX_CHARACTERS = 256
"""So that nobody keeps the machine busy with a very long one."""

AT_ONCE = 2
"""So many are hashed at the same time, 64 MiB each: whoever reaches the port must not exhaust the memory."""

_places = BoundedSemaphore(AT_ONCE)
_hasher = PasswordHasher()  # RFC 9106: argon2id with the library's parameters
_NOBODY = _hasher.hash(secrets.token_urlsafe())


class WeakPasswordError(Exception):
    """The password will not do; the message says why."""


def hash_password(password: str) -> str:
    """Give the digest to keep; WeakPasswordError for one that is too short or too long."""
    if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS:
        raise WeakPasswordError(f"a password has {MIN_CHARACTERS} to {MAX_CHARACTERS} characters")
    return _hasher.hash(password)


def is_password(password: str, password_hash: str | None) -> bool:
    """True: the password belongs to the digest. No account (None) or one without a password ("") takes as long."""
    if len(password) > MAX_CHARACTERS:
        return False
    try:
        with _places:
            _hasher.verify(password_hash or _NOBODY, password)
    except (VerificationError, InvalidHashError):
        return False
    return bool(password_hash)
