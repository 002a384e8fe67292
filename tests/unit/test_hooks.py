"""Every check is proved to fire: each is given one bad file, and a good one beside it."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
HOOKS = {
    hook["id"]: hook
    for repo in yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    for hook in repo["hooks"]
}
GOOD = '"""A module with nothing to complain of."""\n'


def run(command: list[str], folder: Path, *, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command that knows nothing of the user's own settings."""
    settings = {"PATH": os.defpath, "HOME": str(folder), "PRE_COMMIT_HOME": str(folder / ".hooks")}
    return subprocess.run(command, cwd=folder, env=settings, input=text, capture_output=True, text=True, check=False)


def tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


# The hooks

# Some of these are put together from halves, or the hooks would refuse this very file.
BAD_FILES: dict[str, tuple[str, bytes]] = {
    "ruff": ("screener/bad.py", b'"""A module."""\n\nimport os\n'),
    "mypy": ("screener/bad.py", b'"""A module."""\n\nSPACING_MM: int = "1"\n'),
    "import-linter": ("screener/bad.py", b'"""A module."""\n\nimport torch\n'),
    "check-toml": ("bad.toml", b"[listener\n"),
    "no-large-files": ("bad.bin", bytes(8 * 2**20 + 1)),
    "no-dicom-files": ("slice.DCM", b""),
    "no-dicom-content": ("slice", bytes(128) + b"DICM"),
    "no-private-keys": ("key.pem", b"-----BEGIN RSA " + b"PRIVATE KEY-----\n"),
    "no-blanket-noqa": ("bad.py", b"import os  # no" + b"qa\n"),
    "no-blanket-type-ignore": ("bad.py", b"import absent  # type: " + b"ignore\n"),
}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """An empty repository with the project's checks."""
    for name in ("pyproject.toml", ".pre-commit-config.yaml"):
        shutil.copy(PROJECT / name, tmp_path)
    (tmp_path / ".venv").symlink_to(sys.prefix, target_is_directory=True)
    for package in ("screener", "workers"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(GOOD)
    assert run(["git", "init", "--quiet"], tmp_path).returncode == 0
    return tmp_path


def copy_sources(repository: Path) -> None:
    """Replace the empty packages with the project's own modules: the contracts name them."""
    for package in ("screener", "workers"):
        shutil.rmtree(repository / package)
        shutil.copytree(
            PROJECT / package, repository / package, ignore=shutil.ignore_patterns("__pycache__", "bundles")
        )


def commit_check(repository: Path, hook: str, path: str, content: bytes) -> subprocess.CompletedProcess[str]:
    (repository / path).write_bytes(content)
    return run([tool("pre-commit"), "run", hook, "--files", path], repository)


def test_every_hook_has_its_bad_file() -> None:
    assert BAD_FILES.keys() == HOOKS.keys()


@pytest.mark.parametrize("hook", BAD_FILES)
def test_a_hook_refuses_its_bad_file(repository: Path, hook: str) -> None:
    if hook == "import-linter":
        copy_sources(repository)
    done = commit_check(repository, hook, *BAD_FILES[hook])
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Failed" in done.stdout


@pytest.mark.parametrize("hook", BAD_FILES)
def test_a_hook_lets_a_good_file_pass(repository: Path, hook: str) -> None:
    if hook == "import-linter":
        copy_sources(repository)
    name, content = ("good.toml", b"port = 11112\n") if hook == "check-toml" else ("screener/good.py", GOOD.encode())
    done = commit_check(repository, hook, name, content)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("Skipped" in done.stdout) == (HOOKS[hook]["language"] == "fail")


@pytest.mark.parametrize("comment", ["# no" + "qa: E501", "# no" + "qa: E501 - a table", "# type: " + "ignore[misc]"])
def test_an_exception_that_names_its_rule_passes(repository: Path, comment: str) -> None:
    for hook in ("no-blanket-noqa", "no-blanket-type-ignore"):
        assert commit_check(repository, hook, "good.py", f"x = 1  {comment}\n".encode()).returncode == 0


# The rules

BAD_LINES = {
    "E": "x = 1 ; y = 2",
    "F": "import os",
    "W": "x = 1 ",
    "I": "import sys\nimport os",
    "B": "def f(x=[]):\n    return x",
    "UP": "from typing import List\nx: List[int]",
    "D": "def collect():\n    return 1",
    "PL": "def f(x):\n    global y\n    y = x",
    "RUF": "x = [1] + [*range(3)] + list(range(2))\ny = [*x] + [1]",
    "SIM": "def f(x):\n    if x:\n        return True\n    else:\n        return False",
    "PT": "import pytest\n\n\n@pytest.fixture()\ndef x():\n    return 1",
    "DTZ": "import datetime\n\nx = datetime.datetime.now()",
    "LOG": "import logging\n\nlogging.getLogger(__file__)",
    "G": "import logging\n\nlogging.getLogger(__name__).info(f'study={1}')",
    "S": "import pickle\n\nx = pickle.loads(b'')",
    "ERA": "# x = 1\n# print(x)",
    "PTH": "import os\n\nos.remove('x')",
    "BLE": "try:\n    x = 1\nexcept Exception:\n    x = 2",
    "TRY": "def f(x):\n    if not isinstance(x, int):\n        raise ValueError('x')",
    "C4": "x = list([i for i in range(3)])",
    "RET": "def f(x):\n    if x:\n        return 1\n    else:\n        return 2",
    "ARG": "def f(x):\n    return 1",
    "PGH": "x = eval('1')  # no" + "qa",
    "N818": "class Unfinished(Exception):\n    pass",
}


def findings(line: str, file: str) -> set[str]:
    command = [tool("ruff"), "check", "--output-format=concise", "--no-cache", f"--stdin-filename={file}", "-"]
    done = run([*command, f"--config={PROJECT / 'pyproject.toml'}"], PROJECT, text=f"{GOOD}\n{line}\n")
    return {row.split(": ", 1)[1].split(" ")[0] for row in done.stdout.splitlines() if row.startswith(file)}


def test_every_selected_rule_has_its_bad_line() -> None:
    assert BAD_LINES.keys() == set(PYPROJECT["tool"]["ruff"]["lint"]["select"])


@pytest.mark.parametrize("family", BAD_LINES)
def test_a_family_of_rules_fires(family: str) -> None:
    found = findings(BAD_LINES[family], "screener/bad.py")
    assert any(re.fullmatch(rf"{family}[CEWR]?\d*", code) for code in found), found


def test_every_ignored_rule_says_why() -> None:
    text = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    lint = text.partition("ignore = [\n")[2].partition("[tool.ruff.lint.pydocstyle]")[0]
    codes = [line for line in lint.splitlines() if line.startswith('  "')]
    assert codes
    assert [line for line in codes if "# " not in line] == []


# The contracts

BAD_IMPORTS = {
    "The daemon never imports the workers, nor the accelerator stack": ("screener/decide.py", "import torch"),
    "Stages know nothing of the queue or the database": ("workers/ct/mask_body.py", "import screener.store"),
    "Workers share the daemon's values and its store, never its verbs": ("workers/app.py", "import screener.dispatch"),
    "Only training reads NIfTI": ("workers/ct/load_volume.py", "import nibabel"),
    "The daemon reads downwards": ("screener/config.py", "import screener.receive"),
}


def test_every_contract_has_its_bad_import() -> None:
    assert BAD_IMPORTS.keys() == {contract["name"] for contract in PYPROJECT["tool"]["importlinter"]["contracts"]}


@pytest.mark.parametrize("contract", BAD_IMPORTS)
def test_a_contract_is_broken_by_one_import(repository: Path, contract: str) -> None:
    copy_sources(repository)
    name, line = BAD_IMPORTS[contract]
    path = repository / name
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    done = run([tool("lint-imports"), "--no-logo", "--no-cache"], repository)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{contract} BROKEN" in " ".join(done.stdout.split())


# The patient in the log

LEAKS = {
    "a record": "import logging\nlogging.getLogger('screener.x').debug('name=%s', 'CANARY^DONOTLOG')",
    "a record in another case": "import logging\nlogging.getLogger('workers.x').info('canary^donotlog')",
    "an exception": "import logging\ntry:\n    raise ValueError('CANARY-ID-1')\n"
    "except ValueError:\n    logging.getLogger('screener.x').exception('failed')",
    "a file": "(tmp_path / 'var').mkdir()\n(tmp_path / 'var' / 'daemon.log').write_text('x CANARY^DONOTLOG y')",
}


def run_test(folder: Path, body: str) -> str:
    shutil.copy(PROJECT / "tests" / "conftest.py", folder)
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    (folder / "test_leak.py").write_text(f"def test_it(tmp_path):\n{lines}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "test_leak.py"]
    return run(command, folder).stdout


@pytest.mark.parametrize("leak", LEAKS)
def test_a_log_that_names_the_patient_fails_its_test(tmp_path: Path, leak: str) -> None:
    assert "a log names the patient" in run_test(tmp_path, LEAKS[leak])


def test_a_log_that_names_our_number_passes(tmp_path: Path) -> None:
    stdout = run_test(tmp_path, "import logging\nlogging.getLogger('screener.x').info('study=1 stage=received')")
    assert "1 passed" in stdout
    assert "error" not in stdout


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, "1 skipped"), ({"CI": "true"}, "1 failed"), ({"SCREENER_TESTS_REQUIRE_PEERS": "1"}, "1 failed")],
)
def test_an_absent_peer_skips_at_home_and_fails_where_it_was_promised(
    tmp_path: Path, variables: dict[str, str], expected: str
) -> None:
    shutil.copy(PROJECT / "tests" / "peers" / "require.py", tmp_path)
    setting = "".join(f"    os.environ[{key!r}] = {value!r}\n" for key, value in variables.items())
    (tmp_path / "test_peer.py").write_text(
        f"import os\n\nfrom require import require\n\n\ndef test_it():\n{setting}    require('no-such-program')\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "test_peer.py"]
    assert expected in run(command, tmp_path).stdout
