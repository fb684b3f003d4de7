"""Removing old sessions: by when they were used, in their own repository, and so that they can be brought back."""

from __future__ import annotations

import json
import os
import pty
import random
import re
import select
import shlex
import subprocess
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gitsess import retention
from gitsess.cli.cleaning import MAX_DAYS
from gitsess.names import session_name
from gitsess.retention import Removal
from gitsess.text import iso, width
from tests.conftest import PROGRAM, Repo, another, append_all, turn

NOW = datetime.now(UTC).replace(microsecond=0)
USAGE = {"input_tokens": 1000, "output_tokens": 500}


def asked(days: float, **more: Any) -> dict[str, Any]:
    """A turn that ended so many days ago."""
    model = {"model": "claude-sonnet-4-5", "usage": USAGE}
    return {"prompt": "Why?", "response": "So.", "ended_at": iso(NOW - timedelta(days=days)), **model, **more}


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    return tmp_path / "home/.ai-sessions"


def folder(copies: Path, name: str, *, days: float, **more: Any) -> Path:
    """A folder of the shell tool, last used so many days ago."""
    at = iso(NOW - timedelta(days=days))
    value = {
        "created_at": at,
        "last_used": at,
        "session_id": f"id-of-{name}",
        "interactions": [{"timestamp": at, "model": "m", "tokens": {"input": 3, "output": 4}, "cost": 0.5}],
    }
    (copies / name).mkdir(parents=True)
    (copies / name / "metadata.json").write_text(json.dumps(value | more))
    return copies / name


def names(repo: Repo) -> list[str]:
    return [ref.removeprefix("refs/ai-sessions/") for ref in repo.refs()]


def typing(repo: Repo, words: Sequence[str], answer: str) -> tuple[int, str]:
    """Runs the program at a terminal, where ``answer`` is typed; its exit code and all that the terminal shows."""
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, *words],
        cwd=repo.path,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "TERM": "dumb"},
    )
    os.close(terminal)
    shown = b""
    while True:
        ready, _, _ = select.select([main], [], [], 60)
        assert ready, shown
        try:
            data = os.read(main, 4096)
        except OSError:
            break
        if not data:
            break
        shown += data
        if answer and shown.endswith(b"[y/N] "):
            os.write(main, answer.encode())
            answer = ""
    os.close(main)
    return process.wait(), shown.decode().replace("\r\n", "\n")


def test_what_is_old_goes_and_what_was_used_stays(repo: Repo) -> None:
    """The age is that of the newest turn; a session without a turn is as old as its beginning; the end is a count."""
    repo.record("plan-old", asked(90), asked(40))
    repo.record("plan-used", asked(90), asked(20))
    ran = repo.ai("clean", "--older-than", "30", "--force")
    assert names(repo) == ["plan-used"]
    assert ran.out.splitlines()[-1] == "Removed: 1"
    assert repo.ai("clean", "--older-than", "30d", "--force").out == "Removed: 0\n"
    repo.fsck()


def test_an_event_of_today_makes_no_old_session_young(repo: Repo) -> None:
    """The tip's date does not count: a commit event stands after the turns that it is of, and says nothing of use."""
    (tip,) = repo.record("plan-old", asked(50))
    facts = f"AI-Format: 1\nAI-Kind: event\nAI-Turn-Id: {'a' * 32}\nAI-Seq: 2\nAI-Event: commit\n"
    event = repo.git("commit-tree", repo.git("mktree", stdin=b""), "-p", tip, stdin=f"Work\n\n{facts}".encode())
    repo.git("update-ref", "refs/ai-sessions/plan-old", event)
    assert repo.git("log", "-1", "--format=%cs", event) >= iso(NOW - timedelta(days=1))[:10]
    ran = repo.ai("clean", "--older-than", "30", "--dry-run")
    assert ran.err == ""
    assert ran.out.endswith("Would remove: 1\n")


def test_a_session_without_a_turn_is_as_old_as_its_beginning(repo: Repo, tmp_path: Path) -> None:
    old = tmp_path / "old"
    folder(old, "plan-empty", days=60, interactions=[])
    folder(old, "plan-fresh", days=2, interactions=[])
    repo.ai("import", "--from", "session-dir", str(old))
    assert names(repo) == ["plan-empty", "plan-fresh"]
    repo.ai("clean", "--older-than", "30", "--force")
    assert names(repo) == ["plan-fresh"]


def test_a_dry_run_changes_nothing_and_names_what_would_go(repo: Repo, copies: Path) -> None:
    """Session, turns, date and cost; no line is longer than a terminal; refs and copies are as they were."""
    repo.record("plan-old", asked(40), asked(39))
    repo.record("implement-something-rather-long", asked(50))
    before = repo.git("for-each-ref")
    ran = repo.ai("clean", "--older-than", "30", "-n")
    lines = ran.out.splitlines()
    assert re.fullmatch(r"  plan-old +2  \d{4}-\d\d-\d\d +\$0\.\d+", next(line for line in lines if "plan-old" in line))
    assert any("implement-something-rather-long" in line for line in lines)
    assert any(line.startswith("  2 sessions ") for line in lines)
    assert lines[-1] == "Would remove: 2"
    assert max(map(width, lines)) <= 80
    assert repo.git("for-each-ref") == before
    assert (copies / "plan-old/metadata.json").exists()


def test_the_printed_command_brings_a_session_back(repo: Repo, copies: Path) -> None:
    """The same commits stand at the ref again, and the next turn brings the copy back as well."""
    repo.record("plan-old", asked(40), asked(39))
    before, copy = repo.git("for-each-ref"), (copies / "plan-old/metadata.json").read_bytes()
    shown = repo.ai("show", "plan-old", "--full").out
    out = repo.ai("clean", "--older-than", "30", "--force").out
    assert repo.refs() == []
    assert not (copies / "plan-old").exists()
    command = next(line for line in out.splitlines() if line.startswith("  git update-ref "))
    subprocess.run(["sh", "-e", "-c", command], cwd=repo.path, check=True)
    assert repo.git("for-each-ref") == before
    assert repo.ai("show", "plan-old", "--full").out == shown
    repo.record("plan-old", asked(0))
    made = json.loads((copies / "plan-old/metadata.json").read_bytes())
    assert made["interactions"][:2] == json.loads(copy)["interactions"]
    assert len(made["interactions"]) == 3
    repo.fsck()


def test_bringing_back_does_not_overwrite_a_new_session_of_the_name(repo: Repo) -> None:
    """Where one was begun since, the command fails and the new one stays."""
    repo.record("plan-old", asked(40))
    (row,) = repo.ai("clean", "--older-than", "30", "--force", "--json").json["sessions"]
    repo.record("plan-old", asked(0))
    tip = repo.git("rev-parse", "refs/ai-sessions/plan-old")
    assert subprocess.run(["sh", "-c", row["restore"]], cwd=repo.path, capture_output=True, check=False).returncode
    assert repo.git("rev-parse", "refs/ai-sessions/plan-old") == tip


def test_nothing_but_sessions_is_touched(repo: Repo) -> None:
    """Branches, tags, notes, and fetched sessions are as they were, loose and packed."""
    repo.record("plan-old", asked(40, commits=[repo.git("rev-parse", "HEAD")]))
    repo.record("plan-packed", asked(40))
    repo.git("update-ref", "refs/ai-remotes/origin/plan-old", "refs/ai-sessions/plan-old")
    repo.git("tag", "v1")
    repo.git("pack-refs", "--all")
    repo.record("plan-loose", asked(40))
    before = [line for line in repo.git("for-each-ref").splitlines() if "refs/ai-sessions/" not in line]
    assert any("refs/notes/ai-sessions" in line for line in before)
    repo.ai("clean", "--older-than", "30", "--force")
    assert repo.git("for-each-ref").splitlines() == before


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["plan-*"], ["implement-a", "implement-b"]),
        (["plan-a", "implement-a"], ["implement-b", "plan-b"]),
        (["--keep", "plan-*"], ["plan-a", "plan-b"]),
        (["--keep", "plan-a", "--keep", "*-b"], ["implement-b", "plan-a", "plan-b"]),
        (["plan-*", "--keep", "plan-b"], ["implement-a", "implement-b", "plan-b"]),
    ],
)
def test_names_and_patterns_choose_and_keep(repo: Repo, words: list[str], left: list[str]) -> None:
    for name in ("plan-a", "plan-b", "implement-a", "implement-b"):
        repo.record(name, asked(40))
    assert repo.ai("clean", "--older-than", "30", "--force", *words).err.count("warning") == 0
    assert names(repo) == left


def test_a_mistyped_name_is_seen(repo: Repo) -> None:
    """One to remove is an error and nothing goes; one to keep is a warning that comes before the question."""
    repo.record("plan-a", asked(40))
    assert "plan-a?" in repo.ai("clean", "--older-than", "30", "--force", "plan-aa", code=1).err
    ran = repo.ai("clean", "--older-than", "30", "--dry-run", "--keep", "plan-x")
    assert ran.err == "warning: --keep 'plan-x' matches no session\n"
    assert names(repo) == ["plan-a"]


@pytest.mark.parametrize(
    "text", ["", "-3", "-1d", "x", "3w", "1.5", "٣", "1e3", "99999999999", str(MAX_DAYS + 1), " 3"]
)
def test_an_age_that_is_none_is_refused(repo: Repo, text: str) -> None:
    """One line, exit code 2, nothing removed."""
    repo.record("plan-a", asked(4000))
    ran = repo.ai("clean", f"--older-than={text}", "--force", code=2)
    assert ran.err.startswith("error: --older-than wants a number of days")
    assert ran.err.count("\n") == 1
    assert names(repo) == ["plan-a"]


def test_the_age_must_be_said_and_nought_is_one(repo: Repo) -> None:
    """Without an age nothing is removed; 0 is everything that was used until now."""
    repo.record("plan-a", asked(0))
    assert "--older-than" in repo.ai("clean", "--force", code=2).err
    assert names(repo) == ["plan-a"]
    repo.ai("clean", "--older-than", "0", "--force")
    assert names(repo) == []


def test_without_a_terminal_and_force_nothing_goes(repo: Repo) -> None:
    """It says what it would remove and what is missing; also with --json."""
    repo.record("plan-a", asked(40))
    ran = repo.ai("clean", "--older-than", "30", code=2)
    assert "plan-a" in ran.out
    assert "--force" in ran.err
    ran = repo.ai("clean", "--older-than", "30", "--json", stdin="y\n", code=2)
    assert ran.out == ""
    assert "plan-a" in ran.err
    assert names(repo) == ["plan-a"]


@pytest.mark.parametrize(("answer", "goes"), [("y\n", True), ("Yes\n", True), ("n\n", False), ("\n", False)])
def test_at_a_terminal_it_asks(repo: Repo, answer: str, goes: bool) -> None:
    """What would go stands above the question; anything but yes removes nothing and is no success."""
    repo.record("plan-a", asked(40))
    repo.record("plan-b", asked(40))
    code, shown = typing(repo, ["clean", "--older-than", "30"], answer)
    above, question, _ = shown.partition("Remove 2 sessions? [y/N] ")
    assert question
    assert "plan-a" in above
    assert "plan-b" in above
    assert (code, names(repo)) == ((0, []) if goes else (1, ["plan-a", "plan-b"]))
    assert ("Removed: 2" in shown) is goes
    assert ("nothing was removed" in shown) is not goes


def test_json_says_the_same(repo: Repo) -> None:
    """The values of 'list', what became of each, and how to bring it back."""
    repo.record("plan-a", asked(40))
    (listed,) = repo.ai("list", "--json").json
    said = repo.ai("clean", "--older-than", "30", "--dry-run", "--json").json
    assert (said["dry_run"], said["removed"], said["older_than_days"]) == (True, 0, 30)
    (row,) = said["sessions"]
    assert row["outcome"] == "planned"
    assert {key: row[key] for key in listed} == listed
    said = repo.ai("clean", "--older-than", "30", "--force", "--json").json
    (row,) = said["sessions"]
    assert (said["removed"], row["outcome"]) == (1, "removed")
    assert row["restore"] == f"git update-ref refs/ai-sessions/plan-a {listed['tip']} ''"


def test_a_session_that_is_used_meanwhile_stays(repo: Repo) -> None:
    """The one that moved since it was looked at keeps its turn; the others go; one that went is no success either."""
    for name in ("plan-a", "plan-b", "plan-c", "plan-d"):
        repo.record(name, asked(40))
    workspace = repo.workspace()
    chosen = retention.plan(workspace.around, workspace, [], before=NOW - timedelta(days=30))
    repo.record("plan-b", asked(0))
    repo.git("update-ref", "-d", "refs/ai-sessions/plan-c")
    done = [item for item in retention.remove(workspace.around, chosen) if isinstance(item, Removal)]
    assert [(item.session.name, item.outcome) for item in done] == [
        ("plan-a", "removed"),
        ("plan-b", "changed"),
        ("plan-c", "changed"),
        ("plan-d", "removed"),
    ]
    assert names(repo) == ["plan-b"]
    assert len(repo.session("plan-b").commits) == 2


def test_a_conflict_is_said_and_is_exit_code_3(repo: Repo) -> None:
    """While the question stands, a turn arrives: that session stays, and the others go."""
    repo.record("plan-a", asked(40))
    repo.record("plan-b", asked(40))
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, "clean", "--older-than", "30"],
        cwd=repo.path,
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    os.close(terminal)
    assert process.stderr is not None
    assert process.stdout is not None
    asking = b""
    while not asking.endswith(b"[y/N] "):
        asking += process.stderr.read(1)
    repo.record("plan-a", asked(0))
    os.write(main, b"y\n")
    out, err = process.communicate(timeout=60)
    os.close(main)
    assert process.returncode == 3
    assert b"plan-a is left alone: it was used meanwhile" in err
    assert out.endswith(b"Removed: 1\n")
    assert names(repo) == ["plan-a"]


def test_turns_that_arrive_during_the_removal_are_never_lost(repo: Repo, copies: Path) -> None:
    """Every turn acknowledged beside the cleaning is in a session or reachable from a tip that was printed."""
    acknowledged: list[str] = []
    stop = threading.Event()

    def record() -> None:
        workspace = repo.workspace()
        while not stop.is_set():
            name = f"plan-{len(acknowledged) % 2}"
            acknowledged.extend(append_all(workspace, name, [turn(at=NOW - timedelta(days=40))]))
            # Now and then a removal is the first.
            stop.wait(random.uniform(0, 0.08))

    writer = threading.Thread(target=record)
    writer.start()
    tips: list[str] = []
    outcomes: list[str] = []
    try:
        # Until both have happened: the turn was first, and the removal was.
        while not {"changed", "removed"} <= set(outcomes) or len(outcomes) < 6:
            workspace = repo.workspace()
            chosen = retention.plan(workspace.around, workspace, [], before=NOW - timedelta(days=30))
            for item in retention.remove(workspace.around, chosen):
                assert isinstance(item, Removal), item
                outcomes.append(item.outcome)
                if item.outcome == "removed":
                    tips.append(str(item.session.tip))
    finally:
        stop.set()
        writer.join()
    tips += [repo.git("rev-parse", ref) for ref in repo.refs()]
    assert set(acknowledged) <= set(repo.git("rev-list", *tips).split())
    repo.fsck()


def test_a_locked_ref_is_left_and_said(repo: Repo) -> None:
    """What git cannot delete stays, with git's reason; the others go; exit code 1."""
    for name in ("plan-a", "plan-b", "plan-c"):
        repo.record(name, asked(40))
    (repo.path / ".git/refs/ai-sessions/plan-b.lock").touch()
    ran = repo.ai("clean", "--older-than", "30", "--force", code=1)
    assert "plan-b cannot be removed" in ran.err
    assert ran.out.endswith("Removed: 2\n")
    assert names(repo) == ["plan-b"]


def test_what_cannot_be_read_whole_is_kept(repo: Repo) -> None:
    """A newer format, a broken commit and missing history: when they were used is not known, so they stay."""
    root = repo.record("plan-gap", asked(50), asked(40))[0]
    base = repo.record("plan-newer", asked(40))[0]
    repo.record("plan-fine", asked(40))
    tree = repo.git("mktree", stdin=b"")
    for name, text in (
        ("plan-newer", "x\n\nAI-Format: 2\nAI-Kind: turn\n"),
        ("plan-broken", "x\n\nAI-Format: 1\nAI-Kind: turn\nAI-Seq: x\n"),
    ):
        oid = repo.git("commit-tree", tree, "-p", base, stdin=text.encode())
        repo.git("update-ref", f"refs/ai-sessions/{name}", oid)
    (repo.path / ".git/objects" / root[:2] / root[2:]).unlink()
    ran = repo.ai("clean", "--older-than", "0", "--force")
    assert names(repo) == ["plan-broken", "plan-gap", "plan-newer"]
    assert "plan-newer is kept: it was written by a newer gitsess" in ran.err
    assert "plan-broken is kept: a part of it cannot be read" in ran.err
    assert "plan-gap is kept: a part of its history is missing" in ran.err
    kept = repo.ai("clean", "--older-than", "0", "--force", "--json").json["kept"]
    assert [entry["session"] for entry in kept] == ["plan-broken", "plan-gap", "plan-newer"]


def test_a_session_with_a_turn_in_the_spool_is_kept(repo: Repo) -> None:
    """A turn that waits behind a lock is on its way into the session."""
    repo.record("plan-a", asked(40))
    lock = repo.path / ".git/refs/ai-sessions/plan-a.lock"
    lock.touch()
    repo.record("plan-a", asked(0))
    ran = repo.ai("clean", "--older-than", "30", "--force")
    assert "plan-a is kept: a turn waits for it in the spool" in ran.err
    assert ran.out == "Removed: 0\n"
    lock.unlink()
    assert repo.ai("clean", "--older-than", "30", "--force").out == "Removed: 0\n"
    assert len(repo.session("plan-a").commits) == 2


def test_everywhere_is_every_repository_and_its_folders(repo: Repo, copies: Path, tmp_path: Path) -> None:
    """Outside of a repository: each ref goes in its own, the folder as files, and what is printed brings refs back."""
    other = another(tmp_path, "it's another")
    repo.record("plan-old", asked(40))
    repo.record("plan-new", asked(1))
    other.record("plan-old", asked(60))
    loose = folder(copies, "My Feature", days=400)
    outside = tmp_path / "outside"
    outside.mkdir()
    assert "--everywhere" in repo.ai("clean", "--older-than", "30", "--force", cwd=outside, code=1).err

    tips = {place.path: place.git("rev-parse", "refs/ai-sessions/plan-old") for place in (repo, other)}
    ran = repo.ai("clean", "--older-than", "30", "--everywhere", "--force", cwd=outside)
    assert (names(repo), names(other)) == (["plan-new"], [])
    assert not loose.exists()
    assert sorted(path.name for path in copies.iterdir()) == ["plan-new"]
    assert ran.out.count("(a folder)") == 1
    assert "1 of them is a folder that no repository backs, and cannot be brought back" in ran.out
    assert ran.out.endswith("removed the folder My Feature\nRemoved: 3\n")
    commands = [line for line in ran.out.splitlines() if line.startswith("  git -C ")]
    subprocess.run(["sh", "-e", "-c", "\n".join(commands)], cwd=outside, check=True)
    for place in (repo, other):
        assert place.git("rev-parse", "refs/ai-sessions/plan-old") == tips[place.path]


def test_one_repository_leaves_the_others_alone(repo: Repo, copies: Path, tmp_path: Path) -> None:
    """Without --everywhere neither another's session of the same name, nor its copy, nor a folder goes."""
    other = another(tmp_path, "another")
    other.record("plan-old", asked(60))
    repo.record("plan-old", asked(60))
    loose = folder(copies, "legacy", days=400)
    mine = json.loads(next(copies.glob("plan-old~*/metadata.json")).read_text())
    assert mine["repository"] == str(repo.path / ".git")
    repo.ai("clean", "--older-than", "30", "--force")
    assert (names(repo), names(other)) == ([], ["plan-old"])
    assert loose.exists()
    assert sorted(path.name for path in copies.iterdir()) == ["legacy", "plan-old"]


def test_a_repository_out_of_reach_keeps_its_copies(repo: Repo, copies: Path, tmp_path: Path) -> None:
    """It is named, nothing of it is removed, and when it is back its sessions are."""
    other = another(tmp_path, "another")
    other.record("plan-away", asked(60))
    other.path.rename(tmp_path / "away")
    ran = repo.ai("clean", "--older-than", "0", "--everywhere", "--force")
    assert f"{tmp_path / 'another/.git'} cannot be reached" in ran.err
    assert ran.out == "Removed: 0\n"
    assert (copies / "plan-away/metadata.json").exists()
    said = repo.ai("clean", "--older-than", "0", "--everywhere", "--force", "--json").json
    assert [entry["repository"] for entry in said["unreached"]] == [str(tmp_path / "another/.git")]
    (tmp_path / "away").rename(other.path)
    assert repo.ai("clean", "--older-than", "0", "--everywhere", "--force").out.endswith("Removed: 1\n")


def test_a_copy_whose_session_is_gone_is_a_folder(repo: Repo, copies: Path) -> None:
    """After 'git update-ref -d' the copy is all there is; what others put beside it stays."""
    repo.record("plan-a", asked(40))
    repo.record("plan-b", asked(40))
    repo.git("update-ref", "-d", "refs/ai-sessions/plan-a")
    (copies / "plan-a/notes.txt").write_text("mine")
    ran = repo.ai("clean", "--older-than", "30", "--everywhere", "--force")
    assert ran.out.endswith("removed the folder plan-a\nRemoved: 2\n")
    assert [path.name for path in copies.rglob("*")] == ["plan-a", "notes.txt"]


def test_links_lead_nowhere(repo: Repo, copies: Path, tmp_path: Path) -> None:
    """Of a folder with links in it the links go, and what they lead to stays; a link among the folders is none."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    loose = folder(copies, "legacy", days=400)
    (loose / "link").symlink_to(outside)
    (loose / "deep").mkdir()
    (loose / "deep/file").symlink_to(outside / "precious")
    elsewhere = folder(tmp_path / "elsewhere", "plan-x", days=400)
    (copies / "linked").symlink_to(elsewhere)
    hidden = copies / "plan-y"
    hidden.mkdir()
    (hidden / "metadata.json").symlink_to(elsewhere / "metadata.json")
    repo.ai("clean", "--older-than", "30", "--everywhere", "--force")
    assert not loose.exists()
    assert (outside / "precious").read_text() == "x"
    assert (elsewhere / "metadata.json").exists()
    assert (copies / "linked").is_symlink()
    assert hidden.exists()


@pytest.mark.parametrize(
    "name", ["..hidden", "-rf", "a b'\"$(id)", "größe", "two\nlines", "\x1b[31mred", os.fsdecode(b"raw-\xff")], ids=repr
)
def test_a_folder_may_have_any_name(repo: Repo, copies: Path, name: str) -> None:
    """It is removed, it alone, and nothing of its name acts on a terminal."""
    keep = folder(copies, "plan-keep", days=1)
    try:
        odd = folder(copies, name, days=400)
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    ran = repo.ai("clean", "--older-than", "30", "--everywhere", "--force")
    assert ran.out.endswith("Removed: 1\n")
    assert not re.search("[\x00-\x09\x0b-\x1f]", ran.out)
    assert not odd.exists()
    assert keep.exists()


def test_a_folder_that_is_written_to_meanwhile_stays(repo: Repo, copies: Path) -> None:
    """The shell tool logged an answer since the folder was read."""
    loose = folder(copies, "legacy", days=400)
    gone = folder(copies, "gone", days=400)
    workspace = repo.workspace()
    chosen = retention.plan(workspace.around, None, [], before=NOW)
    text = (loose / "metadata.json").read_text()
    (loose / "metadata.json").write_text(text.replace("}]", '},{"timestamp":"2026-01-01T00:00:00Z"}]'))
    (gone / "metadata.json").unlink()
    done = [item for item in retention.remove(workspace.around, chosen) if isinstance(item, Removal)]
    assert [(item.outcome, item.reason) for item in done] == [
        ("changed", "it is gone already"),
        ("changed", "it was written to meanwhile"),
    ]
    assert loose.exists()


def test_a_folder_is_as_old_as_it_says(repo: Repo, copies: Path) -> None:
    """The shell tool's own last_used counts where nothing was logged then; one with a bad entry is not judged."""
    folder(copies, "resumed", days=400, last_used=iso(NOW))
    folder(copies, "broken", days=400, interactions=[{"timestamp": iso(NOW), "tokens": {"input": -3}}])
    ran = repo.ai("clean", "--older-than", "30", "--everywhere", "--force")
    assert ran.out == "Removed: 0\n"
    assert "broken is kept: a part of it cannot be read" in ran.err
    assert sorted(path.name for path in copies.iterdir()) == ["broken", "resumed"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may remove anything")
def test_a_folder_that_cannot_be_removed_is_said(repo: Repo, copies: Path) -> None:
    loose = folder(copies, "legacy", days=400)
    loose.chmod(0o500)
    try:
        ran = repo.ai("clean", "--older-than", "30", "--everywhere", "--force", code=1)
    finally:
        loose.chmod(0o700)
    assert "legacy cannot be removed" in ran.err


def test_the_session_in_use_goes_as_any(repo: Repo) -> None:
    """What is in use says where turns go, not when some last did: the next turn begins the session anew."""
    repo.record("plan-a", asked(40))
    repo.ai("use", "plan", "a")
    repo.ai("clean", "--older-than", "30", "--force")
    assert names(repo) == []
    assert repo.ai("use", "--json").json["session"] == session_name("plan-a")
    repo.record("plan-a", asked(0))
    assert len(repo.session("plan-a").commits) == 1


def test_many_go_at_once(repo: Repo) -> None:
    """Three hundred sessions, of which one cannot be deleted: all others go, whatever they stand beside."""
    repo.record("plan-0", asked(40))
    tip = repo.git("rev-parse", "refs/ai-sessions/plan-0")
    lines = "".join(f"create refs/ai-sessions/plan-{number} {tip}\n" for number in range(1, 300))
    repo.git("update-ref", "--stdin", stdin=lines.encode())
    (repo.path / ".git/refs/ai-sessions/plan-123.lock").touch()
    ran = repo.ai("clean", "--older-than", "30", "--force", code=1)
    assert names(repo) == ["plan-123"]
    assert ran.out.endswith("Removed: 299\n")
    restored = [shlex.split(line)[2] for line in ran.out.splitlines() if line.startswith("  git ")]
    assert len(set(restored)) == 299
