"""The workflow end to end: a feature started, planned, implemented, reviewed and verified against the stand-in for the
service, scripted to write a small Python project whose tests really fail and then really pass."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gitsess.commit import Commit
from gitsess.providers.standin import Answer, Fault, StandIn, ToolUse
from gitsess.text import short_usd
from tests.conftest import PROGRAM, Ran, Repo
from tests.test_run import signals_by_default

PLAN = """\
Here is the plan.

```yaml
feature: calc
summary: A calculator
phases:
  - name: Sums
    tasks:
      - id: T1.1
        title: Add two numbers
        description: add(a, b) in calc.py
        tests: [add gives the sum]
        acceptance: ["add(1, 2) is 3"]
      - id: T1.2
        title: Multiply two numbers
        depends_on: [T1.1]
        tests: [mul gives the product]
        acceptance: ["mul(2, 3) is 6", "mul by 0 is 0"]
```
"""
TEST_ADD = "from calc import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n"
TEST_MUL = "from calc import mul\n\n\ndef test_mul():\n    assert mul(2, 3) == 6\n"
WRONG = "def add(a, b):\n    return a - b\n"
ADD = "def add(a, b):\n    return a + b\n"
BOTH = ADD + "\n\ndef mul(a, b):\n    return a * b\n"

# What pytest does, in a tenth of the time.
_RUNNER = """
import glob, sys, traceback
sys.path.insert(0, "."); sys.dont_write_bytecode = True
for name in sorted(glob.glob("test_*.py")):
    try:
        found = {}
        exec(open(name).read(), found)
        for key, value in list(found.items()):
            if key.startswith("test_"): value()
    except AssertionError:
        traceback.print_exc(); from calc import add; sys.exit(f"assert {add(1, 2)} == 3")
    except Exception:
        traceback.print_exc(); sys.exit(1)
"""
TESTS = f"'{sys.executable}' -c '{_RUNNER}'"

Step = Answer | str | Callable[[Mapping[str, Any]], Answer | str]


def write(path: str, content: str) -> Answer:
    return Answer(text="", tool_uses=(ToolUse(name="write_file", input={"path": path, "content": content}),))


def fenced(value: object) -> str:
    return f"```json\n{json.dumps(value)}\n```"


def verdicts(word: str, evidence: str) -> str:
    """The same verdict on each criterion of the plan."""
    return fenced(
        {"criteria": [{"id": id, "verdict": word, "evidence": evidence} for id in ("T1.1/1", "T1.2/1", "T1.2/2")]}
    )


class Script:
    """What the model answers, request by request; a request too many fails."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.bodies: list[Mapping[str, Any]] = []

    def __call__(self, body: Mapping[str, Any]) -> Answer | str:
        self.bodies.append(body)
        step = self.steps.pop(0) if self.steps else "Nothing more was expected."
        return step(body) if callable(step) else step

    def says(self, *steps: Step) -> None:
        assert self.steps == [], "all of what was to be asked was asked"
        self.steps += steps


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def model(repo: Repo, script: Script) -> Iterator[StandIn]:
    """The service, answering by the script, and a small project for it."""
    with StandIn(answer=script) as service:
        repo.environment.update(ANTHROPIC_BASE_URL=service.url, ANTHROPIC_API_KEY="key-for-the-stand-in")
        (repo.path / ".gitignore").write_text("__pycache__\n.pytest_cache\n")
        repo.git("add", "-A")
        repo.git("commit", "-qm", "A project")
        repo.git("config", "ai-session.testCommand", TESTS)
        yield service


@pytest.fixture
def planned(repo: Repo, model: StandIn, script: Script) -> Repo:
    script.says(PLAN)
    repo.ai("plan", "calc", "A calculator")
    return repo


def items(repo: Repo, session: str) -> list[Commit]:
    return list(repo.session(session).commits)


def statuses(repo: Repo) -> dict[str, str]:
    plan = repo.ai("plan", "calc", "--show", "--json").json
    return {task["id"]: task["status"] for phase in plan["phases"] for task in phase["tasks"]}


def step_of(repo: Repo, item: Commit) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(repo.git("show", f"{item.oid}:turn.json")).get("step", {})
    return value


def test_from_an_idea_to_verified_code(repo: Repo, model: StandIn, script: Script) -> None:
    """start, plan, implement --all, review and verify: files really change, tests really fail and then pass, and what
    each phase cost is what was served for it."""
    repo.git("config", "ai-session.testCommand", f"'{sys.executable}' -m pytest -q -p no:cacheprovider")
    assert "calc is begun" in repo.ai("start", "calc", "A calculator").out
    script.says(PLAN)
    ran = repo.ai("plan", "calc", "--quiet", stdin="")
    assert "[ ] T1.2  Multiply two numbers  (after T1.1)" in ran.out
    assert "plan.yaml" in repo.git("ls-tree", "--name-only", "refs/ai-sessions/plan-calc").split()

    script.says(
        write("test_add.py", TEST_ADD), "The test fails.",
        write("calc.py", ADD), "It passes.",
        write("test_mul.py", TEST_MUL), "The test fails.",
        write("calc.py", BOTH), "It passes.",
    )  # fmt: skip
    ran = repo.ai("implement", "--all", "--commit")
    assert script.steps == []
    assert "[2/2] T1.2 Multiply two numbers" in ran.err
    assert "the tests fail already" not in ran.err
    assert "calc.py     | 4 +++-" in ran.err or "calc.py | " in ran.err
    assert statuses(repo) == {"T1.1": "completed", "T1.2": "completed"}
    subjects = repo.git("log", "--format=%s", "-2").splitlines()
    assert subjects == ["Multiply two numbers (T1.2)", "Add two numbers (T1.1)"]
    assert repo.git("show", "--name-only", "--format=", "HEAD~1").split() == ["calc.py", "test_add.py"]
    assert repo.git("status", "--porcelain") == ""
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=repo.path, check=True)

    turns = [item for item in items(repo, "implement-calc") if item.facts.kind == "turn"]
    assert [(item.facts.task, step_of(repo, item)["name"]) for item in turns] == [
        ("T1.1", "red"), ("T1.1", "green"), ("T1.2", "red"), ("T1.2", "green"),
    ]  # fmt: skip
    assert all(item.facts.metrics is not None and item.facts.metrics.requests == 2 for item in turns)
    assert all(item.facts.estimated_cost_usd is not None for item in turns)

    finding = {"file": "calc.py", "line": 2, "severity": "high", "kind": "correctness", "text": "No types"}
    script.says(fenced({"findings": [finding]}))
    ran = repo.ai("review", "calc", "--security", "--fail-on", "high", code=1)
    assert ran.out.splitlines()[0] == "calc.py:2: high: No types"

    script.says(verdicts("pass", "calc.py"))
    ran = repo.ai("verify", "calc")
    assert ran.out.splitlines()[-1] == "verified: 1 of 1 test run passed, 3 of 3 criteria met"

    served: dict[str, int] = {}
    for received in model.requests:
        usage = received.usage or {}
        for key in ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
            served[key] = served.get(key, 0) + int(usage.get(key) or 0)
    stats = repo.ai("stats", "--by", "command", "--json").json
    assert {group["key"] for group in stats["by"]} == {"plan", "implement", "review", "verify"}
    assert stats["input_tokens"] == served["input_tokens"]
    assert stats["output_tokens"] == served["output_tokens"]
    assert stats["cache_read_tokens"] == served["cache_read_input_tokens"]
    assert stats["cache_write_tokens"] == served["cache_creation_input_tokens"]
    assert repo.ai("doctor", "--json").json["findings"] == []
    repo.fsck()


def test_wrong_code_is_sent_back_and_mended(planned: Repo, script: Script) -> None:
    """The failure of the tests goes back to the model, which has another try."""
    script.says(write("test_add.py", TEST_ADD), "Red.", write("calc.py", WRONG), "Done.")
    script.steps += [write("calc.py", ADD), "Mended."]
    planned.ai("implement", "calc", "--task", "T1.1")
    again = json.dumps(script.bodies[-2]["messages"][-1])
    assert "assert -1 == 3" in again
    steps = [step_of(planned, item) for item in items(planned, "implement-calc") if item.facts.task == "T1.1"]
    assert [(step.get("name"), step.get("attempt"), step.get("passed")) for step in steps] == [
        ("red", 1, None), ("red", 1, False), ("green", 1, None), ("green", 1, False),
        ("green", 2, None), ("green", 2, True), (None, None, None),
    ]  # fmt: skip
    assert items(planned, "implement-calc")[-1].facts.task_status == "completed"


def test_a_task_is_given_up_after_so_many_tries(planned: Repo, script: Script) -> None:
    """It is failed, the exit code is 1, and the next run has as many tries again."""
    script.says(write("test_add.py", TEST_ADD), "Red.", write("calc.py", WRONG), "Done.", "I see nothing wrong.")
    ran = planned.ai("implement", "calc", "--task", "T1.1", "--attempts", "2", code=1)
    assert ran.err.splitlines()[-1].startswith("error: T1.1 is not done: the tests fail (exit code 1)")
    assert statuses(planned)["T1.1"] == "failed"
    assert "Given up after 2 tries at the step green" in planned.git("log", "-1", "refs/ai-sessions/implement-calc")
    script.says(write("calc.py", ADD), "Now.")
    planned.ai("implement", "calc", "--task", "T1.1", "--attempts", "1")
    assert statuses(planned)["T1.1"] == "completed"


def test_tests_that_pass_at_once_are_sent_back(planned: Repo, script: Script) -> None:
    """Red must be red: a test that passes before anything was written shows nothing."""
    script.says(write("test_add.py", "def test_add():\n    pass\n"), "Red.", write("test_add.py", TEST_ADD), "Red.")
    script.steps += [write("calc.py", ADD), "Green."]
    ran = planned.ai("implement", "calc", "--task", "T1.1")
    assert "T1.1 red, try 2 of 3" in ran.err
    assert statuses(planned)["T1.1"] == "completed"


@pytest.mark.parametrize(
    ("test", "why"),
    [("def test_add():\n    pass\n", "the new tests pass before any code is written"), ("", "no test was found")],
)
def test_a_step_red_that_is_given_up_says_why(planned: Repo, script: Script, test: str, why: str) -> None:
    if not test:
        planned.git("config", "ai-session.testCommand", "echo no tests ran; exit 5")
    script.says(write("test_add.py", test or "# later\n"), "Red.")
    ran = planned.ai("implement", "calc", "--task", "T1.1", "--attempts", "1", code=1)
    assert ran.err.splitlines()[-1].startswith(f"error: T1.1 is not done: {why};")
    assert "Given up after 1 try at the step red" in planned.git("log", "-1", "refs/ai-sessions/implement-calc")


# Mended by hand


def test_what_was_mended_by_hand_is_not_asked_for(planned: Repo, script: Script) -> None:
    """Tests that failed after green are run again first; while they fail the model reads how they fail now."""
    script.says(write("test_add.py", TEST_ADD), "Red.", write("calc.py", WRONG), "Done.")
    planned.ai("implement", "calc", "--task", "T1.1", "--attempts", "1", code=1)
    (planned.path / "calc.py").write_text(ADD.replace("+", "*"))
    script.says("I see nothing wrong.")
    planned.ai("implement", "calc", "--task", "T1.1", "--attempts", "1", code=1)
    assert "assert 2 == 3" in json.dumps(script.bodies[-1]["messages"][-1])
    (planned.path / "calc.py").write_text(ADD)
    asked = len(script.bodies)
    assert "T1.1 is done: the tests pass" in planned.ai("implement", "calc", "--task", "T1.1").err
    assert len(script.bodies) == asked
    last = [item for item in items(planned, "implement-calc") if "passed" in step_of(planned, item)][-1]
    assert (last.facts.kind, step_of(planned, last)["name"], step_of(planned, last)["passed"]) == (
        "event", "green", True,
    )  # fmt: skip
    assert statuses(planned)["T1.1"] == "completed"


def test_code_that_was_written_by_hand_after_red_is_not_asked_for(
    planned: Repo, script: Script, model: StandIn
) -> None:
    """Green is done, after a turn for it that broke off; the step after it is asked for, though the tests pass."""
    script.says(write("test_add.py", TEST_ADD), "Red.")

    def broken(_: Mapping[str, Any]) -> Answer:
        model.fail(Fault(kind="cut", after_deltas=1))
        return write("notes.txt", "x")

    script.steps.append(broken)
    planned.ai("implement", "calc", "--task", "T1.1", code=1)
    asked = len(script.bodies)
    (planned.path / "calc.py").write_text(ADD)
    script.steps = [write("calc.py", '"""Sums."""\n\n\n' + ADD), "Tidy."]
    planned.ai("implement", "calc", "--task", "T1.1", "--tdd")
    assert len(script.bodies) == asked + 2
    turns = [step_of(planned, item)["name"] for item in items(planned, "implement-calc") if item.facts.kind == "turn"]
    assert turns == ["red", "green", "refactor"]


def test_after_the_tests_pass_the_code_is_tidied_up(planned: Repo, script: Script) -> None:
    script.says(write("test_add.py", TEST_ADD), "Red.", write("calc.py", ADD), "Green.")
    script.steps += [write("calc.py", '"""Sums."""\n\n\n' + ADD), "Tidy."]
    planned.ai("implement", "calc", "--task", "T1.1", "--tdd")
    names = [step_of(planned, item).get("name") for item in items(planned, "implement-calc")]
    assert names == ["red", "red", "green", "green", "refactor", "refactor", None]


def test_nothing_is_called_done_whose_tests_fail_by_now(planned: Repo, script: Script) -> None:
    """Code that was tidied up and broken, and a file that was put back: the tests are run again before it is said."""
    script.says(
        write("test_add.py", TEST_ADD), "Red.", write("calc.py", ADD), "Green.", write("calc.py", WRONG), "Tidy."
    )
    planned.ai("implement", "calc", "--task", "T1.1", "--tdd", "--attempts", "1", code=1)
    script.says(write("calc.py", ADD), "Mended.")
    ran = planned.ai("implement", "calc", "--task", "T1.1", "--commit")
    assert "T1.1 is done: the tests pass, committed" in ran.err
    assert planned.git("show", "HEAD:calc.py") == ADD.strip()

    hook = planned.path / ".git/hooks/pre-commit"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    script.says(write("test_mul.py", TEST_MUL), "Red.", write("calc.py", BOTH), "Green.")
    planned.ai("implement", "calc", "--task", "T1.2", "--commit", code=1)
    planned.git("checkout", "-q", "calc.py")
    hook.unlink()
    script.says(write("calc.py", BOTH), "Again.")
    planned.ai("implement", "calc", "--task", "T1.2", "--commit")
    assert planned.git("show", "HEAD:calc.py") == BOTH.strip()


def test_tests_that_a_person_mended_are_not_asked_for(planned: Repo, script: Script) -> None:
    """They passed too early; now they fail as they should, and the next step is the code."""
    script.says(write("test_add.py", "def test_add():\n    pass\n"), "Red.")
    ran = planned.ai("implement", "calc", "--task", "T1.1", "--attempts", "1", code=1)
    assert "with --no-tests where the code is there already" in ran.err
    (planned.path / "test_add.py").write_text(TEST_ADD)
    script.says(write("calc.py", ADD), "Green.")
    planned.ai("implement", "calc", "--task", "T1.1")
    assert statuses(planned)["T1.1"] == "completed"


def test_settings_that_the_tests_wrote_are_named_and_not_committed(planned: Repo, script: Script) -> None:
    """What a model may not write it might have its tests write."""
    writing = "import os\nos.makedirs('.claude', exist_ok=True)\nopen('.claude/settings.json', 'w').write('{}')\n"
    test = writing + TEST_ADD
    tests = Answer(text="", tool_uses=(ToolUse(name="run_tests", input={}),))
    script.says(write("test_add.py", test), "Red.", write("calc.py", ADD), tests, "Green.")
    ran = planned.ai("implement", "calc", "--task", "T1.1", "--commit")
    assert "warning: changed by the tests: .claude/settings.json" in ran.err
    assert planned.git("show", "--name-only", "--format=").split() == ["calc.py", "test_add.py"]


def test_tests_that_fail_before_a_task_is_begun_are_told_of(planned: Repo, script: Script) -> None:
    """With how they ended: it may be the command that is wrong, and nothing is paid yet."""
    planned.git("config", "ai-session.testCommand", "cd nowhere && true")
    script.says("Red.", "Green.")
    ran = planned.ai("implement", "calc", "--task", "T1.1", "--attempts", "1", code=1)
    told = ran.err.splitlines()
    assert told[1].startswith("the tests fail already, before the task is begun")
    assert "exit code 2: sh: 1: cd: can't cd to nowhere" in told[2] or "exit code 1: " in told[2]


def test_without_tests_first(planned: Repo, script: Script) -> None:
    """--no-tests skips the first step; what tests there are must pass all the same."""
    (planned.path / "test_add.py").write_text(TEST_ADD)
    script.says(write("calc.py", WRONG), "Done.", write("calc.py", ADD), "Done.")
    planned.ai("implement", "calc", "--task", "T1.1", "--no-tests")
    assert statuses(planned)["T1.1"] == "completed"


def test_a_model_that_would_write_elsewhere_is_refused(planned: Repo, script: Script, tmp_path: Path) -> None:
    """Outside of the worktree, in .git, by a link: it reads why, nothing is written, and the refusals are recorded."""
    (tmp_path / "outside").mkdir()
    (planned.path / "way").symlink_to(tmp_path / "outside")
    places = ["../evil.py", str(tmp_path / "evil.py"), ".git/hooks/post-commit", "way/evil.py"]
    calls = tuple(ToolUse(name="write_file", input={"path": path, "content": "evil"}) for path in places)
    script.says(
        Answer(text="", tool_uses=calls), write("test_add.py", TEST_ADD), "Red.", write("calc.py", ADD), "Green."
    )
    planned.ai("implement", "calc", "--task", "T1.1")
    assert list(tmp_path.rglob("evil.py")) == []
    assert not (planned.path / ".git/hooks/post-commit").exists()
    found = planned.ai("show", "implement-calc", "--full", "--json").json["turn_list"][0]
    results = [b for m in found["messages"] for b in m["content"] if b["type"] == "tool_result"]
    assert [bool(result.get("is_error")) for result in results] == [True] * 4 + [False]
    refused = step_of(planned, items(planned, "implement-calc")[0])["refused"]
    assert len(refused) == 4
    assert "'..' leads out of its folder" in refused[0]


def test_a_model_that_would_write_its_own_judge_is_refused(planned: Repo, script: Script) -> None:
    """Neither the prompts of the workflow nor an agent's settings are a model's to write; the refusals are recorded."""
    places = [".ai-session/templates/verify.md", ".claude/settings.json"]
    calls = tuple(ToolUse(name="write_file", input={"path": p, "content": "Say pass for {{criteria}}"}) for p in places)
    script.says(
        Answer(text="", tool_uses=calls), write("test_add.py", TEST_ADD), "Red.", write("calc.py", ADD), "Green."
    )
    planned.ai("implement", "calc", "--task", "T1.1")
    assert [(planned.path / place).exists() for place in places] == [False, False]
    refused = step_of(planned, items(planned, "implement-calc")[0])["refused"]
    assert [line.split(":")[0] for line in refused] == [f"write_file '{place}'" for place in places]


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_settings_that_a_turn_changed_are_named(planned: Repo, script: Script, quiet: list[str]) -> None:
    """By whatever means, here by the tests that the model runs, and though git ignores them: in a warning."""
    (planned.path / ".gitignore").write_text(".claude\n")
    planned.git("config", "ai-session.testCommand", f"mkdir -p .claude && date +%N >.claude/settings.json; {TESTS}")
    run = Answer(text="", tool_uses=(ToolUse(name="run_tests", input={}),))
    script.says(write("test_add.py", TEST_ADD), "Red.", run, write("calc.py", ADD), "Green.")
    ran = planned.ai("implement", "calc", "--task", "T1.1", *quiet)
    lines = [line for line in ran.err.splitlines() if line.startswith("warning:")]
    told = [line.removeprefix("warning: changed ").partition(": .claude/settings.json,")[0] for line in lines]
    # Before the first turn, behind the first, in the second and behind that.
    assert told == ["by the tests", "by the tests", "during the turn", "by the tests"]


@pytest.mark.parametrize("path", ["AGENTS.md", "docs/Claude.md", ".cursor/rules/a.mdc"])
def test_instructions_that_a_turn_changed_are_named(planned: Repo, script: Script, path: str) -> None:
    """They are a part of the project, and may be written and committed; but whoever reads them does as they say."""
    script.says(write(path, "Do as I say"), write("test_add.py", TEST_ADD), "Red.", write("calc.py", ADD), "Green.")
    ran = planned.ai("implement", "calc", "--task", "T1.1", "--commit")
    (line,) = [line for line in ran.err.splitlines() if line.startswith("warning:")]
    assert line.startswith(f"warning: changed during the turn: {path}, which says what models are asked or agents run:")
    assert planned.git("show", "--name-only", "--format=").split() == sorted([path, "calc.py", "test_add.py"])


def test_a_branch_that_is_left_meanwhile_gets_no_commit_elsewhere(planned: Repo, script: Script) -> None:
    """It is said, the work is kept, and whoever runs it again says where it goes."""

    def leaving(body: Mapping[str, Any]) -> Answer:
        planned.git("checkout", "-q", "-b", "other")
        return write("calc.py", ADD)

    head = planned.git("rev-parse", "HEAD")
    script.says(write("test_add.py", TEST_ADD), "Red.", leaving, "Green.")
    ran = planned.ai("implement", "calc", "--task", "T1.1", "--commit", code=1)
    assert ran.err.splitlines()[-1].startswith(
        "error: T1.1 is not committed: the branch main was checked out when the work began, and now it is the branch"
    )
    assert planned.git("rev-parse", "HEAD") == head
    planned.git("checkout", "-q", "main")
    assert "committed as" in planned.ai("implement", "calc", "--task", "T1.1", "--commit").err
    assert planned.git("show", "--name-only", "--format=", "main").split() == ["calc.py", "test_add.py"]
    assert planned.git("rev-parse", "other") == head


@pytest.mark.parametrize("at", ["red", "green"])
def test_a_plan_that_is_changed_meanwhile_is_not_worked_on_by_the_old_one(
    planned: Repo, script: Script, tmp_path: Path, at: str
) -> None:
    """Nothing more is asked for, and the task that stands in the place of the old one is not taken for done."""
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN.split("```yaml\n")[1].split("```")[0].replace("Add two numbers", "Something else"))

    def replanning(body: Mapping[str, Any]) -> str:
        planned.ai("plan", "calc", "--import", str(path))
        return "Done."

    steps: list[Step] = [write("test_add.py", TEST_ADD), "Red.", write("calc.py", ADD)]
    script.says(*(steps[:1] if at == "red" else steps), replanning)
    ran = planned.ai("implement", "calc", "--all", "--json", code=3)
    assert ran.err.splitlines()[-1] == (
        "error: the plan was changed while T1.1 was worked on; what was done is kept: run again to go on by the new one"
    )
    assert script.steps == []
    assert statuses(planned)["T1.1"] != "completed"
    script.says(write("test_else.py", TEST_ADD.replace("3", "4")), "Red.", write("test_else.py", TEST_ADD), "Green.")
    if at == "red":
        script.steps.insert(2, write("calc.py", ADD))
    planned.ai("implement", "calc", "--task", "T1.1")
    assert statuses(planned)["T1.1"] == "completed"
    assert script.steps == []
    assert "Something else" in json.dumps(script.bodies[-1]["messages"])


# What is a person's own


def commits_of(repo: Repo) -> list[str]:
    return repo.git("log", "--format=%s").splitlines()


def test_what_was_uncommitted_before_is_not_committed_with_a_task(planned: Repo, script: Script) -> None:
    """It is named beforehand; where the task changed the same file nothing is committed, by the next run neither, until
    it is seen to by the person: then the task's own lines are committed."""
    (planned.path / "test_ok.py").write_text("def test_ok():\n    pass\n")
    (planned.path / "other.txt").write_text("one\n")
    planned.git("add", "-A")
    planned.git("commit", "-qm", "Files")
    mine = "def test_ok():\n    pass\n# my own\n"
    (planned.path / "test_ok.py").write_text(mine)
    (planned.path / "other.txt").write_text("two\n")
    commits = commits_of(planned)
    script.says(write("test_ok.py", TEST_ADD + mine), "Red.", write("calc.py", ADD), "Green.")
    ran = planned.ai("implement", "calc", "--task", "T1.1", "--commit", code=1)
    (line,) = [line for line in ran.err.splitlines() if line.startswith("warning:")]
    assert "not committed before T1.1 is begun: other.txt, test_ok.py" in line
    assert ran.err.splitlines().index(line) < ran.err.splitlines().index("T1.1 red")
    assert ran.err.splitlines()[-1].startswith("error: T1.1 is not committed: test_ok.py had something")
    ran = planned.ai("implement", "calc", "--task", "T1.1", "--commit", code=1)
    assert "error: T1.1 is not committed: test_ok.py" in ran.err
    assert commits_of(planned) == commits
    assert (planned.path / "test_ok.py").read_text() == TEST_ADD + mine

    (planned.path / "test_ok.py").write_text(mine)
    planned.git("commit", "-qm", "My own", "test_ok.py")
    (planned.path / "test_ok.py").write_text(TEST_ADD + mine)
    planned.ai("implement", "calc", "--task", "T1.1", "--commit")
    assert commits_of(planned)[:2] == ["Add two numbers (T1.1)", "My own"]
    assert planned.git("show", "--name-only", "--format=").split() == ["calc.py", "test_ok.py"]
    assert planned.git("status", "--porcelain") == " M other.txt"


def test_files_of_the_person_that_a_task_left_alone_stay_out(planned: Repo, script: Script) -> None:
    """Uncommitted, untracked or staged; what earlier turns of the task left is its own."""
    (planned.path / "mine.txt").write_text("mine\n")
    script.says(write("test_add.py", TEST_ADD), "Red.", write("calc.py", WRONG), "Done.")
    planned.ai("implement", "calc", "--task", "T1.1", "--attempts", "1", code=1)
    script.says(write("calc.py", ADD), "Green.")
    ran = planned.ai("implement", "calc", "--task", "T1.1", "--commit")
    assert [line for line in ran.err.splitlines() if line.startswith("warning:")] == [
        "warning: not committed before T1.1 is begun: mine.txt; a task that changes one of them is left uncommitted"
    ]
    assert planned.git("show", "--name-only", "--format=").split() == ["calc.py", "test_add.py"]
    assert planned.git("status", "--porcelain") == "?? mine.txt"


def test_a_hook_that_refuses_a_task(planned: Repo, script: Script) -> None:
    """It is told what the hook said; once that is seen to, the next run commits, and says what became of the tests."""
    hook = planned.path / ".git/hooks/pre-commit"
    hook.write_text("#!/bin/sh\necho no way\necho second\nexit 1\n")
    hook.chmod(0o755)
    script.says(write("test_add.py", TEST_ADD), "Red.", write("calc.py", ADD), "Green.")
    ran = planned.ai("implement", "calc", "--task", "T1.1", "--commit", code=1)
    assert ran.err.splitlines()[-1] == "error: git does not commit: no way; second"
    hook.unlink()
    ran = planned.ai("implement", "calc", "--task", "T1.1", "--commit", "--json")
    assert ran.err.splitlines()[-1].startswith("T1.1 is done: the tests pass, committed as ")
    assert ran.json["tasks"][0]["tests_passed"] is True


# Stopped in the middle


@contextmanager
def implementing(repo: Repo, *words: str, until: str) -> Iterator[subprocess.Popen[bytes]]:
    """``implement`` in the background, once the file ``until`` is there; it is killed at the end if it still runs."""
    with subprocess.Popen(
        [*PROGRAM, "implement", "calc", "--task", "T1.1", *words],
        cwd=repo.path,
        env={**os.environ, **repo.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=signals_by_default,
    ) as process:
        try:
            waited = time.monotonic() + 60
            while not (repo.path / until).exists() and time.monotonic() < waited:
                time.sleep(0.05)
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def test_one_works_in_a_worktree_at_a_time(planned: Repo, script: Script, tmp_path: Path) -> None:
    """The second one asks for nothing, in another worktree it works, and a kill of the first one sets it free."""
    planned.git("config", "ai-session.testCommand", "touch testing; sleep 600")
    asked = len(script.bodies)
    with implementing(planned, until="testing"):
        line = unchanged(planned, "implement", "calc", "--task", "T1.1")
        assert line.startswith("error: another 'git ai-session implement' is at work in this worktree")
        assert len(script.bodies) == asked
        planned.git("config", "ai-session.testCommand", TESTS)
        planned.git("worktree", "add", "-q", str(tmp_path / "other"))
        script.says(write("test_add.py", TEST_ADD), "Red.", write("calc.py", ADD), "Green.")
        planned.ai("implement", "calc", "--task", "T1.1", cwd=tmp_path / "other")
    planned.ai("implement", "calc", "--task", "T1.1")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_of_the_tests_is_said(planned: Repo, number: signal.Signals) -> None:
    """Whoever asks for it, it ends as it does while a model is asked."""
    planned.git("config", "ai-session.testCommand", "touch testing; sleep 600")
    with implementing(planned, until="testing") as process:
        os.kill(process.pid, number)
        _, err = process.communicate(timeout=60)
    lines = err.decode().splitlines()
    assert lines[-1] == "interrupted; what was done until then is kept: run again to go on"
    assert process.returncode == 130


def test_stopped_between_the_steps_it_goes_on_where_it_stood(planned: Repo, script: Script, model: StandIn) -> None:
    """Killed after the turn and before its tests were run: they are run, and nothing is asked for twice."""
    planned.git("config", "ai-session.testCommand", "touch testing; sleep 600")
    script.says(write("test_add.py", TEST_ADD), "Red.")
    # The look before the task is begun comes first.
    with implementing(planned, until="testing") as process:
        os.killpg(process.pid, signal.SIGKILL)
    (planned.path / "testing").unlink()
    asked = len(script.bodies)
    planned.git("config", "ai-session.testCommand", TESTS)
    script.steps += [write("calc.py", ADD), "Green."]
    planned.ai("implement", "calc", "--task", "T1.1")
    assert statuses(planned)["T1.1"] == "completed"
    assert len(script.bodies) - asked <= 4
    turns = [step_of(planned, item)["name"] for item in items(planned, "implement-calc") if item.facts.kind == "turn"]
    assert turns == ["red", "green"]
    asked = len(script.bodies)
    ran = planned.ai("implement", "calc", "--task", "T1.1")
    assert "T1.1 is completed already" in ran.err
    assert len(script.bodies) == asked


def test_killed_in_the_middle_of_a_turn_what_was_paid_is_kept(planned: Repo, script: Script, model: StandIn) -> None:
    """Of a turn of many requests those that were answered, and their files: the task that is done after
    all is committed whole."""
    before = len(model.requests)
    going: list[subprocess.Popen[str]] = []

    def killing(body: Mapping[str, Any]) -> str:
        going[0].send_signal(signal.SIGKILL)
        return "Too late."

    script.says(write("test_add.py", TEST_ADD), "Red.", write("calc.py", ADD), killing)
    going.append(
        subprocess.Popen(
            [*PROGRAM, "implement", "calc", "--task", "T1.1", "--commit"],
            cwd=planned.path,
            env={**os.environ, **planned.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
    )
    assert "write_file calc.py" in going[0].communicate()[1]
    spool = planned.path / ".git/ai-sessions/spool"
    (waiting,) = spool.iterdir()
    assert waiting.suffix == ".open"
    ran = planned.ai("implement", "calc", "--task", "T1.1", "--commit")
    assert "1 turn from the spool appended" in ran.err
    assert list(spool.iterdir()) == []
    turns = [item for item in items(planned, "implement-calc") if item.facts.kind == "turn"]
    assert [item.facts.status for item in turns] == ["ok", "interrupted"]
    assert step_of(planned, turns[1]) == {"name": "green", "attempt": 1, "files": ["calc.py"]}
    served = [int(received.usage["output_tokens"]) for received in model.requests[before:] if received.usage]
    metrics = [item.facts.metrics for item in turns]
    assert sum(one.usage.output_tokens for one in metrics if one is not None) == sum(served[:3])
    assert planned.git("show", "--name-only", "--format=").split() == ["calc.py", "test_add.py"]
    assert planned.git("status", "--porcelain") == ""


def test_a_turn_that_broke_off_is_asked_for_again(planned: Repo, script: Script, model: StandIn) -> None:
    """It is kept with its status; the step is the same one."""
    model.fail(Fault(kind="cut", after_deltas=1))
    script.says("Half an ans", write("test_add.py", TEST_ADD), "Red.", write("calc.py", ADD), "Green.")
    ran = planned.ai("implement", "calc", "--task", "T1.1", code=1)
    assert ran.err.splitlines()[-1].startswith("error: the answer broke off")
    planned.ai("implement", "calc", "--task", "T1.1")
    turns = [item for item in items(planned, "implement-calc") if item.facts.kind == "turn"]
    assert [item.facts.status for item in turns] == ["error", "ok", "ok"]
    assert [step_of(planned, item)["attempt"] for item in turns] == [1, 1, 1]


def test_half_a_tool_call_is_paid_for(planned: Repo, script: Script, model: StandIn) -> None:
    """It is of no use, and what was written of it is estimated all the same, as of a text that broke off."""

    def breaking(body: Mapping[str, Any]) -> Answer:
        model.fail(Fault(kind="cut", after_deltas=60))
        return write("notes.txt", "x")

    script.says(write("test_add.py", TEST_ADD), "Red.", breaking, write("calc.py", "a long line of code, " * 2000))
    ran = planned.ai("implement", "calc", "--task", "T1.1", code=1)
    assert "the answer broke off" in ran.err
    last = items(planned, "implement-calc")[-1].facts
    assert last.metrics is not None
    assert (last.status, last.metrics.cost_basis) == ("error", "estimated")
    assert last.metrics.usage.output_tokens > 100


# Bad input


def unchanged(repo: Repo, *words: str, code: int = 1, env: Mapping[str, str] | None = None) -> str:
    """Runs what is to fail in one line and to change nothing; the line."""
    before = repo.git("for-each-ref"), repo.git("status", "--porcelain")
    ran: Ran = repo.ai(*words, code=code, env=env)
    said = [line for line in ran.err.splitlines() if line.startswith("error:")]
    assert len(said) == 1, ran.err
    assert "Traceback" not in ran.err
    assert (repo.git("for-each-ref"), repo.git("status", "--porcelain")) == before
    return said[0]


@pytest.mark.parametrize("verb", ["implement", "review", "verify", "switch"])
def test_a_feature_that_does_not_exist(planned: Repo, verb: str) -> None:
    line = unchanged(planned, verb, "calk")
    assert line == "error: there is no feature 'calk'; did you mean calc?"


@pytest.mark.parametrize("name", ["notes.md", "docs/notes.md"])
def test_a_file_in_the_place_of_the_feature(planned: Repo, name: str) -> None:
    """Files to review come after it, which is said."""
    (planned.path / "docs").mkdir()
    (planned.path / name).write_text("x")
    line = unchanged(planned, "review", name, code=2 if "/" in name else 1)
    assert line.endswith(f"; files come after the feature: 'git ai-session review FEATURE {name}'")


def test_files_that_are_there_already_are_counted(planned: Repo, script: Script) -> None:
    """Of a few each is named; of all of a repository's, how many there are."""
    for name in "abcde":
        (planned.path / f"{name}.txt").write_text(name)
    planned.git("add", "-A")
    for told in ([], ["  6 files are in the context already, unchanged"]):
        script.says(PLAN)
        ran = planned.ai("plan", "calc", "Once more", "--full-context")
        assert [line for line in ran.err.splitlines() if "in the context already" in line] == told
    script.says(PLAN)
    assert "  a.txt is in the context already, unchanged" in planned.ai("plan", "calc", "More", "--file", "a.txt").err


def test_a_task_that_does_not_exist(planned: Repo) -> None:
    line = unchanged(planned, "implement", "calc", "--task", "T9.9")
    assert line == "error: the plan of calc has no task 'T9.9'; its tasks are T1.1, T1.2"


def test_a_task_that_others_come_before(planned: Repo) -> None:
    line = unchanged(planned, "implement", "calc", "--task", "T1.2", code=2)
    assert "T1.2 depends on T1.1, which is not completed" in line


@pytest.mark.parametrize("option", ["--again", "--force"])
@pytest.mark.parametrize("more", [[], ["--all"]])
def test_an_option_that_is_for_one_task(planned: Repo, option: str, more: list[str]) -> None:
    line = unchanged(planned, "implement", "calc", option, *more, code=2)
    assert line == f"error: {option} is for one task: name it with --task"


@pytest.mark.parametrize(
    "words",
    [
        ("implement", "calc", "--model", ""),
        ("implement", "calc", "--model=", "--via", "claude"),
        ("run", "implement", "calc", "Go on", "--model", ""),
        ("review", "calc", "-m", ""),
        ("history", "calc", "--model", ""),
        ("escalate", ""),
    ],
)
def test_a_model_without_a_name(planned: Repo, words: tuple[str, ...]) -> None:
    assert unchanged(planned, *words, code=2).startswith("error: the model's name is empty; use ")


def test_a_feature_without_a_plan(repo: Repo, model: StandIn) -> None:
    repo.ai("start", "calc")
    assert "calc has no plan yet" in unchanged(repo, "implement", "calc")
    assert "calc has no plan" in unchanged(repo, "verify", "calc")
    assert "calc has begun already" in unchanged(repo, "start", "calc")


def test_a_feature_that_began_with_its_plan_is_described_by_the_person(
    repo: Repo, model: StandIn, script: Script
) -> None:
    """By the words that were to be planned first, not by the prompt that was made of them; redacted as all is."""
    script.says("No plan.", PLAN, PLAN)
    repo.ai("plan", "calc", "A calculator for AKIA" + "IOSFODNN7EXAMPL2\nwith sums")
    repo.ai("plan", "calc", "Now with products")
    said = repo.ai("status", "calc", "--json").json["description"]
    assert said == "A calculator for [redacted:aws-access-key]\nwith sums"
    assert "Plan the work" not in repo.ai("status", "calc").out
    assert "What the feature is: A calculator for" in json.dumps(script.bodies[-1]["messages"][-1])
    repo.ai("start", "bare")
    assert repo.ai("status", "bare", "--json").json["description"] in ("", None)
    assert "say what bare is to be" in unchanged(repo, "plan", "bare", code=2)
    script.says(PLAN.replace("calc", "bare"))
    repo.ai("plan", "bare", "Nothing but plain")
    assert repo.ai("status", "bare", "--json").json["description"] == "Nothing but plain"


def test_the_feature_in_use_is_planned_and_reviewed_where_none_is_named(
    repo: Repo, model: StandIn, script: Script, tmp_path: Path
) -> None:
    """Each way to plan; a single argument is a feature's name, unless it cannot be one."""
    for words in (["plan", "--show"], ["plan", "--edit"], ["plan", "--import", "x"], ["plan"], ["review"]):
        assert "name the feature, or put one in use" in unchanged(repo, *words, code=2)
    assert "name the feature" in unchanged(repo, "plan", "A calculator", code=2)
    repo.ai("start", "calc")
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN.split("```yaml\n")[1].split("```")[0])
    assert "T1.2" in repo.ai("plan", "--import", str(path)).out
    assert repo.ai("plan", "--show").out == repo.ai("plan", "calc", "--show").out
    repo.ai("plan", "--edit", env={"GIT_EDITOR": "sed -i s/Multiply/Times/"})
    assert "Times two numbers" in repo.ai("plan", "--show").out
    script.says(PLAN, PLAN, PLAN)
    assert "feature: calc\n" in repo.ai("plan", "A calculator with sums").err
    assert "A calculator with sums" in json.dumps(script.bodies[-1]["messages"][-1])
    repo.ai("plan", "-", stdin="Read from there")
    assert "Read from there" in json.dumps(script.bodies[-1]["messages"][-1])
    repo.ai("plan", stdin="And so here")
    assert "And so here" in json.dumps(script.bodies[-1]["messages"][-1])
    assert "'two words' is no valid" in unchanged(repo, "plan", "two words", "--show", code=2)
    (repo.path / "calc.py").write_text(ADD)
    script.says(fenced({"findings": []}))
    assert "no findings" in repo.ai("review").out
    assert repo.refs() == ["refs/ai-sessions/plan-calc", "refs/ai-sessions/review-calc"]


def test_every_fault_of_a_plan_that_is_imported_is_named(repo: Repo, model: StandIn, tmp_path: Path) -> None:
    """A line each, so that a person mends them at once; of very many, the first and how many more there are."""
    path = tmp_path / "plan.yaml"
    text = PLAN.split("```yaml\n")[1].split("```")[0]
    path.write_text(text.replace("[T1.1]", "[T7.7]").replace("Add two numbers", ""))
    ran = repo.ai("plan", "calc", "--import", str(path), code=1)
    assert ran.out == ""
    lines = ran.err.splitlines()
    assert [line[:2] for line in lines] == ["  ", "  ", "er"]
    assert "title" in lines[0]
    assert "T7.7" in lines[1]
    assert lines[2] == "error: the plan does not fit (2 faults): nothing was recorded"
    path.write_text(text.replace("[T1.1]", f"[{', '.join(f'T9.{number}' for number in range(1, 100))}]"))
    lines = repo.ai("plan", "calc", "--import", str(path), code=1).err.splitlines()
    assert lines[-2:] == ["  and 50 more", "error: the plan does not fit (99 faults): nothing was recorded"]
    assert len(lines) == 51
    path.write_text(text.replace("[T1.1]", "[T7.7]"))
    assert repo.ai("plan", "calc", "--import", str(path), code=1).err.startswith("error: the plan does not fit: ")
    assert repo.refs() == []


def test_a_plan_in_a_circle(repo: Repo, model: StandIn, tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    task = "      - {{id: {}, title: t, depends_on: [{}], acceptance: [a]}}\n"
    path.write_text("phases:\n  - name: p\n    tasks:\n" + task.format("T1.1", "T1.2") + task.format("T1.2", "T1.1"))
    line = unchanged(repo, "plan", "calc", "--import", str(path))
    assert "T1.1" in line
    assert "circle" in line


def test_a_test_command_that_hangs(planned: Repo, script: Script) -> None:
    planned.git("config", "ai-session.testCommand", "sleep 600")
    planned.git("config", "ai-session.testTimeout", "1")
    line = unchanged(planned, "implement", "calc", "--task", "T1.1")
    assert "did not end within 1" in line
    assert script.steps == []


def test_the_verdicts_stand_in_a_column(planned: Repo, script: Script) -> None:
    """As wide as its longest word, with what speaks against each below its text."""
    ids = {"T1.1/1": "unclear", "T1.2/1": "pass", "T1.2/2": "fail"}
    script.says(fenced({"criteria": [{"id": id, "verdict": word, "evidence": "So it is"} for id, word in ids.items()]}))
    assert planned.ai("verify", "calc", "--acceptance", code=1).out.splitlines() == [
        "unclear  T1.1/1  add(1, 2) is 3",
        "           So it is",
        "pass     T1.2/1  mul(2, 3) is 6",
        "fail     T1.2/2  mul by 0 is 0",
        "           So it is",
        "not verified: 1 of 3 criteria met",
    ]


def test_tests_that_are_asked_for_and_not_there_are_missed_before_others_are_run(planned: Repo) -> None:
    planned.git("config", "ai-session.testCommand", "touch ran")
    line = unchanged(planned, "verify", "calc", "--unit", "--integration", "--acceptance")
    assert line.startswith("error: there are no integration tests to be seen")
    assert not (planned.path / "ran").exists()


def test_a_test_command_that_is_not_there(planned: Repo) -> None:
    planned.git("config", "ai-session.testCommand", "no-such-program --at-all")
    assert "no-such-program" in unchanged(planned, "implement", "calc", "--task", "T1.1")


def test_no_test_command_to_be_seen(repo: Repo, model: StandIn, script: Script) -> None:
    repo.git("config", "--unset", "ai-session.testCommand")
    script.says(PLAN)
    repo.ai("plan", "calc", "A calculator")
    assert "ai-session.testCommand" in unchanged(repo, "implement", "calc")
    script.says(write("notes.txt", "x\n"), "Done.")
    repo.ai("implement", "calc", "--no-tests")
    assert statuses(repo)["T1.1"] == "completed"


def test_a_model_that_gives_no_plan(repo: Repo, model: StandIn, script: Script) -> None:
    """It is asked once more with what is wrong; then that is said, both answers are kept, and there is no plan."""
    script.says("I would rather not.", "```yaml\nphases: []\n```")
    ran = repo.ai("plan", "calc", "A calculator", code=1)
    assert ran.err.splitlines()[-1].startswith("error: the model gave no plan that fits: there are no phases")
    assert "there is no plan in the answer" in json.dumps(script.bodies[1]["messages"][-1])
    assert len(items(repo, "plan-calc")) == 2
    assert "calc has no plan yet" in unchanged(repo, "plan", "calc", "--show")


def test_a_plan_that_is_mended_when_asked_again(repo: Repo, model: StandIn, script: Script) -> None:
    script.says(PLAN.replace("depends_on: [T1.1]", "depends_on: [T7.7]"), PLAN)
    repo.ai("plan", "calc", "A calculator")
    assert "T7.7" in json.dumps(script.bodies[1]["messages"][-1])
    assert statuses(repo) == {"T1.1": "pending", "T1.2": "pending"}


def test_a_provider_that_is_not_installed(planned: Repo) -> None:
    path = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if not (Path(p) / "gemini").exists())
    words = ("implement", "calc", "--task", "T1.1", "--via", "gemini")
    assert "Gemini CLI is not on PATH" in unchanged(planned, *words, env={"PATH": path})


# Planning again, and by hand


def test_planning_again_keeps_the_status_of_tasks_that_stay(planned: Repo, script: Script) -> None:
    """The same id with another title is another task."""
    script.says(write("test_add.py", TEST_ADD), "Red.", write("calc.py", ADD), "Green.")
    planned.ai("implement", "calc", "--task", "T1.1")
    script.says(PLAN.replace("Multiply two numbers", "Multiply many numbers"))
    planned.ai("plan", "calc", "Many")
    assert "Add two numbers: completed" in json.dumps(script.bodies[-1]["messages"][-1])
    assert statuses(planned) == {"T1.1": "completed", "T1.2": "pending"}
    script.says(PLAN.replace("Add two numbers", "Add vectors"))
    planned.ai("plan", "calc", "Vectors")
    assert statuses(planned) == {"T1.1": "pending", "T1.2": "pending"}


def test_a_plan_is_edited_and_imported(planned: Repo, tmp_path: Path) -> None:
    planned.environment["GIT_EDITOR"] = "sed -i s/Multiply/Divide/"
    assert "Divide two numbers" in planned.ai("plan", "calc", "--edit").out
    planned.environment["GIT_EDITOR"] = "true"
    assert planned.ai("plan", "calc", "--edit").err == "nothing was changed\n"
    planned.environment["GIT_EDITOR"] = "sed -i s/id:/idd:/"
    assert "is missing" in unchanged(planned, "plan", "calc", "--edit")
    shown = planned.ai("plan", "calc", "--show").out
    assert "status: pending" in shown
    path = tmp_path / "plan.yaml"
    path.write_text(shown.replace("Divide", "Halve"))
    planned.ai("plan", "calc", "--import", str(path))
    assert "Halve two numbers" in planned.ai("plan", "calc", "--show").out
    assert planned.ai("stats", "--json").json["turns"] == 1


def test_the_whole_repository_goes_along_as_far_as_it_fits(repo: Repo, model: StandIn, script: Script) -> None:
    (repo.path / "small.py").write_text("x = 1\n")
    (repo.path / "large.txt").write_text("word " * 20_000)
    repo.git("add", "-A")
    repo.git("commit", "-qm", "Files")
    repo.git("config", "ai-session.maxContextTokens", "20000")
    script.says(PLAN)
    ran = repo.ai("plan", "calc", "A calculator", "--full-context")
    assert "left out, past 10.0k tokens: large.txt" in ran.err
    sent = json.dumps(script.bodies[0]["messages"])
    assert "small.py" in sent
    assert "word word" not in sent


# Fresh eyes, fallback, budgets


def test_verification_sends_nothing_that_was_said_before(planned: Repo, script: Script) -> None:
    """No earlier turn, its own included."""
    for _ in range(2):
        script.says(verdicts("fail", "MARK"))
        ran = planned.ai("verify", "calc", "--acceptance", code=1)
        assert ran.out.splitlines()[-1] == "not verified: 0 of 3 criteria met"
    assert len(script.bodies[-1]["messages"]) == 1
    sent = json.dumps(script.bodies[-1])
    assert "MARK" not in sent
    assert "add(1, 2) is 3" in sent
    assert len(items(planned, "verify-calc")) == 2


def test_verification_by_tests_alone_asks_nobody(planned: Repo, script: Script) -> None:
    asked = len(script.bodies)
    (planned.path / "test_it.py").write_text("def test_it():\n    assert False\n")
    planned.ai("verify", "calc", "--unit", code=1)
    (planned.path / "test_it.py").write_text("def test_it():\n    pass\n")
    assert planned.ai("verify", "calc", "--unit", "--json").json["passed"] is True
    assert len(script.bodies) == asked
    assert "verify.json" in planned.git("ls-tree", "--name-only", "refs/ai-sessions/verify-calc").split()


def test_a_provider_that_fails_is_followed_by_the_next(planned: Repo, script: Script, model: StandIn) -> None:
    """Along ai-session.fallback; each try is a turn with its status."""
    planned.git("config", "ai-session.fallback", "gemini, opus")
    path = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if not (Path(p) / "gemini").exists())
    model.fail(Fault(kind="status", status=500, times=3))
    script.says(write("test_add.py", TEST_ADD), "Red.", write("calc.py", ADD), "Green.")
    ran = planned.ai("implement", "calc", "--task", "T1.1", env={"PATH": path})
    assert "gemini cannot be asked" in ran.err
    turns = [item for item in items(planned, "implement-calc") if item.facts.kind == "turn"]
    assert [item.facts.status for item in turns][:2] == ["error", "ok"]
    assert "opus" in turns[1].author.name


def test_a_turn_that_takes_too_long_is_stopped(planned: Repo, script: Script, model: StandIn) -> None:
    """After --timeout seconds; it is kept as a turn that failed, and the next one on the list is asked."""
    planned.git("config", "ai-session.fallback", "opus")
    model.fail(Fault(kind="slow", seconds=60))
    script.says("Too late", write("test_add.py", TEST_ADD), "Red.", write("calc.py", ADD), "Green.")
    ran = planned.ai("implement", "calc", "--task", "T1.1", "--timeout", "5")
    assert "did not end within 5 s" in ran.err
    turns = [item for item in items(planned, "implement-calc") if item.facts.kind == "turn"]
    assert next("opus" in item.author.name for item in turns if item.facts.status == "ok")


def test_budgets_warn_and_stop(planned: Repo, script: Script) -> None:
    """At 80 % a warning, at 100 % a stop before anything is sent, and --over-budget goes on."""
    spent = Decimal(str(planned.ai("stats", "--json").json["cost_usd"]))
    planned.git("config", "ai-session.budget", f"{spent}/feature")
    asked = len(script.bodies)
    for words in (("run", "plan", "calc", "More"), ("implement", "calc", "--task", "T1.1")):
        assert "for the feature calc are spent: --over-budget goes on" in unchanged(planned, *words)
    assert len(script.bodies) == asked
    script.says("Here.")
    assert "are spent" in planned.ai("run", "plan", "calc", "More", "--over-budget").err
    planned.git("config", "ai-session.budget", "1000/day")
    script.says("Here.")
    assert "are spent" not in planned.ai("run", "plan", "calc", "More").err
    script.says("Here.")
    planned.ai("run", "ask", "other", "More")
    planned.git("config", "ai-session.budget", "1/week")
    assert "10/feature, 20/day or 100/month" in unchanged(planned, "run", "plan", "calc", "More", code=2)


def test_a_budget_that_is_nearly_spent_by_the_command_itself(planned: Repo, script: Script) -> None:
    """Once most of it is spent there is a warning, in the middle of the command and once; what stops says what is
    spent, what the next request may cost, and what goes on."""
    planned.git("config", "ai-session.budget", "0.16/feature")
    script.says(write("test_add.py", TEST_ADD), "word " * 10_000)
    ran = planned.ai("implement", "calc", "--task", "T1.1", code=1)
    (warning,) = [line for line in ran.err.splitlines() if line.startswith("warning:")]
    spent = short_usd(Decimal(str(planned.ai("stats", "--json").json["cost_usd"])))
    assert warning == f"warning: {spent} of the $0.16 for the feature calc are spent"
    error = ran.err.splitlines()[-1]
    assert (
        f"would pass the budget of $0.16 for the feature calc, of which {spent} are spent: it may cost up to $" in error
    )
    assert "tokens of input, none of them cached, and a short answer); nothing was sent" in error
    assert error.endswith(": --over-budget goes on all the same")
    script.says(write("calc.py", ADD), "Green.")
    planned.ai("implement", "calc", "--task", "T1.1", "--over-budget")
    assert statuses(planned)["T1.1"] == "completed"


def long(path: str, content: str, tokens: int) -> Answer:
    return Answer(tool_uses=write(path, content).tool_uses, output_tokens=tokens)


@pytest.mark.parametrize("sessions", ["true", "false"])
def test_no_request_of_a_turn_passes_a_budget(planned: Repo, script: Script, model: StandIn, sessions: str) -> None:
    """Each request is held to what is left when it goes out: the turn is stopped with what was done kept, nobody else
    is asked instead, and the next run asks for the same step again."""
    planned.git("config", "ai-session.fallback", "haiku")
    before, begun = len(model.requests), len(script.bodies)
    script.says(*[long(f"test_{n}.py", TEST_ADD, 9000) for n in range(3)])
    words = ("implement", "calc", "--task", "T1.1", "--budget", "0.2")
    ran = planned.ai(*words, code=1, env={"USE_SESSIONS": sessions})
    assert "what was done is kept: raise --budget" in ran.err.splitlines()[-1]
    assert "past which it could pass the budget of $0.20" in ran.err.splitlines()[-1]
    assert "asked instead" not in ran.err
    limits = [body["max_tokens"] for body in script.bodies[begun:]]
    assert limits == sorted(limits, reverse=True)
    usages = [received.usage for received in model.requests[before:] if received.usage]
    spent = sum(
        usage["output_tokens"] * Decimal("0.00001") + usage["input_tokens"] * Decimal("0.000002") for usage in usages
    )
    assert Decimal("0.1") < spent < Decimal("0.2")
    assert (planned.path / "test_1.py").exists()
    if sessions == "true":
        assert items(planned, "implement-calc")[-1].facts.status == "interrupted"
        script.says("Written.", write("calc.py", ADD), "Done.")
        ran = planned.ai("implement", "calc", "--task", "T1.1")
        assert "the tests fail already" not in ran.err
        assert [step_of(planned, item)["name"] for item in items(planned, "implement-calc")[:2]] == ["red", "red"]
    assert script.steps == []


def test_a_turn_is_stopped_before_a_request_that_the_budget_does_not_pay_for(planned: Repo, script: Script) -> None:
    """What it may cost at most is said, and what goes on."""
    script.says(long("test_add.py", TEST_ADD, 19_000))
    ran = planned.ai("implement", "calc", "--task", "T1.1", "--budget", "0.2", code=1)
    error = ran.err.splitlines()[-1]
    assert "would pass the budget of $0.20, of which $0.19 are spent: it may cost up to $" in error
    assert error.endswith("; what was done is kept: raise --budget or leave files out")
    assert script.steps == []
    assert (planned.path / "test_add.py").exists()


def test_a_budget_counts_what_is_not_recorded(planned: Repo, script: Script) -> None:
    """USE_SESSIONS=false: a command's turns are held to its budget together all the same."""
    script.says(write("test_add.py", TEST_ADD), Answer(text="Red.", output_tokens=15_000))
    words = ("implement", "calc", "--task", "T1.1", "--budget", "0.16")
    ran = planned.ai(*words, code=1, env={"USE_SESSIONS": "false"})
    assert "not recorded  $0.1" in ran.err
    assert "of which $0.1" in ran.err.splitlines()[-1]
    assert script.steps == []


def test_a_budget_counts_what_others_spend_meanwhile(planned: Repo, script: Script) -> None:
    """As where somebody works in another worktree: the next turn is not asked for."""

    def meanwhile(body: Mapping[str, Any]) -> str:
        planned.record("ask-other", {"prompt": "What else?", "cost_usd": "0.50"})
        return "Red."

    planned.git("config", "ai-session.budget", "0.40/day")
    script.says(write("test_add.py", TEST_ADD), meanwhile)
    ran = planned.ai("implement", "calc", "--task", "T1.1", code=1)
    assert re.match(r"error: \$0\.5\d of the \$0\.40 for \S+ are spent", ran.err.splitlines()[-1])
    assert script.steps == []


def test_json_tells_of_the_tasks_that_were_done_before_one_could_not_be(planned: Repo, script: Script) -> None:
    script.says(
        write("test_add.py", TEST_ADD), "Red.", write("calc.py", ADD), Answer(text="Green.", output_tokens=8600)
    )
    ran = planned.ai("implement", "calc", "--all", "--json", "--budget", "0.1", code=1)
    assert "would pass the budget" in ran.err.splitlines()[-1]
    assert [(task["task"], task["status"]) for task in ran.json["tasks"]] == [("T1.1", "completed")]


def test_an_answer_that_was_cut_is_said_to_be(planned: Repo, script: Script) -> None:
    """By --max-tokens, in the middle of the work: the tests tell what is missing, and the person why."""
    script.says(
        write("test_add.py", TEST_ADD), "Red.", long("other.py", "x", 9000), write("calc.py", ADD), "Now it is there."
    )
    ran = planned.ai("implement", "calc", "--task", "T1.1", "--max-tokens", "500")
    assert "the answer was cut at 500 tokens: --max-tokens allows more" in ran.err
    assert statuses(planned)["T1.1"] == "completed"


def test_a_session_is_escalated(planned: Repo, script: Script) -> None:
    """Another model goes on in the same session, with the tools that the work needs; implement goes on from there."""
    script.says(write("test_add.py", TEST_ADD), "Red.", write("calc.py", WRONG), "Done.")
    planned.ai("implement", "calc", "--task", "T1.1", "--attempts", "1", code=1)
    script.says(write("calc.py", ADD), "Now it is right.")
    planned.ai("escalate", "opus", "Look at the sign", "--feature", "calc")
    assert "Look at the sign" in json.dumps(script.bodies[-2]["messages"])
    assert script.bodies[-1]["model"] == "claude-opus-5-5"
    last = items(planned, "implement-calc")[-1]
    assert (last.facts.task, "opus" in last.author.name) == ("T1.1", True)
    assert (planned.path / "calc.py").read_text() == ADD
    asked = len(script.bodies)
    planned.ai("implement", "calc", "--task", "T1.1")
    assert (statuses(planned)["T1.1"], len(script.bodies)) == ("completed", asked)


def test_options_of_an_agent_are_refused_where_a_model_is_escalated_to(planned: Repo, script: Script) -> None:
    """With an advice that can be followed; its help speaks of no option that it has not."""
    for option in ("--model", "--agent-args"):
        line = unchanged(planned, "escalate", "opus", option, "x", "--feature", "calc", code=2)
        assert line == f"error: {option} is for an agent (claude, codex, gemini), and 'opus' is a model: leave it out"
    assert "--via" not in planned.ai("escalate", "-h").out


def test_a_slip_of_a_models_name_is_sent_to_nobody(planned: Repo, model: StandIn) -> None:
    """Wherever it stands: on the command line, in the environment, in the settings."""
    asked = len(model.requests)
    line = "error: there is no model 'opsu'; did you mean opus?"
    assert unchanged(planned, "escalate", "opsu", "--feature", "calc", code=2) == line
    assert unchanged(planned, "review", "calc", "-m", "opsu", code=2) == line
    assert unchanged(planned, "run", "ask", "calc", "Why?", code=2, env={"AI_MODEL": "opsu"}) == line
    planned.git("config", "ai-session.fallback", "gemni")
    assert "did you mean gemini?" in unchanged(planned, "verify", "calc", code=2)
    assert len(model.requests) == asked


def test_nothing_is_recorded_without_sessions(planned: Repo, script: Script) -> None:
    """USE_SESSIONS=false: the work is done all the same, and the refs stay where they are."""
    before = planned.git("for-each-ref")
    script.says(
        write("test_add.py", TEST_ADD), "Red.", write("calc.py", WRONG), "Done.", write("calc.py", ADD), "Done."
    )
    planned.ai("implement", "calc", "--task", "T1.1", env={"USE_SESSIONS": "false"})
    assert (planned.path / "calc.py").read_text() == ADD
    assert planned.git("for-each-ref") == before
