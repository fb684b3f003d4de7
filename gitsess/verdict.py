"""``verify.json``: whether what was planned is there, criterion by criterion, and what the tests said.

    {"v": 1, "criteria": [{"id": "T1.1/1", "task": "T1.1", "text": "…", "verdict": "pass", "evidence": "…"}],
     "tests": [{"kind": "unit", "command": "pytest -q", "passed": true, "code": 0}], "passed": true}

A criterion is known by its task and its place among the task's. The model is given the ids and answers for each of
them; it says nothing of the tests, which were run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from gitsess.errors import Faulty
from gitsess.model import JSON
from gitsess.names import shown
from gitsess.plan import Plan
from gitsess.review import VERSION, check_version
from gitsess.text import clip, one_line
from gitsess.values import Value

FILE = "verify.json"
KEY = "criteria"
VERDICTS = ("pass", "fail", "unclear")

_ALSO = {
    "pass": "passed passes ok yes true met satisfied",
    "fail": "failed fails no false unmet",
    "unclear": "unknown unsure undecided inconclusive",
}
_VERDICT = {word: name for name, words in _ALSO.items() for word in (name, *words.split())}
_COLUMNS = 240


class VerdictError(Faulty):
    """Verdicts that do not fit the criteria."""


class Criterion(Value):
    """``id``: the task's, and the place among its criteria from 1: ``T1.1/1``."""

    id: str
    task: str
    text: str


class Verdict(Value):
    """``verdict`` is one of VERDICTS; ``evidence`` is where one may look."""

    id: str
    verdict: str
    evidence: str = ""


class TestRun(Value):
    """A test command that was run: ``kind`` is ``unit`` or ``integration``; ``code`` is its exit code, None where it
    was stopped."""

    # pytest takes what begins so for a class of tests.
    __test__ = False

    kind: str
    command: str
    passed: bool
    code: int | None


class Verification(Value):
    criteria: tuple[Criterion, ...]
    verdicts: Mapping[str, Verdict]
    tests: tuple[TestRun, ...]

    @property
    def passed(self) -> bool:
        """Whether something was looked at, every test passed, and every criterion is met. Unclear is not met."""
        return (
            bool(self.criteria or self.tests)
            and all(test.passed for test in self.tests)
            and all(one.id in self.verdicts and self.verdicts[one.id].verdict == "pass" for one in self.criteria)
        )


def criteria_of(plan: Plan, tasks: Collection[str] | None = None) -> list[Criterion]:
    """The criteria of a plan, or of these tasks of it, in its order."""
    return [
        Criterion(id=f"{task.id}/{number}", task=task.id, text=text)
        for task in plan.tasks
        if tasks is None or task.id in tasks
        for number, text in enumerate(task.acceptance, 1)
    ]


def parse_verdicts(value: JSON, criteria: Iterable[Criterion]) -> dict[str, Verdict]:
    """A verdict for each criterion, in their order, of decoded JSON: an object with ``criteria``, or their list.

    Raises VerdictError, whose ``problems`` names every criterion that is missing, unknown, there twice, or judged by
    another word; NewerFormat for a newer version's file.
    """
    if isinstance(value, list):
        value = {KEY: value}
    if not isinstance(value, dict) or not isinstance(value.get(KEY), list):
        raise VerdictError("the verdicts do not fit", [f"it is no object with a list of {KEY!r}"])
    check_version(value, FILE)
    wanted = [one.id for one in criteria]
    problems: list[str] = []
    found: dict[str, Verdict] = {}
    seen: set[str] = set()
    for number, item in enumerate(value[KEY], 1):
        id = item.get("id") if isinstance(item, dict) else None
        if not isinstance(id, str):
            problems.append(f"verdict {number}: is no object with 'id' and 'verdict'")
            continue
        id = one_line(id)
        if id not in wanted:
            problems.append(f"verdict {number}: {shown(id)} is no criterion")
        elif id in seen:
            problems.append(f"{id} is there twice")
        else:
            seen.add(id)
            verdict = _verdict(item, id, problems)
            if verdict is not None:
                found[id] = verdict
    problems += [f"{id} is missing" for id in wanted if id not in seen]
    if problems:
        raise VerdictError("the verdicts do not fit", [clip(one_line(problem), _COLUMNS) for problem in problems])
    return {id: found[id] for id in wanted}


def _verdict(item: Mapping[str, Any], id: str, problems: list[str]) -> Verdict | None:
    word, evidence = item.get("verdict"), item.get("evidence")
    if isinstance(word, bool):
        word = "pass" if word else "fail"
    meant = _VERDICT.get(one_line(word).lower()) if isinstance(word, str) else None
    if meant is None:
        said = "is missing" if word is None else f"is {shown(str(word))}"
        problems.append(f"{id}: 'verdict' {said}: it is one of {', '.join(VERDICTS)}")
    if evidence is not None and not isinstance(evidence, str):
        problems.append(f"{id}: 'evidence' is no text")
        return None
    return None if meant is None else Verdict(id=id, verdict=meant, evidence=one_line(evidence or ""))


def to_json(verification: Verification) -> dict[str, JSON]:
    """The object of the file; a criterion without a verdict, since no model was asked, is unclear."""
    return {
        "v": VERSION,
        KEY: [
            {"id": one.id, "task": one.task, "text": one.text, **_judged(verification.verdicts.get(one.id))}
            for one in verification.criteria
        ],
        "tests": [
            {"kind": test.kind, "command": test.command, "passed": test.passed, "code": test.code}
            for test in verification.tests
        ],
        "passed": verification.passed,
    }


def _judged(verdict: Verdict | None) -> dict[str, JSON]:
    if verdict is None:
        return {"verdict": "unclear", "evidence": ""}
    return {"verdict": verdict.verdict, "evidence": verdict.evidence}


def parse(value: JSON) -> Verification:
    """The verification of the file's object; raises VerdictError, or NewerFormat for a newer version's."""
    if not isinstance(value, dict) or not isinstance(value.get(KEY), list) or not isinstance(value.get("tests"), list):
        raise VerdictError("the verification does not fit", [f"it is no object with {KEY!r} and 'tests'"])
    check_version(value, FILE)
    criteria = _criteria(value[KEY])
    verdicts = parse_verdicts(value, criteria)
    problems: list[str] = []
    tests = []
    for number, item in enumerate(value["tests"], 1):
        test = _test(item)
        if test is None:
            problems.append(f"test {number}: is no object with 'kind', 'command', 'passed' and 'code'")
        else:
            tests.append(test)
    if problems:
        raise VerdictError("the verification does not fit", problems)
    return Verification(criteria=criteria, verdicts=verdicts, tests=tuple(tests))


def _criteria(items: Sequence[JSON]) -> tuple[Criterion, ...]:
    found = {}
    for item in items:
        if isinstance(item, dict) and isinstance(item.get("id"), str):
            id = one_line(item["id"])
            text = item.get("text")
            found[id] = Criterion(
                id=id, task=id.partition("/")[0], text=one_line(text) if isinstance(text, str) else ""
            )
    return tuple(found.values())


def _test(item: JSON) -> TestRun | None:
    if not isinstance(item, dict):
        return None
    kind, command, passed, code = (item.get(key) for key in ("kind", "command", "passed", "code"))
    if not isinstance(kind, str) or not isinstance(command, str) or not isinstance(passed, bool):
        return None
    if code is not None and (not isinstance(code, int) or isinstance(code, bool)):
        return None
    return TestRun(kind=one_line(kind), command=one_line(command), passed=passed, code=code)
