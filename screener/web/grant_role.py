"""Reads from the claims of a person who has signed in elsewhere who they are here, and what they may do."""

import hashlib
from collections.abc import Mapping
from typing import Any

from screener.store.web_accounts import Role
from screener.web.manage_accounts import NAME
from screener.web_settings import OpenId


def grant_role(claims: Mapping[str, Any], settings: OpenId) -> Role | None:
    """The highest role that the claims give; None where they give none."""
    told = find_claim(claims, settings.role_claim)
    values = {told} if isinstance(told, str) else set()
    if isinstance(told, list):
        values = {each for each in told if isinstance(each, str)}
    granting = {
        Role.READER: settings.readers,
        Role.RADIOLOGIST: settings.radiologists,
        Role.ADMINISTRATOR: settings.administrators,
    }
    return next((role for role in reversed(Role) if values & set(granting[role])), None)


def read_name(claims: Mapping[str, Any], settings: OpenId) -> str:
    """The name of a person's account, as `screener users` takes it too; empty where the claims give none such."""
    name = find_claim(claims, settings.name_claim)
    return name if isinstance(name, str) and NAME.fullmatch(name) else ""


def find_claim(claims: Mapping[str, Any], name: str) -> Any:
    """The claim of that name, or where its dots lead, as "realm_access.roles"; None for none."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def digest_subject(issuer: str, subject: str) -> str:
    """By what a person is known again, whatever they are called by then (OpenID Connect Core 5.7)."""
    return hashlib.sha256(f"{issuer}\n{subject}".encode()).hexdigest()
