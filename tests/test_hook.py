"""hooks/post-commit and ``init``, run for real: commits are linked, and none is ever failed or delayed."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest

from gitsess import costnotes, setup
from gitsess.cli import recording
from gitsess.cli.shipped import hooks_dir
from gitsess.links import event_id
from gitsess.setup import carriers, covers
from tests.conftest import PROGRAM, Repo

TEMPLATE = (hooks_dir() / "post-commit").read_text()
SHELLS = [shell for shell in ("dash", "bash", "busybox", "zsh") if shutil.which(shell)]
ENTRY = {"prompt": "Why?", "response": "So.", "model": "m", "cost_usd": 0.25}
HOOK, CHAINED = ".git/hooks/post-commit", ".git/hooks/post-commit.chained"


@pytest.fixture
def repo(repo: Repo) -> Repo:
    """Without the samples that git puts into a new repository: what is in .git/hooks is the test's own."""
    shutil.rmtree(repo.path / ".git/hooks", ignore_errors=True)
    return repo


def commit(repo: Repo, *words: str) -> str:
    """Commits, with nothing said on standard error; the oid."""
    done = subprocess.run(
        ["git", "commit", "-q", "--allow-empty", "-m", f"Change {os.urandom(8).hex()}", *words],
        cwd=repo.path,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return repo.git("rev-parse", "HEAD")


def note(repo: Repo, oid: str) -> str:
    repo.ai("drain", "--wait")
    return repo.git("notes", "--ref=ai-sessions", "show", oid, check=False)


def put(path: Path, text: str, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def tree(folder: Path) -> dict[str, tuple[int, bytes | str]]:
    """Everything below a folder: mode, and bytes or where a link leads."""
    return {
        str(path.relative_to(folder)): (
            stat.S_IMODE(path.lstat().st_mode),
            os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else "",
        )
        for path in sorted(folder.rglob("*"))
    }


# End to end


def test_a_commit_after_a_turn_gets_its_note_and_the_next_one_none(repo: Repo) -> None:
    """The hook spools, its drain or the next one appends the event and writes the note, and the marker is gone."""
    assert repo.ai("init").code == 0
    repo.record("plan-auth", ENTRY, ENTRY)
    assert (repo.path / ".git/ai-sessions/pending").read_text() == "plan-auth\nplan-auth\n"
    first = commit(repo)
    assert note(repo, first).startswith("plan-auth turns 1-2: 0 tokens, $0.50\n")
    assert not (repo.path / ".git/ai-sessions/pending").exists()
    event = repo.session("plan-auth").commits[-1]
    assert (event.facts.turn_id, event.facts.branch) == (event_id(first), "main")
    second = commit(repo)
    assert note(repo, second) == ""
    assert list((repo.path / ".git/ai-sessions/spool").iterdir()) == []
    repo.fsck()


def test_without_a_marker_no_process_is_started(repo: Repo) -> None:
    """Where no turn was recorded the hook runs nothing at all: its PATH leads nowhere."""
    repo.ai("init")
    done = subprocess.run(
        [str(repo.path / HOOK)], cwd=repo.path, env={"PATH": "/nowhere"}, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    commit(repo)
    assert not (repo.path / ".git/ai-sessions/spool").exists()


def with_program(repo: Repo, tmp_path: Path, lines: str) -> None:
    """The hook in place, with a script of these lines for the program."""
    program = put(tmp_path / "it's bin/git-ai-session", f"#!/bin/sh\n{lines}\n")
    setup.install(repo.path / ".git/hooks", TEMPLATE, [str(program)])


def test_a_commit_does_not_wait_for_the_drain(repo: Repo, tmp_path: Path) -> None:
    """The drain outlives the commit, which has ended and closed its output while the drain still works."""
    started, go, ended = (tmp_path / name for name in ("started", "go", "ended"))
    os.mkfifo(started)
    os.mkfifo(go)
    with_program(repo, tmp_path, f'echo "$*" >{started}; read -r _ <{go}; touch {ended}')
    repo.record("plan-auth", ENTRY)
    commit(repo)
    assert not ended.exists()
    assert started.read_text() == "drain\n"
    go.write_text("on\n")


def test_the_drain_keeps_the_umask_of_the_commit(repo: Repo, tmp_path: Path) -> None:
    """The entry is private, but what the drain writes into the repository can be read by whoever could before."""
    said = tmp_path / "said"
    os.mkfifo(said)
    with_program(repo, tmp_path, f"umask >{said}")
    repo.record("plan-auth", ENTRY)
    old = os.umask(0o027)
    try:
        commit(repo)
    finally:
        os.umask(old)
    assert int(said.read_text(), 8) == 0o027


def test_at_work_it_starts_three_processes_before_the_commit_goes_on(repo: Repo, tmp_path: Path) -> None:
    """What a commit waits for is counted: git, and two that make a file. The drain is the fourth."""
    said = tmp_path / "said"
    with_program(repo, tmp_path, f"echo drain >>{said}")
    repo.record("plan-auth", ENTRY)
    (repo.path / ".git/ai-sessions/spool").mkdir(exist_ok=True)
    tools = tmp_path / "tools"
    for tool in ("git", "mktemp", "mkdir", "mv", "rm", "head", "sed", "cat", "date"):
        found = shutil.which(tool)
        put(tools / tool, f'#!/bin/sh\necho {tool} >>{said}\nexec {found} "$@"\n')
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    subprocess.run([str(repo.path / HOOK)], cwd=repo.path, env=environment, check=True)
    lines = said.read_text().splitlines()
    assert [line for line in lines if line != "drain"] == ["git", "head", "mv"]


@pytest.mark.parametrize("kind", ["pipe", "folder", "many lines", "no line", "garbage"])
def test_a_marker_that_is_none_delays_no_commit(kind: str, repo: Repo, tmp_path: Path) -> None:
    """The hook waits for no pipe and reads only the beginning; turns are recorded beside it all the same."""
    with_program(repo, tmp_path, "exit 1")
    marker = repo.path / ".git/ai-sessions/pending"
    marker.parent.mkdir(exist_ok=True)
    if kind == "pipe":
        os.mkfifo(marker)
    elif kind == "folder":
        marker.mkdir()
    else:
        unit = {"many lines": b"ask-nothing\n", "no line": b"\0", "garbage": b"../x\n\xff $(touch x) `touch x`\n\\\n"}
        marker.write_bytes(unit[kind] * 2_000_000)
    commit(repo)
    entries = list((repo.path / ".git/ai-sessions/spool").glob("*.commit"))
    assert len(entries) == (0 if kind in ("pipe", "folder") else 1)
    assert all(entry.stat().st_size < 20_000 for entry in entries)
    repo.record("plan-auth", ENTRY)
    oid = commit(repo)
    found = note(repo, oid)
    assert repo.ai("drain").err == "nothing waits in the spool\n"
    if kind not in ("pipe", "folder"):
        assert found.startswith("plan-auth turn 1: ")
        assert not marker.exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_the_entry_is_whole_and_private_in_every_shell(shell: str, repo: Repo, tmp_path: Path) -> None:
    """Its lines are those of the format; 0600 in a folder 0700, whatever the umask."""
    with_program(repo, tmp_path, "exit 1")
    repo.record("plan-auth", ENTRY)
    repo.record("ask-x", ENTRY, ENTRY)
    shutil.rmtree(repo.path / ".git/ai-sessions/spool", ignore_errors=True)
    first = repo.git("rev-parse", "HEAD")
    repo.git("checkout", "-q", "-b", "feature/ü")
    repo.git("-c", "core.hooksPath=/dev/null", "commit", "-q", "--allow-empty", "-m", "Second")
    program = ["busybox", "sh"] if shell == "busybox" else [shell]
    old = os.umask(0)
    try:
        done = subprocess.run([*program, HOOK], cwd=repo.path, capture_output=True, timeout=60, check=False)
    finally:
        os.umask(old)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    (file,) = (repo.path / ".git/ai-sessions/spool").iterdir()
    assert file.read_text() == (
        f"commit {repo.git('rev-parse', 'HEAD')}\nparent {first}\nbranch refs/heads/feature/ü\nworktree .\n"
        "\nplan-auth\nask-x\nask-x\n"
    )
    assert file.suffix == ".commit"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_where_gitsess_is_gone_commits_go_on_in_silence(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program and its PATH are gone: the commit succeeds, and its entry waits for the next drain."""
    setup.install(repo.path / ".git/hooks", TEMPLATE, [str(tmp_path / "gone/git-ai-session")])
    repo.record("plan-auth", ENTRY)
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "git", "head", "mkdir", "mv", "rm"):
        found = shutil.which(tool)
        assert found is not None
        (tools / tool).symlink_to(found)
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", str(tools))
    oid = commit(repo)
    monkeypatch.setenv("PATH", path)
    assert len(list((repo.path / ".git/ai-sessions/spool").glob("*.commit"))) == 1
    assert note(repo, oid).startswith("plan-auth turn 1: ")


def test_where_the_spool_cannot_be_written_commits_go_on_in_silence(repo: Repo, tmp_path: Path) -> None:
    with_program(repo, tmp_path, "exit 1")
    repo.record("plan-auth", ENTRY)
    spool = repo.path / ".git/ai-sessions/spool"
    shutil.rmtree(spool, ignore_errors=True)
    spool.touch()
    commit(repo)
    assert spool.read_bytes() == b""


def test_a_rebase_bears_nothing(repo: Repo) -> None:
    """The commits that a rebase makes anew are no new work: the turn waits for the next real commit."""
    repo.ai("init")
    repo.git("checkout", "-q", "-b", "side")
    commit(repo)
    repo.git("checkout", "-q", "main")
    commit(repo)
    repo.git("checkout", "-q", "side")
    repo.record("plan-auth", ENTRY)
    repo.git("rebase", "-q", "main")
    assert note(repo, repo.git("rev-parse", "HEAD")) == ""
    oid = commit(repo)
    assert note(repo, oid).startswith("plan-auth turn 1: ")


def test_an_agent_that_commits_inside_its_turn_and_then_a_person(repo: Repo) -> None:
    """Only the first of the two commits bears the turn, and with it the one that was still waiting before it."""
    repo.ai("init")
    repo.record("plan-auth", {**ENTRY, "prompt": "First"})
    inside = commit(repo)
    repo.record("plan-auth", {**ENTRY, "prompt": "Second", "commits": [inside]})
    person = commit(repo)
    assert note(repo, person) == ""
    # The event of the first commit comes before the second turn or after it: the drain does not wait for record.
    assert re.match(r"plan-auth turns 1(-2|, 3): 0 tokens, \$0\.50\n", note(repo, inside))


def test_a_commit_that_is_amended_keeps_its_note_where_git_is_told_to(repo: Repo) -> None:
    """The turns behind the amended commit stay with it, those since are added, however often; without the setting
    they stay with the commit that was there, and one that was made beside it gets nothing of it."""
    repo.ai("init")
    repo.record("plan-auth", ENTRY)
    plain = commit(repo)
    assert note(repo, plain).startswith("plan-auth turn 1: ")
    repo.record("plan-auth", ENTRY)
    amended = commit(repo, "--amend")
    assert note(repo, amended).startswith("plan-auth turn 3: ")

    repo.git("config", "notes.rewriteRef", "refs/notes/ai-sessions")
    untouched = commit(repo, "--amend")
    assert note(repo, untouched).startswith("plan-auth turn 3: ")
    repo.record("plan-auth", ENTRY)
    again = commit(repo, "--amend")
    assert note(repo, again).startswith("plan-auth turns 3, 5: 0 tokens, $0.50\n")
    repo.record("plan-auth", ENTRY)
    last = commit(repo, "--amend")
    assert note(repo, last).startswith("plan-auth turns 3, 5, 7: 0 tokens, $0.75\n")
    assert note(repo, plain).startswith("plan-auth turn 1: ")
    workspace = repo.workspace()
    assert costnotes.rebuild(workspace.git, workspace.history, at=workspace.around.now()) == 0
    repo.record("plan-auth", ENTRY)
    assert note(repo, commit(repo)).startswith("plan-auth turn 9: ")


def test_a_rebased_commit_keeps_the_copy_of_its_note(repo: Repo) -> None:
    """What git copied is taken for right, also when all notes are written anew."""
    repo.ai("init")
    repo.git("config", "notes.rewriteRef", "refs/notes/ai-sessions")
    repo.git("checkout", "-q", "-b", "side")
    repo.record("plan-auth", ENTRY)
    old = commit(repo)
    text = note(repo, old)
    repo.git("checkout", "-q", "main")
    commit(repo)
    repo.git("rebase", "-q", "main", "side")
    new = repo.git("rev-parse", "HEAD")
    assert new != old
    assert note(repo, new) == text
    workspace = repo.workspace()
    assert costnotes.rebuild(workspace.git, workspace.history, at=workspace.around.now()) == 0
    assert note(repo, new) == text


def test_a_cherry_pick_a_revert_and_a_merge_with_conflicts_are_commits_like_any_other(repo: Repo) -> None:
    """Each bears the turns before it. A merge that git makes by itself runs no hook: the next commit has its turns."""
    repo.ai("init")
    for branch in ("one", "two"):
        repo.git("checkout", "-q", "-b", branch, "main")
        put(repo.path / "file", f"{branch}\n", 0o644)
        repo.git("add", "file")
        commit(repo)
    repo.git("checkout", "-q", "main")
    commit(repo)
    for number, words in enumerate((("cherry-pick", "one"), ("revert", "--no-edit", "HEAD"))):
        repo.record("plan-auth", ENTRY)
        repo.git(*words)
        assert note(repo, repo.git("rev-parse", "HEAD")).startswith(f"plan-auth turn {1 + 2 * number}: ")
    repo.record("plan-auth", ENTRY)
    repo.git("merge", "-q", "--no-ff", "-m", "Merge", "one")
    assert note(repo, repo.git("rev-parse", "HEAD")) == ""
    repo.git("merge", "two", check=False)
    repo.git("add", "file")
    assert note(repo, commit(repo)).startswith("plan-auth turn 5: ")


def test_a_commit_in_a_linked_worktree_and_in_a_submodule(repo: Repo, tmp_path: Path) -> None:
    """Each is linked in its own repository, under its own worktree's name."""
    repo.git("worktree", "add", "-q", "-b", "side", str(tmp_path / "side tree"))
    side = Repo(path=tmp_path / "side tree")
    assert "in place" in side.ai("init").out
    side.record("plan-side", ENTRY)
    repo.record("plan-main", ENTRY)
    (side.path / "below").mkdir()
    oid = commit(Repo(path=side.path / "below"))
    assert note(repo, oid).startswith("plan-side turn 1: ")
    assert repo.session("plan-side").commits[-1].facts.worktree == side.git("rev-parse", "--git-dir").rpartition("/")[2]
    assert (repo.path / ".git/ai-sessions/pending").read_text() == "plan-main\n"

    inner = Repo(path=tmp_path / "inner")
    inner.path.mkdir()
    inner.git("init", "-q")
    commit(inner)
    repo.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner.path), "sub")
    module = Repo(path=repo.path / "sub")
    assert "put in place" in module.ai("init").out
    module.record("plan-module", ENTRY)
    oid = commit(module)
    assert note(module, oid).startswith("plan-module turn 1: ")
    assert module.session("plan-module").commits[-1].facts.worktree == "."


# Beside a hook that is there


def test_the_hook_that_was_there_runs_first_and_keeps_its_exit_code(repo: Repo, tmp_path: Path) -> None:
    """With the same arguments, output and exit code as without ours, and ours works after it failed."""
    said = shlex.quote(str(tmp_path / "said"))
    lines = f'#!/bin/sh\n[ $# = 0 ] && exit 3\necho "$# $1 in $PWD" >{said}\necho out\nexit 3\n'
    put(repo.path / HOOK, lines)
    assert "it first runs the hook that was there" in repo.ai("init").out
    repo.record("plan-auth", ENTRY)
    done = subprocess.run([HOOK, "a b"], cwd=repo.path, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"")
    assert (tmp_path / "said").read_text() == f"1 a b in {repo.path}\n"
    assert note(repo, commit(repo)).startswith("plan-auth turn 1: ")


@pytest.mark.parametrize("first", ["#!/bin/sh", "#!/usr/bin/env sh", "#! /bin/sh"])
def test_a_hook_that_goes_by_its_own_name_still_does(first: str, repo: Repo, tmp_path: Path) -> None:
    """As managers of hooks have it: a script that finds the rest by the name and folder it was called with."""
    put(repo.path / ".git/hooks/rest", '[ "${0##*/}" = post-commit ] && [ $# = 0 ] && exec cat\nexit 9\n')
    put(repo.path / HOOK, f'{first}\ncode=7\numask 777\n. "$(dirname "$0")/rest"\n')
    repo.ai("init")
    repo.record("plan-auth", ENTRY)
    hook = str(repo.path / HOOK)
    done = subprocess.run([hook], cwd=repo.path, input=b"given", capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"given", b"")
    assert note(repo, commit(repo)).startswith("plan-auth turn 1: ")


def test_what_was_stopped_half_way_is_taken_up_again(repo: Repo) -> None:
    """The hook that was there has both names, or its manager put it back over ours: init goes on, undo is the same."""
    put(repo.path / HOOK, SCRIPT)
    was = tree(repo.path / ".git/hooks")
    os.link(repo.path / HOOK, repo.path / CHAINED)
    assert "put in place" in repo.ai("init").out
    put(repo.path / HOOK, SCRIPT)
    assert "put in place" in repo.ai("init").out
    assert (repo.path / CHAINED).read_text() == SCRIPT
    repo.ai("init", "--undo")
    assert tree(repo.path / ".git/hooks") == was


def test_a_hook_that_is_not_executable_stays_off(repo: Repo, tmp_path: Path) -> None:
    """git did not run it before, and ours does not run it now."""
    put(repo.path / HOOK, f"#!/bin/sh\ntouch {shlex.quote(str(tmp_path / 'ran'))}\n", 0o644)
    repo.ai("init")
    commit(repo)
    assert not (tmp_path / "ran").exists()


SCRIPT = "#!/bin/sh\nprintf 'their own \\377'\n"


def before(folder: Path, tmp_path: Path, kind: str) -> None:
    """A hooks folder as a person may have it."""
    if kind == "none":
        return
    folder.mkdir()
    if kind in ("file", "odd mode", "off"):
        put(folder / "post-commit", SCRIPT, {"file": 0o755, "odd mode": 0o711, "off": 0o640}[kind])
        (folder / "post-commit").write_bytes(SCRIPT.encode() + b"\xff\r\n\0")
        (folder / "post-commit").chmod({"file": 0o755, "odd mode": 0o711, "off": 0o640}[kind])
    elif kind == "link":
        put(tmp_path / "shared-hook", SCRIPT)
        (folder / "post-commit").symlink_to(os.path.relpath(tmp_path / "shared-hook", folder))
    elif kind == "dangling":
        (folder / "post-commit").symlink_to("nowhere")
    elif kind == "others":
        put(folder / "pre-commit", SCRIPT)
        put(folder / "post-commit.sample", SCRIPT)


@pytest.mark.parametrize("kind", ["none", "empty", "file", "odd mode", "off", "link", "dangling", "others"])
def test_undo_leaves_the_hooks_as_they_were(repo: Repo, tmp_path: Path, kind: str) -> None:
    """Byte for byte, mode for mode, link for link; also after init ran twice and a commit between."""
    folder = repo.path / ".git/hooks"
    before(folder, tmp_path, kind)
    was, there = tree(folder), folder.exists()
    assert "put in place" in repo.ai("init").out
    assert "in place already" in repo.ai("init").out
    assert tree(folder)["post-commit"][0] == 0o755
    assert len(tree(folder)) == len(was) + 1
    subprocess.run(["git", "commit", "-q", "--allow-empty", "-m", "x"], cwd=repo.path, capture_output=True, check=True)
    assert "removed " in repo.ai("init", "--undo").out
    assert tree(folder) == was
    assert folder.exists() is there
    assert "nothing was changed" in repo.ai("init", "--undo").out
    assert tree(folder) == was


def test_undo_takes_nothing_that_is_not_ours(repo: Repo) -> None:
    put(repo.path / HOOK, SCRIPT)
    assert repo.ai("init", "--undo").out.startswith("no hook of gitsess is in ")
    assert (repo.path / HOOK).read_text() == SCRIPT


def test_an_older_hook_is_brought_up_to_date_in_place(repo: Repo) -> None:
    """What is chained to it stays chained; a newer one is left alone; a new path is written in."""
    put(repo.path / HOOK, SCRIPT)
    repo.ai("init")
    new = (repo.path / HOOK).read_text()
    put(repo.path / HOOK, "#!/bin/sh\n# gitsess post-commit 0: of long ago\nexit 0\n")
    ran = repo.ai("init", "--json").json["hook"]
    assert ran == {"path": str(repo.path / HOOK), "action": "upgraded", "chained": True}
    assert (repo.path / HOOK).read_text() == new
    assert (repo.path / CHAINED).read_text() == SCRIPT
    newer = new.replace("post-commit 1:", "post-commit 2:").replace("exit $code", "exit 0")
    put(repo.path / HOOK, newer)
    assert repo.ai("init", "--json").json["hook"]["action"] == "unchanged"
    assert (repo.path / HOOK).read_text() == newer
    put(repo.path / HOOK, new)
    assert setup.install(repo.path / ".git/hooks", TEMPLATE, ["/else/git-ai-session"]).action == "upgraded"
    assert "set -- /else/git-ai-session\n" in (repo.path / HOOK).read_text()
    (repo.path / HOOK).chmod(0o644)
    assert repo.ai("init", "--json").json["hook"]["action"] == "upgraded"
    assert os.access(repo.path / HOOK, os.X_OK)


@pytest.mark.parametrize("words", [(), ("--undo",)])
def test_lines_that_a_person_added_are_not_thrown_away(words: tuple[str, ...], repo: Repo) -> None:
    repo.ai("init")
    changed = (repo.path / HOOK).read_text().replace("exit $code", "make tags\nexit $code")
    put(repo.path / HOOK, changed)
    ran = repo.ai("init", *words, code=1)
    assert ran.err.startswith(f"error: {repo.path / HOOK} was changed by hand: ")
    assert (repo.path / HOOK).read_text() == changed


def test_two_hooks_that_were_there_are_both_kept(repo: Repo) -> None:
    """A post-commit.chained of unknown origin is neither overwritten nor run."""
    put(repo.path / HOOK, SCRIPT)
    put(repo.path / CHAINED, "other")
    was = tree(repo.path / ".git/hooks")
    assert "is there already" in repo.ai("init", code=1).err
    assert tree(repo.path / ".git/hooks") == was
    (repo.path / HOOK).unlink()
    assert "is there without post-commit" in repo.ai("init", code=1).err
    assert (repo.path / CHAINED).read_text() == "other"


# Where git looks for hooks


def test_a_folder_of_hooks_in_the_working_tree(repo: Repo) -> None:
    """core.hooksPath counts from the top, also when init runs in a folder below it; git runs what was put there."""
    repo.git("config", "core.hooksPath", ".githooks")
    (repo.path / "src").mkdir()
    ran = repo.ai("init", cwd=repo.path / "src")
    assert f"put in place: {repo.path}/.githooks/post-commit" in ran.out
    assert "do not commit it" in ran.out
    repo.record("plan-auth", ENTRY)
    assert note(repo, commit(repo)).startswith("plan-auth turn 1: ")
    repo.ai("init", "--undo")
    assert not (repo.path / ".githooks").exists()


def test_folders_that_were_made_for_the_hook_go_with_it(repo: Repo) -> None:
    """All of them, and none that was there or that holds something else."""
    (repo.path / "there").mkdir()
    repo.git("config", "core.hooksPath", "there/a/b")
    repo.ai("init")
    assert repo.ai("init", "--json").json["hook"]["action"] == "unchanged"
    repo.ai("init", "--undo")
    assert list((repo.path / "there").iterdir()) == []
    repo.ai("init")
    (repo.path / "there/a/other").touch()
    repo.ai("init", "--undo")
    assert [path.name for path in (repo.path / "there/a").iterdir()] == ["other"]


def test_a_folder_of_hooks_outside_is_asked_about(repo: Repo, tmp_path: Path) -> None:
    """Without --yes and without a terminal nothing is changed; with it, other repositories meet a hook that rests."""
    repo.git("config", "--global", "core.hooksPath", str(tmp_path / "hooks"))
    ran = repo.ai("init", code=2)
    assert f"nothing was changed: git looks for hooks in {tmp_path}/hooks, outside of this repository" in ran.err
    assert not (tmp_path / "hooks").exists()
    assert "other repositories may use that folder" in repo.ai("init", "--yes").out
    other = Repo(path=tmp_path / "other")
    other.path.mkdir()
    other.git("init", "-q")
    commit(other)
    assert not (other.path / ".git/ai-sessions").exists()
    for each, name in ((repo, "plan-here"), (other, "plan-there")):
        each.record(name, ENTRY)
        assert note(each, commit(each)).startswith(f"{name} turn 1: ")
    assert "removed " in repo.ai("init", "--undo").out
    assert not (tmp_path / "hooks").exists()


def test_where_hooks_are_turned_off_the_error_says_so(repo: Repo) -> None:
    repo.git("config", "core.hooksPath", "/dev/null")
    assert "which is no folder: see 'git config core.hooksPath'" in repo.ai("init", "--yes", code=1).err


def test_a_bare_repository_has_no_commits_to_watch(repo: Repo, tmp_path: Path) -> None:
    repo.git("clone", "-q", "--bare", ".", str(tmp_path / "bare"))
    bare = Repo(path=tmp_path / "bare")
    was = tree(bare.path)
    assert bare.ai("init").out == "a bare repository: no commits are made here, so there are none to watch\n"
    assert bare.ai("init", "--json").json["hook"] is None
    assert tree(bare.path) == was
    bare.git("worktree", "add", "-q", str(tmp_path / "side"))
    side = Repo(path=tmp_path / "side")
    assert "put in place" in side.ai("init").out
    side.record("plan-side", ENTRY)
    assert note(side, commit(side)).startswith("plan-side turn 1: ")


def test_inside_of_the_git_folder_the_error_says_where_to_go(repo: Repo) -> None:
    assert "change to its working tree" in repo.ai("init", cwd=repo.path / ".git", code=1).err


def test_a_folder_that_cannot_be_written_is_an_error_of_one_line(repo: Repo) -> None:
    put(repo.path / ".git/hooks", "a file")
    assert repo.ai("init", code=1).err.count("\n") == 1


# What init says


def test_it_says_where_the_next_turn_lands(repo: Repo) -> None:
    assert "no session is in use here" in repo.ai("init").out
    repo.ai("use", "plan-auth")
    assert "captured turns go to plan-auth while main is checked out\n" in repo.ai("init").out
    assert repo.ai("init", "--json").json["in_use"] == "plan-auth"


def test_it_warns_of_remotes_that_carry_sessions(repo: Repo) -> None:
    """Each kind by name, on standard error; a remote as git makes it is not warned of."""
    repo.git("remote", "add", "origin", "https://example.com/x.git")
    assert "warning:" not in repo.ai("init").err
    repo.git("remote", "add", "--mirror=push", "backup", "https://example.com/y.git")
    repo.git("remote", "add", "--mirror=fetch", "copy", "https://example.com/z.git")
    repo.git("config", "--add", "remote.origin.push", "refs/ai-sessions/*:refs/ai-sessions/*")
    lines = repo.ai("init").err.splitlines()
    assert [re.findall("'git [a-z]+ [a-z]+'", line)[0] for line in lines] == [
        "'git push backup'",
        "'git fetch copy'",
        "'git push origin'",
    ]
    assert len(repo.ai("init", "--json").json["warnings"]) == 3


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("refs/*", True),
        ("refs/ai-*", True),
        ("*", True),
        ("refs/ai-sessions/*", True),
        ("refs/ai-sessions/plan-x", True),
        ("refs/ai-sessions/plan-*", True),
        ("refs/heads/*", False),
        ("refs/ai-remotes/origin/*", False),
        ("refs/ai", False),
        ("HEAD", False),
        ("", False),
        ("^refs/ai-sessions/*", False),
    ],
)
def test_which_refspecs_take_in_sessions(pattern: str, expected: bool) -> None:
    assert covers(pattern) is expected


def test_a_remote_with_dots_in_its_name_is_named_in_full() -> None:
    (line,) = carriers({"remote.a.b.mirror": ["false", "true"], "remote.c.mirror": ["true", "false"]})
    assert "remote.a.b.mirror" in line


# Many at once

COMMITS, SESSIONS = 500, ("plan-a", "plan-a", "implement-b", "review-c")


@pytest.fixture
def recorders(repo: Repo) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Four processes that record what they are given, into three sessions."""
    processes = [
        subprocess.Popen(
            [*PROGRAM, "record", *name.split("-")],
            cwd=repo.path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for name in SESSIONS
    ]
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def test_every_note_is_right_beside_four_recording_processes(
    repo: Repo, recorders: list[subprocess.Popen[bytes]]
) -> None:
    """No commit failed; every turn is borne by exactly one commit, made after it: the first that its session has an
    event of; and the notes are those that the sessions give from scratch, to the cent."""
    repo.ai("init")
    given: dict[str, str] = {}
    oids = []
    for number in range(COMMITS):
        for process, name in zip(recorders, SESSIONS, strict=True):
            if number % 2 == (process is recorders[0]):
                continue
            turn_id = uuid4().hex
            given[turn_id] = name
            assert process.stdin is not None
            process.stdin.write(json.dumps({**ENTRY, "cost_usd": 0.01, "turn_id": turn_id}).encode() + b"\n")
            process.stdin.flush()
        oids.append(commit(repo))
    for process in recorders:
        # On a machine that is very busy it may warn of a turn that waits in the spool: it is counted below.
        _, err = process.communicate()
        assert process.returncode == 0, err
    # What was recorded after the last of these has one more to go to.
    oids.append(commit(repo))
    repo.ai("drain", "--wait")

    sessions = {name: repo.session(name) for name in SESSIONS}
    heads = {item.facts.turn_id: item.facts.head for one in sessions.values() for item in one.counted()}
    assert heads.keys() == given.keys()
    place = {oid: number for number, oid in enumerate(oids)}
    events = {
        name: {item.facts.commits[0] for item in one.commits if item.facts.event} for name, one in sessions.items()
    }
    bearers: Counter[str] = Counter()
    total = Decimal(0)
    logged = repo.git("log", "--notes=ai-sessions", "--format=%H%n%N%x00", "main").split("\0")
    texts = dict(text.strip().partition("\n")[::2] for text in logged)
    for oid in oids:
        total += sum(map(Decimal, re.findall(r"(?m)^AI-Cost-USD: (.*)$", texts[oid])))
        name = ""
        for key, value in re.findall(r"(?m)^AI-(Session: session|Turn: )=?(\S+)", texts[oid]):
            if key != "Turn: ":
                name = value
                continue
            turn_id = value
            bearers[turn_id] += 1
            assert name == given[turn_id]
            known = place.get(str(heads[turn_id]), -1)
            assert place[oid] > known
            assert not events[name].intersection(oids[known + 1 : place[oid]])
    assert bearers == Counter(dict.fromkeys(given, 1))
    assert total == Decimal(len(given)) / 100
    # It was a race: some commits came between turns, and none waited for all.
    assert len(events) < sum(map(len, events.values())) < len(given)
    workspace = repo.workspace()
    assert costnotes.rebuild(workspace.git, workspace.history, at=workspace.around.now()) == 0
    assert not (repo.path / ".git/ai-sessions/pending").exists()
    assert workspace.spool.waiting() == []
    repo.fsck()


def test_a_turn_has_the_head_of_before_its_time(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits made while it is told are after it by the clock, and by its HEAD too."""
    before = commit(repo)

    def now() -> datetime:
        told = datetime.now(UTC)
        commit(repo)
        return told

    values = {"command": "plan", "feature": "auth", "show_redactions": False, "json": False}
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(ENTRY).encode())))
    assert recording.record(repo.workspace().around.replace(now=now), values) == 0
    (turn,) = repo.session("plan-auth").counted()
    assert turn.facts.head == before


def test_a_drain_that_is_killed_at_any_moment_leaves_all_to_the_next(repo: Repo, tmp_path: Path) -> None:
    """Sooner and later in its work, again and again: each commit has one event in the end, and its note."""
    with_program(repo, tmp_path, "exit 1")
    oids: list[str] = []
    for number in range(15):
        repo.record("plan-auth", {**ENTRY, "commits": oids[-1:]} if number % 5 == 4 else ENTRY)
        oids.append(commit(repo))
        process = subprocess.Popen([*PROGRAM, "drain"], cwd=repo.path, stderr=subprocess.DEVNULL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.03 * number)
        process.kill()
        process.wait()
        # What git itself leaves behind when it is killed while it moves a ref.
        for lock in (repo.path / ".git/refs").rglob("*.lock"):
            lock.unlink()
    repo.ai("drain", "--wait")
    events = [item.facts.commits[0] for item in repo.session("plan-auth").commits if item.facts.event]
    assert sorted(events) == sorted(oids)
    assert [note(repo, oid).count("AI-Turn: ") for oid in oids] == [1, 1, 1, 2, 0] * 3
    workspace = repo.workspace()
    assert costnotes.rebuild(workspace.git, workspace.history, at=workspace.around.now()) == 0
    assert workspace.spool.waiting() == []
    assert not (repo.path / ".git/ai-sessions/pending").exists()
    repo.fsck()


def test_notes_do_not_pile_up_in_packs(repo: Repo) -> None:
    """Each is a handful of loose objects, which git packs in its own time, also where fetched ones are kept packed."""
    repo.git("config", "transfer.unpackLimit", "1")
    repo.ai("init")
    for _ in range(3):
        repo.record("plan-auth", ENTRY)
        assert note(repo, commit(repo))
    assert "packs: 0" in repo.git("count-objects", "-v").splitlines()


def test_the_program_is_found_again_from_anywhere(repo: Repo) -> None:
    """The words that init wrote into the hook start this program, with no PATH to help."""
    repo.ai("init")
    (line,) = re.findall(r"(?m)^\t+set -- (/.*)$", (repo.path / HOOK).read_text())
    words = shlex.split(line)
    assert os.path.isabs(words[0])
    assert PROGRAM[0] == words[0]
    done = subprocess.run([*words, "--version"], cwd="/", env={}, capture_output=True, check=False)
    assert done.stdout.startswith(b"git-ai-session ")
