"""What an operator reads of the settings in force, of their changes, and of a file that was refused."""

from collections.abc import Sequence

from screener.explain import tell_local
from screener.show_config import Change, describe_changes
from screener.store import Store
from screener.store.settings_log import SettingsEvent, SettingsLine
from screener.tell_changes import tell_changes, tell_time

_WORDS = {
    SettingsEvent.START: "a daemon started",
    SettingsEvent.CHANGE: "the file was changed",
    SettingsEvent.REFUSED: "REFUSED, nothing was taken over",
}


def describe_state(store: Store, *, is_wrong: bool = False) -> str:
    """Say which decision settings are in force, what needs a restart, and that a wrong file was refused.

    True: the file is wrong by now, whether or not a daemon has seen it. False: nothing is known but what one has seen.
    """
    line, since = store.last_settings_line(), store.revision_since()
    if line is None or since is None:
        return "settings: no daemon of this version has started yet"
    if line.problem:
        told = [
            f"settings: config.toml as of {tell_time(line.at)} is WRONG and changes nothing; "
            f"revision {line.revision} stays in force, as since {tell_time(since)}",
            *(f"  {sentence}" for sentence in line.problem.splitlines()),
        ]
    else:
        told = [f"settings: revision {line.revision} in force since {tell_time(since)}"]
    if line.waits:
        told.append(f"  {_tell_waits(line, is_wrong=is_wrong or bool(line.problem))}")
    return tell_local("\n".join(told))


def _tell_waits(line: SettingsLine, *, is_wrong: bool) -> str:
    """Name what waits for a restart; a wrong file may say something else than the last good one, of which this is."""
    keys = ", ".join(change.key for change in line.waits)
    if is_wrong:
        return f"changed in the last good config.toml, needs a good one and a restart of daemon and workers: {keys}"
    return f"changed in config.toml, needs a restart of daemon and workers: {keys}"


def describe_history(lines: Sequence[SettingsLine]) -> str:
    """Every change with its time and revision and what became of it, newest first; `lines` as `tell_changes` asks."""
    told = []
    for each in tell_changes(lines):
        line = each.line
        told.append(f"{tell_time(line.at)}  revision {line.revision}  {_WORDS[line.kind]}")
        told += [f"  {sentence}" for sentence in (*each.sentences, *line.problem.splitlines())]
    return tell_local("\n".join(told)) if told else "no daemon of this version has started yet"


def describe_difference(changes: Sequence[Change], other: str) -> str:
    """Say how another file differs from the one in use."""
    if not changes:
        return f"{other} holds the same settings"
    return f"config.toml -> {other}\n{describe_changes(changes)}"
