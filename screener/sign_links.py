"""Signed links by which a mail's reader acknowledges a finding: pure, the secret and the time are arguments.

A link carries our own numbers only: which notice, of which study, telling of which run, for which
recipient (as a digest), owed since when, until when. Whoever holds the link may acknowledge, as
whoever holds the mail may read it; nothing else can be done with it.
"""

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime

_PURPOSE = b"acknowledge 3\n"
"""Signed with every claim: the same secret may sign something else one day."""
_WITHOUT_RUN = b"acknowledge 2\n"
"""Signed with the claims of an earlier version, which do not say what run they told of."""
LONGEST = 1000
"""Characters of a token; a longer one is not looked at."""


class LinkError(Exception):
    """The link cannot be used; the message says why, for who opened it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a link says."""

    notice_id: int
    study_id: int
    run_id: int
    """The run whose figures were told: what another has found was not shown to who holds the link."""
    finding: str
    """The notice's finding key."""
    recipient: str
    """What `digest_address` gives."""
    owed_since: datetime
    """To the second: where a database gave the numbers of a forgotten study out again, the link fits no other's."""
    expires_at: datetime
    """To the second."""


def digest_address(channel: str, recipient: str) -> str:
    """Name a recipient in a link without showing the address: 16 hexadecimal digits."""
    return hashlib.sha256(f"{channel}\n{recipient}".encode()).hexdigest()[:16]


def is_owed_since(claim: Claim, owed_since: datetime) -> bool:
    """True: the claim is of a notice that became owed in that second."""
    return int(claim.owed_since.timestamp()) == int(owed_since.timestamp())


def sign_claim(secret: bytes, claim: Claim) -> str:
    """Give the token, in characters that need no escaping in a URL."""
    times = (int(instant.timestamp()) for instant in (claim.owed_since, claim.expires_at))
    said = [claim.notice_id, claim.study_id, claim.run_id, claim.finding, claim.recipient, *times]
    body = json.dumps(said, separators=(",", ":")).encode()
    return f"{_encode(body)}.{_encode(_sign(secret, body))}"


def verify_token(secret: bytes, token: str, now: datetime) -> Claim:
    """Give what the token claims; LinkError where nobody signed it with this secret, or its time is over."""
    body_text, separator, signature_text = token.partition(".")
    if not separator or len(token) > LONGEST:
        raise LinkError("This link is not complete. Open it as it stands in the mail.")
    try:
        body, signature = _decode(body_text), _decode(signature_text)
    except (ValueError, binascii.Error):
        raise LinkError("This link is not complete. Open it as it stands in the mail.") from None
    if hmac.compare_digest(signature, _sign(secret, body, _WITHOUT_RUN)):
        raise LinkError(
            "This link is of an earlier version, and does not say what was told by it. "
            "Sign in to acknowledge the finding."
        )
    if not hmac.compare_digest(signature, _sign(secret, body)):
        raise LinkError("This link is not one of ours, or has been changed.")
    notice_id, study_id, run_id, finding, recipient, owed, expires = json.loads(body)
    claim = Claim(
        notice_id=notice_id,
        study_id=study_id,
        run_id=run_id,
        finding=finding,
        recipient=recipient,
        owed_since=datetime.fromtimestamp(owed, UTC),
        expires_at=datetime.fromtimestamp(expires, UTC),
    )
    if now >= claim.expires_at:
        raise LinkError("This link has expired. Sign in to acknowledge the finding.")
    return claim


def _sign(secret: bytes, body: bytes, purpose: bytes = _PURPOSE) -> bytes:
    return hmac.new(secret, purpose + body, hashlib.sha256).digest()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
