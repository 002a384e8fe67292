"""What can happen to a study instead of its next stage.

These are the only exceptions that leave a stage. The message is written for
the operator and holds no name, birth date, patient ID or accession number.
"""


class Outcome(Exception):  # noqa: N818 - outcomes, not errors: named for what happens next
    """Something other than the next stage happens to the study."""

    def __init__(self, reason: str, *, code: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        """A sentence for the operator; `screener explain` prints it."""
        self.code = code or type(self).__name__
        """A short stable word for counting, such as `no_parotid_covered`."""

        self.choices: tuple[object, ...] = ()
        """What was considered (`screener.study.SeriesChoice`), where no series could be chosen."""

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.reason, self.code), {"choices": self.choices})


def _rebuild(kind: type[Outcome], reason: str, code: str) -> Outcome:
    return kind(reason, code=code)


class TryAgain(Outcome):
    """Something outside the study is in the way; the same stage is tried again later."""


class SetAside(Outcome):
    """The study is sound but not ours to read; keep it, say why, tell nobody."""


class NeedsPerson(Outcome):
    """The study cannot be screened as it is; a person must look."""
