"""The token that every form carries: whoever can send a form in a person's name cannot know it."""

import hashlib
import hmac


def csrf_token(session_token: str) -> str:
    """Derive the form token of a session from its cookie's secret, which it does not tell."""
    return hmac.new(session_token.encode(), b"screener form", hashlib.sha256).hexdigest()


def is_csrf_token(given: str, session_token: str) -> bool:
    """True: the form comes from a page of this session."""
    return hmac.compare_digest(given.encode(), csrf_token(session_token).encode())
