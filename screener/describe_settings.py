"""What an operator reads of the settings in force, of their changes, and of a file that was refused."""

from collections.abc import Sequence

from screener.explain import tell_local
from screener.show_config import Change, describe_changes
from screener.store.settings_log import SettingsEvent, SettingsLine

_WORDS = {
    SettingsEvent.START: "in force since a start",
    SettingsEvent.CHANGE: "changed while running",
    SettingsEvent.REFUSED: "REFUSED, nothing was taken over",
}


def describe_state(line: SettingsLine | None) -> str:
    """Say which decision settings are in force, what needs a restart, and that a wrong file was refused."""
    if line is None:
        return "settings: no daemon of this version has started yet"
    at = f"{line.at:%Y-%m-%d %H:%M:%S} UTC"
    if line.problem:
        told = [
            f"settings: config.toml as of {at} is WRONG and changes nothing; revision {line.revision} stays in force",
            *(f"  {sentence}" for sentence in line.problem.splitlines()),
        ]
    else:
        told = [f"settings: revision {line.revision} in force since {at}"]
    if line.waits:
        keys = ", ".join(change.key for change in line.waits)
        told.append(f"  changed in config.toml, needs a restart of daemon and workers: {keys}")
    return tell_local("\n".join(told))


def describe_history(lines: Sequence[SettingsLine]) -> str:
    """Every change with its time and revision, newest first."""
    told = []
    for line in lines:
        told.append(f"{line.at:%Y-%m-%d %H:%M:%S} UTC  revision {line.revision}  {_WORDS[line.kind]}")
        told += [f"  {_say(change)}" for change in line.changes]
        told += [f"  {_say(change)} (needs a restart)" for change in line.waits]
        told += [f"  {sentence}" for sentence in line.problem.splitlines()]
    return tell_local("\n".join(told)) if told else "no daemon of this version has started yet"


def describe_difference(changes: Sequence[Change], other: str) -> str:
    """Say how another file differs from the one in use."""
    if not changes:
        return f"{other} holds the same settings"
    return f"config.toml -> {other}\n{describe_changes(changes)}"


def _say(change: Change) -> str:
    return f"{change.key}: {change.before} -> {change.after}"
