"""Instances come in, studies become quiet and are dispatched."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache, cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from screener.journey import Ending, Queue, Stage
from screener.sop_classes import ULTRASOUND, WORKSHEETS
from screener.store import tables as t
from screener.store.base import IN_FLIGHT, Base, add_step, end_study, lock_study
from screener.store.quick_images import QuickImages
from screener.store.values import Kind, QuietStudy, Receipt, ReceivedInstance
from screener.store.worklist import BACKLOG, DAYTIME, backfill_of, fetch_of, is_being_fetched
from screener.study import Thresholds


@cache
def _insertion(dialect: str, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    make = postgresql.insert if dialect == "postgresql" else sqlite.insert
    # With RETURNING, which PostgreSQL gets unasked, the count of rows is lost unless it is asked to be kept.
    return make(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)


# Made once: to make a statement anew costs more than to run it, and these run for every image.
_HOLD_STUDY = (
    sa.select(t.studies.c.id, t.studies.c.news_since_at, t.studies.c.news_at, t.studies.c.last_came_at)
    .where(t.studies.c.study_instance_uid == sa.bindparam("uid"))
    .with_for_update()
)
_NEW_IMAGE = (
    t.studies.update()
    .where(t.studies.c.id == sa.bindparam("study"))
    .values(news_since_at=sa.bindparam("since"), news_at=sa.bindparam("newest"), stage=Stage.RECEIVED, **IN_FLIGHT)
)
_CAME = t.studies.update().where(t.studies.c.id == sa.bindparam("study")).values(last_came_at=sa.bindparam("now"))
_CAME_EVERY = timedelta(minutes=1)
"""So often is the row of a study written of which image by image comes again: a whole archive may be sent again."""


def _insert_new(connection: sa.Connection, table: sa.Table, **values: object) -> bool:
    """Insert a row unless a unique key forbids it; True: inserted."""
    return connection.execute(_insertion(connection.dialect.name, table), values).rowcount == 1


class Intake(Base):
    """From the listener to a waiting run."""

    @cached_property
    def _quick_images(self) -> QuickImages | None:
        return QuickImages(self.engine, _instance_values) if QuickImages.fits(self.engine) else None

    def record_instance(self, received: ReceivedInstance, now: datetime) -> Receipt:
        """Commit the row of an instance whose file is durable.

        A new image reopens its study, and so does a structured report that
        comes to ultrasound: it may tell what a reader found. Other documents
        and our own results never do; they only begin a study that nobody knew.
        What comes again while it is there has its study kept from then on. What
        comes again after it has expired is new. The file must be looked for afterwards: until the
        row is committed, it may be taken for one that has expired.
        """
        return self._record_all([(received, now)])[0]

    def record_instances(self, arrived: Sequence[tuple[ReceivedInstance, datetime]]) -> list[Receipt]:
        """Commit the rows of several instances at once, all or none; otherwise as `record_instance` does each."""
        return self._record_all(arrived)

    def _record_all(self, arrived: Sequence[tuple[ReceivedInstance, datetime]]) -> list[Receipt]:
        if self._quick_images is not None and self._quick_images.record(arrived):
            return [Receipt.NEW] * len(arrived)
        # Always in this order, so that no two processes wait for each other's studies.
        order = sorted(range(len(arrived)), key=lambda index: arrived[index][0].study_instance_uid)
        with self._begin() as connection:
            receipts = {index: _record(connection, *arrived[index]) for index in order}
        return [receipts[index] for index in range(len(arrived))]

    def record_oddity(
        self,
        *,
        study_instance_uid: str | None,
        sop_instance_uid: str,
        code: str,
        reason: str,
        path: str,
        sha256: str,
        now: datetime,
    ) -> None:
        """Remember an instance that was refused or kept aside, with the reason; the same one is remembered once."""
        study_instance_uid = study_instance_uid[:64] if study_instance_uid else None
        with self._begin() as connection:
            same = sa.select(t.oddities.c.id).where(
                t.oddities.c.sop_instance_uid == sop_instance_uid[:64],
                t.oddities.c.study_instance_uid.is_not_distinct_from(study_instance_uid),
                t.oddities.c.code == code,
                t.oddities.c.reason == reason,
                t.oddities.c.sha256 == sha256,
            )
            if connection.execute(same).first() is None:
                connection.execute(
                    t.oddities.insert().values(
                        study_instance_uid=study_instance_uid,
                        sop_instance_uid=sop_instance_uid[:64],
                        code=code,
                        reason=reason,
                        path=path,
                        sha256=sha256,
                        at=now,
                    )
                )

    def is_our_result(self, sop_instance_uid: str) -> bool:
        """True: a run of ours made the instance with this UID."""
        with self._begin() as connection:
            query = sa.select(t.results.c.id).where(t.results.c.sop_instance_uid == sop_instance_uid)
            return connection.execute(query).first() is not None

    def quiet_studies(self, now: datetime, *, quiet: timedelta, max_wait: timedelta) -> list[QuietStudy]:
        """Studies whose new images have stopped arriving, or have waited long enough; oldest first.

        One whose images we are fetching ourselves is not whole before that has ended, or has brought nothing for
        as long.
        """
        with self._begin() as connection:
            rows = connection.execute(
                t.studies.select()
                .where(
                    t.studies.c.news_since_at.is_not(None),
                    sa.or_(~is_being_fetched(), t.studies.c.news_at <= now - max_wait),
                    sa.or_(t.studies.c.news_at <= now - quiet, t.studies.c.news_since_at <= now - max_wait),
                )
                .order_by(t.studies.c.news_since_at, t.studies.c.id)
            ).all()
            return [_quiet_study(connection, row, now, quiet=quiet, max_wait=max_wait) for row in rows]

    def record_wait(self, study_id: int, sentence: str, now: datetime) -> None:
        """Say in a study's history what it waits for, if it waits; what its last line says is not said again."""
        with self._begin() as connection:
            last = connection.execute(
                sa.select(t.steps.c.sentence)
                .where(t.steps.c.study_id == study_id)
                .order_by(t.steps.c.id.desc())
                .limit(1)
            ).scalar()
            is_waiting = sa.select(t.studies.c.id).where(
                t.studies.c.id == study_id, t.studies.c.news_since_at.is_not(None)
            )
            if last != sentence and connection.execute(is_waiting).first() is not None:
                add_step(connection, study_id=study_id, run_id=None, at=now, stage=Stage.RECEIVED, sentence=sentence)

    def instances_by_series(self, study_id: int) -> dict[str, frozenset[str]]:
        """SOP Instance UIDs of a study by Series Instance UID, whatever was received and has not expired."""
        with self._begin() as connection:
            rows = connection.execute(
                sa.select(t.instances.c.series_instance_uid, t.instances.c.sop_instance_uid).where(
                    t.instances.c.study_id == study_id, t.instances.c.expired_at.is_(None)
                )
            ).all()
        series: dict[str, set[str]] = {}
        for series_instance_uid, sop_instance_uid in rows:
            series.setdefault(series_instance_uid, set()).add(sop_instance_uid)
        return {uid: frozenset(instances) for uid, instances in series.items()}

    def open_run(self, study: QuietStudy, queue: Queue, thresholds: Thresholds, now: datetime) -> int | None:
        """Begin a numbered run of the study's present state; runs not yet finished are superseded.

        Returns its number, or None when an image came meanwhile.
        """
        with self._begin() as connection:
            row = lock_study(connection, study.study_id)
            if row.news_at != study.news_at:
                return None
            number = 1 + (
                connection.execute(
                    sa.select(sa.func.max(t.runs.c.number)).where(t.runs.c.study_id == study.study_id)
                ).scalar()
                or 0
            )
            _supersede_runs(connection, study.study_id, reason=f"superseded by run {number}", now=now)
            # Numbers grow with the arrivals of a study, whose row every writer of them holds.
            newest = sa.select(sa.func.max(t.instances.c.id)).where(
                t.instances.c.study_id == study.study_id, t.instances.c.expired_at.is_(None)
            )
            backfill_id = backfill_of(connection, row)
            is_backlog = backfill_id is not None and row.reprocess_number == 0  # a person who asks again waits for it
            inserted = connection.execute(
                t.runs.insert().values(
                    study_id=study.study_id,
                    backfill_id=backfill_id,
                    priority=BACKLOG if is_backlog else DAYTIME,
                    number=number,
                    queue=queue,
                    state="waiting",
                    min_voxels=thresholds.min_voxels,
                    min_probability=thresholds.min_probability,
                    gamma=thresholds.gamma,
                    min_score=thresholds.min_score,
                    min_covered_share=thresholds.min_covered_share,
                    min_malignancy=thresholds.min_malignancy,
                    us_findings=thresholds.us_findings,
                    config_revision=thresholds.config_revision,
                    reprocess_number=row.reprocess_number,
                    opened_at=now,
                    newest_instance_id=connection.execute(newest).scalar(),
                    not_before=now,
                    attempts=0,
                    code="",
                    reason="",
                    model_identity="",
                )
            )
            run_id = inserted.inserted_primary_key[0] if inserted.inserted_primary_key else None
            self._without_news(connection, study, now, run_id, f"{study.signal}; run {number} waits on queue {queue}")
        return number

    def set_aside_study(self, study: QuietStudy, *, code: str, reason: str, now: datetime) -> bool:
        """End a study that no queue reads, or that is not whole; False when an image came meanwhile.

        A run that is not yet finished saw a part of it only: it is superseded, and nobody is told what it finds.
        """
        with self._begin() as connection:
            if lock_study(connection, study.study_id).news_at != study.news_at:
                return False
            _supersede_runs(connection, study.study_id, reason="superseded: the study was set aside", now=now)
            self._without_news(connection, study, now, None, study.signal)
            add_step(connection, study_id=study.study_id, run_id=None, at=now, stage=Ending.SET_ASIDE, sentence=reason)
            end_study(connection, study_id=study.study_id, ending=Ending.SET_ASIDE, code=code, reason=reason, now=now)
        return True

    def _without_news(
        self, connection: sa.Connection, study: QuietStudy, now: datetime, run_id: int | None, sentence: str
    ) -> None:
        connection.execute(
            t.studies.update()
            .where(t.studies.c.id == study.study_id)
            .values(news_since_at=None, news_at=None, stage=Stage.COMPLETE, **IN_FLIGHT)
        )
        add_step(connection, study_id=study.study_id, run_id=run_id, at=now, stage=Stage.COMPLETE, sentence=sentence)

    def reprocess(self, study_id: int, now: datetime) -> int:
        """Ask for another run of a study at a person's word; returns the reprocess number."""
        with self._begin() as connection:
            row = lock_study(connection, study_id)
            number: int = row.reprocess_number + 1
            connection.execute(
                t.studies.update()
                .where(t.studies.c.id == study_id)
                .values(
                    reprocess_number=number,
                    news_since_at=row.received_at,
                    news_at=row.received_at,
                    stage=Stage.RECEIVED,
                    **IN_FLIGHT,
                )
            )
            sentence = "a person asked for another run"
            add_step(connection, study_id=study_id, run_id=None, at=now, stage=Stage.RECEIVED, sentence=sentence)
        return number


def _supersede_runs(connection: sa.Connection, study_id: int, *, reason: str, now: datetime) -> None:
    """Take the study's runs that are not yet finished from whoever has them; its row must be held."""
    connection.execute(
        t.runs.update()
        .where(t.runs.c.study_id == study_id, t.runs.c.state.in_(["waiting", "running"]))
        .values(state="superseded", ended_at=now, reason=reason, owner=None)
    )


def _record(connection: sa.Connection, received: ReceivedInstance, now: datetime) -> Receipt:
    name = {"uid": received.study_instance_uid}
    study = connection.execute(_HOLD_STUDY, name).one_or_none()
    is_new_study = study is None and _insert_new(
        connection,
        t.studies,
        study_instance_uid=received.study_instance_uid,
        stage=Stage.RECEIVED,
        received_at=now,
        news_since_at=now,
        news_at=now,
        code="",
        reason="",
        reprocess_number=0,
    )
    study = study or connection.execute(_HOLD_STUDY, name).one()
    if not _insert_instance(connection, received, study.id, now):
        held = connection.execute(
            sa.select(t.instances.c.sha256, t.instances.c.transfer_syntax_uid).where(
                t.instances.c.sop_instance_uid == received.sop_instance_uid
            )
        ).one()
        if is_new_study:  # the UID belongs to another study: this row must not begin one
            connection.execute(t.studies.delete().where(t.studies.c.id == study.id))
        else:
            _note_coming(connection, study.id, study.last_came_at, now)
        is_same = (held.sha256, held.transfer_syntax_uid) == (received.sha256, received.transfer_syntax_uid)
        return Receipt.RESENT if is_same else Receipt.CONFLICT
    if is_new_study:
        sentence = f"first instance, from {received.calling_ae_title}"
        add_step(connection, study_id=study.id, run_id=None, at=now, stage=Stage.RECEIVED, sentence=sentence)
    elif received.kind is Kind.IMAGE or _may_tell_findings(connection, received, study.id):
        if study.news_since_at is None:
            what = "an image" if received.kind is Kind.IMAGE else "a structured report"
            sentence = f"{what} arrived after the study had been dispatched: it will be screened again"
            add_step(connection, study_id=study.id, run_id=None, at=now, stage=Stage.RECEIVED, sentence=sentence)
        newest = max(study.news_at or now, now)  # rows of several associations are not committed in order
        connection.execute(_NEW_IMAGE, {"study": study.id, "since": study.news_since_at or now, "newest": newest})
    else:
        _note_coming(connection, study.id, study.last_came_at, now)
    return Receipt.NEW


def _note_coming(connection: sa.Connection, study_id: int, last_came_at: datetime | None, now: datetime) -> None:
    """Note that something of a study came that opens no run: it is kept from now on, and more of it may be on its way.

    Its row must be held, so that it has not expired by the time that Success is said.
    """
    if last_came_at is None or abs(now - last_came_at) >= _CAME_EVERY:
        connection.execute(_CAME, {"study": study_id, "now": now})


def _may_tell_findings(connection: sa.Connection, received: ReceivedInstance, study_id: int) -> bool:
    """Tell whether a document may hold a worksheet of an ultrasound study whose images are still here."""
    if received.kind is not Kind.DOCUMENT or received.sop_class_uid not in WORKSHEETS:
        return False
    return has_ultrasound(connection, study_id)


def has_ultrasound(connection: sa.Connection, study_id: int) -> bool:
    """Tell whether the study holds ultrasound images whose files have not expired."""
    images = sa.select(t.instances.c.id).where(
        t.instances.c.study_id == study_id,
        t.instances.c.kind == Kind.IMAGE,
        t.instances.c.sop_class_uid.in_(ULTRASOUND),
        t.instances.c.expired_at.is_(None),
    )
    return connection.execute(images.limit(1)).first() is not None


def _quiet_study(
    connection: sa.Connection, row: sa.Row[Any], now: datetime, *, quiet: timedelta, max_wait: timedelta
) -> QuietStudy:
    images = connection.execute(
        sa.select(t.instances.c.sop_class_uid, t.instances.c.calling_ae_title)
        .where(
            t.instances.c.study_id == row.id,
            t.instances.c.kind == Kind.IMAGE,
            t.instances.c.expired_at.is_(None),
        )
        .distinct()
    ).all()
    fetch = fetch_of(connection, row)
    return QuietStudy(
        study_id=row.id,
        news_at=row.news_at,
        sop_class_uids=frozenset(image.sop_class_uid for image in images),
        signal=(
            f"no new image for {quiet.total_seconds():g} s"
            if row.news_at <= now - quiet
            else f"images still arrive, but the first is {max_wait.total_seconds():g} s old"
        ),
        study_instance_uid=row.study_instance_uid,
        news_since_at=row.news_since_at,
        senders=frozenset(image.calling_ae_title for image in images),
        is_fetched=fetch is not None and fetch.is_whole and backfill_of(connection, row) is not None,
        is_being_fetched=fetch is not None and fetch.is_under_way,
        fetch_reason="" if fetch is None else fetch.reason,
        is_asked_for=row.reprocess_number > 0 and row.news_at == row.received_at,
    )


def _insert_instance(connection: sa.Connection, received: ReceivedInstance, study_id: int, now: datetime) -> bool:
    """Insert the row of an instance, in place of one that has expired; True: inserted."""
    values = _instance_values(received, study_id, now)
    if _insert_new(connection, t.instances, **values):
        return True
    expired = t.instances.delete().where(
        t.instances.c.sop_instance_uid == received.sop_instance_uid, t.instances.c.expired_at.is_not(None)
    )
    return connection.execute(expired).rowcount == 1 and _insert_new(connection, t.instances, **values)


def _instance_values(received: ReceivedInstance, study_id: int, now: datetime) -> dict[str, object]:
    return {
        "study_id": study_id,
        "sop_instance_uid": received.sop_instance_uid,
        "sop_class_uid": received.sop_class_uid,
        "series_instance_uid": received.series_instance_uid,
        "modality": received.modality[:16],
        "transfer_syntax_uid": received.transfer_syntax_uid,
        "kind": received.kind,
        "path": received.path,
        "sha256": received.sha256,
        "size_bytes": received.size_bytes,
        "calling_ae_title": received.calling_ae_title[:16],
        "received_at": now,
    }
