"""A threshold that is changed in config.toml while the daemon runs decides the next study, and stands in its report."""

from collections.abc import Callable

from pydicom import dcmread

from screener.phantom import make_phantom
from screener.store.settings_log import SettingsEvent
from screener.study import Side
from tests.peers.hospital import Hospital, wait_until
from tests.peers.pacs import Pacs

SECONDS = 60


def test_the_next_study_is_decided_by_it_and_a_wrong_file_changes_nothing(
    build_hospital: Callable[..., tuple[Hospital, Pacs]],
) -> None:
    hospital, _ = build_hospital()
    store, path = hospital.store, hospital.config_path
    good = path.read_text(encoding="utf-8")
    wait_until(lambda: store.last_settings_line() is not None, SECONDS, "the daemon has told its settings")
    first = store.last_settings_line()
    assert first is not None

    path.write_text(f"{good}\n[decision]\nmin_voxels = 3\n", encoding="utf-8")
    wait_until(lambda: len(store.settings_lines()) == 2, SECONDS, "the wrong file is refused")
    refused = store.last_settings_line()
    assert refused is not None
    assert (refused.kind, refused.revision) == (SettingsEvent.REFUSED, first.revision)
    assert "settings: config.toml is wrong" in hospital.log_path.read_text(encoding="utf-8", errors="replace")

    path.write_text(f"{good}\n[decision]\nmin_voxels = 100000\n", encoding="utf-8")
    wait_until(lambda: len(store.settings_lines()) == 3, SECONDS, "the new threshold is taken over")
    taken = store.last_settings_line()
    assert taken is not None
    assert taken.revision != first.revision

    phantom = make_phantom(mass_mm=25.0, mass_side=Side.LEFT, seed=11)
    hospital.scanner.send(phantom.datasets)
    report = hospital.wait_for_ending(phantom.study_instance_uid)
    (run,) = report.runs
    assert (run.is_flagged, run.thresholds.min_voxels) == (False, 100000)
    assert run.thresholds.config_revision == taken.revision
    (sr,) = [dcmread(hospital.folder / "var" / result.path) for result in run.results if result.role == "sr"]
    assert taken.revision in str(sr)
