"""Decides whether an ID token is to be believed (OpenID Connect Core 3.1.3.7): pure, asks nobody."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import JWKRegistry, KeySet
from joserfc.jws import JWSRegistry

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""With a private key of the provider's alone: neither "none" nor one whose key others hold (RFC 8725 3.1, 3.2)."""
LEEWAY_SECONDS: Final = 60
"""By which the provider's clock may differ from ours."""
MAX_AGE_SECONDS: Final = 600
"""A token comes straight from the provider: one that was issued earlier is not of this sign-in."""
_TIMES: Final = {"iat", "exp", "nbf"}
"""Claims of which a clock that is wrong breaks one."""
_REGISTRY: Final = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
"""What a header says beside what we know is passed over (RFC 7515 4)."""
_MALFORMED: Final = (JoseError, ValueError, TypeError, KeyError, RecursionError)
"""What the library raises over keys and tokens that are none."""


class TokenError(Exception):
    """An ID token that is not to be believed; the message says why, in words of ours."""


class TokenTimeError(TokenError):
    """Its times do not fit ours: a clock is wrong, here or at the provider."""


class UnknownKeyError(TokenError):
    """It is signed with a key that is not among those known: the provider may have a new one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What an ID token must say, and when it is read."""

    issuer: str
    client_id: str
    nonce: str
    access_token: str
    """The access token that came with it; empty for none."""
    now: datetime


def read_keys(document: Mapping[str, Any]) -> KeySet:
    """The keys of a JWK set (RFC 7517) that can sign; one that is no such key is left out, as RFC 7517 5 asks."""
    listed = document.get("keys")
    keys = []
    for each in listed if isinstance(listed, list) else []:
        if isinstance(each, dict) and each.get("use", "sig") == "sig" and each.get("kty") in {"RSA", "EC"}:
            try:
                keys.append(JWKRegistry.import_key(each))
            except _MALFORMED:
                continue
    return KeySet(keys)


def check_id_token(id_token: str, keys: KeySet, expected: Expected) -> dict[str, Any]:
    """Give the claims of a token; TokenError for one that is forged, of others, too old, or of another sign-in."""
    try:
        token = jwt.decode(id_token, keys, registry=_REGISTRY)
    except InvalidKeyIdError:
        raise UnknownKeyError("it is signed with a key that the provider does not publish") from None
    except _MALFORMED as error:
        raise TokenError(f"its signature is not the provider's ({type(error).__name__})") from None
    claims = token.claims
    _check_claims(claims, expected)
    _check_party(claims, expected.client_id)
    _check_access_token(claims, str(token.header["alg"]), expected.access_token)
    return claims


def _check_claims(claims: dict[str, Any], expected: Expected) -> None:
    now = int(expected.now.timestamp())
    registry = jwt.JWTClaimsRegistry(
        now=now,
        leeway=LEEWAY_SECONDS,
        iss={"essential": True, "value": expected.issuer},
        aud={"essential": True, "value": expected.client_id},
        sub={"essential": True},
        exp={"essential": True},
        iat={"essential": True},
        nonce={"essential": True, "value": expected.nonce},
    )
    try:
        registry.validate(claims)
    except JoseError as error:
        kind = TokenTimeError if getattr(error, "claim", "") in _TIMES else TokenError
        raise kind(_say(error)) from None
    if not isinstance(claims["nonce"], str):
        raise TokenError("its nonce is no text")
    if claims["iat"] < now - MAX_AGE_SECONDS:
        raise TokenTimeError("it was issued too long ago: iat")


def _say(error: JoseError) -> str:
    """The library names the claim, and never what it holds."""
    return f"{error.error.replace('_', ' ')}: {getattr(error, 'claim', '') or error.description}"


def _check_party(claims: Mapping[str, Any], client_id: str) -> None:
    """A token for several clients must have been asked for by this one (3.1.3.7, 3 to 5)."""
    audience = claims["aud"]
    is_alone = audience in (client_id, [client_id])
    if claims.get("azp", client_id if is_alone else None) != client_id:
        raise TokenError("it was made for another client")


def _check_access_token(claims: Mapping[str, Any], algorithm: str, access_token: str) -> None:
    """Where the token tells the digest of an access token, it is of the one that came with it (3.1.3.6)."""
    told = claims.get("at_hash")
    if told is not None and told != half_digest(access_token, algorithm):
        raise TokenError("its at_hash is not that of the access token")


def half_digest(text: str, algorithm: str) -> str:
    """The left half of a digest in base64url: SHA-256 with RS256, PS256 and ES256, and so on."""
    digest = hashlib.new(f"sha{algorithm[2:]}", text.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).decode().rstrip("=")
