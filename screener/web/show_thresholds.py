"""The decision settings: what is in force, what others would have done, and the change of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, get_args

from fastapi import Form, Query, Request
from starlette.responses import RedirectResponse, Response

from screener.change_setting import change_settings, digest_text
from screener.config import Config, ConfigError, Decision, parse_config, read_text
from screener.describe_allowed import describe_allowed
from screener.read_days import ALLOWED, MOST_DAYS, parse_days
from screener.restore_config import restore_config
from screener.show_config import HOT
from screener.store import Store
from screener.store.settings_log import SettingsLine
from screener.sweep_threshold import sweep_reviewed
from screener.tell_changes import ASKED, tell_changes
from screener.try_settings import DAYS, NOT_REPLAYED, Trial, read_value, try_settings
from screener.web.draw_sweep import Curves, draw_sweep
from screener.web.gate import RefusedError
from screener.web.visit import Visit, visit_of

STARTED: Final = "as these pages were started with"
ACTION: Final = "threshold"
"""What the audit trail calls a change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """One key of [decision] as the page shows it."""

    key: str
    sentence: str
    allowed: str
    value: Any
    """As config.toml holds it; while that is wrong, as it is in force."""
    in_force: Any
    """As the daemon decides by it; None where no daemon has told yet."""
    since: datetime | None
    """Since when that value has been in force without interruption."""
    tried: Any
    """What the form holds."""
    choices: tuple[str, ...]
    """Where only a few words are allowed; empty otherwise."""
    is_replayed: bool
    """False: another value takes a new screening of every study."""


def show_thresholds(request: Request, days: Annotated[str, Query()] = f"{DAYS:g}") -> Response:
    """The values with what they mean and, where the form asks for other ones, what these would have done."""
    visit = visit_of(request)
    tried_days, days_refusal = _read_days(days)
    state = visit.site.reader.last_settings_line()
    config, text, problem = _read_file(visit)
    if problem:
        config = _restore(config, state)
    changes = _read_changes(request.query_params, config)
    trial, refusal = (None, days_refusal) if days_refusal else _try(visit, config, changes, tried_days)
    in_force = _read_in_force(state, visit.site.reader.values_since())
    values: dict[str, object] = {
        "thresholds": [_describe(key, config, in_force, changes) for key in Decision.model_fields],
        "trial": trial,
        "changes": json.dumps(changes),
        "refusal": refusal,
        "days": tried_days,
        "typed_days": days,
        "most_days": f"{MOST_DAYS:g}",
        "are_days_wrong": bool(days_refusal),
        "file_sha256": digest_text(text),
        "curves": _draw_curves(visit, config, trial, tried_days),
    }
    told = _tell_state(visit.site.reader, state, config, problem)
    return visit.page("thresholds.html", values | told, status=400 if days_refusal else 200)


def do_change_thresholds(
    request: Request,
    file_sha256: Annotated[str, Form(max_length=64)],
    changes: Annotated[str, Form(max_length=2000)],
) -> Response:
    """Write values into config.toml; the daemon takes them over by itself. `changes` is a JSON object by key."""
    visit = visit_of(request)
    wanted = _read_wanted(changes)
    config, _, problem = _read_file(visit)
    if problem or config.file is None:
        raise RefusedError(409, f"Nothing was changed: config.toml is wrong. {problem}")
    try:
        changed = change_settings(config.file, wanted, file_sha256=file_sha256)
    except ConfigError as error:
        raise RefusedError(409, f"Nothing was changed. {error}") from None
    told = ", ".join(f"{key} {getattr(config.decision, key)} -> {value}" for key, value in wanted.items())
    visit.audit(ACTION, detail=f"{told}; revision {changed.thresholds().config_revision}")
    return RedirectResponse("/thresholds", status_code=303)


def _tell_state(reader: Store, state: SettingsLine | None, config: Config, problem: str) -> dict[str, object]:
    """Say what is in force and since when, what a trial of `config` is held against, and what has changed."""
    revision = config.thresholds().config_revision
    is_in_force = state is not None and state.revision == revision
    return {
        "problem": problem,
        "is_in_force": is_in_force,
        "base": "as config.toml is" if not problem else f"in force, revision {revision}" if is_in_force else STARTED,
        "state": state,
        "file_revision": revision,
        "since": reader.revision_since(),
        "history": tell_changes(reader.settings_lines(ASKED)),
    }


def _read_days(text: str) -> tuple[float, str]:
    """Read how many days to try on; where they are wrong, DAYS and why, so that the page keeps all that was typed."""
    days = parse_days(text)
    if days is not None:
        return days, ""
    typed = text.strip()[:20] or "nothing"
    return DAYS, f"Days to try it on: {typed} is not allowed, {ALLOWED}"


def _try(visit: Visit, config: Config, changes: Mapping[str, Any], days: float) -> tuple[Trial | None, str]:
    """Replay the changes; the sentence says why they cannot be."""
    if not changes:
        return None, ""
    try:
        return try_settings(visit.site.reader, config, changes, visit.site.clock(), days=days), ""
    except ConfigError as error:
        return None, str(error)


def _draw_curves(visit: Visit, config: Config, trial: Trial | None, days: float) -> list[Curves]:
    """What the reviews say of other values of the two thresholds that a study is flagged by."""
    tried = (trial.changed if trial is not None else config).thresholds()
    since = visit.site.clock() - timedelta(days=days)
    swept = sweep_reviewed(visit.site.reader, config.thresholds(), tried, since)
    return [draw_sweep(each, days) for each in swept]


def _read_file(visit: Visit) -> tuple[Config, str, str]:
    """Read config.toml as it is now: settings, text and what is wrong with it; then the settings of this process."""
    config = visit.site.config
    if config.file is None:
        return config, "", "these pages do not know from which file their settings came"
    text = ""
    try:
        text = read_text(config.file)
        return parse_config(text, config.file), text, ""
    except ConfigError as error:
        return config, text, str(error)


def _restore(config: Config, state: SettingsLine | None) -> Config:
    """Give the settings of this process the decision settings that are in force, as far as a daemon has told them."""
    if state is None:
        return config
    restored = restore_config(state.settings, config)
    return config.model_copy(update={"decision": restored.config.decision}) if restored.knows("decision") else config


def _read_changes(given: Mapping[str, str], config: Config) -> dict[str, Any]:
    """Read what a form asks for, as far as it differs from the file; whether it is allowed is judged later."""
    values = {
        key: read_value(given[key].strip()) for key in Decision.model_fields if key != NOT_REPLAYED and key in given
    }
    return {key: value for key, value in values.items() if value != getattr(config.decision, key)}


def _read_wanted(changes: str) -> dict[str, Any]:
    """Read what a form orders; refused where it is nothing that the page has offered."""
    try:
        wanted = json.loads(changes)
    except (ValueError, RecursionError):
        wanted = None
    if not isinstance(wanted, dict) or not wanted or not set(wanted) <= set(Decision.model_fields) - {NOT_REPLAYED}:
        raise RefusedError(400, "This is no change of a threshold.")
    if not all(isinstance(value, (int, float, str)) for value in wanted.values()):
        raise RefusedError(400, "This is no change of a threshold.")
    return wanted


def _read_in_force(state: SettingsLine | None, since: Mapping[str, datetime]) -> dict[str, tuple[Any, datetime]]:
    """Each key of [decision] as the daemon decides by it, and since when."""
    settings = state.settings if state is not None else {}
    return {key.removeprefix(HOT): (json.loads(value), since[key]) for key, value in settings.items() if key in since}


def _describe(
    key: str, config: Config, in_force: Mapping[str, tuple[Any, datetime]], changes: Mapping[str, Any]
) -> Threshold:
    field = Decision.model_fields[key]
    value_in_force, since = in_force.get(key, (None, None))
    value = getattr(config.decision, key)
    is_word = isinstance(value, str)
    return Threshold(
        key=key,
        sentence=field.description or "",
        allowed=describe_allowed(Config, ("decision", key)),
        value=value,
        in_force=value_in_force,
        since=since,
        tried=changes.get(key, value),
        choices=tuple(str(word) for word in get_args(field.annotation)) if is_word else (),
        is_replayed=key != NOT_REPLAYED,
    )
