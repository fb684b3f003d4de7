"""Where HEAD was, by what git wrote down of its moves."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gitsess.capture.moves import DETACHED, Moves
from tests.conftest import Repo, another
from tests.test_events import moved

BEGUN = datetime(2026, 3, 1, 12, tzinfo=UTC)
STEP = timedelta(seconds=10)
NUMBERS = count()
OPERATIONS = ("new", "back", "detach", "commit", "amend", "rename", "rebase", "same", "reset")


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=st.lists(st.sampled_from(OPERATIONS), min_size=1, max_size=8))
def test_the_branch_of_every_time(operations: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever was done to HEAD, the branch between any two moves is the one that was checked out then."""
    repo = another(tmp_path_factory.mktemp("moves"), "repo")
    repo.git("symbolic-ref", "HEAD", "refs/heads/main")
    found: list[tuple[datetime, str]] = []
    at = BEGUN
    moved(repo, at, "commit", "--allow-empty", "-qm", "Begin")
    branches = ["main"]
    for operation in ("commit", *operations):
        at += STEP
        name = f"b{next(NUMBERS)}"
        here = repo.git("branch", "--show-current")
        if operation == "new":
            branches.append(f"topic/{name}")
            moved(repo, at, "switch", "-qc", branches[-1])
        elif operation == "back":
            moved(repo, at, "checkout", "-q", branches[0])
        elif operation == "detach":
            moved(repo, at, "checkout", "-q", "--detach")
        elif operation == "rename" and here:
            branches[branches.index(here)] = name
            moved(repo, at, "branch", "-m", here, name)
        elif operation == "rebase" and here:
            moved(repo, at, "rebase", "-q", "--force-rebase", branches[0])
        elif operation == "same" and here:
            moved(repo, at, "checkout", "-q", here)
        elif operation == "reset":
            moved(repo, at, "reset", "-q", "--hard")
        else:
            amend = ["--amend"] if operation == "amend" else []
            moved(repo, at, "commit", "--allow-empty", *amend, "-qm", name)
        found.append((at + STEP / 2, repo.git("branch", "--show-current")))
    moves = Moves(repo.workspace())
    assert [(when, moves.branch_at(when)) for when, _ in found] == [(when, name or DETACHED) for when, name in found]
    assert moves.branch_at(BEGUN - STEP) is None


def test_a_switch_right_after_the_end(repo: Repo) -> None:
    """Within the second the last switch is placed by the file that it wrote; an earlier one is the agent's own."""
    repo.git("switch", "-qc", "by-the-agent")
    ended = datetime.fromtimestamp((repo.path / ".git/HEAD").stat().st_mtime_ns / 1e9 + 0.001, UTC)
    before = Moves(repo.workspace())
    time.sleep(0.01)
    moved(repo, ended, "switch", "-qc", "by-a-human")
    assert Moves(repo.workspace()).branch_at(ended) == "by-the-agent"
    # Also by what was read before that switch, and is asked after it.
    assert before.branch_at(ended) == "by-the-agent"


def test_without_moves_nothing_is_told(repo: Repo) -> None:
    """A repository that keeps no such log, or begins anew."""
    repo.git("reflog", "expire", "--expire=all", "--all")
    assert Moves(repo.workspace()).branch_at(datetime.now(UTC)) is None


def test_moves_that_came_since_are_read(repo: Repo) -> None:
    """A turn that ended after the moves were read has those of its own time; one before needs no other reading."""
    workspace = repo.workspace()
    known = Moves(workspace)
    before = datetime.now(UTC)
    repo.git("switch", "-qc", "since")
    ended = datetime.now(UTC) + timedelta(milliseconds=1)
    assert Moves.during(workspace, before, ended, known).branch_at(ended) == "since"
    assert Moves.during(workspace, BEGUN, BEGUN, known) is known
