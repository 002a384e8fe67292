"""The state of the whole, from the same questions as `screener status`; and the audit trail."""

import shutil
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response

from screener import __version__
from screener.describe_settings import describe_state
from screener.explain import describe_backlog, describe_counts, describe_daemon, describe_disk, describe_oddities
from screener.journey import Ending, Queue, Stage
from screener.store.daemon_lock import is_taken
from screener.web.visit import visit_of


def show_system(request: Request) -> Response:
    """Daemon, equation, queues, what has waited longest, what is owed, disk, failures, versions."""
    visit = visit_of(request)
    site = visit.site
    counts, backlog = site.reader.counts(), site.reader.backlog()
    disk = shutil.disk_usage(site.config.storage_folder)
    now = datetime.now(UTC)
    values: dict[str, object] = {
        "daemon": describe_daemon(lambda: is_taken(site.store.engine)),
        "counts": counts,
        "backlog": backlog,
        "queues": [(queue.value, backlog.queues.get(queue, 0)) for queue in Queue],
        "stages": [(stage.value, counts.stages[stage]) for stage in Stage if stage in counts.stages],
        "waits": [(each, max((now - each.since).total_seconds(), 0) / 60) for each in backlog.oldest],
        "disk": describe_disk(disk.free, site.config.storage),
        "disk_total": disk.total,
        "disk_free": disk.free,
        "failed": site.reader.latest_ending(Ending.FAILED),
        "oddities": site.reader.latest_oddities(),
        "version": __version__,
        "database": site.store.engine.dialect.name,
        "settings": describe_state(site.reader),
        "plain": "\n".join(
            (
                describe_state(site.reader),
                describe_counts(counts),
                describe_backlog(backlog, now),
                describe_oddities(site.reader.latest_oddities()) if counts.oddities else "",
            )
        ),
    }
    return visit.page("system.html", values)


def show_audit(
    request: Request,
    account: Annotated[str, Query(max_length=255)] = "",
    study: Annotated[str, Query(pattern="^[0-9]{0,9}$")] = "",
    before: Annotated[str, Query(pattern="^[0-9]{0,18}$")] = "",
) -> Response:
    """Who saw and did what, newest first."""
    visit = visit_of(request)
    lines = visit.site.reader.audit_lines(
        account=account,
        study_id=int(study) if study else None,
        before_id=int(before) if before else None,
    )
    return visit.page("audit.html", {"lines": lines, "chosen_account": account, "chosen_study": study})
