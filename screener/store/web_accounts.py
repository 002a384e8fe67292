"""Accounts, sessions, failed sign-ins and the audit trail: digests of secrets only, never a secret.

An account is signed in to by its password, or through the OpenID provider: one
with neither password nor subject waits for whom the provider calls by its name.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
import sqlalchemy.exc

from screener.store import web_tables as w
from screener.store.base import Base

SEEN_STEP = timedelta(minutes=1)
"""A session's last use is written this often at most: a page view need not wait for the disk."""


def failure_key(kind: str, name: str) -> str:
    """Under which failed sign-ins of an account or an address are counted: a digest, for people type anything."""
    return hashlib.sha256(f"{kind} {name}".encode()).hexdigest()


class Role(StrEnum):
    """What an account may do; each may do all that the one before may."""

    READER = "reader"
    """Sees the worklist, the cases, the quality and the state of the system."""
    RADIOLOGIST = "radiologist"
    """Acknowledges, agrees and disagrees, enters findings."""
    ADMINISTRATOR = "administrator"
    """Sees the thresholds and the audit trail, and changes a threshold."""

    def includes(self, other: "Role") -> bool:
        """True: this role may do what the other may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One person who may sign in."""

    account_id: int
    name: str
    role: Role
    password_hash: str
    is_disabled: bool
    created_at: datetime
    openid_subject: str | None
    """Digest of issuer and subject at the OpenID provider; None: it has never been signed in to through one."""

    @property
    def is_local(self) -> bool:
        """True: a password opens it. False: the OpenID provider does."""
        return bool(self.password_hash)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One signed-in browser."""

    session_id: int
    account: Account
    ends_at: datetime
    id_token: str | None = None
    """What the OpenID provider is shown at the sign-out; None: signed in by password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLine:
    """One thing that somebody saw or did."""

    audit_id: int
    at: datetime
    account: str
    address: str
    action: str
    study_id: int | None
    detail: str


class Accounts(Base):
    """Who may sign in, who has, and what they did."""

    def add_account(self, name: str, role: Role, password_hash: str, now: datetime) -> bool:
        """Add an account; False where the name is taken."""
        values = {"name": name, "role": role, "password_hash": password_hash, "is_disabled": False, "created_at": now}
        try:
            with self._begin() as connection:
                connection.execute(w.accounts.insert().values(values))
        except sqlalchemy.exc.IntegrityError:
            return False
        return True

    def accounts(self) -> list[Account]:
        """Every account, by name."""
        with self._begin() as connection:
            rows = connection.execute(w.accounts.select().order_by(w.accounts.c.name)).all()
        return [_account(row) for row in rows]

    def find_account(self, name: str) -> Account | None:
        """The account of that name, disabled ones included."""
        with self._begin() as connection:
            row = connection.execute(w.accounts.select().where(w.accounts.c.name == name)).one_or_none()
        return None if row is None else _account(row)

    def disable_account(self, name: str) -> bool:
        """Let an account sign in no more, and end its sessions; False where there is none of that name."""
        return self._change_account(name, is_disabled=True)

    def set_password(self, name: str, password_hash: str) -> bool:
        """Make an account local: a new password opens it and nothing else; its sessions end, and it is not disabled.

        Its failed sign-ins are forgotten, so that it need not wait; those of an address stay.
        """
        if not self._change_account(name, password_hash=password_hash, openid_subject=None, is_disabled=False):
            return False
        with self._begin() as connection:
            table = w.failed_sign_ins
            connection.execute(table.delete().where(table.c.key == failure_key("account", name)))
        return True

    def leave_to_openid(self, name: str) -> bool:
        """Leave an account to whom the OpenID provider next calls by its name; as `set_password` otherwise."""
        return self._change_account(name, password_hash="", openid_subject=None, is_disabled=False)

    def account_by_openid(self, subject: str, name: str, role: Role, now: datetime) -> Account | None:
        """The account of a person for whom the OpenID provider vouches, made where there is none.

        Its role becomes `role`; it keeps the name that it has. None: the person has none, and `name` is another's.
        """
        table, c = w.accounts, w.accounts.c
        is_theirs = c.openid_subject == subject
        waits = sa.and_(c.name == name, c.openid_subject.is_(None), c.password_hash == "")
        made = {"name": name, "password_hash": "", "is_disabled": False, "created_at": now}
        try:
            with self._begin() as connection:
                known = sa.select(c.id).where(is_theirs)
                if connection.execute(known).first() is None:
                    taken = connection.execute(table.update().where(waits).values(openid_subject=subject))
                    if taken.rowcount == 0:
                        connection.execute(table.insert().values(**made, role=role, openid_subject=subject))
        except sqlalchemy.exc.IntegrityError:
            pass  # the name is taken, or the same person has come in by another window meanwhile
        with self._begin() as connection:
            connection.execute(table.update().where(is_theirs).values(role=role))
            row = connection.execute(table.select().where(is_theirs)).one_or_none()
        return None if row is None else _account(row)

    def _change_account(self, name: str, **values: object) -> bool:
        with self._begin() as connection:
            mine = w.accounts.c.name == name
            if connection.execute(w.accounts.update().where(mine).values(**values)).rowcount != 1:
                return False
            its = sa.select(w.accounts.c.id).where(mine).scalar_subquery()
            connection.execute(w.sessions.delete().where(w.sessions.c.account_id == its))
        return True

    def begin_session(
        self, account_id: int, token_sha256: str, now: datetime, ends_at: datetime, id_token: str | None = None
    ) -> None:
        """Remember a signed-in browser, and forget those whose time is over."""
        with self._begin() as connection:
            connection.execute(w.sessions.delete().where(w.sessions.c.ends_at <= now))
            connection.execute(
                w.sessions.insert().values(
                    account_id=account_id,
                    token_sha256=token_sha256,
                    begun_at=now,
                    seen_at=now,
                    ends_at=ends_at,
                    id_token=id_token,
                )
            )

    def find_session(
        self, token_sha256: str, now: datetime, idle: timedelta, *, is_used: bool = True
    ) -> Session | None:
        """The session of a cookie; None where it has ended, was idle for too long, or its account is disabled.

        `is_used`: a person asks, and the session is idle no more; False: their page asks by itself.
        """
        joined = sa.join(w.sessions, w.accounts, w.accounts.c.id == w.sessions.c.account_id)
        query = (
            sa.select(
                w.accounts,
                w.sessions.c.id.label("session_id"),
                w.sessions.c.seen_at,
                w.sessions.c.ends_at,
                w.sessions.c.id_token,
            )
            .select_from(joined)
            .where(w.sessions.c.token_sha256 == token_sha256, w.accounts.c.is_disabled.is_(False))
        )
        with self._begin() as connection:
            row = connection.execute(query).one_or_none()
        if row is None or now >= row.ends_at or now - row.seen_at > idle:
            return None
        if is_used and now - row.seen_at >= SEEN_STEP:
            self._touch(row.session_id, now)
        return Session(session_id=row.session_id, account=_account(row), ends_at=row.ends_at, id_token=row.id_token)

    def _touch(self, session_id: int, now: datetime) -> None:
        with self._begin() as connection:
            connection.execute(w.sessions.update().where(w.sessions.c.id == session_id).values(seen_at=now))

    def end_session(self, session_id: int) -> None:
        """Forget a signed-in browser."""
        with self._begin() as connection:
            connection.execute(w.sessions.delete().where(w.sessions.c.id == session_id))

    def begin_sign_in(self, limits: Mapping[str, int], now: datetime, kept: timedelta) -> list[int]:
        """Count an attempt as failed under each key of `limits` before its password is looked at; gives the rows' ids.

        None are given, and nothing is counted, where a key has its number of
        failures already. It counts first and looks then, so that attempts at
        the same time see each other. What is older than `kept` is forgotten.
        """
        table = w.failed_sign_ins
        with self._begin() as connection:
            connection.execute(table.delete().where(table.c.at < now - kept))
            added = [connection.execute(table.insert().values(key=key, at=now)).inserted_primary_key for key in limits]
        rows = [row[0] for row in added if row is not None]
        if all(self.failed_sign_ins(key, now - kept) <= limit for key, limit in limits.items()):
            return rows
        self.sign_in_succeeded(rows)
        return []

    def sign_in_succeeded(self, rows: Sequence[int]) -> None:
        """Take back what `begin_sign_in` counted."""
        with self._begin() as connection:
            connection.execute(w.failed_sign_ins.delete().where(w.failed_sign_ins.c.id.in_(rows)))

    def failed_sign_ins(self, key: str, since: datetime) -> int:
        """How often a sign-in failed under this key."""
        counted = sa.select(sa.func.count()).where(w.failed_sign_ins.c.key == key, w.failed_sign_ins.c.at >= since)
        with self._begin() as connection:
            return connection.execute(counted).scalar_one()

    def add_audit(
        self, *, at: datetime, account: str, address: str, action: str, study_id: int | None = None, detail: str = ""
    ) -> None:
        """Add a line to the audit trail; `detail` never names a patient."""
        values = {"at": at, "account": account, "address": address, "action": action}
        with self._begin() as connection:
            connection.execute(w.audit.insert().values(**values, study_id=study_id, detail=detail))

    def audit_lines(
        self, *, account: str = "", study_id: int | None = None, before_id: int | None = None, limit: int = 100
    ) -> list[AuditLine]:
        """The trail, newest first, of one account or one study where asked, from before a line on."""
        query = w.audit.select().order_by(w.audit.c.id.desc()).limit(limit)
        if account:
            query = query.where(w.audit.c.account == account)
        if study_id is not None:
            query = query.where(w.audit.c.study_id == study_id)
        if before_id is not None:
            query = query.where(w.audit.c.id < before_id)
        with self._begin() as connection:
            rows = connection.execute(query).all()
        return [
            AuditLine(
                audit_id=row.id,
                at=row.at,
                account=row.account,
                address=row.address,
                action=row.action,
                study_id=row.study_id,
                detail=row.detail,
            )
            for row in rows
        ]


def _account(row: sa.Row[Any]) -> Account:
    return Account(
        account_id=row.id,
        name=row.name,
        role=Role(row.role),
        password_hash=row.password_hash,
        is_disabled=row.is_disabled,
        created_at=row.created_at,
        openid_subject=row.openid_subject,
    )
