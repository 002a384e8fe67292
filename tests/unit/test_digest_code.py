"""What was made from files by other code is not used again."""

from pathlib import Path
from types import ModuleType

import pytest

from screener import know_segments, read_file
from workers.training import digest_cases
from workers.training.evaluation import run_cases


@pytest.mark.parametrize("module", [read_file, know_segments])
def test_the_digests_follow_what_reads_files_and_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType
) -> None:
    digests = [lambda: digest_cases.digest_code(digest_cases.READING), run_cases.digest_code.__wrapped__]
    before = [digest() for digest in digests]
    assert [digest() for digest in digests] == before
    changed = tmp_path / "module.py"
    changed.write_bytes(Path(str(module.__file__)).read_bytes() + b"MORE = 1\n")
    monkeypatch.setattr(module, "__file__", str(changed))
    assert all(digest() != old for digest, old in zip(digests, before, strict=True))
