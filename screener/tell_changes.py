"""Tell the changes of the settings with what became of each: until when it held, and whether it was taken back.

The log keeps secrets masked: of another one that waited it is known that a
start has read the file anew, not which of the two stood there by then.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from screener.show_config import Change
from screener.store.settings_log import SettingsEvent, SettingsLine

SHOWN: Final = 50
"""So many entries are told, the newest ones."""
ASKED: Final = SHOWN + 1
"""The one before them says what the oldest of them has changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldLine:
    """One entry of the log in words; times stand in UTC, for `tell_local`."""

    line: SettingsLine
    sentences: tuple[str, ...]
    """What came into force, what waits, and what was taken back; without the words of a refusal."""


def tell_changes(lines: Sequence[SettingsLine]) -> list[ToldLine]:
    """Tell the newest entries, newest first as they are given; `lines` are ASKED, or all that there are."""
    return [
        ToldLine(line=line, sentences=tuple(_tell(line, lines[:number][::-1], lines[number + 1 :])))
        for number, line in enumerate(lines[:SHOWN])
    ]


def tell_time(at: datetime) -> str:
    """A time as sentences are stored with it; `tell_local` makes it local."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _tell(line: SettingsLine, later: Sequence[SettingsLine], earlier: Sequence[SettingsLine]) -> Iterator[str]:
    """Yield the sentences of one entry; `later` begins with the next one, `earlier` with the last one."""
    before = earlier[0] if earlier else None
    waited = before.waits if before is not None else ()
    sentences = [
        *(f"{change.sentence}{_join(*_trace(change, later, earlier))}" for change in line.changes),
        *(f"{change.sentence}{_follow(change, later)}" for change in line.waits if change not in waited),
        *(_give_up(change, line) for change in waited if _is_given_up(change, line)),
    ]
    yield from sentences
    if not sentences and not line.problem:
        yield (
            "first start" if before is None else "good again, nothing changed" if before.problem else "nothing changed"
        )


def _trace(change: Change, later: Sequence[SettingsLine], earlier: Sequence[SettingsLine]) -> Iterator[str]:
    """Say what a change has taken back, and how long it has held."""
    last = _find(change.key, earlier)
    if last is not None and last[1].before == change.after:
        yield f"takes back the change of {tell_time(last[0])}"
    following = _find(change.key, later)
    if following is not None:
        is_taken_back = following[1].after == change.before
        yield f"{'taken back' if is_taken_back else 'until'} {tell_time(following[0])}"


def _follow(change: Change, later: Sequence[SettingsLine]) -> str:
    """Say what became of a value that needs a restart."""
    line = next((line for line in later if change not in line.waits), None)
    if line is None:
        return _join("needs a restart")
    at = tell_time(line.at)
    if _reads_secret(change, line):
        return _join("needs a restart", f"read anew with the start of {at}")
    if any((each.key, each.after) == (change.key, change.after) for each in line.changes):
        return _join("needs a restart", f"in force from {at} on")
    return _join(
        "needs a restart", f"never in force, {'taken back' if _is_given_up(change, line) else 'replaced'} {at}"
    )


def _is_given_up(change: Change, line: SettingsLine) -> bool:
    """Tell whether a value that had waited until this entry is gone with it, and nothing has come in its place."""
    return change.key not in {each.key for each in (*line.changes, *line.waits)}


def _reads_secret(change: Change, line: SettingsLine) -> bool:
    return change.is_secret and line.kind is SettingsEvent.START


def _give_up(change: Change, line: SettingsLine) -> str:
    if _reads_secret(change, line):
        return f"{change.key}: its secret was read anew"
    if change.is_secret:
        return f"{change.key}: the other secret was taken back before it came into force"
    return f"{change.key}: {change.after} was taken back before it came into force"


def _find(key: str, lines: Sequence[SettingsLine]) -> tuple[datetime, Change] | None:
    """Find the first of these entries that brought another value of a key into force."""
    return next(((line.at, each) for line in lines for each in line.changes if each.key == key), None)


def _join(*parts: str) -> str:
    return f" ({'; '.join(parts)})" if parts else ""
