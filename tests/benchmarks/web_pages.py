"""How long the pages take with very many studies: worklist and case, the 95th percentile of each.

    python tests/benchmarks/web_pages.py --studies 100000 --requests 200

Fills a SQLite store with studies (4 % flagged, of those a tenth not
acknowledged; half have a radiology report), all of whose image rows name one small file, and asks the
served application in this process for pages as a browser would: the first
page, pages far down, each filter and order, cases, and patients by ID,
accession number and name. Ends with 1 where the worklist or a search takes
more than 200 ms or the case more than 300 ms at the 95th percentile. The time
is that of the whole request without the network.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import sqlalchemy as sa
from starlette.testclient import TestClient

from screener.config import make_config
from screener.store import govern_tables, open_store, review_tables, tables, web_tables
from screener.store.patient_words import NOTHING, patient_words
from screener.store.web_accounts import Role
from screener.web.csrf import csrf_token
from screener.web.gate import COOKIE, digest_token
from screener.web.read_patient import Patient, PatientReader
from screener.web.site import make_site

START = datetime(2020, 1, 1, tzinfo=UTC)
WORKLIST_SECONDS = 0.2
CASE_SECONDS = 0.3
FLAGGED_SHARE = 0.04
OPEN_SHARE = 0.1
IMAGES = 3
BATCH = 5000
US_EVERY = 50
REPORT_EVERY = 2
EMPTY = {"min_voxels": 500, "min_probability": 0.5, "gamma": 5, "min_score": 0.2, "min_covered_share": 0.4}


def fill(engine: sa.Engine, count: int, path: str, seed: int, reader: PatientReader) -> None:
    """Write `count` studies with runs, steps, glands, candidates, images and acknowledgements."""
    chance = random.Random(seed)  # noqa: S311 - figures for a table
    numbers_left = iter(range(1, count + 1))
    while numbers := list(islice(numbers_left, BATCH)):
        rows: dict[sa.Table, list[dict[str, Any]]] = {}
        for number in numbers:
            for table, row in rows_of(number, path, chance):
                rows.setdefault(table, []).append(row)
            words = {NOTHING, *reader.words(a_patient(number))}
            rows.setdefault(patient_words, []).extend({"study_id": number, "digest": word} for word in words)
        with engine.begin() as connection:
            for table, values in rows.items():
                connection.execute(table.insert(), values)


def a_patient(number: int) -> Patient:
    """Two studies each, and a name that some hundred share."""
    name = f"FAMILY{number // 2 % 997}, GIVEN{number // 2 % 89}"
    return Patient(name=name, patient_id=f"P{number // 2}", accession_number=f"A{number}")


def rows_of(number: int, path: str, chance: random.Random) -> Iterator[tuple[sa.Table, dict[str, Any]]]:
    """Yield the rows of one study, parents first."""
    at = START + timedelta(minutes=20 * number)
    kind = chance.random()
    ending = "failed" if kind < 0.002 else "set aside" if kind < 0.1 else None if kind > 0.9995 else "done"
    is_flagged = ending == "done" and chance.random() < FLAGGED_SHARE
    over = at if ending else None
    yield tables.studies, {
        "id": number, "study_instance_uid": f"2.25.{number}", "stage": "notified", "ending": ending, "code": "",
        "reason": "", "received_at": at, "ended_at": over, "news_since_at": None, "news_at": None,
        "reprocess_number": 0,
    }  # fmt: skip
    yield web_tables.patients, {"study_id": number, "patient_key": f"{number // 2}", "study_date": at.date()}
    is_decided = ending == "done"
    yield tables.runs, EMPTY | {
        "id": number, "study_id": number, "number": 1, "queue": "us" if number % US_EVERY == 0 else "ct",
        "state": "ended" if ending else "waiting", "min_malignancy": 0.5, "us_findings": "report",
        "config_revision": "0123456789ab", "reprocess_number": 0, "opened_at": at, "priority": number % 2,
        "attempts": 1, "failures": 0, "not_before": at, "ended_at": over, "ending": ending, "code": "", "reason": "",
        "is_flagged": is_flagged if is_decided else None, "model_identity": "2.25.1",
    }  # fmt: skip
    for step in range(8):
        yield tables.steps, {"study_id": number, "run_id": number, "at": at, "stage": f"step {step}", "seconds": 1.0,
                             "sentence": "A sentence of the usual length about what became of it."}  # fmt: skip
    for image in range(IMAGES):
        yield tables.instances, {
            "study_id": number, "sop_instance_uid": f"2.25.{number}.{image}", "sop_class_uid": "1.2", "modality": "CT",
            "series_instance_uid": f"2.25.{number}.9", "transfer_syntax_uid": "1.2", "kind": "image", "path": path,
            "sha256": "0", "size_bytes": 1, "calling_ae_title": "SCANNER", "received_at": at, "expired_at": None,
        }  # fmt: skip
    if not is_decided:
        return
    if number % REPORT_EVERY == 0:
        yield govern_tables.mentions, {
            "study_id": number, "verdict": chance.choice(["mentioned", "denied", "not mentioned"]),
            "sides": chance.choice(["", "left", "right"]), "source": "hl7", "sha256": f"{number}", "at": at,
        }  # fmt: skip
    for side in ("right", "left"):
        yield tables.glands, {
            "run_id": number, "side": side, "is_assessed": True, "assessment_reason": "", "volume_mm3": 25e3,
            "mean_hu": -5.0, "covered_share": 1.0, "is_partial": False, "presence": "absent", "reason": "None.",
        }  # fmt: skip
    if number % US_EVERY == 0:
        yield tables.lesions, a_lesion_row(number, chance, is_flagged)
    else:
        yield tables.candidates, a_candidate_row(number, chance, is_flagged)
    if is_flagged and chance.random() > OPEN_SHARE:
        yield review_tables.acknowledgements, {"study_id": number, "run_id": number, "finding": "left", "by": "rachel",
                                               "how": "web", "at": at}  # fmt: skip


def a_candidate_row(number: int, chance: random.Random, is_flagged: bool) -> dict[str, Any]:
    voxels = chance.randint(500, 9000) if is_flagged else chance.randint(30, 499)
    side = chance.choice(["right", "left"])
    features = {
        "side": side, "number": 1, "voxels": voxels, "volume_mm3": float(voxels), "mean_hu": 40.0,
        "longest_diameter_mm": 1.24 * voxels ** (1 / 3), "max_probability": chance.random(), "mean_probability": 0.6,
        "center_mm": [1.0, 2.0, 3.0], "features": {}, "scores": [0.7] * 10,
    }  # fmt: skip
    return {"run_id": number, "number": 1, "side": side, "is_above_threshold": is_flagged, "voxels": voxels,
            "features": features}  # fmt: skip


def a_lesion_row(number: int, chance: random.Random, is_flagged: bool) -> dict[str, Any]:
    probability = chance.uniform(0.5, 1.0) if is_flagged else chance.uniform(0.0, 0.5)
    values: dict[str, Any] = {
        "answer": "malignant" if is_flagged else "benign", "probability": probability, "reason": "The largest lesion.",
        "sop_instance_uid": f"2.25.{number}.0", "frame_number": 0, "area_px": 900, "longest_diameter_mm": 12.0,
        "is_by_findings": False, "findings": {}, "findings_reason": "", "learned_from": "",
    }  # fmt: skip
    return {"run_id": number} | values


def write_image(folder: Path) -> str:
    """One small image, which stands for all."""
    from screener.phantom import make_phantom

    path = folder / "image.dcm"
    phantom = make_phantom(rows=64, spacing_mm=(4.0, 4.0, 20.0))
    phantom.datasets[0].save_as(path, enforce_file_format=True)
    return path.name


def worklist_paths(count: int, chance: random.Random) -> Iterator[str]:
    """Yield what people ask of the worklist, in turn and for ever."""
    while True:
        yield "/"
        yield f"/?after=2.{chance.randint(1, count)}.0x0p%2B0"
        yield f"/?sort=oldest&after=2.{chance.randint(1, count)}.0x0p%2B0"
        for query in ("show=open", "show=flagged", "show=running", "show=failed", "show=set_aside", "sort=size"):
            yield f"/?{query}"
        for query in ("sort=probability", "queue=us", "queue=ct", "side=left", "part=rows"):
            yield f"/?{query}"


def case_paths(count: int, chance: random.Random) -> Iterator[str]:
    while True:
        yield f"/studies/{chance.randint(1, count)}"


def searches(count: int, chance: random.Random) -> Iterator[str]:
    """Yield what people look for, in turn and for ever."""
    while True:
        patient = a_patient(chance.randint(1, count))
        yield from (patient.patient_id, patient.accession_number, patient.name, patient.name.split(",")[0], "nobody")


def measure_searches(client: TestClient, texts: Iterator[str], requests: int) -> list[tuple[float, float, str]]:
    """As `measure`, of the form that finds patients; a study that is gone to at once counts as found."""
    taken = []
    for text in islice(texts, requests):
        begin, begin_of_processor = time.perf_counter(), time.process_time()
        form = {"find": text, "csrf_token": csrf_token("secret")}
        answer = client.post("/find", data=form, headers={"Accept": "text/html"}, follow_redirects=False)
        taken.append((time.perf_counter() - begin, time.process_time() - begin_of_processor, text))
        if answer.status_code not in {200, 303}:
            raise SystemExit(f"{text}: {answer.status_code}")
    return sorted(taken)


def measure(client: TestClient, paths: Iterator[str], requests: int) -> list[tuple[float, float, str]]:
    """(seconds, of these the processor's own, path) of each request, the slowest last."""
    taken = []
    for _ in range(requests):
        path = next(paths)
        begin, begin_of_processor = time.perf_counter(), time.process_time()
        answer = client.get(path, headers={"Accept": "text/html"})
        taken.append((time.perf_counter() - begin, time.process_time() - begin_of_processor, path))
        if answer.status_code != 200:
            raise SystemExit(f"{path}: {answer.status_code}")
    return sorted(taken)


def percentile(seconds: list[float], share: float) -> float:
    return seconds[min(int(len(seconds) * share), len(seconds) - 1)]


def main() -> int:
    """Fill, ask, print; 0 where both limits hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=200, help="of each kind")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)  # noqa: S311 - which pages are asked for
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "var").mkdir()
        config = make_config({}, base=folder, environment={})
        store = open_store(config.database_url, is_migrating=True)
        begin = time.perf_counter()
        fill(store.engine, options.studies, write_image(folder / "var"), options.seed, PatientReader(folder / "var"))
        size = (folder / "var" / "screener.sqlite").stat().st_size >> 20
        print(f"{options.studies} studies written in {time.perf_counter() - begin:.0f} s, {size} MiB")
        now = datetime.now(UTC)
        store.add_account("rita", Role.READER, "", now)
        account = store.find_account("rita")
        assert account is not None
        store.begin_session(account.account_id, digest_token("secret"), now, now + timedelta(hours=1))
        site = make_site(config, store, lambda: datetime.now(UTC))
        with TestClient(site, base_url="https://screener.test") as client:
            client.cookies.set(COOKIE, "secret", domain="screener.test")
            measure(client, worklist_paths(options.studies, chance), 16)  # once, so that templates are compiled
            judged = [
                judge(kind, measure(client, paths(options.studies, chance), options.requests), limit)
                for kind, paths, limit in (
                    ("worklist", worklist_paths, WORKLIST_SECONDS),
                    ("case", case_paths, CASE_SECONDS),
                )
            ]
            found = measure_searches(client, searches(options.studies, chance), options.requests)
            judged.append(judge("search", found, WORKLIST_SECONDS))
        store.engine.dispose()
    return 0 if all(judged) else 1


def judge(kind: str, taken: list[tuple[float, float, str]], limit: float) -> bool:
    """Print the figures of one kind of page; True: the 95th percentile keeps to the limit."""
    seconds = [each for each, _, _ in taken]
    processor = sorted(each for _, each, _ in taken)
    high = percentile(seconds, 0.95)
    print(
        f"{kind}: median {percentile(seconds, 0.5) * 1000:.0f} ms, 95th percentile {high * 1000:.0f} ms "
        f"(limit {limit * 1000:.0f}), slowest {seconds[-1] * 1000:.0f} ms ({taken[-1][2]}); of the processor's own "
        f"time, which a busy machine does not change: median {percentile(processor, 0.5) * 1000:.0f} ms, "
        f"95th percentile {percentile(processor, 0.95) * 1000:.0f} ms"
    )
    return high <= limit


if __name__ == "__main__":
    sys.exit(main())
