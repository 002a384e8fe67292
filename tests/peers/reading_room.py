"""A served site with studies in it, made by the store's own operations and the workers' own encoders, and a browser."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from screener.archive import Archive
from screener.config import Config, load_config
from screener.decide import decide
from screener.dispatch import dispatch_study
from screener.journey import Queue
from screener.link_secret import load_link_secret
from screener.phantom import Phantom, make_phantom
from screener.phantom_us import UltrasoundPhantom
from screener.sign_links import Claim, digest_address, sign_claim
from screener.store import Kind, ReceivedInstance, Result, Run, Screening, Store
from screener.store.web_accounts import Role
from screener.study import Mass, Parotid, SeriesChoice, Side, Thresholds, Volume
from screener.web.passwords import hash_password
from tests.conformance.studies import identify
from tests.peers.hospital import wait_until
from tests.peers.ports import free_port, is_open
from tests.peers.stores import open_new_store
from tests.peers.values import a_candidate
from workers.bench import Bench
from workers.results.draw_key_image import draw_key_image
from workers.results.encode_seg import encode_seg
from workers.screen_us import screen_us

PASSWORD = "correct horse battery staple"
PEOPLE = {"rita": Role.READER, "rachel": Role.RADIOLOGIST, "adam": Role.ADMINISTRATOR}
THRESHOLDS = Thresholds(min_voxels=500, min_probability=0.5, config_revision="0123456789ab")
LEASE = timedelta(minutes=10)


@dataclass
class ReadingRoom:
    """A storage folder with its database, and whoever may sign in."""

    folder: Path
    port: int
    config: Config
    store: Store
    archive: Archive

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def receive(self, datasets: list[Dataset], now: datetime) -> int:
        """Keep a study's images as the listener does; its number."""
        for ds in datasets:
            file = BytesIO()
            ds.save_as(file, enforce_file_format=True)
            content = file.getvalue()
            begin = 132 + 12 + int.from_bytes(content[140:144], "little")  # PS3.10 7.1: preamble, prefix, group length
            arriving = self.archive.begin_received(
                sop_class_uid=str(ds.SOPClassUID),
                sop_instance_uid=str(ds.SOPInstanceUID),
                transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
                calling_ae_title="SCANNER",
            )
            arriving.write(content[begin:])  # the archive writes its own file meta information
            kept = arriving.keep()
            self.store.record_instance(
                ReceivedInstance(
                    study_instance_uid=str(ds.StudyInstanceUID),
                    series_instance_uid=str(ds.SeriesInstanceUID),
                    sop_instance_uid=str(ds.SOPInstanceUID),
                    sop_class_uid=str(ds.SOPClassUID),
                    modality=str(ds.Modality),
                    transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
                    kind=Kind.IMAGE,
                    path=kept.path,
                    sha256=kept.sha256,
                    size_bytes=kept.size_bytes,
                    calling_ae_title="SCANNER",
                ),
                now,
            )
        study_id = self.store.find_study(str(datasets[0].StudyInstanceUID))
        assert study_id is not None
        return study_id

    def claim(self, now: datetime, queue: Queue = Queue.CT) -> Run:
        for study in self.store.quiet_studies(now, quiet=timedelta(seconds=1), max_wait=timedelta(hours=1)):
            dispatch_study(self.store, study, THRESHOLDS, now)
        run = self.store.claim_run(queue, "worker", now, LEASE)
        assert run is not None
        return run

    def screen(self, phantom: Phantom, now: datetime, recipients: Sequence[tuple[str, str]] = ()) -> int:
        """Receive and screen a phantom as if the networks had found its truth; the study's number."""
        study_id = self.receive(phantom.datasets, now)
        run = self.claim(now + timedelta(seconds=5))
        series = str(phantom.datasets[0].SeriesInstanceUID)
        choice = SeriesChoice(
            series_instance_uid=series,
            modality="CT",
            score=4.0,
            is_chosen=True,
            reasons=("Axial soft tissue.",),
            instance_count=len(phantom.datasets),
        )
        self.store.record_series(run, [choice], "key")
        screening = self._screening(phantom, run, study_id)
        self.store.finish_run(
            run, screening, destinations=[], recipients=recipients, seconds=3.0, now=now + timedelta(seconds=9)
        )
        return study_id

    def screen_ultrasound(self, phantom: UltrasoundPhantom, now: datetime) -> int:
        """Receive an ultrasound phantom and screen it with the networks that ship; the study's number."""
        study_id = self.receive(phantom.datasets, now)
        end = now + timedelta(seconds=5)
        run = self.claim(end, Queue.US)
        screen_us(Bench(config=self.config, store=self.store, archive=self.archive, clock=lambda: end), run)
        return study_id

    def link_of(self, study_id: int) -> str:
        """The path behind a mail's button for the study's first notice, good for a day."""
        notice = self.store.notice_stories(study_id=study_id)[0]
        claim = Claim(
            notice_id=notice.notice_id,
            study_id=study_id,
            run_id=notice.run_id,
            finding=notice.finding_key,
            recipient=digest_address(notice.channel, notice.recipient),
            owed_since=notice.owed_since,
            expires_at=datetime.now(UTC) + timedelta(days=1),
        )
        return f"/acknowledge?token={sign_claim(load_link_secret(self.config.storage_folder), claim)}"

    def _screening(self, phantom: Phantom, run: Run, study_id: int) -> Screening:
        volume = volume_of(phantom)
        parotids = tuple(parotid_of(phantom, side) for side in (Side.RIGHT, Side.LEFT))
        masses = masses_of(phantom)
        assessments = tuple(parotid.assessment for parotid in parotids)
        candidates = tuple(mass.candidate for mass in masses)
        verdict = decide(assessments, candidates, THRESHOLDS)
        paths = [
            image.path
            for uid in volume.sop_instance_uids
            for image in self.store.images_of(study_id, self.folder / "var")
            if image.sop_instance_uid == uid
        ]
        seg = encode_seg(
            paths,
            volume,
            parotids,
            masses,
            identity=identify(),
            run_key=f"run of {study_id}",
            started_at=datetime(2026, 3, 4, tzinfo=UTC),
            algorithm_parameters="none",
        )
        assert seg is not None
        file = BytesIO()
        seg.save_as(file, enforce_file_format=True)
        key_image = draw_key_image(volume, parotids, masses, verdict)
        results = []
        for role, content, suffix in (("seg", file.getvalue(), ".dcm"), ("key_image", key_image, ".png")):
            path = self.archive.write_result(study_id, run.number, role, content, attempt=1, suffix=suffix)
            uid = str(seg.SOPInstanceUID) if role == "seg" else ""
            sop_class = str(seg.SOPClassUID) if role == "seg" else ""
            results.append(Result(role=role, sop_class_uid=sop_class, sop_instance_uid=uid, path=path, sha256="0"))
        return Screening(
            assessments=assessments,
            candidates=candidates,
            verdict=verdict,
            results=tuple(results),
            model_identity="2.25.99",
        )


def volume_of(phantom: Phantom) -> Volume:
    return Volume(
        hu=phantom.hu,
        affine=phantom.affine,
        body=phantom.hu > -300,
        series_instance_uid=str(phantom.datasets[0].SeriesInstanceUID),
        frame_of_reference_uid=str(phantom.datasets[0].FrameOfReferenceUID),
        sop_instance_uids=tuple(str(ds.SOPInstanceUID) for ds in phantom.datasets),
    )


def center_of(mask: Any, affine: Any) -> tuple[float, float, float]:
    z, y, x = (float(axis.mean()) for axis in np.nonzero(mask))
    center = affine @ np.array([x, y, z, 1.0])
    return float(center[0]), float(center[1]), float(center[2])


def parotid_of(phantom: Phantom, side: Side) -> Parotid:
    mask = phantom.right_parotid if side is Side.RIGHT else phantom.left_parotid
    volume = float(mask.sum()) * abs(np.linalg.det(phantom.affine[:3, :3]))
    return Parotid(
        side=side,
        is_assessed=True,
        reason="",
        center_mm=center_of(mask, phantom.affine),
        mask=mask,
        volume_mm3=volume,
        mean_hu=float(phantom.hu[mask].mean()),
    )


def masses_of(phantom: Phantom) -> tuple[Mass, ...]:
    if phantom.mass is None:
        return ()
    volume = float(phantom.mass.sum()) * abs(np.linalg.det(phantom.affine[:3, :3]))
    center = center_of(phantom.mass, phantom.affine)
    candidate = replace(
        a_candidate(1, round(volume), Side.RIGHT if center[0] < 0 else Side.LEFT),
        center_mm=center,
        volume_mm3=volume,
        longest_diameter_mm=(6 * volume / np.pi) ** (1 / 3),
        scores=tuple(0.8 for _ in range(10)),
    )
    return (Mass(candidate=candidate, mask=phantom.mass),)


def a_patient(**changes: Any) -> Phantom:
    """A small phantom, quickly made."""
    settings: dict[str, Any] = {"rows": 192, "spacing_mm": (1.3, 1.3, 4.0), "z_range_mm": (-60.0, 60.0)}
    return make_phantom(**(settings | changes))


@contextmanager
def open_reading_room(folder: Path, web: str = "", port: int = 0) -> Iterator[ReadingRoom]:
    """Serve an empty site with its people, until the block ends; its log stays in `web.log`."""
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    settings = f"[storage]\nreserve_mib = 10\nclean_below_mib = 10\n[web]\nport = {port}\n{web}"
    (folder / "config.toml").write_text(settings)
    config = load_config(folder / "config.toml")
    archive = Archive(config.storage_folder, 0)
    store = open_new_store(config.database_url)
    for name, role in PEOPLE.items():
        store.add_account(name, role, hash_password(PASSWORD), datetime.now(UTC))
    command = [sys.executable, "-m", "screener", "web", "--config", str(folder / "config.toml")]
    with (folder / "web.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:

        def listens() -> bool:
            assert process.poll() is None, (folder / "web.log").read_text()
            return is_open(port)

        wait_until(listens, 120, "the pages are served")
        yield ReadingRoom(folder=folder, port=port, config=config, store=store, archive=archive)
    finally:
        process.terminate()
        process.wait(timeout=30)
        store.engine.dispose()
        print((folder / "web.log").read_text()[-4000:])
