"""What `make audit` runs: bandit over the code, pip-audit over the pinned packages, answers.toml against both.

Ends with 1 over a finding without an answer, an answer without a finding, or
a package that no advisory service could be asked about.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]


def run_json(*command: str) -> Any:
    """Run a tool of this environment and read the JSON that it prints; None where it prints none."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        print(f"{command[0]} gave no answer: {last[0][:300]}")
        return None


def audit_code(answers: list[dict[str, Any]]) -> Iterator[str]:
    """Yield what is wrong: a finding that nobody has answered, an answer that has become needless."""
    found = run_json("bandit", "-q", "-r", "screener", "workers", "-f", "json")
    if found is None:
        yield "the code was not audited"
        return
    answered = {(answer["rule"], file) for answer in answers for file in answer["files"]}
    seen = {(each["test_id"], each["filename"]): each for each in found["results"]}
    met = len(answered & seen.keys())
    print(f"bandit: {len(found['results'])} findings, {len(seen)} by rule and file, {met} answered")
    for key in sorted(seen.keys() - answered):
        each = seen[key]
        place = f"{each['filename']}:{each['line_number']}"
        yield f"{place} {each['test_id']} ({each['issue_severity']}): {each['issue_text']}"
    for rule, file in sorted(answered - seen.keys()):
        yield f"answers.toml answers {rule} in {file}, which bandit no longer finds"


def audit_packages(answers: list[dict[str, Any]]) -> Iterator[str]:
    """Yield what is wrong with the pinned packages: an advisory without an answer, and what could not be asked."""
    found = run_json("pip_audit", "-r", "constraints.txt", "--no-deps", "--disable-pip", "-f", "json")
    if found is None:
        yield "the packages were not audited: no advisory service answers"
        return
    skipped = [each for each in found["dependencies"] if "skip_reason" in each]
    asked = [each for each in found["dependencies"] if "skip_reason" not in each]
    known = {vuln["id"]: (each["name"], each["version"]) for each in asked for vuln in each["vulns"]}
    answered = {answer["advisory"] for answer in answers}
    print(f"pip-audit: {len(asked)} packages asked about, {len(skipped)} not, {len(known)} advisories")
    if skipped:
        yield f"{len(skipped)} packages were not audited, such as {skipped[0]['name']}: {skipped[0]['skip_reason']}"
    for advisory in sorted(known.keys() - answered):
        yield f"{' '.join(known[advisory])}: {advisory}"
    for advisory in sorted(answered - known.keys() if not skipped else ()):
        yield f"answers.toml answers {advisory}, which concerns no pinned package"


def main() -> int:
    """Print what is wrong; 0 where nothing is."""
    answers = tomllib.loads((FOLDER / "answers.toml").read_text(encoding="utf-8"))
    wrong = [*audit_code(answers.get("bandit", [])), *audit_packages(answers.get("advisories", []))]
    for sentence in wrong:
        print(f"- {sentence}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
