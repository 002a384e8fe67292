"""Fit the ultrasound nomogram on a hospital's own cases: `python -m workers train us-nomogram CASES --out FILE`.

CASES is a table (CSV) with a row per patient: `group` (who it is), `label` (benign or malignant), `probability` (the
image model's, from cases that did not train it), `irregular_shape`, `poorly_defined_margin` and
`posterior_enhancement` (yes or no; empty where not known). Rows with a missing finding are left out and counted, never
filled in. The weights are bound to the bundle that gave the probabilities: --classifier, or --fusion.
"""

import argparse
import csv
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from screener.outcomes import NeedsPerson
from screener.us_study import Finding
from workers.models.fusion_machine import load_fusion
from workers.models.us_networks import LESION_CLASSIFIER
from workers.models.us_weights import load_us_bundle
from workers.training.statistics.compare_aucs import AucComparison, compare_aucs
from workers.training.statistics.fit_logistic import LogisticFit, fit_logistic
from workers.us.measure_radiomics import RADIOMICS_VERSION
from workers.us.nomogram import PUBLISHED, Nomogram, combine_findings, log_odds, write_nomogram

IMAGE: Final = "image"
FINDINGS: Final = tuple(PUBLISHED.of_findings)
"""The three findings of the published nomogram; lymph nodes are no part of it."""
COLUMNS: Final = {finding: finding.value.replace(" ", "_") for finding in FINDINGS}
ANSWERS: Final = {"yes": True, "no": False, "": None}
LABELS: Final = {"malignant": True, "benign": False}
EVENTS_PER_TERM: Final = 10
"""With fewer malignant or benign cases for each of the four terms the weights are not to be trusted."""
USE: Final = "research use, not validated for clinical diagnosis"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row of the table."""

    group: str
    is_malignant: bool
    probability: float
    findings: Mapping[Finding, bool | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefitNomogram:
    """A nomogram with what it was fitted on."""

    nomogram: Nomogram
    fit: LogisticFit
    cases: int
    malignant: int
    left_out: int
    """Cases that lack a finding."""
    missing: Mapping[Finding, int]
    """How often each was missing among all cases."""
    apparent: AucComparison
    """The image alone against the nomogram, on the very cases that fitted it: too favorable."""

    @property
    def is_thin(self) -> bool:
        """Whether there are fewer than EVENTS_PER_TERM cases of the rarer kind for each term."""
        return min(self.malignant, self.cases - self.malignant) < EVENTS_PER_TERM * (len(FINDINGS) + 1)


def add_judge_options(parser: argparse.ArgumentParser) -> None:
    """Let the command say which bundle gave the probabilities."""
    parser.add_argument("--classifier", default=LESION_CLASSIFIER, help="that gave them; default %(default)s")
    parser.add_argument("--fusion", help="name of the bundle, where a fusion gave them")
    parser.add_argument("--models", type=Path, help="folder of bundles; the shipped ones otherwise")


def find_judge_digest(options: argparse.Namespace) -> str:
    """Return what identifies the bundle that gave the probabilities. Raises NeedsPerson where it cannot be loaded."""
    if options.fusion:
        return load_fusion(options.fusion, RADIOMICS_VERSION, options.models).digest
    return load_us_bundle(options.classifier, torch.device("cpu"), options.models, kind=LESION_CLASSIFIER).digest


def fit_nomogram(cases: Sequence[Case], source: str, judge_digest: str = "") -> RefitNomogram:
    """Fit log odds = intercept + weight x log odds(image) + a weight for each finding, without penalty.

    Raises ValueError where a patient has two rows, and as fit_logistic does: one kind of case only, a finding that
    never varies, or cases that are told apart without fail.
    """
    groups = Counter(case.group for case in cases)
    if len(groups) < len(cases):
        raise ValueError("A patient has more than one row; keep one, as the study did.")
    whole = [case for case in cases if all(case.findings.get(finding) is not None for finding in FINDINGS)]
    if not whole:
        raise ValueError("No case has all three findings; there is nothing to fit.")
    values = [[log_odds(case.probability), *(float(bool(case.findings[f])) for f in FINDINGS)] for case in whole]
    truth = [case.is_malignant for case in whole]
    fit = fit_logistic(np.array(values), truth, [IMAGE, *(finding.value for finding in FINDINGS)])
    weights = [term.value for term in fit.coefficients]
    nomogram = Nomogram(
        intercept=weights[0],
        of_image=weights[1],
        of_findings=dict(zip(FINDINGS, weights[2:], strict=True)),
        source=source,
        judge_digest=judge_digest,
    )
    combined = [combine_findings(case.probability, case.findings, nomogram).probability for case in whole]
    return RefitNomogram(
        nomogram=nomogram,
        fit=fit,
        cases=len(whole),
        malignant=sum(truth),
        left_out=len(cases) - len(whole),
        missing={f: sum(case.findings.get(f) is None for case in cases) for f in FINDINGS},
        apparent=compare_aucs(truth, [case.probability for case in whole], combined),
    )


def read_table(path: Path) -> list[Case]:
    """Return the cases of a CSV file. Raises NeedsPerson, naming the row by its number, for what is not as expected."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError) as error:
        raise NeedsPerson(f"{path} cannot be read: {type(error).__name__}.") from error
    return [_read_row(row, number) for number, row in enumerate(rows, start=2)]


def _read_row(row: Mapping[str, str | None], number: int) -> Case:
    try:
        probability = float(row["probability"] or "")
        label = LABELS[(row["label"] or "").strip().lower()]
        findings = {f: ANSWERS[(row[column] or "").strip().lower()] for f, column in COLUMNS.items()}
        group = row["group"] or ""
    except (KeyError, ValueError) as error:
        expected = ", ".join(("group", "label", "probability", *COLUMNS.values()))
        raise NeedsPerson(f"Row {number} of the table is not as expected; the columns are {expected}.") from error
    if not group or not 0 <= probability <= 1:
        raise NeedsPerson(f"Row {number} of the table names no patient, or its probability is outside 0 to 1.")
    return Case(group=group, is_malignant=label, probability=probability, findings=findings)


def describe_refit(refit: RefitNomogram) -> dict[str, Any]:
    """Return the nomogram as a JSON object with its intervals, its cases and what is missing."""
    return {
        **write_nomogram(refit.nomogram),
        "use": USE,
        "cases": refit.cases,
        "malignant": refit.malignant,
        "left_out_for_a_missing_finding": refit.left_out,
        "missing": {finding.value: count for finding, count in refit.missing.items()},
        "too_few_cases": refit.is_thin,
        "terms": {
            term.name: {"odds_ratio": term.odds_ratio, "interval_95": term.odds_ratio_95, "p": term.p}
            for term in refit.fit.coefficients
        },
        "auc_on_the_cases_that_fitted_it": {
            "image": refit.apparent.first,
            "nomogram": refit.apparent.second,
            "interval_95_of_difference": refit.apparent.interval_95,
        },
    }


def tell_refit(refit: RefitNomogram) -> str:
    """Return the fit in lines for a person."""
    lines = [
        f"{refit.cases} cases, {refit.malignant} malignant; {refit.left_out} left out for a missing finding.",
        "term                     odds ratio  95 % interval      p",
    ]
    for term in refit.fit.coefficients:
        low, high = term.odds_ratio_95
        lines.append(f"{term.name:<24} {term.odds_ratio:10.3f}  {low:.3f} to {high:.3f}  {term.p:.3f}")
    lines.append(
        f"AUC {refit.apparent.first:.3f} by the image, {refit.apparent.second:.3f} with the findings, on the cases "
        "that fitted it: on others it is lower."
    )
    if refit.is_thin:
        lines.append(f"Too few cases: fewer than {EVENTS_PER_TERM} of the rarer kind for each term.")
    return "\n".join([*lines, USE])


def main(words: list[str] | None = None) -> int:
    """Fit the nomogram on a table and write it. Raises NeedsPerson where that cannot be done."""
    parser = argparse.ArgumentParser(
        prog="python -m workers train us-nomogram",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cases", type=Path, help="table of cases (CSV)")
    parser.add_argument("--out", type=Path, required=True, help="where to write the nomogram (JSON)")
    parser.add_argument("--source", default="fitted on own cases", help="what the report says of the weights' origin")
    add_judge_options(parser)
    options = parser.parse_args(words)
    judge_digest = find_judge_digest(options)
    try:
        refit = fit_nomogram(read_table(options.cases), options.source, judge_digest)
    except ValueError as error:
        raise NeedsPerson(f"The nomogram could not be fitted. {error}") from error
    options.out.write_text(json.dumps(describe_refit(refit), indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(tell_refit(refit) + "\n")
    return 0
