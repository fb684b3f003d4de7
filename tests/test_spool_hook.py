"""hooks/spool, run for real: it keeps a turn, has it appended, and never fails or delays the program that calls it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gitsess.cli.shipped import hooks_dir
from tests.conftest import PROGRAM, Repo

SHELLS = [shell for shell in ("sh", "dash", "bash", "busybox", "zsh") if shutil.which(shell)]
TURN_ID = "0123456789abcdef" * 2


@pytest.fixture
def spool(repo: Repo) -> Path:
    return repo.path / ".git/ai-sessions/spool"


def entry(repo: Repo, **turn: Any) -> bytes:
    given = {"prompt": "Why?", "response": "Because.", "turn_id": TURN_ID, "ended_at": "2026-03-01T12:00:00Z", **turn}
    return json.dumps({"v": 1, "repository": str(repo.path / ".git"), "session": "claude-x", "turn": given}).encode()


def hook(*words: str | Path, repo: Repo, stdin: bytes, shell: str = "sh", path: str | None = None) -> None:
    """Runs the hook as a program would that waits for its end and for its output; asserts silence and success."""
    program = ["busybox", "sh"] if shell == "busybox" else [shell]
    process = subprocess.Popen(
        [*program, str(hooks_dir() / "spool"), *map(str, words)],
        cwd=repo.path,
        env={**os.environ, **({} if path is None else {"PATH": path})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    # Unlike communicate(), this raises where the pipe was closed before its end.
    process.stdin.write(stdin)
    process.stdin.close()
    process.stdin = None
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, b"", b"")


def with_program(tmp_path: Path, lines: str) -> str:
    """A PATH on which git-ai-session is a script of these lines."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "git-ai-session"
    program.write_text(f"#!/bin/sh\n{lines}\n")
    program.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_turn_given_to_the_hook_is_in_the_ledger(shell: str, repo: Repo, spool: Path, tmp_path: Path) -> None:
    """What stands on its standard input becomes a commit, by the drain it starts or by the next one."""
    path = with_program(tmp_path, f'exec {shlex.join(PROGRAM)} "$@"')
    hook(spool, repo=repo, stdin=entry(repo), shell=shell, path=path)
    repo.ai("drain", "--wait")
    assert repo.git("log", "--format=%s %(trailers:key=AI-Turn-Id,valueonly)", "refs/ai-sessions/claude-x").split() == [
        "Why?",
        TURN_ID,
    ]
    assert list(spool.glob("*")) == []


def test_it_starts_the_drain_and_does_not_wait_for_it(repo: Repo, spool: Path, tmp_path: Path) -> None:
    """The drain outlives the hook: while it still works, the hook has ended and closed its output."""
    started, go, ended = (tmp_path / name for name in ("started", "go", "ended"))
    os.mkfifo(started)
    os.mkfifo(go)
    lines = (
        f'echo "$*" >{shlex.quote(str(started))}; read -r _ <{shlex.quote(str(go))}; touch {shlex.quote(str(ended))}'
    )
    path = with_program(tmp_path, lines)
    hook(spool, repo=repo, stdin=entry(repo), path=path)
    assert not ended.exists()
    assert started.read_text() == "drain\n"
    go.write_text("on\n")
    assert [json.loads(file.read_bytes())["session"] for file in spool.glob("*.json")] == ["claude-x"]


def test_the_entry_is_private_and_whole(repo: Repo, spool: Path, tmp_path: Path) -> None:
    """Byte for byte what was given, 0600 in a folder 0700, and no half-written file beside it."""
    path = with_program(tmp_path, "exit 1")
    given = entry(repo, prompt="x" * 3_000_000)
    old = os.umask(0)
    try:
        hook(spool, repo=repo, stdin=given, path=path)
    finally:
        os.umask(old)
    (file,) = spool.iterdir()
    assert file.suffix == ".json"
    assert file.read_bytes() == given
    assert file.stat().st_mode & 0o777 == 0o600
    assert spool.stat().st_mode & 0o777 == 0o700


def test_without_gitsess_the_turn_waits(repo: Repo, spool: Path, tmp_path: Path) -> None:
    """Where git-ai-session, or even git, is not installed, the hook succeeds and the turn is appended later."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "mktemp", "mkdir", "cat", "mv", "rm"):
        found = shutil.which(tool)
        assert found is not None
        (tools / tool).symlink_to(found)
    hook(spool, repo=repo, stdin=entry(repo), shell=str(tools / "sh"), path=str(tools))
    assert len(list(spool.glob("*.json"))) == 1
    assert json.loads(repo.ai("drain", "--wait", "--json").out)["appended"] == 1


def test_where_the_folder_cannot_be_written_the_persons_own_spool_takes_it(repo: Repo, tmp_path: Path) -> None:
    """A file stands where the folder should be: the turn goes to $XDG_STATE_HOME/gitsess/spool, and is drained."""
    blocked = tmp_path / "blocked"
    blocked.touch()
    path = with_program(tmp_path, "exit 1")
    hook(blocked / "spool", repo=repo, stdin=entry(repo), path=path)
    state = Path(os.environ["XDG_STATE_HOME"])
    (file,) = (state / "gitsess/spool").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(repo.ai("drain", "--wait", "--json").out)["appended"] == 1


@pytest.mark.parametrize("words", [(), ("",)])
def test_where_nothing_can_be_written_it_reads_to_the_end_and_succeeds(
    words: tuple[str, ...], repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No folder, no home: a large input meets no closed pipe, and the caller hears nothing of it."""
    blocked = tmp_path / "blocked"
    blocked.touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(blocked))
    monkeypatch.setenv("HOME", str(blocked))
    hook(*words, repo=repo, stdin=entry(repo, prompt="x" * 3_000_000))


def test_nothing_is_kept_of_an_empty_input(repo: Repo, spool: Path, tmp_path: Path) -> None:
    path = with_program(tmp_path, "exit 1")
    hook(spool, repo=repo, stdin=b"", path=path)
    assert list(spool.iterdir()) == []
