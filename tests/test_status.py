"""How far features are, from the commits: ``status``, ``history``, ``features``, ``close`` and ``reopen``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from gitsess.model import JSON
from gitsess.names import session_name
from gitsess.plan import parsing
from gitsess.text import width
from gitsess.workflow import features, overview, plans, tasks
from gitsess.workflow.overview import Overview
from gitsess.workspace import Workspace
from tests.conftest import NOON, Ran, Repo, turn
from tests.test_shapes import on_terminal
from tests.test_startup import SLOW, imports

PLAN = """
summary: log in with a passkey
phases:
  - name: Tokens
    tasks:
      - {id: T1.1, title: Reject expired tokens, acceptance: [they are]}
      - {id: T1.2, title: Refresh tokens, depends_on: [T1.1], acceptance: [they are]}
      - {id: T1.3, title: Rotate keys, depends_on: [T1.2], acceptance: [they are]}
  - name: Passkeys
    tasks:
      - {id: T2.1, title: Register a passkey, acceptance: [one is]}
      - {id: T2.2, title: Log in with it, depends_on: [T2.1], acceptance: [one can]}
"""
FAILURE = {"model": "claude-sonnet-4-5", "usage": {"input_tokens": 10, "output_tokens": 5}}


def record(
    workspace: Workspace,
    session: str,
    prompt: str = "Why?",
    *,
    at: datetime = NOON,
    estimated: str | None = None,
    step: Mapping[str, JSON] | None = None,
    documents: Mapping[str, str] | None = None,
    **more: Any,
) -> None:
    """Records a turn of the workflow, with what ``record`` does not take."""
    made = replace(
        turn(prompt, at=at, **more),
        estimated_cost_usd=None if estimated is None else Decimal(estimated),
        step=step,
        documents=documents or {},
    )
    assert workspace.record(session_name(session), made).oid


def login(repo: Repo, *, at: datetime = NOON) -> Workspace:
    """A feature with a plan of five tasks: one is done, one failed, one is at work."""
    workspace = repo.workspace(now=at)
    features.start(workspace, "login", "Log in with a passkey")
    plans.put(workspace, "login", parsing.parse(PLAN, feature="login"), text="A plan")
    record(workspace, "plan-login", "Plan it", at=at, cost_usd="0.40", estimated="0.5", model="claude-opus-4-5")
    for task, status, error in (
        ("T1.1", "completed", ""),
        ("T1.2", "failed", "overloaded"),
        ("T2.1", "in_progress", ""),
    ):
        more: dict[str, Any] = {"status": "error", "requests": [{**FAILURE, "error": error}]} if error else {}
        record(
            workspace,
            "implement-login",
            f"Write {task}",
            at=at,
            task=task,
            cost_usd="0.25",
            estimated="0.2",
            step={"name": "red", "attempt": 1},
            **more,
        )
        tasks.put(workspace, "login", task, status, text="So it ended")
    record(workspace, "claude-login", "Look around", at=at, agent="claude-code/2.1", cost_usd="0.10")
    return workspace


def seen(workspace: Workspace, feature: str = "login") -> Overview:
    return overview.overview(workspace, feature)


def statuses(found: Overview) -> dict[str, str]:
    return {task.id: task.status for task in found.line.tasks}


def test_a_feature_in_one_screen(repo: Repo) -> None:
    """The text says how far it is, what each phase and task took, and no line of it passes 80 columns."""
    login(repo, at=datetime.now(UTC))
    out = repo.ai("status").out
    lines = out.splitlines()
    assert lines[0] == "login  in progress, in use here; active, last used just now"
    assert lines[1] == "  Log in with a passkey"
    assert "1 of 5 tasks done, T2.1 in progress" in out
    assert "T1.1  completed       $0.20  $0.25      15  Reject expired tokens" in out
    assert "T1.3 blocked Rotate keys (waits for T1.2)" in " ".join(out.split())
    assert [line.split()[0] for line in lines if "█" in line][1:] == ["plan", "implement", "claude"]
    assert "total          5     $1.10  $1.25" in out
    assert "opus-4-5 $0.40" in out
    assert "1 turn failed, just now in implement-login: overloaded" in out
    assert max(map(width, lines)) <= 80
    assert "\x1b" not in out


def test_a_feature_is_in_use_while_its_branch_is_checked_out(repo: Repo) -> None:
    """As ``use`` has it: on another branch no verb takes it for the one in use, and back on the first all do."""
    login(repo)
    assert repo.ai("features", "--json").json[0]["in_use"]
    repo.git("checkout", "-q", "-b", "other")
    assert repo.ai("use").out == "no session is in use here: implement-login is only while main is checked out\n"
    none = (
        "error: no feature is in use here: login is only while main is checked out; name one, or put it in use with"
        " 'git ai-session switch login'\n"
    )
    for words in ("status", "implement", "verify", "escalate opus"):
        ran = repo.ai(*words.split(), code=2)
        assert (words, ran.out, ran.err) == (words, "", none)
    assert not repo.ai("status", "login", "--json").json["in_use"]
    assert "in use" not in repo.ai("status", "login").out
    assert not any(line.startswith("*") for line in repo.ai("features").out.splitlines())
    assert "todo-general" in repo.ai("todo", "add", "Buy milk", "--json").out
    repo.git("checkout", "-q", "--detach")
    repo.ai("switch", "login")
    assert repo.ai("status", "--json").json["in_use"]
    repo.git("checkout", "-q", "main")
    assert "login is only while HEAD is detached" in repo.ai("verify", code=2).err
    repo.ai("switch", "login")
    assert repo.ai("status", "--json").json["in_use"]


@pytest.mark.parametrize("columns", [40, 60, 62, 80])
def test_the_bars_fit_the_terminal(columns: int, repo: Repo) -> None:
    """They give way to the figures, and where no room is left for one there is none."""
    login(repo)
    lines = [re.sub(r"\x1b\[\d*m", "", line) for line in on_terminal(repo, ["status"], columns=columns).splitlines()]
    bars = [line for line in lines if re.search("[█░]", line)]
    assert len(bars) == (1 if columns == 40 else 4)
    assert max(map(width, bars)) <= columns
    assert len([line for line in lines if re.match(r"  (PHASE|plan|imple\S*|claude|total) ", line)]) == 5


@pytest.mark.parametrize("columns", [80, 60, 40])
@pytest.mark.parametrize("words", ["history", "features", "todo list --all", "status --all"])
def test_lists_give_way_where_the_terminal_is_narrow(words: str, columns: int, repo: Repo) -> None:
    """What is of lesser worth goes; what it costs stays whole, and of the words enough to know them again."""
    login(repo)
    out = on_terminal(repo, words.split(), columns=columns)
    lines = [re.sub(r"\x1b\[\d*m", "", line) for line in out.splitlines()]
    assert max(map(width, lines)) <= columns
    assert columns == 60 or ("TOKENS" in lines[0]) == (columns == 80)
    assert "COST" in lines[0]
    costs = {"history": 5, "todo list --all": 7}.get(words, 1)
    assert sum(bool(re.search(r" \$\d\.\d\d\b", line)) for line in lines) >= costs
    known = {"history": "Write T", "todo list --all": "Reject e"}.get(words, "login")
    assert any(known in line for line in lines)


def test_json_says_the_same(repo: Repo) -> None:
    """``--json`` has every value of the screen, money exact."""
    login(repo)
    found = repo.ai("status", "login", "--json").json
    assert (found["feature"], found["tasks_done"], found["tasks_total"], found["active"]) == ("login", 1, 5, ["T2.1"])
    assert (found["state"], found["in_use"], found["description"]) == ("in progress", True, "Log in with a passkey")
    assert found["sessions"] == ["claude-login", "implement-login", "plan-login"]
    assert [task["status"] for task in found["tasks"]] == ["completed", "failed", "blocked", "in_progress", "pending"]
    assert found["tasks"][2]["waits_for"] == ["T1.2"]
    assert (found["tasks"][0]["cost_usd"], found["tasks"][0]["estimated_cost_usd"]) == (0.25, 0.2)
    by_command = [(one["command"], one["cost_usd"], one["estimated_cost_usd"]) for one in found["by_command"]]
    assert by_command == [("plan", 0.4, 0.5), ("implement", 0.75, 0.6), ("claude", 0.1, None)]
    assert (found["cost_usd"], found["estimated_cost_usd"], found["failed_turns"]) == (1.25, 1.1, 1)
    assert found["last_failure"] == {"session": "implement-login", "at": "2026-03-01T12:00:00Z", "text": "overloaded"}
    assert (found["review"], found["verdict"], found["budgets"]) == (None, None, [])


@pytest.mark.parametrize(
    ("said", "tried", "expected"),
    [
        ({}, [], ["pending"] * 3),
        ({}, ["T1.2"], ["pending", "blocked", "blocked"]),
        ({"T1.1": "failed"}, [], ["failed", "blocked", "blocked"]),
        ({"T1.1": "in_progress"}, [], ["in_progress", "pending", "pending"]),
        ({"T1.1": "completed", "T1.2": "blocked"}, [], ["completed", "pending", "pending"]),
        ({"T1.2": "blocked"}, [], ["pending", "blocked", "blocked"]),
        ({"T1.1": "blocked"}, [], ["blocked", "blocked", "blocked"]),
        ({"T1.2": "completed"}, [], ["pending", "completed", "pending"]),
    ],
)
def test_what_is_blocked(said: dict[str, str], tried: list[str], expected: list[str], repo: Repo) -> None:
    """A task is blocked behind one that failed or is blocked, or where it was tried too early, and no longer once all
    that it depends on is done."""
    workspace = repo.workspace(now=NOON)
    plans.put(workspace, "login", parsing.parse(PLAN, feature="login"), text="A plan")
    for task in tried:
        record(workspace, "implement-login", task=task)
    for task, status in said.items():
        tasks.put(workspace, "login", task, status, text="So it is")
    assert list(statuses(seen(workspace)).values())[:3] == expected


@pytest.mark.parametrize(("age", "health"), [(0.9, "active"), (1.1, "idle"), (29, "idle"), (31, "stale")])
def test_health_is_how_long_it_was_left_alone(age: float, health: str, repo: Repo) -> None:
    login(repo)
    assert seen(repo.workspace(now=NOON + timedelta(days=age))).line.health == health


def test_the_newest_review_and_verdict(repo: Repo) -> None:
    """Findings are counted by severity, and a verdict by its criteria and tests; what is no such file says nothing."""
    workspace = login(repo)
    old = json.dumps({"v": 1, "findings": [{"severity": "critical"}]})
    findings = [{"severity": "low"}, {"severity": "high"}, {"severity": "high"}, {"severity": ["odd"]}, "no object"]
    verdict = {
        "criteria": [{"verdict": "pass"}, {"verdict": "fail"}, 3],
        "tests": [{"passed": True}, {"passed": "yes"}],
        "passed": False,
    }
    record(workspace, "review-login", documents={"review.json": old})
    record(workspace, "review-login", documents={"review.json": json.dumps({"findings": findings})})
    record(workspace, "review-login", "And a word more")
    record(workspace, "verify-login", documents={"verify.json": json.dumps(verdict)})
    found = seen(workspace)
    assert found.review is not None
    assert list(found.review.findings.items()) == [("high", 2), ("low", 1), ("other", 1)]
    assert found.verdict is not None
    assert (found.verdict.passed, found.verdict.met, found.verdict.criteria) == (False, 1, 2)
    assert (found.verdict.tests_passed, found.verdict.tests) == (1, 2)
    out = repo.ai("status", "login").out
    assert "Review    2 high, 1 low, 1 other" in out
    assert "Verify    not passed: 1 of 2 criteria met, 1 of 2 test runs passed" in out
    record(workspace, "review-login", documents={"review.json": "[[["})
    found = seen(workspace)
    assert found.review is not None
    assert found.review.findings == {}


def test_budgets_are_shown_where_they_are_set(repo: Repo) -> None:
    login(repo)
    repo.git("config", "ai-session.budget", "1/feature")
    assert "Budget    $1.25 of the $1.00 for the feature login are spent (125%)" in repo.ai("status").out
    [budget] = repo.ai("status", "--json").json["budgets"]
    assert (budget["span"], budget["spent_usd"], budget["left_usd"]) == ("feature", 1.25, 0)


def test_a_plan_that_cannot_be_read_hides_nothing_else(repo: Repo) -> None:
    """It is said, and the sums are there all the same."""
    workspace = login(repo)
    record(workspace, "plan-login", documents={"plan.yaml": "phases: [[["})
    ran = repo.ai("status", "login")
    assert "total" in ran.out
    assert ran.err.startswith("warning: the plan of turn 4 of plan-login: the plan does not fit")
    assert ran.err.count("\n") == 1
    assert repo.ai("features").out.splitlines()[1].split()[:4] == ["*", "login", "plan", "broken"]


def test_all_features_in_a_line_each(repo: Repo) -> None:
    """The one used last comes first, the one in use has a star, and the sums are those of ``stats``."""
    login(repo, at=NOON)
    later = repo.workspace(now=NOON + timedelta(hours=1))
    record(later, "plan-search", "Plan the search", at=NOON + timedelta(hours=1), model="nobody-knows")
    out = repo.ai("features").out.splitlines()
    assert out[0].split() == ["NAME", "TASKS", "STATUS", "LAST", "USED", "TOKENS", "COST"]
    assert out[1].split()[:3] == ["search", "no", "plan"]
    assert out[2].split()[:5] == ["*", "login", "1/5", "in", "progress"]
    assert out[3].split() == ["2", "features", "1/5", "90", "$1.25+"]
    found = repo.ai("features", "--json").json
    assert found == repo.ai("status", "--all", "--json").json
    assert [one["feature"] for one in found] == ["search", "login"]
    assert sum(one["turns"] for one in found) == repo.ai("stats", "--json").json["turns"]
    line = repo.ai("status", "--all").out.splitlines()[2]
    assert line.split() == ["*", "login", "█▋░░░░░░", "1/5", "T2.1", "stale", "2026-03-01", "75", "$1.25"]


def test_a_feature_is_done_when_its_tasks_are_and_closed_when_its_sessions_are(repo: Repo) -> None:
    workspace = repo.workspace(now=NOON)
    features.start(workspace, "login")
    assert seen(workspace).line.state == "no plan"
    plans.put(workspace, "login", parsing.parse(PLAN, feature="login"), text="A plan")
    assert seen(workspace).line.state == "planned"
    for task in ("T1.1", "T1.2", "T1.3", "T2.1"):
        tasks.put(workspace, "login", task, "completed", text="Done")
    assert seen(workspace).line.state == "begun"
    tasks.put(workspace, "login", "T2.2", "completed", text="Done")
    assert seen(workspace).line.state == "done"
    features.mark(workspace, session_name("plan-login"), "completed")
    assert seen(workspace).line.state == "done"
    features.mark(workspace, session_name("implement-login"), "completed")
    assert seen(workspace).line.state == "closed"


def test_history_is_the_turns_of_all_sessions_by_time(repo: Repo) -> None:
    """The newest first, each with its session, its task and the step of that."""
    workspace = login(repo)
    record(workspace, "review-login", "Review it", at=NOON + timedelta(hours=2))
    lines = repo.ai("history", "login").out.splitlines()
    assert len(lines) == 7
    assert lines[1].split()[1:3] == ["review", "sonnet-4-5"]
    assert max(map(width, lines)) <= 80
    found = repo.ai("history", "login", "--json").json
    assert found[0]["session"] == "review-login"
    [failed] = [one for one in found if one["status"] == "error"]
    assert (failed["task"], failed["step"], failed["command"]) == ("T1.2", "red", "implement")
    assert (failed["estimated_cost_usd"], failed["summary"]) == (0.2, "[T1.2] Write T1.2")
    assert "T1.2 red" in "\n".join(lines)
    assert "(error) Write" in "\n".join(lines)


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ("--limit 2", 2),
        ("--command implement", 3),
        ("--task T1.1", 1),
        ("--task T2.2", 0),
        ("--model opus", 1),
        ("--model opus-4-5", 1),
        ("--model claude-sonnet-4-5", 4),
        ("--model son", 0),
        ("--command implement --limit 1 --model sonnet", 1),
    ],
)
def test_history_can_be_narrowed(words: str, count: int, repo: Repo) -> None:
    login(repo)
    ran = repo.ai("history", "login", "--json", *words.split())
    assert len(ran.json) == count
    said = repo.ai("history", "login", *words.split())
    assert (said.err == "login has no such turns\n") == (count == 0)


def test_history_without_a_feature_is_of_the_one_in_use(repo: Repo) -> None:
    login(repo)
    assert repo.ai("history", "--limit", "2").out == repo.ai("history", "login", "--limit", "2").out


def test_a_turn_that_a_fork_shares_is_there_once(repo: Repo) -> None:
    login(repo)
    repo.git("update-ref", "refs/ai-sessions/ask-login", "refs/ai-sessions/implement-login")
    assert len(repo.ai("history", "login", "--json").json) == 5
    found = repo.ai("status", "login", "--json").json
    assert (found["turns"], found["cost_usd"], found["estimated_cost_usd"]) == (5, 1.25, 1.1)


def test_sessions_are_closed_and_reopened(repo: Repo) -> None:
    """By name or pattern, each saying what was done; what is closed already gets no further event."""
    login(repo)
    out = repo.ai("close", "*-login").out
    assert out == "claude-login     closed\nimplement-login  closed\nplan-login       closed\n"
    tip = repo.git("rev-parse", "refs/ai-sessions/plan-login")
    assert "AI-Event: completed" in repo.git("log", "-1", "--format=%B", tip)
    assert repo.ai("close", "plan-login").out == "plan-login  was closed already\n"
    assert repo.git("rev-parse", "refs/ai-sessions/plan-login") == tip
    assert {row["status"] for row in repo.ai("list", "--json").json} == {"completed"}
    assert repo.ai("reopen", "plan-login", "--json").json == [
        {"session": "plan-login", "status": "open", "changed": True}
    ]
    assert repo.ai("reopen", "plan-login").out == "plan-login  was open already\n"
    assert "AI-Event: reopened" in repo.git("log", "-1", "--format=%B", "refs/ai-sessions/plan-login")
    repo.fsck()


def one_error(ran: Ran, text: str) -> None:
    assert text in ran.err
    assert ran.err.count("\n") == 1
    assert ran.out == ""


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        ("status logn", 1, "there is no feature 'logn'; did you mean login?"),
        ("status", 2, "name the feature, or put one in use"),
        ("status login --all", 2, "either a feature or --all"),
        ("status ../x", 2, "is no valid feature"),
        ("history", 2, "name the feature, or put one in use"),
        ("history nothing", 1, "there is no feature 'nothing'"),
        ("history login --task T9.9", 1, "login has no task 'T9.9'"),
        ("history login --command ask", 1, "login has no session of 'ask'"),
        ("history login --limit 0", 2, "is not a number of 1 or more"),
        ("close plan-nothing", 1, "there is no session plan-nothing"),
        ("close nothing-*", 1, "no session matches"),
        ("close", 2, "missing argument"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(words: str, code: int, error: str, repo: Repo) -> None:
    login(repo)
    repo.workspace().use(None)
    one_error(repo.ai(*words.split(), code=code), error)


def test_without_a_feature(repo: Repo) -> None:
    """Nothing is no error where all were asked for."""
    for words in (["features"], ["status", "--all"]):
        ran = repo.ai(*words)
        assert (ran.out, ran.err.startswith("no features yet; 'git ai-session start")) == ("", True)
    assert repo.ai("features", "--json").json == []


def test_hostile_names_of_tasks_and_errors_are_printed_plainly(repo: Repo) -> None:
    """What others wrote cannot reach the terminal as anything but text."""
    workspace = login(repo)
    record(
        workspace,
        "implement-login",
        "x\x1b[31m",
        task="\x1b]0;x\x07T",
        at=NOON + timedelta(hours=1),
        status="error",
        requests=[{**FAILURE, "error": "\x1b[2Jgone\u202e\nline"}],
        step={"name": "\x1b[1mred", "attempt": 1},
    )
    for words in (["status"], ["history", "login"]):
        out = repo.ai(*words).out
        assert not any(char in out for char in "\x1b\x07\u202e")
    assert "gone line" in repo.ai("status").out


@pytest.mark.parametrize("words", ["status", "status --all --json", "features", "history login"])
def test_looking_loads_no_libgit2_and_writes_nothing(words: str, repo: Repo) -> None:
    """So it works where the repository may only be read."""
    login(repo)
    before = {path: path.stat().st_mtime_ns for path in repo.path.rglob("*")}
    assert not imports(repo, words) & (SLOW - {"click", "yaml"})
    assert {path: path.stat().st_mtime_ns for path in repo.path.rglob("*")} == before
