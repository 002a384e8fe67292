"""Settings as text, secrets masked, and how those of two files differ."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from screener.config import Config

HOT: Final = "decision."
"""What the keys begin with that the daemon takes over while it runs; all others need a restart."""
MASK: Final = "********"
"""What is shown in place of a secret."""
ABSENT: Final = "absent"
"""What is shown of a key that one of two files does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One key that has another value."""

    key: str
    before: str
    """As it stands in the file, secrets masked; ABSENT where the key was not there."""
    after: str

    @property
    def is_hot(self) -> bool:
        """True: the daemon takes it over while it runs. False: it needs a restart."""
        return self.key.startswith(HOT)

    @property
    def is_secret(self) -> bool:
        """True: only what is masked differs, so that both sides look alike."""
        return self.before == self.after

    @property
    def sentence(self) -> str:
        """The key from what to what."""
        return f"{self.key}: another secret" if self.is_secret else f"{self.key}: {self.before} -> {self.after}"


def show_config(config: Config) -> str:
    """The settings, one `table.key = value` per line; secrets are masked."""
    lines = [f"{key} = {text}" for key, text in list_settings(config).items()]
    notices = config.notices
    if notices.email.password is not None:
        lines.append(f'notices.email.password = "{MASK}"')
    if config.web.openid.secret is not None:
        lines.append(f'web.openid.secret = "{MASK}"')
    lines += [
        f'notices.webhooks[{number}].secret = "{MASK}"'
        for number, webhook in enumerate(notices.webhooks)
        if webhook.secret is not None
    ]
    lines += [
        f'notices.apprise[{number}].url = "{MASK}"'
        for number, target in enumerate(notices.apprise)
        if target.url is not None
    ]
    return "\n".join(lines)


def list_settings(config: Config) -> dict[str, str]:
    """Each key with its value as JSON, secrets masked."""
    return {key: _mask(key, value) for key, value in _flatten("", config.model_dump())}


def compare_configs(before: Config, after: Config) -> list[Change]:
    """What differs, by key in the order of the settings; a secret that differs is masked on both sides."""
    old, new = dict(_flatten("", before.model_dump())), dict(_flatten("", after.model_dump()))
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key) or (key in old) != (key in new)]
    return [Change(key=key, before=_show(key, old), after=_show(key, new)) for key in keys]


def compare_shown(before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    """What differs between two lists of settings that are masked already: another secret is not seen."""
    return [
        Change(key=key, before=before.get(key, ABSENT), after=after.get(key, ABSENT))
        for key in {**before, **after}
        if before.get(key) != after.get(key)
    ]


def describe_changes(changes: Sequence[Change]) -> str:
    """Each key from what to what, those that a running daemon takes over first."""
    if not changes:
        return "no difference"
    lines = []
    for is_hot, title in ((True, "taken over while the daemon runs:"), (False, "need a restart:")):
        mine = [f"  {change.sentence}" for change in changes if change.is_hot is is_hot]
        lines += [title, *mine] if mine else []
    return "\n".join(lines)


def _flatten(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flatten(f"{prefix}.{key}".lstrip("."), inner)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for number, inner in enumerate(value):
            yield from _flatten(f"{prefix}[{number}]", inner)
    else:
        yield prefix, value


def _show(key: str, settings: Mapping[str, Any]) -> str:
    return _mask(key, settings[key]) if key in settings else ABSENT


def _mask(key: str, value: Any) -> str:
    return json.dumps(_mask_password(value) if key in {"database.url", "queue.broker"} else value)


def _mask_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    user, at, host = rest.rpartition("@")
    if at and ":" in user:
        url = f"{scheme}{separator}{user.partition(':')[0]}:{MASK}@{host}"
    return re.sub(r"(?i)(password=)[^&]*", rf"\1{MASK}", url)
