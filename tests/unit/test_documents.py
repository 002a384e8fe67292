"""The documents say what the code does: each fact stands in several places, and these tests hold them together."""

import ast
import math
import re
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from screener import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, __version__
from screener.config import Config, Decision
from screener.journey import CT_JOURNEY, US_JOURNEY, Stage, Step
from screener.sop_classes import DOCUMENTS, IMAGES
from screener.store.web_accounts import Role
from screener.web.passwords import MAX_CHARACTERS, MIN_CHARACTERS
from screener.web.routes import ROUTES

PROJECT = Path(__file__).resolve().parents[2]
MODULES = sorted(path for folder in ("screener", "workers") for path in (PROJECT / folder).rglob("*.py"))
EDGES = {
    "screener/association.py",
    "screener/commit.py",
    "screener/complete.py",
    "screener/count_at_pacs.py",
    "screener/escalate.py",
    "screener/pull/night_list.py",
    "screener/schedule.py",
    "screener/take_instance.py",
    "screener/take_reports.py",
    "workers/tasks.py",
}
"""The only places where any exception is caught: an association, a report to a requester, the judgement of one study, a
question to a PACS, a notice to pass on, a job, C-STORE, a report's message, a task."""


ARROW = re.compile(r"(?:([A-Z]+) )?-> ([A-Z]+): ")


def name(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def heading(module: str) -> str:
    """First line of the module's docstring."""
    docstring = ast.get_docstring(ast.parse((PROJECT / module).read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


STEPS_AND_BEFORE = list(zip((None, *(step.stage for step in CT_JOURNEY)), CT_JOURNEY, strict=False))
"""Each step with the stage that a study has reached before it."""


# The journey


def test_the_journey_passes_through_every_stage_in_order() -> None:
    assert [step.stage for step in CT_JOURNEY] == list(Stage)


@pytest.mark.parametrize(("before", "step"), STEPS_AND_BEFORE, ids=lambda value: str(getattr(value, "module", "")))
def test_a_stage_module_opens_with_its_arrow(before: Stage | None, step: Step) -> None:
    assert (PROJECT / step.module).is_file(), f"{step.module} makes {step.stage.name} true and is absent"
    arrow = f"{before.name + ' ' if before else ''}-> {step.stage.name}: "
    assert heading(step.module).startswith(arrow), f"{step.module} opens with {heading(step.module)!r}, not {arrow!r}"


@pytest.mark.parametrize("step", US_JOURNEY, ids=lambda step: str(step.module))
def test_an_ultrasound_stage_has_its_module(step: Step) -> None:
    assert (PROJECT / step.module).is_file(), f"{step.module} makes {step.stage.name} true and is absent"


ARROWS = {name(path): match.groups() for path in MODULES if (match := ARROW.match(heading(name(path))))}


@pytest.mark.parametrize("module", ARROWS)
def test_an_arrow_leads_from_one_stage_to_the_next(module: str) -> None:
    """A stage may have helpers with the same arrow, as the SEG has beside the report; no arrow skips a stage."""
    journey = [None, *(stage.name for stage in Stage)]
    assert ARROWS[module] in set(pairwise(journey))


def test_the_readme_tells_the_same_journey() -> None:
    rows = re.findall(r"^\| ([a-z]+) \| `([a-z_/]+\.py)` \| (.+) \|$", (PROJECT / "README.md").read_text("utf-8"), re.M)
    assert rows == [(step.stage.value, step.module, step.holds) for step in CT_JOURNEY]


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_opens_with_a_sentence(path: Path) -> None:
    assert heading(name(path)), f"{name(path)} has no docstring"


# The settings


def sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield every key of config.toml as (dotted name, sentence); an array of tables counts as one prefix."""
    for key, field in model.model_fields.items():
        inner = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
        tables = [kind for kind in inner if issubclass(kind, BaseModel)]
        if tables:
            yield from sections(tables[0], f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", field.description or ""


def keys_of_file(text: str) -> Iterator[tuple[str, str]]:
    """Yield every `key = value` line of a config.toml as (dotted name, the comment line above it)."""
    table, above = "", ""
    for line in text.splitlines():
        if match := re.fullmatch(r"\[+([a-z_.]+)\]+", line):
            table = match[1]
        elif match := re.match(r"([a-z_]+) = ", line):
            yield f"{table}.{match[1]}", above.removeprefix("# ")
        above = line


FIELDS = dict(sections(Config))
FILE = dict(keys_of_file((PROJECT / "config.toml").read_text(encoding="utf-8")))
NOTICES = ("webhooks", "hl7", "apprise", "rules", "people")
ABSENT = ("results.destinations", "pull.sources", "completeness.pacs", *(f"notices.{name}" for name in NOTICES))
"""There is none of these by default, so their keys are shown in comments."""
IN_A_COMMENT = {key for key in FIELDS if key.rpartition(".")[0] in ABSENT}


@pytest.mark.parametrize("key", sorted(FIELDS.keys() - IN_A_COMMENT))
def test_a_setting_stands_in_the_file_with_its_sentence_above(key: str) -> None:
    assert key in FILE, f"{key} is a setting and config.toml does not hold it"
    assert FILE[key] == FIELDS[key]


def test_the_file_holds_no_other_key() -> None:
    assert FILE.keys() - FIELDS.keys() == set()


def test_the_examples_in_comments_can_be_used_as_they_stand() -> None:
    text = (PROJECT / "config.toml").read_text(encoding="utf-8")
    example = re.findall(r"^#   (.+)$", text, re.M)
    tables: dict[str, Any] = tomllib.loads("\n".join(example))
    Config.model_validate(tables)
    tables_of = {place: tables[place.partition(".")[0]][place.partition(".")[2]] for place in ABSENT}
    assert {f"{place}.{key}" for place, entries in tables_of.items() for key in entries[0]} == IN_A_COMMENT


def test_every_setting_has_a_sentence() -> None:
    assert [key for key, sentence in FIELDS.items() if not sentence.endswith(".")] == []


def test_every_setting_that_the_readme_names_exists() -> None:
    tables = "|".join(Config.model_fields)
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(rf"`((?:{tables})\.[a-z_.]+)`", text))
    known = FIELDS.keys() | {key.rpartition(".")[0] for key in FIELDS}
    assert named - known == set()
    assert "decision.min_voxels" in named


def test_the_readme_gives_the_volume_of_each_sphere() -> None:
    rows = re.findall(r"^\| ([\d.]+) mm \| (\d+) \|$", (PROJECT / "README.md").read_text(encoding="utf-8"), re.M)
    assert [int(voxels) for _, voxels in rows] == [round(math.pi / 6 * float(diameter) ** 3) for diameter, _ in rows]
    assert Decision().min_voxels in [int(voxels) for _, voxels in rows]


# The rest


def catches_everything(handler: ast.ExceptHandler) -> bool:
    """True: any exception ends here. False: it has a name, or is only tidied up after and raised again."""
    last = handler.body[-1]
    if isinstance(last, ast.Raise) and last.exc is None:
        return False
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or ast.unparse(kind) in {"Exception", "BaseException"} for kind in kinds)


@pytest.mark.parametrize("path", [path for path in MODULES if name(path) not in EDGES], ids=name)
def test_only_the_edges_catch_everything(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    handlers = [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and catches_everything(node)]
    assert [f"{name(path)}:{handler.lineno}" for handler in handlers] == []


def test_the_version_is_the_first_heading_of_the_changelog() -> None:
    text = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+?)\]", text, re.M)
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert headings[0] == project["version"] == __version__


def test_the_conformance_statement_lists_what_the_door_lets_in() -> None:
    text = (PROJECT / "deploy" / "conformance.md").read_text(encoding="utf-8")
    received = text.partition("## Receiving")[2].partition("## Sending")[0]
    images, documents = received.partition("Documents, only")[::2]
    listed = [set(re.findall(r"^\| .+ \| (1\.2\.[\d.]+) \|$", part, re.M)) for part in (images, documents)]
    assert listed == [set(IMAGES), set(DOCUMENTS)]
    assert IMPLEMENTATION_CLASS_UID in text
    assert IMPLEMENTATION_VERSION_NAME in text


def test_the_conformance_statement_is_of_this_version() -> None:
    assert f"Parotid screener {__version__}." in (PROJECT / "deploy" / "conformance.md").read_text(encoding="utf-8")


PAGES = {
    ("GET", "/"): "Worklist",
    ("POST", "/find"): "Find",
    ("GET", "/studies/{study_id}"): "Case",
    ("GET", "/system"): "System",
    ("GET", "/quality"): "Quality",
    ("POST", "/studies/{study_id}/acknowledge"): "Acknowledge",
    ("POST", "/studies/{study_id}/review"): "Agree, Already in the report, Disagree, Comment",
    ("POST", "/studies/{study_id}/findings"): "Enter findings",
    ("GET", "/thresholds"): "Thresholds",
    ("POST", "/thresholds"): "Write",
    ("GET", "/audit"): "Audit trail",
}
"""What a person sees or presses, by its route; what these pages load by themselves takes the role of the page."""


@pytest.mark.parametrize(("place", "shown"), PAGES.items(), ids=str)
def test_the_readme_says_which_roles_may_use_a_page(place: tuple[str, str], shown: str) -> None:
    (least,) = {route.role for route in ROUTES if (route.method, route.path) == place}
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if f"**{shown}**" in line]
    assert [cells[1:] for cells in rows] == [["yes" if role.includes(least) else "no" for role in Role]]


def test_the_readme_leaves_no_page_out() -> None:
    loaded = {"/worklist.json", "/sign-out"}
    own = {(route.method, route.path) for route in ROUTES if route.role is not None and route.path not in loaded}
    assert {place for place in own - PAGES.keys() if not place[1].startswith("/studies/{study_id}/")} == set()


def test_the_readme_starts_the_daemon_before_it_makes_an_account() -> None:
    """The first start makes the database, without which there are no accounts."""
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    section = text.partition("### See and judge cases on the pages")[2].partition("\n### ")[0]
    commands = [line for line in section.splitlines() if line.startswith(("screener run", "screener users add"))]
    assert [line.split()[1] for line in commands] == ["run", "users"]


def test_the_readme_tells_how_long_a_password_may_be() -> None:
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert f"{MIN_CHARACTERS} to {MAX_CHARACTERS} characters" in text


def test_failures_through_openid_are_said_to_be_counted_apart() -> None:
    """As `test_openid_away.py` holds the pages to."""
    text = " ".join((PROJECT / "README.md").read_text(encoding="utf-8").split())
    assert "counted apart" in FIELDS["web.max_failures"]
    assert "failures at the provider are counted apart, by address alone" in text


def test_the_readme_names_every_target_of_the_makefile() -> None:
    targets = re.findall(r"^([a-z]+):.*## ", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.M)
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert [target for target in targets if f"make {target}" not in text] == []


@pytest.mark.parametrize("path", sorted(PROJECT.glob("deploy/decisions/*.md")), ids=name)
def test_a_decision_fits_on_a_page_and_names_its_consequences(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 60
    assert [line for line in lines if line.startswith("## ")] == ["## Context", "## Decision", "## Consequences"]


@pytest.mark.parametrize("path", sorted(PROJECT.glob("*.md")) + sorted(PROJECT.glob("deploy/**/*.md")), ids=name)
def test_a_link_to_a_file_of_the_project_leads_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|mailto:|#)([^)#]+)", path.read_text(encoding="utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []
