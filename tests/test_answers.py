"""What a model gives back as JSON: found in its answer, held to its form, and kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitsess import review, verdict
from gitsess.answers import blocks, find_json, why_no_json
from gitsess.errors import Faulty, NewerFormat, UsageError
from gitsess.plan import Phase, Plan, Task
from gitsess.review import Review, ReviewError
from gitsess.verdict import Criterion, TestRun, Verdict, VerdictError, Verification

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)

# In an answer


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ('{"findings": []}', {"findings": []}),
        ("[1]", [1]),
        ('Here:\n```json\n{"findings": [1]}\n```\nand\n```json\n{"other": 2}\n```\nBye.', {"findings": [1]}),
        ('```json\n{"findings": [1]}\n```\n```json\n{"findings": [2]}\n```', {"findings": [2]}),
        ('~~~\n{"findings": [1]}\n~~~', {"findings": [1]}),
        ('- so:\n\n  ```json\n  {"findings":\n   [1]}\n  ```', {"findings": [1]}),
        ('```json\n{"findings": [1]}', {"findings": [1]}),
        ('```python\n{"findings": [1]}\n```', {"findings": [1]}),
        ('I found {one} thing:\n{"findings": [\n  {"a": 1}\n]}\nThat is all {of it}.', {"findings": [{"a": 1}]}),
        ('{"findings": [1]}\n{"findings": [2]}\n{"more": 3}', {"findings": [2]}),
        ('```json\n{"findings": [1], "findings": [2]}\n```', None),
        ('```json\n{"findings": [NaN]}\n```', None),
        ('```json\n{"findings": [1\n```', None),
        ('{"other": 1}', None),
        ("nothing", None),
        ("", None),
        ("{\n" * 10_000, None),
        ("[" * 200_000, None),
    ],
)
def test_json_is_found_in_an_answer(answer: str, found: Any) -> None:
    """The last fenced JSON that fits, else the last without a fence; never what readers would read differently."""
    assert find_json(answer, key="findings") == found


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("nothing", "there is no block of JSON with 'findings' in the answer"),
        ('```json\n{"findings": [', "the block of JSON is cut off: the answer ended before it did"),
        ('```json\n{"findings": [1,]}\n```', "the last block is no JSON: "),
        ('```json\n{"a": 1}\n```', "the last block of JSON is no object with 'findings'"),
    ],
)
def test_it_is_said_why_there_is_no_json(answer: str, why: str) -> None:
    """One line for the model, which is asked again."""
    assert find_json(answer, key="findings") is None
    assert why_no_json(answer, key="findings").startswith(why)


@given(st.text(st.sampled_from('`~ \t\na{["}]:1'), max_size=60))
def test_any_answer_can_be_looked_through(answer: str) -> None:
    """No text makes the search fail, and blocks hold only lines of the answer."""
    find_json(answer, key="a")
    why_no_json(answer, key="a")
    for block in blocks(answer):
        assert all(line in answer for line in block.text.split("\n"))


# Reviews


def problems(error: type[Faulty], call: Any, *args: Any) -> list[str]:
    with pytest.raises(error) as caught:
        call(*args)
    assert "\n" not in str(caught.value)
    return list(caught.value.problems)


def test_a_review_is_read_printed_and_kept() -> None:
    """Findings come sorted by file and line, each in one line; what is stored reads the same again."""
    found = review.parse(
        {
            "findings": [
                {"file": "b.py", "line": 20, "severity": "Blocker", "kind": "Security", "text": "One\n  thing."},
                {"file": "./b.py", "line": "7-9", "severity": " minor", "text": "x"},
                {"file": "b.py:12", "severity": "nit", "kind": "naming", "text": "\x1b[31mred"},
                {"file": "a.py", "line": None, "severity": "MAJOR", "message": "y"},
                {"file": None, "line": 3, "severity": "warning", "text": "z"},
                {"file": "b.py", "line": 0, "severity": "note", "text": "w", "more": 1},
            ],
            "summary": "So so.\n",
        }
    )
    assert list(review.lines(found)) == [
        "medium: z",
        "a.py: high: y",
        "b.py: info: w",
        "b.py:7: low: x",
        "b.py:12: info: red",
        "b.py:20: critical: One thing.",
    ]
    assert [one.kind for one in found.findings] == ["security", "other", "naming", "other", "other", "other"]
    assert review.parse(json.loads(json.dumps(review.to_json(found)))) == found
    assert [one.text for one in review.at_least(found, "high")] == ["One thing.", "y"]
    assert len(review.at_least(found, "Info")) == 6
    assert review.at_least(Review(findings=()), "critical") == []
    with pytest.raises(UsageError, match="'grave' is no severity: one of critical, high"):
        review.at_least(found, "grave")
    assert review.parse([]) == Review(findings=())


def test_every_fault_of_a_review_is_told() -> None:
    """Each names its finding."""
    assert problems(
        ReviewError,
        review.parse,
        {
            "findings": [
                3,
                {"file": 1, "line": True, "severity": "grave", "kind": [], "text": " "},
                {"line": "soon"},
                {"line": 1.5, "severity": 3, "text": "x"},
            ],
            "summary": 5,
        },
    ) == [
        "finding 1: is no object",
        "finding 2: 'text' is no text, or empty",
        "finding 2: 'file' is no text",
        "finding 2: 'line' is no whole number, and not null",
        "finding 2: 'severity' is 'grave': it is one of critical, high, medium, low, info",
        "finding 2: 'kind' is no text",
        "finding 3: 'text' is missing",
        "finding 3: 'line' is 'soon': it is a number, or null",
        "finding 3: 'severity' is missing: it is one of critical, high, medium, low, info",
        "finding 4: 'line' is no whole number, and not null",
        "finding 4: 'severity' is '3': it is one of critical, high, medium, low, info",
        "'summary' is no text",
    ]
    shapes: tuple[Any, ...] = (None, {}, {"findings": {}}, "x")
    for wrong in shapes:
        assert problems(ReviewError, review.parse, wrong) == ["it is no object with a list of 'findings'"]
    with pytest.raises(NewerFormat):
        review.parse({"v": 2, "findings": []})


@given(ANY_JSON | st.lists(st.dictionaries(st.sampled_from(["file", "line", "severity", "text"]), ANY_JSON)))
def test_any_json_is_a_review_or_a_fault(value: Any) -> None:
    """Nothing but our own error comes of any value."""
    for given_value in (value, {"findings": value}):
        try:
            found = review.parse(given_value)
        except (ReviewError, NewerFormat):
            continue
        assert review.parse(review.to_json(found)) == found


# Verdicts

PLAN = Plan(
    feature="x",
    summary="",
    phases=(
        Phase(name="a", tasks=(Task(id="T1.1", title="a", acceptance=("one", "two")),)),
        Phase(name="b", tasks=(Task(id="T2.1", title="b", acceptance=("three",)),)),
    ),
)
CRITERIA = verdict.criteria_of(PLAN)


def test_criteria_are_those_of_the_plan() -> None:
    """Each with its task and its place, of all tasks or of some."""
    assert [(one.id, one.text) for one in CRITERIA] == [("T1.1/1", "one"), ("T1.1/2", "two"), ("T2.1/1", "three")]
    assert verdict.criteria_of(PLAN, ["T2.1"]) == [Criterion(id="T2.1/1", task="T2.1", text="three")]


def test_a_verification_is_read_and_kept() -> None:
    """Verdicts are put in the order of the criteria; what is stored reads the same again."""
    found = verdict.parse_verdicts(
        [
            {"id": "T2.1/1", "verdict": "PASSED", "evidence": "tests/test_x.py\n:12"},
            {"id": "T1.1/1", "verdict": True},
            {"id": " T1.1/2", "verdict": "unknown", "evidence": None},
        ],
        CRITERIA,
    )
    assert list(found.values()) == [
        Verdict(id="T1.1/1", verdict="pass"),
        Verdict(id="T1.1/2", verdict="unclear"),
        Verdict(id="T2.1/1", verdict="pass", evidence="tests/test_x.py :12"),
    ]
    tests = (TestRun(kind="unit", command="pytest", passed=True, code=0),)
    whole = Verification(criteria=tuple(CRITERIA), verdicts=found, tests=tests)
    stored = json.loads(json.dumps(verdict.to_json(whole)))
    assert verdict.parse(stored) == whole
    assert stored["passed"] is False
    assert stored["criteria"][0] == {"id": "T1.1/1", "task": "T1.1", "text": "one", "verdict": "pass", "evidence": ""}


def test_passed_means_that_all_was_looked_at_and_is_well() -> None:
    """Not where a verdict is missing, unclear or fail, a test failed, or there was nothing to look at."""
    good = {one.id: Verdict(id=one.id, verdict="pass") for one in CRITERIA}
    ran = TestRun(kind="unit", command="x", passed=True, code=0)
    whole = Verification(criteria=tuple(CRITERIA), verdicts=good, tests=(ran,))
    assert whole.passed
    assert whole.replace(tests=()).passed
    assert whole.replace(criteria=()).passed
    assert not whole.replace(criteria=(), tests=()).passed
    assert not whole.replace(tests=(ran, ran.replace(passed=False, code=None))).passed
    assert not whole.replace(verdicts={}).passed
    assert verdict.to_json(whole.replace(verdicts={}))["criteria"][0]["verdict"] == "unclear"
    for word in ("fail", "unclear"):
        assert not whole.replace(verdicts={**good, "T2.1/1": Verdict(id="T2.1/1", verdict=word)}).passed


def test_every_fault_of_the_verdicts_is_told() -> None:
    """Missing, unknown, twice, of another word: each is a line."""
    assert problems(
        VerdictError,
        verdict.parse_verdicts,
        {
            "criteria": [
                {"id": "T1.1/1", "verdict": "maybe", "evidence": 3},
                {"id": "T1.1/1", "verdict": "pass"},
                {"id": "T9.9/1", "verdict": "pass"},
                {"id": "T1.1/2"},
                "pass",
            ]
        },
        CRITERIA,
    ) == [
        "T1.1/1: 'verdict' is 'maybe': it is one of pass, fail, unclear",
        "T1.1/1: 'evidence' is no text",
        "T1.1/1 is there twice",
        "verdict 3: 'T9.9/1' is no criterion",
        "T1.1/2: 'verdict' is missing: it is one of pass, fail, unclear",
        "verdict 5: is no object with 'id' and 'verdict'",
        "T2.1/1 is missing",
    ]
    assert problems(VerdictError, verdict.parse_verdicts, {}, CRITERIA) == ["it is no object with a list of 'criteria'"]
    wrong = {"criteria": [], "tests": [{"kind": "unit", "command": "x", "passed": 1, "code": 0}, 5]}
    assert len(problems(VerdictError, verdict.parse, wrong)) == 2
    with pytest.raises(NewerFormat):
        verdict.parse({"v": 9, "criteria": [], "tests": []})


@given(ANY_JSON | st.lists(st.dictionaries(st.sampled_from(["id", "verdict", "evidence", "passed"]), ANY_JSON)))
def test_any_json_is_a_verification_or_a_fault(value: Any) -> None:
    """Nothing but our own error comes of any value."""
    for given_value in (value, {"criteria": value, "tests": value}, {"criteria": [], "tests": value}):
        try:
            found = verdict.parse(given_value)
        except (VerdictError, NewerFormat):
            continue
        assert verdict.parse(verdict.to_json(found)) == found
