"""Try other decision settings on what is stored, for the command line and the pages alike."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from screener.config import Config, change_decision
from screener.replay import Replayed, Reviewed, count_reviews, describe_effect, replay
from screener.store import Store

DAYS: Final = 90.0
NOT_REPLAYED: Final = "min_probability"
"""Candidates are formed by it: another one takes a new screening of every study."""
_UNITS: Final = {"min_voxels": "voxels"}
"""Keys of [decision] whose unit says more than their name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What other settings would have done, beside those of the file."""

    changed: Config
    values: tuple[str, ...]
    """What differs, such as "300 instead of 500 voxels"."""
    now: Replayed
    then: Replayed
    before: Reviewed
    after: Reviewed
    text: str
    """All of it in sentences; the first line is the answer."""


def try_settings(store: Store, config: Config, changes: Mapping[str, Any], now: datetime, *, days: float) -> Trial:
    """Decide the studies of the last `days` under `config` and under its `changes`; ConfigError where one is wrong."""
    changed = change_decision(config, changes)
    since = now - timedelta(days=days)
    runs, lesions = list(store.decided_runs(since)), list(store.decided_lesions(since))
    present, other = (replay(runs, settings.thresholds(), lesions) for settings in (config, changed))
    judgments = store.judgments()
    values = describe_values(config, changed)
    return Trial(
        changed=changed,
        values=tuple(values),
        now=present,
        then=other,
        before=count_reviews(present.flagged, judgments),
        after=count_reviews(other.flagged, judgments),
        text=describe_effect(values, f"the last {days:g} days", present, other, judgments),
    )


def describe_values(before: Config, after: Config) -> list[str]:
    """Say the values that differ, such as "300 instead of 500 voxels"."""
    told = []
    for key, value in after.decision.model_dump().items():
        old = getattr(before.decision, key)
        if value != old:
            told.append(
                f"{value} instead of {old} {_UNITS[key]}" if key in _UNITS else f"{key} {value} instead of {old}"
            )
    return told or ["the settings as they are"]


def read_value(text: str) -> Any:
    """Read a value as config.toml would; what is none there is text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
