"""``todo``: tasks, what a person wrote down, the lists of agents and expected costs in one view."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gitsess.names import session_name
from gitsess.plan import parsing
from gitsess.text import width
from gitsess.workflow import features, overview, plans, todos
from gitsess.workflow.todos import Todo
from gitsess.workspace import Workspace
from tests.conftest import NOON, Repo, turn
from tests.test_startup import SLOW, imports
from tests.test_status import PLAN, login, one_error, record

DAY = timedelta(days=1)


def agent_turn(
    workspace: Workspace,
    session: str,
    *items: tuple[str, str],
    at: datetime = NOON,
    conversation: str = "talk-1",
    agent: str = "claude-code/2.1.330",
) -> None:
    """Records a captured turn in which an agent wrote its list."""
    given = {"todos": [{"content": content, "status": status} for content, status in items]}
    block = {"type": "tool_use", "id": "call-1", "name": "TodoWrite", "input": given}
    message = {"id": "m", "role": "assistant", "model": "claude-sonnet-4-5", "usage": {}, "content": [block]}
    result = {"type": "tool_result", "tool_use_id": "call-1", "content": "Done."}
    entries = (
        {"type": "assistant", "uuid": "1", "message": message},
        {"type": "user", "uuid": "2", "message": {"role": "user", "content": [result]}},
    )
    made = turn("Go on", at=at, agent=agent, conversation=conversation)
    assert workspace.record(session_name(session), replace(made, native={"main.jsonl": entries})).oid


def found(workspace: Workspace, **narrowed: Any) -> list[Todo]:
    return list(todos.find(workspace, **narrowed).todos)


def shown(workspace: Workspace, **narrowed: Any) -> list[tuple[str, str, str]]:
    return [(one.session, one.id or one.agent or "", one.status) for one in found(workspace, **narrowed)]


TASKS = [
    ("implement-login", "T1.2", "failed"),
    ("implement-login", "T1.3", "blocked"),
    ("implement-login", "T2.1", "in_progress"),
    ("implement-login", "T2.2", "pending"),
]


def test_what_is_open_in_one_view(repo: Repo) -> None:
    """Tasks that are not done, todos, and items of agents' lists, each with its session; no turn, and nothing done."""
    workspace = login(repo)
    todo = todos.add(workspace, "Ask Bea", feature="login")
    agent_turn(workspace, "claude-main", ("Read the spec", "completed"), ("Write docs", "in_progress"), ("Ask", "odd"))
    expected = [
        ("claude-main", "claude-code", "in_progress"),
        ("claude-main", "claude-code", "pending"),
        *TASKS,
        ("todo-login", todo.id, "pending"),
    ]
    assert shown(workspace) == expected
    assert shown(workspace, feature="login") == expected[2:]
    [failed] = [one for one in found(workspace) if one.id == "T1.2"]
    assert (str(failed.estimated_usd), str(failed.sums and failed.sums.cost_usd)) == ("0.2", "0.25")


def test_everything_has_the_turns_with_what_they_were_expected_to_cost(repo: Repo) -> None:
    """A turn with an estimate is a todo that its own commit closed: done, failed or interrupted."""
    workspace = login(repo)
    record(workspace, "verify-login", "Verify", status="interrupted", estimated="0.1")
    record(workspace, "verify-login", "Nobody said what this costs")
    turns = [one for one in found(workspace, everything=True) if one.kind == "turn"]
    assert [(one.session, one.id, one.status, one.text) for one in turns] == [
        ("implement-login", "#1", "done", "Write T1.1"),
        ("implement-login", "#3", "failed", "Write T1.2"),
        ("implement-login", "#5", "done", "Write T2.1"),
        ("plan-login", "#3", "done", "Plan it"),
        ("verify-login", "#1", "interrupted", "Verify"),
    ]
    assert [str(one.over_usd) for one in turns][:4] == ["0.05", "0.05", "0.05", "-0.1"]
    repo.git("update-ref", "refs/ai-sessions/ask-login", "refs/ai-sessions/implement-login")
    assert sum(one.kind == "turn" for one in found(workspace, everything=True)) == 5


def test_what_could_not_be_foreseen_is_there_all_the_same(repo: Repo) -> None:
    """A turn of a verb whose model has no known price, or whose agent has no past yet; not what an agent did by itself.
    What is compared with what was expected is the cost of the others."""
    workspace = repo.workspace(now=NOON)
    record(workspace, "plan-x", "Known", agent="anthropic-api", estimated="0.2", cost_usd="0.3")
    record(workspace, "plan-x", "No price", agent="anthropic-api", cost_usd="5")
    record(workspace, "implement-x", "By an agent", agent="claude-code/2", task="T1.1", task_status="in_progress")
    record(workspace, "implement-x", "By itself", agent="claude-code/2")
    turns = [one.text for one in found(workspace, everything=True) if one.kind == "turn"]
    assert turns == ["By an agent", "Known", "No price"]
    lines = [line.split() for line in repo.ai("todo", "report").out.splitlines()]
    assert ["plan", "2", "2", "$0.20", "$5.30", "+50%", "30"] in lines


def test_the_lists_of_agents_are_read_by_conversation(repo: Repo) -> None:
    """One that went on in another session is there once, as it was left; one that was not used for a month is not
    open any more, and neither is what is in a closed session."""
    workspace = repo.workspace(now=NOON)
    agent_turn(workspace, "claude-main", ("One", "in_progress"), ("Two", "pending"), at=NOON - 40 * DAY)
    agent_turn(workspace, "claude-main", ("Old", "pending"), at=NOON - 40 * DAY, conversation="talk-2")
    agent_turn(workspace, "claude-topic", ("One", "completed"), ("Two", "in_progress"), at=NOON - DAY)
    record(workspace, "claude-topic", "TodoWrite is only named here", agent="claude-code", conversation="talk-1")
    assert [(one.session, one.text) for one in found(workspace)] == [("claude-topic", "Two")]
    assert [one.text for one in found(workspace, everything=True)] == ["One", "Two", "Old"]
    assert [one.text for one in found(workspace, everything=True, since=NOON - 2 * DAY)] == ["One", "Two"]
    record(workspace, "claude-main", "Something else, which has the session in use")
    assert [one.text for one in found(workspace)] == ["Two"]
    features.mark(workspace, session_name("claude-topic"), "completed")
    assert found(workspace) == []


def test_a_todo_is_written_down_and_done(repo: Repo) -> None:
    """It is an event of a session of its own, with its text, its estimate and its status; the beginning of its id is
    enough to end it, once."""
    out = repo.ai("todo", "add", "Ask Bea\nabout scopes", "--estimate", "$0.50").out
    id = out.split()[0]
    assert out == f"{id} is in todo-general; 'git ai-session todo done {id}' ends it\n"
    body = repo.git("log", "-1", "--format=%B", "refs/ai-sessions/todo-general")
    assert body.startswith(f"[{id}] Ask Bea about scopes\n")
    for line in ("AI-Kind: event", "AI-Event: task", f"AI-Task: {id}", "AI-Task-Status: pending"):
        assert line in body.splitlines()
    assert "AI-Estimated-Cost-USD: 0.5" in body
    assert repo.git("show", "refs/ai-sessions/todo-general:prompt.md") == "Ask Bea\nabout scopes"
    [one] = repo.ai("todo", "--json").json
    assert (one["kind"], one["id"], one["text"], one["status"]) == ("todo", id, "Ask Bea\nabout scopes", "pending")
    assert (one["session"], one["feature"], one["estimated_cost_usd"]) == ("todo-general", "general", 0.5)
    assert repo.ai("todo", "done", id.removeprefix("todo-")[:3]).out == f"{id} is done: Ask Bea about scopes\n"
    tip = repo.git("rev-parse", "refs/ai-sessions/todo-general")
    assert repo.ai("todo", "done", id).out == f"{id} was done already: Ask Bea about scopes\n"
    assert repo.git("rev-parse", "refs/ai-sessions/todo-general") == tip
    assert repo.ai("todo").err == "nothing is to be done\n"
    assert [one["status"] for one in repo.ai("todo", "--all", "--json").json] == ["done"]
    repo.fsck()


def test_a_todo_is_of_the_feature_in_use(repo: Repo) -> None:
    """Else of the one that is named; ``status`` counts those that are open."""
    workspace = login(repo)
    one = repo.ai("todo", "add", "Ask Bea", "--json").json
    assert (one["session"], one["changed"]) == ("todo-login", True)
    record(workspace, "plan-search")
    assert repo.ai("todo", "add", "Measure", "--feature", "search").out.split()[3] == "todo-search;"
    assert [row["text"] for row in repo.ai("todo", "--feature", "search", "--json").json] == ["Measure"]
    assert "1 open: 'git ai-session todo list --feature login'" in repo.ai("status").out
    assert overview.overview(workspace, "login").line.last_used == NOON
    repo.ai("todo", "done", one["id"])
    assert "Todos" not in repo.ai("status").out


def test_turns_that_worked_on_a_todo_count_for_it(repo: Repo) -> None:
    workspace = login(repo)
    todo = todos.add(workspace, "Ask Bea", feature="login")
    record(workspace, "ask-login", "Ask", task=todo.id, cost_usd="0.07")
    [one] = [one for one in found(workspace) if one.kind == "todo"]
    assert one.status == "pending"
    assert one.sums is not None
    assert (str(one.sums.cost_usd), one.sums.turns) == ("0.07", 1)


def test_a_task_of_a_plan_is_done_by_hand(repo: Repo) -> None:
    """Of the feature in use or the one that is named; its status says so everywhere."""
    workspace = login(repo)
    assert repo.ai("todo", "done", "T1.2").out == "T1.2 is done: Refresh tokens\n"
    assert repo.ai("todo", "done", "T1.1", "--feature", "login").out == "T1.1 was done already: Reject expired tokens\n"
    assert shown(workspace) == [(*TASKS[1][:2], "pending"), *TASKS[2:]]
    assert "AI-Task-Status: completed" in repo.git("log", "-1", "--format=%B", "refs/ai-sessions/implement-login")


def test_secrets_do_not_get_into_a_todo(repo: Repo) -> None:
    secret = "sk-ant-api03-" + "Ab1" * 30
    repo.ai("todo", "add", f"Use {secret}")
    assert secret not in repo.git("log", "-p", "refs/ai-sessions/todo-general")
    assert "[redacted:" in repo.ai("todo").out


def test_the_report_compares_what_was_expected_with_what_it_cost(repo: Repo) -> None:
    """By command and by status, with the turns that passed it by most; a task and its turns are counted once."""
    workspace = login(repo)
    todos.add(workspace, "Ask Bea", feature="login")
    record(workspace, "review-login", "Look over it", at=NOON + DAY, cost_usd="0.50", estimated="0.25")
    record(workspace, "review-login", "Review", at=NOON + DAY, cost_usd="2", estimated="0.5")
    record(workspace, "review-login", "Review on", at=NOON + DAY, model="nobody-knows", estimated="0.5")
    summed = repo.ai("todo", "report", "--json").json
    assert (summed["total"]["cost_usd"], summed["total"]["estimated_cost_usd"]) == (3.65, 2.35)
    assert summed["total"]["foreseen_cost_usd"] == 3.65
    assert (summed["total"]["turns"], summed["total"]["unpriced_turns"]) == (7, 1)
    assert summed["total"]["statuses"] == {"done": 6, "failed": 1}
    by = {one["command"]: (one["turns"], one["estimated_cost_usd"], one["cost_usd"]) for one in summed["by_command"]}
    assert by == {"review": (3, 1.25, 2.5), "implement": (3, 0.6, 0.75), "plan": (1, 0.5, 0.4)}
    assert {one["kind"]: one["statuses"] for one in summed["by_kind"]} == {
        "turn": {"done": 6, "failed": 1},
        "task": {"done": 1, "in_progress": 1, "failed": 1, "blocked": 1, "pending": 1},
        "todo": {"pending": 1},
    }
    assert [(one["session"], one["over_usd"]) for one in summed["overruns"]][:2] == [
        ("review-login", 1.5),
        ("review-login", 0.25),
    ]
    since = repo.ai("todo", "report", "--since", "2026-03-02", "--json").json
    assert [one["command"] for one in since["by_command"]] == ["review"]
    lines = repo.ai("todo", "report").out.splitlines()
    assert lines[0].split() == ["DONE", "IN", "PROGRESS", "FAILED", "BLOCKED", "PENDING"]
    assert "implement      3     2     $0.60   $0.75  +25%      45" in "\n".join(lines)
    assert "+$1.50     $0.50  $2.00  review-login     #2" in "\n".join(lines)
    assert max(map(width, lines)) <= 80


def test_the_list_fits_a_screen(repo: Repo) -> None:
    """Below the name of each session, in 80 columns, and nothing that was written reaches the terminal raw."""
    workspace = login(repo, at=datetime.now(UTC))
    todos.add(workspace, "Ask \x1b[31mBea\u202e " + "and more " * 20, feature="login")
    agent_turn(workspace, "claude-main", ("\x1b]0;x\x07Write\ndocs", "pending"), at=datetime.now(UTC))
    lines = repo.ai("todo", "list", "--all").out.splitlines()
    assert lines[0].split() == ["ID", "STATUS", "EXPECTED", "COST", "TOKENS", "WHAT"]
    assert {line for line in lines[1:] if not line.startswith(" ")} == {
        "claude-main",
        "implement-login",
        "plan-login",
        "todo-login",
    }
    assert max(map(width, lines)) <= 80
    text = "\n".join(lines)
    assert not any(char in text for char in "\x1b\x07\u202e")
    assert ["claude-code", "pending", "Write", "docs"] in [line.split() for line in lines]
    assert any(line.startswith("  #1 T1.1") for line in lines)


def test_a_broken_plan_does_not_hide_the_rest(repo: Repo) -> None:
    workspace = login(repo)
    record(workspace, "plan-login", documents={"plan.yaml": "phases: [[["})
    todos.add(workspace, "Ask Bea", feature="login")
    ran = repo.ai("todo", "--json")
    assert [one["kind"] for one in ran.json] == ["todo"]
    assert ran.err.startswith("warning: the plan of turn 4 of plan-login")


def test_what_a_beginning_stands_for_must_be_clear(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several todos that begin so are named; the whole id of one is enough."""
    workspace = repo.workspace(now=NOON)
    made = iter(["aabbcc", "aabbcc", "aabbdd", "ccddee"])

    class Chosen:
        @property
        def hex(self) -> str:
            return next(made)

    monkeypatch.setattr(todos, "uuid4", Chosen)
    ids = [todos.add(workspace, "Something").id for _ in range(3)]
    assert ids == ["todo-aabbcc", "todo-aabbdd", "todo-ccddee"]
    one_error(repo.ai("todo", "done", "aabb", code=2), "could be any of 2 todos: todo-aabbcc, todo-aabbdd")
    assert repo.ai("todo", "done", "c").out.startswith("todo-ccddee is done")
    assert repo.ai("todo", "done", "todo-aabbd").out.startswith("todo-aabbdd is done")


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        ("todo add", 2, "say what is to be done"),
        ("todo done", 2, "say which"),
        ("todo done zzz", 1, "there is no todo 'zzz'; 'git ai-session todo list' shows them"),
        ("todo done todo-", 1, "there is no todo 'todo-'"),
        ("todo done T9.9", 1, "login has no task T9.9"),
        ("todo done T1.1 --feature search", 1, "search has no plan yet"),
        ("todo done abc --feature nothing", 1, "there is no feature 'nothing'"),
        ("todo list extra", 2, "'todo list' takes nothing more"),
        ("todo lst", 2, "did you mean 'list'?"),
        ("todo list --feature logn", 1, "did you mean login?"),
        ("todo list --since someday", 2, "--since wants a date"),
        ("todo list --estimate 1", 2, "--estimate is not for 'todo list'"),
        ("todo report --all", 2, "--all is not for 'todo report'"),
        ("todo add x --since today", 2, "--since is not for 'todo add'"),
        ("todo add x --estimate much", 2, "--estimate must be an amount in US dollars"),
        ("todo add x --feature nothing", 1, "there is no feature 'nothing'"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(words: str, code: int, error: str, repo: Repo) -> None:
    workspace = login(repo)
    record(workspace, "plan-search")
    before = repo.git("for-each-ref")
    one_error(repo.ai(*words.split(), code=code), error)
    assert repo.git("for-each-ref") == before


def test_without_any(repo: Repo) -> None:
    """Nothing to do is no error."""
    assert repo.ai("todo").err == "nothing is to be done\n"
    assert repo.ai("todo", "list", "--all").err == "nothing was to be done yet\n"
    assert repo.ai("todo", "report").err == "nothing was to be done\n"
    assert repo.ai("todo", "--json").json == []


@pytest.mark.parametrize("words", ["todo", "todo list --all --json", "todo report"])
def test_looking_loads_no_libgit2_and_writes_nothing(words: str, repo: Repo) -> None:
    """So it works where the repository may only be read; and YAML is loaded for a plan alone."""
    workspace = repo.workspace(now=datetime.now(UTC))
    todos.add(workspace, "Ask Bea")
    agent_turn(workspace, "claude-main", ("Write docs", "pending"), at=datetime.now(UTC))
    before = {path: path.stat().st_mtime_ns for path in repo.path.rglob("*")}
    assert not imports(repo, words) & (SLOW - {"click"})
    assert {path: path.stat().st_mtime_ns for path in repo.path.rglob("*")} == before
    plans.put(workspace, "login", parsing.parse(PLAN, feature="login"), text="A plan")
    assert "yaml" in imports(repo, words)
