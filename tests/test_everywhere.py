"""``list`` and ``stats`` over all of a person's repositories, and the folders that belong to none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gitsess import accounts
from gitsess.index import Index
from tests.conftest import PROGRAM, Ran, Repo, another

ENTRY = {"prompt": "Why?", "model": "claude-sonnet-4-5", "usage": {"input_tokens": 100}, "cost_usd": 0.5}


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    return tmp_path / "home/.ai-sessions"


def outside(tmp_path: Path, *args: str, code: int = 0) -> Ran:
    """The program run where there is no repository."""
    (tmp_path / "nowhere").mkdir(exist_ok=True)
    ceiling = {"GIT_CEILING_DIRECTORIES": str(tmp_path)}
    return Repo(path=tmp_path / "nowhere").ai(*args, env=ceiling, code=code)


def tool_folder(copies: Path, name: str, *costs: float, **more: Any) -> Path:
    """A folder as the shell tool leaves it."""
    folder = copies / name
    folder.mkdir(parents=True)
    interactions = [
        {
            "timestamp": f"2026-03-{number + 1:02}T09:00:00Z",
            "model": "sonnet",
            "prompt_preview": f"Ask {number}",
            "tokens": {"input": 10, "output": 20},
            "cost": cost,
            "duration_ms": 1000,
        }
        for number, cost in enumerate(costs)
    ]
    value = {"created_at": "2026-03-01T09:00:00Z", "session_id": "abc", "interactions": interactions, **more}
    (folder / "metadata.json").write_text(json.dumps(value))
    return folder


def rows(ran: Ran) -> list[tuple[Any, ...]]:
    return [(row["session"], row["repository"], row["folder"], row["turns"], row["cost_usd"]) for row in ran.json]


def test_all_repositories_and_folders_are_listed_from_anywhere(repo: Repo, copies: Path, tmp_path: Path) -> None:
    """Sessions of two repositories and a folder of the shell tool stand in one list, inside of a repository or not."""
    other = another(tmp_path, "other")
    repo.record("plan-auth", ENTRY)
    other.record("plan-auth", ENTRY, ENTRY)
    tool_folder(copies, "My_Feature", 0.25)
    (copies / "feature").mkdir()
    digits = other.session("plan-auth").session_id or ""
    expected = [
        ("My_Feature", None, "My_Feature", 1, 0.25),
        ("plan-auth", str(repo.path / ".git"), "plan-auth", 1, 0.5),
        ("plan-auth", str(other.path / ".git"), f"plan-auth~{digits[:6]}", 2, 1.0),
    ]
    listed = outside(tmp_path, "list", "--everywhere", "--sort", "name", "--json")
    assert sorted(rows(listed), key=str) == sorted(expected, key=str)
    assert listed.err == ""
    assert repo.ai("list", "--everywhere", "--sort", "name", "--json").out == listed.out
    text = outside(tmp_path, "list", "--everywhere").out
    assert "(a folder)" in text
    assert " other " in text
    assert "3 sessions, 4 turns" in text
    assert all(len(line) <= 80 for line in text.splitlines())
    sums = outside(tmp_path, "stats", "--everywhere", "--json").json
    assert (sums["sessions"], sums["turns"], sums["cost_usd"]) == (3, 4, 1.75)


def test_sums_by_repository(repo: Repo, copies: Path, tmp_path: Path) -> None:
    """The bill of each repository, for all of them together only."""
    other = another(tmp_path, "other")
    repo.record("plan-auth", ENTRY)
    other.record("plan-auth", ENTRY, ENTRY)
    tool_folder(copies, "tool", 0.25)
    found = outside(tmp_path, "stats", "--everywhere", "--by", "repository", "--json").json
    assert [(group["key"], group["sessions"], group["cost_usd"]) for group in found["by"]] == [
        (str(other.path / ".git"), 1, 1.0),
        (str(repo.path / ".git"), 1, 0.5),
        ("(a folder)", 1, 0.25),
    ]
    assert "  other " in outside(tmp_path, "stats", "--everywhere", "--by", "repository").out
    assert "add --everywhere" in repo.ai("stats", "--by", "repository", code=2).err
    assert "without --everywhere" in repo.ai("stats", "--everywhere", "--savings", code=2).err


@pytest.mark.parametrize("indexed", [False, True])
def test_a_turn_that_clones_share_is_counted_once(repo: Repo, tmp_path: Path, indexed: bool) -> None:
    """Each clone shows all of its turns; the total has every turn once."""
    clone = another(tmp_path, "clone")
    repo.record("plan-auth", ENTRY, ENTRY)
    clone.git("fetch", "-q", str(repo.path), "refs/ai-sessions/*:refs/ai-sessions/*")
    clone.record("plan-auth", ENTRY)
    listed = outside(tmp_path, "list", "--everywhere", "--json").json
    assert sorted(row["turns"] for row in listed) == [2, 3]
    if indexed:
        for each in (repo, clone):
            workspace = each.workspace()
            accounts.find(workspace.history, Index(workspace.repository.state_dir), turns=False, worth=1)
    for more in ([], ["--by", "command"], ["--since", "2000-01-01"]):
        sums = outside(tmp_path, "stats", "--everywhere", "--json", *more).json
        assert (sums["turns"], sums["cost_usd"]) == (3, 1.5)


def test_the_copies_of_a_lost_repository_stand_in_for_it(repo: Repo, tmp_path: Path) -> None:
    """What was last copied is shown, and that it is a copy is said; the clone that is left counts shared turns."""
    lost = another(tmp_path, "lost")
    repo.record("plan-auth", ENTRY)
    lost.git("fetch", "-q", str(repo.path), "refs/ai-sessions/*:refs/ai-sessions/*")
    lost.record("plan-auth", ENTRY)
    lost.record("review-auth", ENTRY)
    shutil.rmtree(lost.path)
    ran = outside(tmp_path, "list", "--everywhere", "--json")
    found = {(row["session"], row["turns"], row["repository"] == str(repo.path / ".git")) for row in ran.json}
    assert found == {("plan-auth", 1, True), ("plan-auth", 2, False), ("review-auth", 1, False)}
    assert ran.err.count("warning: ") == 1
    assert "cannot be reached (it is not there)" in ran.err
    sums = outside(tmp_path, "stats", "--everywhere", "--json").json
    assert (sums["turns"], sums["cost_usd"]) == (3, 1.5)


@pytest.mark.parametrize("instead", ["a folder", "inside another", "a repository of bytes", "a file"])
def test_what_lies_where_a_repository_was_is_not_taken_for_it(repo: Repo, tmp_path: Path, instead: str) -> None:
    """No other repository is read in the place of the one that a copy names."""
    above = another(tmp_path, "above")
    above.record("plan-above", ENTRY)
    inner = Repo(path=above.path / "inner")
    subprocess.run(["git", "init", "-q", str(inner.path)], check=True)
    inner.record("plan-inner", ENTRY)
    shutil.rmtree(inner.path / ".git")
    if instead == "a file":
        (inner.path / ".git").write_text("gitdir: ../.git\n")
    elif instead != "inside another":
        (inner.path / ".git").mkdir()
    if instead == "a repository of bytes":
        (inner.path / ".git/HEAD").write_bytes(b"\xff" * 100)
    ran = outside(tmp_path, "list", "--everywhere", "--json")
    assert sorted(row["session"] for row in ran.json) == ["plan-above", "plan-inner"]
    assert "inner/.git cannot be reached" in ran.err


def test_a_repository_is_read_itself_whatever_its_copies_say(repo: Repo, copies: Path, tmp_path: Path) -> None:
    """A copy that is old, altered or broken changes no sum; without any the repository here is listed all the same."""
    repo.record("plan-auth", ENTRY, ENTRY)
    expected = outside(tmp_path, "stats", "--everywhere", "--json").json
    assert expected["cost_usd"] == 1.0
    file = copies / "plan-auth/metadata.json"
    data = file.read_text()
    for damaged in (data.replace('"cost":0.5', '"cost":500'), data[:-40], data.replace('"tip":"', '"tip":"zz')):
        file.write_text(damaged)
        assert outside(tmp_path, "stats", "--everywhere", "--json").json == expected
    shutil.rmtree(copies)
    assert outside(tmp_path, "stats", "--everywhere", "--json").json["turns"] == 0
    assert repo.ai("stats", "--everywhere", "--json").json == expected


def test_an_imported_folder_is_not_shown_twice(repo: Repo, copies: Path) -> None:
    """Once its turns are in a repository a folder is a source and no session; what it has more is counted besides."""
    folder = tool_folder(copies, "My_Feature", 0.25, 0.5)
    repo.ai("import", "--from", "session-dir")
    assert [(row[0], row[3]) for row in rows(repo.ai("list", "--everywhere", "--json"))] == [("my_feature", 2)]
    shutil.rmtree(folder)
    tool_folder(copies, "My_Feature", 0.25, 0.5, 1.0)
    listed = rows(repo.ai("list", "--everywhere", "--json"))
    assert sorted((row[0], row[3]) for row in listed) == [("My_Feature", 3), ("my_feature", 2)]
    sums = repo.ai("stats", "--everywhere", "--json").json
    assert (sums["turns"], sums["cost_usd"]) == (3, 1.75)


def test_hostile_folders_are_one_line_each_and_harmless(repo: Repo, copies: Path, tmp_path: Path) -> None:
    """Links, broken and bottomless JSON and names that a terminal would act upon stop nothing and reach nothing."""
    repo.record("plan-auth", ENTRY)
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "metadata.json").write_text('{"created_at":"2026-01-01T00:00:00Z","interactions":[]}')
    (copies / "linked").symlink_to(secret)
    (copies / "linked-file").mkdir()
    (copies / "linked-file/metadata.json").symlink_to(secret / "metadata.json")
    (copies / "deep").mkdir()
    (copies / "deep/metadata.json").write_text("[" * 100_000)
    (copies / "pipe").mkdir()
    os.mkfifo(copies / "pipe/metadata.json")
    tool_folder(copies, "red\x1b[31m\nname", 0.25)
    ran = outside(tmp_path, "list", "--everywhere")
    assert [line for line in ran.out.splitlines() if "plan-auth" in line]
    assert "\x1b" not in ran.out + ran.err
    assert ran.err.count("\n") == 4, ran.err
    assert all(line.startswith("warning: ") for line in ran.err.splitlines())
    assert [row["turns"] for row in outside(tmp_path, "list", "--everywhere", "--json").json] == [1, 1]


def test_names_and_patterns_pick_anywhere(repo: Repo, copies: Path, tmp_path: Path) -> None:
    other = another(tmp_path, "other")
    repo.record("plan-auth", ENTRY)
    other.record("review-auth", ENTRY)
    tool_folder(copies, "plan-old", 0.25)
    names = [row["session"] for row in outside(tmp_path, "list", "--everywhere", "plan-*", "--json").json]
    assert sorted(names) == ["plan-auth", "plan-old"]
    assert outside(tmp_path, "stats", "--everywhere", "--session", "review-auth", "--json").json["turns"] == 1
    assert "matches 'plan-none'" in outside(tmp_path, "list", "--everywhere", "plan-none", code=1).err
    active = outside(tmp_path, "list", "--everywhere", "--active", "--json").json
    assert sorted(row["session"] for row in active) == ["plan-auth", "review-auth"]


def test_without_a_home_there_is_nowhere_to_look(repo: Repo, tmp_path: Path) -> None:
    """It is an error of usage that says what to set."""
    for home in ("", "relative"):
        ran = repo.ai("list", "--everywhere", env={"HOME": home, "USERPROFILE": ""}, code=None)
        assert (ran.code, "SESSION_DIR" in ran.err) == ((2, True) if not home else (0, False))


def test_looking_everywhere_starts_as_soon_as_looking_here(repo: Repo, tmp_path: Path) -> None:
    """None of the libraries that take long to import is loaded for it."""
    repo.record("plan-auth", ENTRY)
    command = [sys.executable, "-X", "importtime", *PROGRAM[1:], "list", "--everywhere"]
    loaded = subprocess.run(command, cwd=repo.path, capture_output=True, check=True, text=True).stderr
    names = {line.rpartition("|")[2].strip() for line in loaded.splitlines()}
    assert "gitsess.everywhere" in names
    assert not names & {"pygit2", "click", "rich", "genai_prices", "anthropic"}
