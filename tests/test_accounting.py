"""``doctor --accounting``: what is recorded of conversations, beside what their agents counted."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from gitsess.agents import claude, opencode
from gitsess.capture.declined import decline
from tests.agents import make_opencode
from tests.conftest import Repo, another

FIXTURES = Path(__file__).parent / "agents"
EDIT = "5e5510aa-0000-4000-8000-000000000001"


class Agents:
    """A home with what the real agents wrote, as if it had happened in the repository."""

    def __init__(self, repo: Repo, home: Path) -> None:
        self.repo, self.home = repo, home
        self.projects = home / ".claude/projects/-p"
        self.rollouts = home / ".codex/sessions/2026/11/23"

    def claude(self, scenario: str) -> None:
        shutil.copytree(FIXTURES / "claude/2.1.330" / scenario, self.projects, dirs_exist_ok=True)
        self._here(self.projects)

    def codex(self, case: str) -> None:
        self.rollouts.mkdir(parents=True, exist_ok=True)
        for path in (FIXTURES / "codex" / case).glob("rollout-*.jsonl"):
            shutil.copy(path, self.rollouts)
        self._here(self.rollouts)

    def opencode(self, case: str) -> None:
        rows = (
            (make_opencode.FIXTURES / case / "rows.json").read_text().replace("/home/ann/project", str(self.repo.path))
        )
        make_opencode.database(json.loads(rows), opencode.database_of(self.home, {}))

    def _here(self, folder: Path) -> None:
        for path in folder.rglob("*.jsonl"):
            path.write_text(path.read_text().replace("/home/ann/project", str(self.repo.path)))

    def bring_in(self) -> None:
        self.repo.ai("import", "--from", "all")

    def compare(self, code: int = 0) -> dict[str, Any]:
        """The conversations by id, as ``--json`` has them."""
        found = self.repo.ai("doctor", "--accounting", "--json", code=code).json
        return {one["conversation"]: one for one in found["conversations"]}

    def transcript(self) -> Path:
        return self.projects / f"{EDIT}.jsonl"

    def count(self, **changes: Any) -> None:
        """Changes what the agent says that it counted last."""
        lines = [json.loads(line) for line in self.transcript().read_text().splitlines()]
        last = [line for line in lines if line["type"] == "cost-state"][-1]
        for model in last["modelUsage"].values():
            model.update(changes)
        self.transcript().write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def agents(repo: Repo, sealed: dict[str, str]) -> Agents:
    return Agents(repo, Path(sealed["HOME"]))


def kinds(found: dict[str, Any]) -> dict[str, set[str]]:
    return {name: {item["kind"] for item in one["differences"]} for name, one in found.items()}


def test_every_difference_of_the_real_agents_has_a_name(agents: Agents) -> None:
    """A compaction, forks of two agents and subagents are named, and what is named is all that the two differ by."""
    agents.claude("edit")
    for case in ("edit", "subagent", "compacted", "migrated"):
        agents.codex(case)
    agents.bring_in()
    found = agents.compare()
    named = kinds(found)
    assert named.pop(EDIT) == {"unwritten"}
    (fork,) = (name for name, one in found.items() if one["agent"] == "claude" and name != EDIT)
    assert named.pop(fork) == {"inherited"}
    assert sorted(map(sorted, named.values()))[-1] == ["subagents"]
    assert set().union(*named.values()) == {"subagents"}
    for one in found.values():
        more = sum(item["tokens"] for item in one["differences"])
        assert one["recorded"]["tokens"] + more == one["reported"]["tokens"], one
        if one["reported"]["cost_usd"] is not None:
            apart = one["reported"]["cost_usd"] - one["recorded"]["cost_usd"]
            apart -= sum(item["cost_usd"] for item in one["differences"])
            assert abs(apart) < 0.0002, one


@pytest.mark.parametrize(("case", "kinds_found"), [("edit", [[], ["inherited"]]), ("subagent", [["subagents"]])])
def test_the_totals_of_opencode(case: str, kinds_found: list[list[str]], agents: Agents) -> None:
    """Tokens and cost of its sessions: subagents and what a fork inherits apart, the same to the cent."""
    agents.opencode(case)
    agents.bring_in()
    found = agents.compare()
    assert sorted(sorted(named) for named in kinds(found).values()) == kinds_found
    for one in found.values():
        assert one["recorded"]["tokens"] + sum(d["tokens"] for d in one["differences"]) == one["reported"]["tokens"]
        apart = one["recorded"]["cost_usd"] + sum(d["cost_usd"] for d in one["differences"])
        assert apart == pytest.approx(one["reported"]["cost_usd"], abs=0.0001)


def test_opencode_at_another_price(agents: Agents) -> None:
    """A session's cost that its tokens do not come to is told as such."""
    agents.opencode("subagent")
    agents.bring_in()
    with sqlite3.connect(opencode.database_of(agents.home, {})) as connection:
        connection.execute("UPDATE session SET cost = 9 WHERE parent_id IS NULL")
    connection.close()
    (one,) = agents.compare().values()
    assert {item["kind"] for item in one["differences"]} == {"subagents", "price"}


def test_what_is_printed(agents: Agents) -> None:
    """Both sums on a line, the differences below it; 80 columns suffice."""
    agents.claude("edit")
    agents.bring_in()
    ran = agents.repo.ai("doctor", "--accounting", env={"COLUMNS": "80"})
    assert re.search(r"5e5510aa-0000  claude +3 +82\.4k +\$0\.0652 +94\.7k +\$0\.0741\n", ran.out)
    assert "    +12.3k +$0.0089 opus-4-8: requests in no transcript, such as compactions\n" in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80
    assert ran.err == "2 conversations compared, every difference has a name\n"


def test_turns_that_are_missing(agents: Agents) -> None:
    """Turns that no session has, and one that went on, are faults, with what to do."""
    agents.claude("fork")
    whole = agents.transcript().read_text()
    lines = whole.splitlines(keepends=True)
    second = next(n for n, line in enumerate(lines) if "Two, in the parent" in line and '"type":"user"' in line)
    agents.transcript().write_text("".join(lines[:second]))
    agents.bring_in()
    agents.transcript().write_text(whole)
    assert kinds(agents.compare(code=1))[EDIT] == {"unrecorded"}
    ran = agents.repo.ai("doctor", "--accounting", code=1)
    assert "turns that are not recorded; 'git ai-session import --from claude' brings them in" in ran.out
    assert ran.err.endswith("1 fault\n")
    # What nobody wanted recorded is no fault.
    declined = [one.turn.turn_id for one in claude.read(agents.transcript(), closed=True)]
    for turn_id in declined:
        decline(str(agents.repo.path / ".git/ai-sessions"), turn_id)
    assert kinds(agents.compare())[EDIT] == {"declined"}
    (agents.repo.path / ".git/ai-sessions/declined").unlink()
    agents.bring_in()
    assert kinds(agents.compare())[EDIT] == set()


def test_turns_of_another_repository(agents: Agents, tmp_path: Path) -> None:
    """A conversation that was resumed elsewhere has turns there: here they are not missing. Nor are those of a folder
    that is gone, for nothing can bring them in."""
    agents.claude("todos")
    other = another(tmp_path, "other")
    lines = agents.transcript().read_text().splitlines(keepends=True)
    last = next(n for n, line in enumerate(lines) if "Go on #more" in line and '"type":"user"' in line)
    moved = [line.replace(str(agents.repo.path), str(other.path)) for line in lines[last:]]
    agents.transcript().write_text("".join([*lines[:last], *moved]))
    agents.bring_in()
    assert kinds(agents.compare())[EDIT] == {"elsewhere"}
    there = other.ai("doctor", "--accounting", "--json").json["conversations"]
    assert [item["kind"] for item in there[0]["differences"]] == ["elsewhere"]
    shutil.rmtree(other.path)
    environment = {"GIT_CEILING_DIRECTORIES": str(tmp_path)}
    assert "not in this repository\n" in agents.repo.ai("doctor", "--accounting", env=environment).out


def test_a_turn_that_went_on(agents: Agents) -> None:
    """A turn with more requests in the transcript than in its session is a fault until it is corrected."""
    agents.claude("todos")
    whole = agents.transcript().read_text()
    lines = whole.splitlines(keepends=True)
    agents.transcript().write_text(
        "".join(lines[: next(n for n, x in enumerate(lines) if "toolu_loopback_todo2" in x)])
    )
    # Long ago: half of a turn that may go on is not imported.
    os.utime(agents.transcript(), (0, 0))
    agents.bring_in()
    agents.transcript().write_text(whole)
    assert "grown" in kinds(agents.compare(code=1))[EDIT]


def test_what_the_agent_has_not_counted_yet(agents: Agents) -> None:
    """It writes down its sums as it ends: what it did since is no fault while it runs, nor after it was killed."""
    agents.claude("todos")
    agents.bring_in()
    assert kinds(agents.compare())[EDIT] == set()
    lines = agents.transcript().read_text().splitlines(keepends=True)
    sums = [n for n, line in enumerate(lines) if '"type":"cost-state"' in line]
    del lines[sums[-1]]
    agents.transcript().write_text("".join(lines))
    (item,) = agents.compare()[EDIT]["differences"]
    assert (item["kind"], item["tokens"] < 0) == ("uncounted", True)
    # The next process went on from the sums before the one that was killed.
    del lines[sums[1]]
    agents.transcript().write_text("".join(lines))
    (more,) = agents.compare()[EDIT]["differences"]
    assert more["tokens"] < item["tokens"]


def test_an_answer_that_was_stopped_is_written_behind_the_sums(agents: Agents) -> None:
    """Claude Code (2.1.330) does so where it is told to end; it has counted it all the same."""
    agents.claude("todos")
    agents.bring_in()
    lines = agents.transcript().read_text().splitlines(keepends=True)
    last = max(n for n, line in enumerate(lines) if '"type":"assistant"' in line)
    sums = max(n for n, line in enumerate(lines) if '"type":"cost-state"' in line)
    moved = [*lines[:last], *lines[last + 1 : sums + 1], lines[last], *lines[sums + 1 :]]
    agents.transcript().write_text("".join(line for line in moved if '"subtype":"stop_hook' not in line))
    assert kinds(agents.compare())[EDIT] == set()


def test_sums_that_begin_anew(agents: Agents) -> None:
    """In a restored transcript, and in one that an older version began, no sums are to go on from."""
    agents.claude("todos")
    agents.bring_in()
    lines = [json.loads(line) for line in agents.transcript().read_text().splitlines()]
    sums = [line for line in lines if line["type"] == "cost-state"]
    before, last = sums[-2:]
    for model, counted in last["modelUsage"].items():
        counted.update({key: value - before["modelUsage"][model][key] for key, value in counted.items()})
    for key in ("totalCostUSD", "totalDuration"):
        last[key] -= before[key]
    kept = [line for line in lines if line is last or line["type"] != "cost-state"]
    agents.transcript().write_text("".join(json.dumps(line) + "\n" for line in kept))
    one = agents.compare()[EDIT]
    assert kinds({EDIT: one}) == {EDIT: {"uncounted"}}
    assert one["recorded"]["tokens"] + one["differences"][0]["tokens"] == one["reported"]["tokens"]
    ran = agents.repo.ai("doctor", "--accounting")
    assert "not counted: it runs, was killed, or was restored since\n" in ran.out


def test_a_turn_that_the_agent_is_at_work_on(agents: Agents) -> None:
    """It is not recorded before it has ended, and no fault until then."""
    agents.claude("todos")
    lines = agents.transcript().read_text().splitlines(keepends=True)
    last = next(n for n, line in enumerate(lines) if "toolu_loopback_task4" in line)
    agents.transcript().write_text("".join(lines[: last + 1]))
    agents.bring_in()
    assert kinds(agents.compare())[EDIT] == {"working", "uncounted"}
    os.utime(agents.transcript(), (0, 0))
    assert kinds(agents.compare(code=1))[EDIT] == {"unrecorded", "uncounted"}


def test_a_turn_that_the_transcript_has_no_longer(agents: Agents) -> None:
    """What the agent forgot is in the ledger all the same, and no fault."""
    agents.claude("fork")
    agents.bring_in()
    lines = agents.transcript().read_text().splitlines(keepends=True)
    second = next(n for n, line in enumerate(lines) if "Two, in the parent" in line and '"type":"user"' in line)
    agents.transcript().write_text("".join(lines[:second]))
    assert kinds(agents.compare())[EDIT] == {"gone"}


def test_more_than_the_agent_counted(agents: Agents) -> None:
    """Tokens in the ledger that the agent never counted are what nothing explains."""
    agents.claude("edit")
    agents.bring_in()
    agents.count(outputTokens=0, cacheReadInputTokens=0)
    assert "more" in kinds(agents.compare(code=1))[EDIT]
    assert "please report it" in agents.repo.ai("doctor", "--accounting", code=1).out


def test_another_price(agents: Agents) -> None:
    """The same tokens at another price are told apart from other tokens, and are no fault."""
    agents.claude("todos")
    agents.bring_in()
    before = agents.compare()[EDIT]
    assert before["differences"] == []
    agents.count(costUSD=5)
    (item,) = agents.compare()[EDIT]["differences"]
    assert (item["kind"], item["tokens"]) == ("price", 0)
    assert item["cost_usd"] + before["recorded"]["cost_usd"] == pytest.approx(5)


def test_what_cannot_be_compared_is_counted(agents: Agents) -> None:
    """Conversations whose transcript is gone, and agents that state no total."""
    agents.claude("edit")
    agents.bring_in()
    agents.repo.record("x-y", {"prompt": "p", "response": "r", "agent": "other", "conversation": "c"})
    shutil.rmtree(agents.projects)
    ran = agents.repo.ai("doctor", "--accounting")
    assert (ran.out, ran.err) == (
        "",
        "0 conversations compared, 2 without a transcript on this machine, 1 whose agent states no total\n",
    )


def test_nothing_is_mended(agents: Agents) -> None:
    """It is for looking."""
    assert "leave --fix out" in agents.repo.ai("doctor", "--accounting", "--fix", code=2).err
