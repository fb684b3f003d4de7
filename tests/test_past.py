"""The history that agents keep on disk becomes sessions of the repositories that it happened in."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gitsess import attribution, costnotes
from gitsess.capture import past
from gitsess.model import Oid
from gitsess.text import iso
from gitsess.workspace import Surroundings
from tests.conftest import NOON, Repo, another, append_all, hours, turn
from tests.test_events import moved

ALPHA, BETA = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
OPUS = "claude-opus-4-5"
EDIT = Path(__file__).parent / "agents/claude/2.1.330/edit"


class Asked:
    """A prompt and its answer, as they stand in a transcript of Claude Code."""

    def __init__(self, prompt: str, at: datetime, **more: Any) -> None:
        self.prompt = prompt
        self.at = at
        self.more = more


def transcript(home: Path, conversation: str, cwd: Path | str, asked: Iterable[Asked], *, branch: str = "main") -> Path:
    """Writes a conversation where Claude Code keeps it."""
    folder = home / ".claude/projects" / str(cwd).replace("/", "-").replace("\0", "-")[-80:]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{conversation}.jsonl"
    parent: str | None = None
    lines: list[Mapping[str, Any]] = []
    for number, item in enumerate(asked):
        common = {
            "sessionId": conversation,
            "cwd": str(cwd),
            "gitBranch": item.more.get("branch", branch),
            "version": "2.1.330",
            "isSidechain": False,
            "userType": "external",
        }
        prompt_id = f"{conversation[:8]}-0000-4000-8000-{number:012d}"
        user = {
            **common,
            "type": "user",
            "uuid": f"{conversation[:8]}-0001-4000-8000-{number:012d}",
            "parentUuid": parent,
            "promptId": prompt_id,
            "timestamp": iso(item.at),
            "message": {"role": "user", "content": item.prompt},
        }
        usage = {
            "input_tokens": item.more.get("input_tokens", 100),
            "output_tokens": 20,
            "cache_read_input_tokens": 1000,
            "cache_creation_input_tokens": 0,
        }
        parent = f"{conversation[:8]}-0002-4000-8000-{number:012d}"
        answer = {
            **common,
            "type": "assistant",
            "uuid": parent,
            "parentUuid": user["uuid"],
            "requestId": f"req_{conversation[:8]}{number}",
            "timestamp": iso(item.at + timedelta(seconds=30)),
            "message": {
                "id": f"msg_{conversation[:8]}{number}",
                "type": "message",
                "role": "assistant",
                "model": OPUS,
                "content": [{"type": "text", "text": item.more.get("answer", f"Done: {item.prompt}")}],
                "stop_reason": "end_turn",
                "usage": usage,
            },
        }
        lines += [user, answer]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def found(repo: Repo, name: str) -> list[str]:
    """The prompts of a session, in reading order."""
    return list(repo.workspace().history.prompts([item.oid for item in repo.session(name).commits]))


def test_conversations_become_sessions_of_their_branches(repo: Repo, home: Path) -> None:
    """Each turn with its date, its conversation, its tokens and its price, in the session of its agent and branch."""
    transcript(home, ALPHA, repo.path, [Asked("one", NOON), Asked("two", NOON + hours(1), branch="fix/Login")])
    ran = repo.ai("import", "--from", "claude")
    assert repo.refs() == ["refs/ai-sessions/claude-fix-login", "refs/ai-sessions/claude-main"]
    assert "claude-main" in ran.out
    assert ran.err == "2 turns imported into 1 repository\n"
    (item,) = repo.session("claude-main").commits
    facts, metrics = item.facts, item.facts.metrics
    assert metrics is not None
    assert (facts.conversation, facts.agent, facts.branch, facts.worktree) == (
        ALPHA,
        "claude-code/2.1.330",
        "main",
        None,
    )
    assert (metrics.usage.input_tokens, metrics.usage.cache_read_tokens, metrics.requests) == (100, 1000, 1)
    assert metrics.cost_basis == "computed"
    assert (item.authored_at, item.committed_at) == (NOON, NOON + timedelta(seconds=30))
    assert item.author.name == OPUS
    assert repo.git("show", f"{item.oid}:prompt.md") == "one"
    assert repo.git("show", f"{item.oid}:response.md") == "Done: one"
    native = repo.git("show", f"{item.oid}:native/main.jsonl").splitlines()
    assert [json.loads(line)["type"] for line in native] == ["user", "assistant"]
    repo.fsck()
    assert repo.ai("doctor").out.startswith("2 sessions with 2 turns")


def test_twice_is_once(repo: Repo, home: Path) -> None:
    """What is there already is counted and left; what was said since is added to its session."""
    asked = [Asked("one", NOON), Asked("two", NOON + hours(1))]
    transcript(home, ALPHA, repo.path, asked)
    repo.ai("import", "--from", "all")
    before = repo.git("for-each-ref")
    assert repo.ai("import", "--from", "claude").err == "nothing to import; 2 there already\n"
    assert repo.git("for-each-ref") == before
    transcript(home, ALPHA, repo.path, [*asked, Asked("three", NOON + hours(2))])
    assert repo.ai("import", "--from", "claude", "--json").json["sessions"][0]["outcome"] == "updated"
    assert found(repo, "claude-main") == ["one", "two", "three"]


def test_turns_are_counted_as_everywhere(repo: Repo, home: Path) -> None:
    """A compaction comes in with them, and is none: in no line of what an import says."""
    folder = home / ".claude/projects/-p"
    folder.mkdir(parents=True)
    for path in EDIT.glob("*.jsonl"):
        (folder / path.name).write_text(path.read_text().replace("/home/ann/project", str(repo.path)))
    ran = repo.ai("import", "--from", "claude", "--dry-run")
    assert ran.out.splitlines()[-1].split()[:2] == ["total", "4"]
    assert ran.err == "4 turns would be imported into 1 repository\n"
    ran = repo.ai("import", "--from", "claude", "--json")
    assert (ran.json["turns"], ran.json["sessions"][0]["turns"]) == (4, 4)
    (listed,) = repo.ai("list", "--json").json
    assert listed["turns"] == 4
    assert any(item.facts.kind == "compaction" for item in repo.session("claude-main").commits)
    assert repo.ai("import", "--from", "claude").err == "nothing to import; 4 there already\n"


def test_a_turn_that_an_agent_may_be_at_work_on_is_told_of(repo: Repo, home: Path) -> None:
    """It comes in once it has ended, or after a day without a word; until then it is counted aloud."""
    path = transcript(home, ALPHA, repo.path, [Asked("one", NOON), Asked("two", NOON + hours(1))])
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    ran = repo.ai("import", "--from", "claude")
    assert ran.err == "1 turn imported into 1 repository; 1 not yet, as an agent may still be at work\n"
    assert repo.ai("import", "--from", "claude", "--json").json["unfinished_turns"] == 1
    os.utime(path, (0, 0))
    assert repo.ai("import", "--from", "claude").err == "1 turn imported into 1 repository; 1 there already\n"


def test_conversations_side_by_side_stand_in_the_order_of_time(repo: Repo, home: Path) -> None:
    """The dates of commits are then those of the turns, and sums by day are right."""
    transcript(home, BETA, repo.path, [Asked("b1", NOON + hours(1)), Asked("b2", NOON + hours(30))])
    transcript(home, ALPHA, repo.path, [Asked("a1", NOON), Asked("a2", NOON + hours(2)), Asked("a3", NOON + hours(40))])
    repo.ai("import", "--from", "claude")
    assert found(repo, "claude-main") == ["a1", "b1", "a2", "b2", "a3"]
    days = repo.ai("stats", "--by", "day", "--json").json["by"]
    assert [(day["key"], day["turns"]) for day in days] == [("2026-03-01", 3), ("2026-03-02", 1), ("2026-03-03", 1)]


def test_what_would_land_behind_newer_turns_is_a_session_of_its_own(repo: Repo, home: Path) -> None:
    """Dates never go back along a session, and no turn gets another one's date."""
    transcript(home, ALPHA, repo.path, [Asked("new", NOON + hours(9))])
    repo.ai("import", "--from", "claude")
    transcript(home, BETA, repo.path, [Asked("old", NOON), Asked("older still", NOON + hours(10))])
    repo.ai("import", "--from", "claude")
    names = [ref.rpartition("/")[2] for ref in repo.refs()]
    assert names[0] == "claude-main"
    assert names[1].startswith("claude-main-import-")
    assert found(repo, names[1]) == ["old", "older still"]


def test_a_branch_of_the_same_slug_has_a_session_of_its_own(repo: Repo, home: Path) -> None:
    transcript(home, ALPHA, repo.path, [Asked("one", NOON)], branch="fix/it")
    repo.ai("import", "--from", "claude")
    transcript(home, BETA, repo.path, [Asked("two", NOON + hours(1))], branch="fix-it")
    repo.ai("import", "--from", "claude")
    names = [ref.rpartition("/")[2] for ref in repo.refs()]
    assert names[0] == "claude-fix-it"
    assert len(names) == 2
    assert len(names[1]) == len("claude-fix-it-123456")


def test_each_turn_goes_to_the_repository_that_it_happened_in(repo: Repo, home: Path, tmp_path: Path) -> None:
    """Also from anywhere; folders that are no repository, or are gone, are counted aloud."""
    other = another(tmp_path, "other")
    (repo.path / "below").mkdir()
    (tmp_path / "plain").mkdir()
    transcript(home, ALPHA, repo.path / "below", [Asked("one", NOON)])
    transcript(home, BETA, other.path, [Asked("two", NOON)])
    places: list[Path | str] = [tmp_path / "plain", tmp_path / "gone", "nul\0byte"]
    for number, place in enumerate(places):
        transcript(home, f"3333333{number}-0000-4000-8000-000000000000", place, [Asked("lost", NOON)])
    ceiling = {"GIT_CEILING_DIRECTORIES": str(tmp_path)}
    ran = Repo(path=tmp_path).ai("import", "--from", "claude", env=ceiling)
    assert found(repo, "claude-main") == ["one"]
    assert found(other, "claude-main") == ["two"]
    assert "2 turns imported into 2 repositories" in ran.err
    assert "warning: 3 turns left out, of folders that are in no repository now: " in ran.err
    # Their copies are where scripts look.
    copies = sorted(path.name for path in (home / ".ai-sessions").iterdir())
    assert copies[0] == "claude-main"
    assert len(copies) == 2


def test_a_folder_that_is_gone_is_of_the_repository_that_knew_it(repo: Repo, home: Path) -> None:
    """By its history, or where an agent made a worktree of its own; what only lay around there is not."""
    (repo.path / "old/pkg").mkdir(parents=True)
    (repo.path / "old/pkg/a.py").write_text("")
    repo.git("add", ".")
    repo.git("commit", "-qm", "Add")
    repo.git("rm", "-qr", "old")
    feature = repo.path / ".claude/worktrees/feat/lib"
    for number, folder in enumerate((repo.path / "old/pkg", feature, repo.path / "clones/other")):
        transcript(home, f"{number}{ALPHA[1:]}", folder, [Asked(folder.name, NOON + hours(number))], branch=folder.name)
    ran = repo.ai("import", "--from", "claude", "--project", str(repo.path))
    assert ran.err == "2 turns imported into 1 repository\n"
    assert repo.refs() == ["refs/ai-sessions/claude-lib", "refs/ai-sessions/claude-pkg"]
    ran = repo.ai("import", "--from", "claude")
    assert f"1 turn left out, of folders that are in no repository now: {repo.path}/clones/other" in ran.err


def test_what_an_agents_worktree_did_is_not_of_the_main_one(old: Repo, home: Path) -> None:
    """Its branch is the agent's word for it, and commits made elsewhere bear nothing of it."""
    made(old, NOON + hours(2))
    transcript(home, ALPHA, old.path / ".claude/worktrees/feat", [Asked("one", NOON)], branch="feat")
    old.ai("import", "--from", "claude")
    assert bearers(old, "claude-feat") == {"one": None}


def test_a_linked_worktree_is_named(repo: Repo, home: Path, tmp_path: Path) -> None:
    moved(repo, NOON - hours(1), "worktree", "add", "-q", str(tmp_path / "linked"))
    transcript(home, ALPHA, tmp_path / "linked", [Asked("one", NOON)], branch="linked")
    repo.ai("import", "--from", "claude")
    assert repo.session("claude-linked").commits[0].facts.worktree == "linked"


def test_no_commit_bears_what_is_older_than_the_record(repo: Repo, home: Path) -> None:
    """The first commit after an import has the turns since, and not the whole history before."""
    transcript(home, ALPHA, repo.path, [Asked(f"old {number}", NOON + hours(number)) for number in range(3)])
    repo.ai("init")
    repo.ai("import", "--from", "claude")
    repo.record("claude-main", {"prompt": "new", "response": "Yes.", "model": OPUS, "cost_usd": 1})
    repo.git("commit", "--allow-empty", "-qm", "New")
    repo.ai("drain", "--wait")
    assert repo.git("notes", "--ref=ai-sessions", "show").startswith("claude-main turn 4: ")


def test_since_and_project_pick(repo: Repo, home: Path, tmp_path: Path) -> None:
    other = another(tmp_path, "other")
    transcript(home, ALPHA, repo.path, [Asked("one", NOON), Asked("two", NOON + hours(48))])
    transcript(home, BETA, other.path, [Asked("three", NOON + hours(48))])
    ran = repo.ai("import", "--from", "claude", "--since", "2026-03-02", "--project", str(repo.path))
    assert ran.err == "1 turn imported into 1 repository\n"
    assert found(repo, "claude-main") == ["two"]
    assert other.refs() == []
    for folder, why in ((tmp_path / "gone", "there is no such folder"), (tmp_path, "it is in no repository")):
        ran = repo.ai("import", "--from", "claude", "--project", str(folder), code=1)
        assert ran.err == f"error: --project {folder}: {why}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["--from", "claude", "file"],
        ["--since", "yesterday", "file"],
        ["--from", "session-dir", "--project", "."],
        ["--from", "cursor"],
        ["--from", "claude", "--since", "someday"],
    ],
)
def test_what_does_not_go_together_is_one_line(repo: Repo, words: list[str]) -> None:
    ran = repo.ai("import", *words, code=2)
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1


def test_a_dry_run_says_what_each_month_came_to(repo: Repo, home: Path) -> None:
    """By repository, with its price, from the transcripts alone; nothing is changed."""
    transcript(home, ALPHA, repo.path, [Asked("one", NOON), Asked("two", NOON + hours(31 * 24), input_tokens=10_000)])
    ran = repo.ai("import", "--from", "claude", "--dry-run", "--json").json
    assert repo.refs() == []
    assert [(bill["month"], bill["turns"], bill["tokens"]) for bill in ran["months"]] == [
        ("2026-03", 1, 1120),
        ("2026-04", 1, 11_020),
    ]
    text = repo.ai("import", "--from", "claude", "--dry-run")
    assert text.out.splitlines()[1].split()[:2] == ["2026-04", repo.path.name]
    assert text.out.splitlines()[-1].split()[0] == "total"
    assert text.err == "2 turns would be imported into 1 repository\n"
    assert all(len(line) <= 80 for line in text.out.splitlines())
    repo.ai("import", "--from", "claude")
    costs = sum(bill["cost_usd"] for bill in ran["months"])
    assert repo.ai("stats", "--json").json["cost_usd"] == pytest.approx(costs, abs=1e-12)
    assert not (repo.path / ".git/ai-sessions/spool").exists()


def test_an_import_that_is_stopped_goes_on_where_it_was(repo: Repo, home: Path, tmp_path: Path) -> None:
    """Repositories are whole or as they were, and the next import brings the rest."""
    others = [another(tmp_path, name) for name in ("b", "c")]
    everyone = sorted([repo, *others], key=lambda each: each.path)
    for number, each in enumerate(everyone):
        conversation = f"4444444{number}-0000-4000-8000-000000000000"
        transcript(home, conversation, each.path, [Asked(f"{number} {n}", NOON + hours(n)) for n in range(3)])

    def stop(progress: past.Progress) -> None:
        if progress.done > progress.total / 2:
            raise KeyboardInterrupt

    around = Surroundings(environment=dict(os.environ), now=lambda: NOON, home=home)
    options: dict[str, Any] = {"since": None, "project": None, "dry_run": False}
    with pytest.raises(KeyboardInterrupt):
        past.take_in(around, ["claude"], progress=stop, **options)
    assert [len(each.refs()) for each in everyone] == [1, 0, 0]
    done = past.take_in(around, ["claude"], progress=lambda progress: None, **options)
    assert (done.turns, done.known) == (6, 3)
    for each in everyone:
        assert len(each.session("claude-main").commits) == 3
        each.fsck()
        assert not list((each.path / ".git/ai-sessions").glob("import-*"))


def test_secrets_are_redacted_everywhere(repo: Repo, home: Path) -> None:
    """Prompts, answers and the agent's own entries."""
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" + "k1L2m3N4o5P6q7R8"
    transcript(home, ALPHA, repo.path, [Asked(f"use {secret}", NOON, answer=f"used {secret}")])
    repo.ai("import", "--from", "claude")
    (item,) = repo.session("claude-main").commits
    for path in ("prompt.md", "response.md", "native/main.jsonl", "turn.json"):
        assert secret not in repo.git("show", f"{item.oid}:{path}")
    assert "[redacted:" in repo.git("show", f"{item.oid}:native/main.jsonl")


def test_turns_join_a_session_of_their_name_that_is_no_other_branchs(repo: Repo, home: Path) -> None:
    append_all(repo.workspace(), "claude-main", [turn("by hand", at=NOON + hours(5))])
    transcript(home, ALPHA, repo.path, [Asked("late", NOON + hours(6))])
    repo.ai("import", "--from", "claude")
    assert found(repo, "claude-main") == ["by hand", "late"]


def test_broken_transcripts_lose_only_what_is_broken(repo: Repo, home: Path) -> None:
    path = transcript(home, ALPHA, repo.path, [Asked("one", NOON), Asked("two", NOON + hours(1))])
    lines = path.read_text().splitlines()
    hostile = ["{", "[" * 100_000, '{"type":"user","message":7}', '{"type":"user","timestamp":"never"}', "null", "\0"]
    path.write_text("\n".join([*hostile, *lines[:2], *hostile, *lines[2:], *hostile]) + "\n" + '{"type":"us')
    (home / ".claude/projects/linked").symlink_to(path.parent)
    os.mkfifo(path.parent / "pipe.jsonl")
    (path.parent / "empty.jsonl").touch()
    shutil.copy(path, path.parent / f"{BETA}.jsonl")
    repo.ai("import", "--from", "claude")
    assert found(repo, "claude-main") == ["one", "two"]


def test_a_turn_that_is_under_way_is_left_for_later(repo: Repo, home: Path) -> None:
    """Its half would have the id of the whole; a day later it is taken for one that was broken off."""
    path = transcript(home, ALPHA, repo.path, [Asked("one", NOON), Asked("two", NOON + hours(1))])
    whole = path.read_text().splitlines(keepends=True)
    path.write_text("".join(whole[:-1]))
    repo.ai("import", "--from", "claude")
    assert found(repo, "claude-main") == ["one"]
    path.write_text("".join(whole))
    repo.ai("import", "--from", "claude")
    assert found(repo, "claude-main") == ["one", "two"]
    other = transcript(home, BETA, repo.path, [Asked("three", NOON + hours(2))])
    other.write_text("".join(other.read_text().splitlines(keepends=True)[:-1]))
    os.utime(other, (1, 1))
    repo.ai("import", "--from", "claude")
    assert found(repo, "claude-main") == ["one", "two", "three"]
    assert repo.session("claude-main").commits[-1].facts.status == "interrupted"


# The commits that it led to


@pytest.fixture
def old(tmp_path: Path) -> Repo:
    """A repository that is as old as its first commit, an hour before NOON."""
    repo = another(tmp_path, "old")
    repo.git("symbolic-ref", "HEAD", "refs/heads/main")
    moved(repo, NOON - hours(1), "commit", "--allow-empty", "-qm", "Begin")
    return repo


def made(repo: Repo, at: datetime, *words: str) -> Oid:
    """A commit of that time."""
    moved(repo, at, "commit", "--allow-empty", "-qm", f"At {at:%d %H:%M}", *words)
    return Oid(repo.git("rev-parse", "HEAD"))


def bearers(repo: Repo, *names: str) -> dict[str, str | None]:
    """The commit that bears each turn, by its prompt."""
    workspace = repo.workspace()
    sessions = [repo.session(name) for name in names]
    shares = attribution.shares(workspace.git, sessions)
    prompts = workspace.history.prompts([share.turn.oid for share in shares])
    return {prompt: share.commit for prompt, share in zip(prompts, shares, strict=True)}


def test_the_commits_of_the_past_are_linked(old: Repo, home: Path) -> None:
    """A turn goes to the commit that was made meanwhile, else to the next one; nothing to one of before git's record,
    or to one that was amended; and the notes are those that the sessions give from scratch."""
    during = made(old, NOON + timedelta(seconds=10))
    made(old, NOON + hours(3))
    after = made(old, NOON + hours(4), "--amend")
    made(old, NOON + hours(5))
    asked = [
        Asked("long ago", NOON - hours(2)),
        Asked("commits", NOON),
        Asked("leaves it", NOON + hours(1)),
        Asked("and again", NOON + hours(2)),
        Asked("to come", NOON + hours(6)),
    ]
    transcript(home, ALPHA, old.path, asked)
    old.ai("init")
    assert [item["commits"] for item in old.ai("import", "--from", "claude", "--json").json["sessions"]] == [2]
    expected = {"commits": during, "leaves it": after, "and again": after, "long ago": None, "to come": None}
    assert bearers(old, "claude-main") == expected
    workspace = old.workspace()
    assert costnotes.rebuild(workspace.git, workspace.history, at=NOON) == 0
    note = old.git("notes", "--ref=ai-sessions", "show", after)
    assert "claude-main turns 3-4" in note
    # What has no commit yet goes to the next one.
    old.git("commit", "--allow-empty", "-qm", "Now")
    old.ai("drain", "--wait")
    assert bearers(old, "claude-main") == {**expected, "to come": old.git("rev-parse", "HEAD")}
    assert old.ai("import", "--from", "claude").err == "nothing to import; 5 there already\n"
    old.fsck()
    assert old.ai("doctor").out.startswith("1 session with 5 turns")


def test_the_branch_is_the_one_that_git_has_on_record(old: Repo, home: Path) -> None:
    """An agent looks for it when it starts; before git's record its word is all there is."""
    moved(old, NOON + hours(1), "switch", "-qc", "fix")
    asked = [Asked("one", NOON), Asked("two", NOON + hours(2)), Asked("old", NOON - hours(3), branch="elder")]
    transcript(home, ALPHA, old.path, asked)
    old.ai("import", "--from", "claude")
    assert {name: found(old, name) for name in ("claude-main", "claude-fix", "claude-elder")} == {
        "claude-main": ["one"],
        "claude-fix": ["two"],
        "claude-elder": ["old"],
    }


def test_each_worktree_has_its_own_commits(old: Repo, home: Path, tmp_path: Path) -> None:
    """Also where two conversations go on at once, in one session or in two."""
    other = tmp_path / "other"
    moved(old, NOON - hours(1), "worktree", "add", "-q", str(other), "-b", "side")
    here = made(old, NOON + hours(2))
    there = made(Repo(path=other), NOON + hours(1))
    transcript(home, ALPHA, old.path, [Asked("here", NOON)])
    transcript(home, BETA, other, [Asked("there", NOON)])
    old.ai("import", "--from", "claude")
    assert bearers(old, "claude-main", "claude-side") == {"here": here, "there": there}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=st.lists(st.sampled_from(("turn", "other", "commit", "amend", "busy")), min_size=1, max_size=9))
def test_in_whatever_order_turns_and_commits_came(kinds: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each turn is borne by the last commit made during it, else by the first one after it."""
    folder = tmp_path_factory.mktemp("past")
    repo, home = another(folder, "repo"), folder / "home"
    repo.git("symbolic-ref", "HEAD", "refs/heads/main")
    moved(repo, NOON - hours(1), "commit", "--allow-empty", "-qm", "Begin")
    asked: dict[str, list[Asked]] = {ALPHA: [], BETA: []}
    expected: dict[str, str | None] = {}
    amended = True
    for number, kind in enumerate(kinds):
        at, name = NOON + timedelta(minutes=2 * number), f"{kind} {number}"
        if kind in ("turn", "other", "busy"):
            asked[BETA if kind == "other" else ALPHA].append(Asked(name, at))
            expected[name] = None
        if kind in ("commit", "amend", "busy"):
            before = repo.git("rev-parse", "HEAD")
            amends = kind == "amend" and not amended
            oid = made(repo, at + timedelta(seconds=10), *(["--amend"] if amends else []))
            gone = [before] if amends else []
            expected = {key: oid if value is None or value in gone else value for key, value in expected.items()}
            amended = False
    for conversation, some in asked.items():
        if some:
            transcript(home, conversation, repo.path, some)
    repo.ai("import", "--from", "claude", env={"HOME": str(home)})
    assert bearers(repo, *(ref.removeprefix("refs/ai-sessions/") for ref in repo.refs())) == expected
    repo.fsck()


def test_what_was_amended_after_other_commits_came(old: Repo, home: Path) -> None:
    """It bears the turns before it was first made, and the commit between those that led to that."""
    at = NOON
    transcript(home, ALPHA, old.path, [Asked("first", at), Asked("second", at + hours(2))])
    made(old, at + hours(1))
    moved(old, at + hours(1.5), "switch", "-qc", "x", "HEAD~1")
    between = made(old, at + hours(3))
    moved(old, at + hours(4), "switch", "-q", "main")
    amended = made(old, at + hours(5), "--amend")
    old.ai("import", "--from", "claude")
    assert bearers(old, "claude-main", "claude-x") == {"first": amended, "second": between}


def test_commits_for_which_git_runs_no_hook_bear_nothing(old: Repo, home: Path) -> None:
    """A merge that git makes by itself, and what is committed while a rebase has stopped."""
    moved(old, NOON, "switch", "-qc", "f")
    made(old, NOON)
    moved(old, NOON, "switch", "-q", "main")
    transcript(home, ALPHA, old.path, [Asked("one", NOON + hours(1)), Asked("two", NOON + hours(5))])
    made(old, NOON + hours(0.5))
    moved(old, NOON + hours(2), "merge", "-q", "--no-edit", "f")
    after = made(old, NOON + hours(4))
    made(old, NOON + hours(4.5))
    with_editor = ("-c", "sequence.editor=sed -i s/^pick/edit/", "rebase", "-q", "-i", "HEAD~1")
    moved(old, NOON + hours(6), *with_editor)
    made(old, NOON + hours(7))
    moved(old, NOON + hours(8), "rebase", "--continue")
    last = made(old, NOON + hours(9))
    old.ai("import", "--from", "claude")
    assert bearers(old, "claude-main") == {"one": after, "two": last}


def test_what_waited_for_a_commit_is_linked_by_the_next_import(old: Repo, home: Path) -> None:
    """Also where no hook told of it."""
    asked = [Asked("one", NOON), Asked("two", NOON + hours(2))]
    transcript(home, ALPHA, old.path, asked[:1])
    old.ai("import", "--from", "claude")
    first = made(old, NOON + hours(1))
    second = made(old, NOON + hours(3))
    transcript(home, ALPHA, old.path, asked)
    old.ai("import", "--from", "claude")
    assert bearers(old, "claude-main") == {"one": first, "two": second}
