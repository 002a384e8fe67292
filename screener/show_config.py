"""The settings in force as text, secrets masked: what `screener config show` prints."""

import json
import re
from typing import Any

from screener.config import Config


def show_config(config: Config) -> str:
    """The settings in force, one `table.key = value` per line; secrets are masked."""
    lines = list(_flatten("", config.model_dump()))
    notices = config.notices
    if notices.email.password is not None:
        lines.append('notices.email.password = "********"')
    lines += [f'notices.webhooks[{number}].secret = "********"' for number in range(len(notices.webhooks))]
    lines += [f'notices.apprise[{number}].url = "********"' for number in range(len(notices.apprise))]
    return "\n".join(lines)


def _flatten(prefix: str, value: Any) -> list[str]:
    if isinstance(value, dict):
        return [line for key, inner in value.items() for line in _flatten(f"{prefix}.{key}".lstrip("."), inner)]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [line for number, inner in enumerate(value) for line in _flatten(f"{prefix}[{number}]", inner)]
    if prefix in {"database.url", "queue.broker"}:
        value = _mask_password(value)
    return [f"{prefix} = {json.dumps(value)}"]


def _mask_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    user, at, host = rest.rpartition("@")
    if at and ":" in user:
        url = f"{scheme}{separator}{user.partition(':')[0]}:********@{host}"
    return re.sub(r"(?i)(password=)[^&]*", r"\1********", url)
