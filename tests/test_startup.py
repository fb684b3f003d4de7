"""Starting quickly: what the short commands do not import."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import Repo

SLOW = {
    "pygit2",
    "click",
    "rich",
    "genai_prices",
    "anthropic",
    "sqlite3",
    "pydantic",
    "httpx",
    "httpx2",
    "asyncio",
    "yaml",
}

QUICK = [
    "--version",
    "list",
    "list --json",
    "list --active --sort cost",
    "list plan-*",
    "stats",
    "stats --by model",
    "stats --by=day --since yesterday --json",
    "stats --session plan-auth",
]


def imports(repo: Repo, words: str) -> set[str]:
    """The top-level packages that a run of the program imported."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "from gitsess.cli.entry import script; script()", *words.split()],
        cwd=repo.path,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


@pytest.mark.parametrize("words", QUICK)
def test_a_quick_command_loads_nothing_slow(words: str, repo: Repo) -> None:
    """The verbs that look, and --version, load none of the packages that take long to import."""
    turn = {
        "prompt": "Why?",
        "response": "So.",
        "model": "claude-sonnet-4-5",
        "usage": {"input_tokens": 9, "output_tokens": 3},
    }
    repo.record("plan-auth", turn, {**turn, "model": "a-model-of-no-known-price"})
    repo.record("implement-auth", turn)
    loaded = imports(repo, words)
    assert "gitsess" in loaded
    assert not loaded & SLOW


def test_a_command_that_needs_them_is_seen_to_load_them(repo: Repo) -> None:
    """What the other tests look for can be seen: a verb that is not quick loads click."""
    assert "click" in imports(repo, "drain")


def test_a_spooled_turn_is_drained_before_a_quick_command(repo: Repo) -> None:
    """Only where turns wait does 'list' load what appends them."""
    repo.record("plan-auth", {"prompt": "Why?"})
    tip = repo.git("rev-parse", "refs/ai-sessions/plan-auth")
    lock = repo.path / ".git/refs/ai-sessions/plan-auth.lock"
    lock.touch()
    repo.record("plan-auth", {"prompt": "And then?"})
    lock.unlink()
    assert repo.git("rev-parse", "refs/ai-sessions/plan-auth") == tip
    assert "pygit2" in imports(repo, "list")
    assert repo.git("rev-parse", "refs/ai-sessions/plan-auth~1") == tip


@pytest.mark.parametrize("at_work", [True, False])
def test_nothing_is_taken_apart_beneath_a_thread_at_work(at_work: bool, repo: Repo) -> None:
    """As that which imports the SDK, where nothing was to be asked after all; what was printed is there."""
    begun = "threading.Thread(target=threading.Event().wait, daemon=True).start()" if at_work else "pass"
    program = (
        "import atexit, sys, threading\n"
        "atexit.register(sys.stderr.write, 'taken apart')\n"
        f"{begun}\n"
        "from gitsess.cli.entry import script; script()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "show", "plan-x"],
        cwd=repo.path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert ("taken apart" in done.stderr) is not at_work
