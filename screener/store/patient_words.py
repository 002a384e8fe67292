"""By which a study is found for its patient: keyed digests of ID, accession number and name, none of them itself."""

from collections.abc import Collection

import sqlalchemy as sa

from screener.store import tables as t
from screener.store.base import Base

NOTHING = ""
"""What stands of every study that has been read, also of one that names nobody."""

patient_words = sa.Table(
    "patient_words",
    t.metadata,
    sa.Column("study_id", sa.ForeignKey("studies.id"), primary_key=True, autoincrement=False),
    sa.Column("digest", sa.String(32), primary_key=True, index=True, comment="keyed; empty once for every study read"),
    comment="by which a study is found for its patient, without saying whose it is",
)


class PatientWords(Base):
    """Reading only: `record_patients` writes them."""

    def studies_of_words(self, whole: Collection[str], parts: Collection[str], limit: int) -> list[int]:
        """Numbers of the studies that have one of the digests `whole`, or all of `parts`; newest first."""
        column, digest = patient_words.c.study_id, patient_words.c.digest
        has_all = sa.func.count(digest) == len(set(parts))
        listed = sa.union(
            sa.select(column).where(digest.in_(whole)),
            sa.select(column).where(digest.in_(parts)).group_by(column).having(has_all),
        ).subquery()
        query = sa.select(listed.c.study_id).order_by(listed.c.study_id.desc()).limit(limit)
        with self._begin() as connection:
            return list(connection.execute(query).scalars())
