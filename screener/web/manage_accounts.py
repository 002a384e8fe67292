"""The `screener users` commands: accounts are made by whoever may read the settings, never through a page."""

import getpass
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from screener.record_deed import record_deed
from screener.store import Store
from screener.store.web_accounts import Role
from screener.web.passwords import WeakPasswordError, hash_password

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
COMMAND: Final = "screener users"


class AccountError(Exception):
    """What was asked for cannot be done; the message says why."""


def add_account(store: Store, name: str, role: str, password_file: Path | None) -> str:
    """Add an account; the password comes from a file or a prompt, never from the command line."""
    if not NAME.fullmatch(name):
        raise AccountError("a name has 1 to 64 letters, digits, dots, hyphens, underscores or @")
    if store.find_account(name) is not None:
        raise AccountError(f"there is an account {name} already; `{COMMAND} password {name}` changes its password")
    password_hash = _read_password(name, password_file)
    if not store.add_account(name, Role(role), password_hash, datetime.now(UTC)):
        raise AccountError(f"there is an account {name} already")
    record_deed(store, "account added", detail=f"{name}, {role}")
    return f"{name} may sign in as {role}"


def change_password(store: Store, name: str, password_file: Path | None) -> str:
    """Give an account a new password, and make it local.

    Its sessions end; one that was disabled, or must wait after too many failures, may sign in again.
    """
    if store.find_account(name) is None:
        raise AccountError(f"there is no account {name}")
    store.set_password(name, _read_password(name, password_file))
    record_deed(store, "password changed", detail=name)
    return f"{name} has a new password and must sign in again"


def disable_account(store: Store, name: str) -> str:
    """Let an account sign in no more; what it did stays in the audit trail."""
    if not store.disable_account(name):
        raise AccountError(f"there is no account {name}")
    record_deed(store, "account disabled", detail=name)
    return f"{name} may not sign in any more; a new password lets them in again"


def leave_to_openid(store: Store, name: str) -> str:
    """Leave an account to whom the OpenID provider next calls by its name; its password opens it no more."""
    if not store.leave_to_openid(name):
        raise AccountError(f"there is no account {name}")
    record_deed(store, "left to OpenID", detail=name)
    return f"{name} belongs to whom the OpenID provider next calls by that name; no password opens it"


def list_accounts(store: Store) -> str:
    """Every account, its role, and whether it is disabled."""
    accounts = store.accounts()
    if not accounts:
        return f"no accounts yet: `{COMMAND} add NAME --role administrator` makes the first"
    return "\n".join(
        f"{account.name:<24} {account.role:<14} since {account.created_at.astimezone():%Y-%m-%d}"
        + ("" if account.is_local else "  OpenID")
        + ("  disabled" if account.is_disabled else "")
        for account in accounts
    )


def _read_password(name: str, password_file: Path | None) -> str:
    try:
        if password_file is not None:
            return hash_password(password_file.read_text(encoding="utf-8").rstrip("\r\n"))
        if not sys.stdin.isatty():
            raise AccountError("no terminal to ask for the password at: name a file with --password-file")
        password = getpass.getpass(f"Password for {name}: ")
        if getpass.getpass("Once more: ") != password:
            raise AccountError("the two are not the same")
        return hash_password(password)
    except WeakPasswordError as error:
        raise AccountError(str(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise AccountError(f"{password_file} cannot be read: {type(error).__name__}") from None
