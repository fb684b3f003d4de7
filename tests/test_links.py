"""From a commit to the turns that led to it: events, and the notes that say so. Real git throughout."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from gitsess import costnotes, links, notes
from gitsess.append import Appended, Appender
from gitsess.commit import Facts
from gitsess.draft import Draft
from gitsess.errors import Locked
from gitsess.links import event_id
from gitsess.model import Oid, SessionName
from gitsess.names import ref_of, session_name
from gitsess.turns import Turn
from gitsess.workspace import Workspace
from gitsess.worktree import Worktree
from tests.conftest import NOON, Repo, append_all, turn

PLAN, WORK = session_name("plan-auth"), session_name("implement-auth")
COST = Decimal("0.25")


def situated(repo: Repo, at: datetime, *, worktree: str = ".", head: str | None = None, **more: Any) -> Turn:
    """A turn that ended in a worktree of the repository at that moment."""
    made = turn(f"Question {uuid4().hex}", at=at, cost_usd=more.pop("cost_usd", COST), **more)
    return replace(made, worktree=worktree, head=Oid(head or repo.git("rev-parse", "HEAD")), branch="main")


def commit(repo: Repo, message: str = "Change") -> Oid:
    repo.git("commit", "-q", "--allow-empty", "-m", f"{message} {uuid4().hex}")
    return Oid(repo.git("rev-parse", "HEAD"))


def spool_commit(
    repo: Repo, oid: str, at: datetime, *sessions: str, worktree: str = ".", branch: str = "refs/heads/main"
) -> Path:
    """What the hook leaves for a commit made at that moment."""
    folder = repo.path / ".git/ai-sessions/spool"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"t.{uuid4().hex}.commit"
    lines = [f"commit {oid}", f"branch {branch}", f"worktree {worktree}", "", *sessions]
    path.write_text("".join(f"{line}\n" for line in lines))
    # The drain takes it to be up to a tick of the file system's clock later.
    nanoseconds = round((at - timedelta(milliseconds=10)).timestamp() * 1000) * 1_000_000
    os.utime(path, ns=(nanoseconds, nanoseconds))
    return path


def drained(workspace: Workspace) -> int:
    """Drains, with nothing left behind; how many events were appended."""
    done = workspace.drain()
    assert (done.waiting, done.failed, workspace.spool.waiting()) == ([], [], [])
    return done.events


def events(repo: Repo, name: str) -> list[str]:
    """The commits of a session's events, oldest first, by git's own reading."""
    form = "%(trailers:key=AI-Event,valueonly,separator=) %(trailers:key=AI-Commit,valueonly,separator=)"
    lines = repo.git("log", "--reverse", f"--format={form}", ref_of(session_name(name))).splitlines()
    return [line.removeprefix("commit ") for line in lines if line.startswith("commit ")]


def note(repo: Repo, oid: str) -> str:
    return repo.git("notes", "--ref=ai-sessions", "show", oid, check=False)


def borne(repo: Repo, oid: str) -> list[str]:
    """The turn ids that a commit's note says it bears."""
    return re.findall(r"^AI-Turn: ([0-9a-f]{32}) ", note(repo, oid), re.MULTILINE)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


# Events


def test_a_commit_becomes_an_event_of_the_session_that_led_to_it(repo: Repo) -> None:
    """Who, when, what and where are as the format says, git finds no fault, and a second drain adds nothing."""
    workspace = repo.workspace()
    append_all(workspace, PLAN, [situated(repo, NOON)])
    oid = commit(repo)
    at = NOON + seconds(61.25)
    spool_commit(repo, oid, at)
    assert drained(workspace) == 1
    tip = repo.session(PLAN).commits[-1]
    assert (tip.author.name, tip.author.email) == ("gitsess", "gitsess@invalid")
    assert tip.committer.name == "Ann"
    assert tip.authored_at == tip.committed_at == at.replace(microsecond=0)
    assert tip.facts == Facts(
        kind="event",
        turn_id=event_id(oid),
        seq=2,
        event="commit",
        branch="main",
        worktree=".",
        commits=(oid,),
    )
    assert repo.git("show", f"{tip.oid}:turn.json") == '{"v":1,"ended_at":"2026-03-01T12:01:01.250Z"}'
    assert repo.git("ls-tree", "--name-only", tip.oid) == "turn.json"
    spool_commit(repo, oid, at)
    assert drained(workspace) == 0
    repo.fsck()


def test_every_session_with_turns_since_its_last_event_gets_one_and_no_other(repo: Repo) -> None:
    """Of three sessions, two had turns there; the next commit finds turns in one of them."""
    workspace = repo.workspace()
    append_all(workspace, PLAN, [situated(repo, NOON)])
    append_all(workspace, WORK, [situated(repo, NOON + seconds(1))])
    append_all(workspace, "ask-elsewhere", [turn(at=NOON)])
    first = commit(repo, "First")
    spool_commit(repo, first, NOON + seconds(60), PLAN, WORK, "ask-elsewhere")
    assert drained(workspace) == 2
    append_all(workspace, WORK, [situated(repo, NOON + seconds(100))])
    second = commit(repo, "Second")
    spool_commit(repo, second, NOON + seconds(120), PLAN, WORK)
    assert drained(workspace) == 1
    third = commit(repo, "Third")
    spool_commit(repo, third, NOON + seconds(130), PLAN, WORK)
    assert drained(workspace) == 0
    assert events(repo, PLAN) == [first]
    assert events(repo, WORK) == [first, second]
    assert events(repo, "ask-elsewhere") == []
    assert note(repo, third) == ""


def test_a_turn_after_the_commit_is_not_of_it(repo: Repo) -> None:
    """A turn that was appended before the drain, but ended after the commit, waits for the next commit."""
    workspace = repo.workspace()
    before = situated(repo, NOON)
    first = commit(repo)
    after = situated(repo, NOON + seconds(30))
    append_all(workspace, PLAN, [before, after])
    spool_commit(repo, first, NOON + seconds(20))
    drained(workspace)
    assert borne(repo, first) == [before.turn_id]
    place = Worktree(repo.path / ".git")
    assert place.pending()[0] == [PLAN]
    second = commit(repo)
    spool_commit(repo, second, NOON + seconds(40))
    drained(workspace)
    assert borne(repo, second) == [after.turn_id]
    assert place.pending() == ([], None)


@pytest.mark.parametrize(("ended", "made", "first_bears"), [(0.2, 0.7, True), (0.7, 0.2, False)])
def test_within_one_second_the_true_times_decide(repo: Repo, ended: float, made: float, first_bears: bool) -> None:
    """Commits know whole seconds only; of a turn and a commit in the same one, ``turn.json`` knows the order."""
    workspace = repo.workspace()
    # A turn well before, so that the commit has an event either way.
    early, one = situated(repo, NOON - seconds(60)), situated(repo, NOON + seconds(ended))
    append_all(workspace, PLAN, [early, one])
    first, second = commit(repo), commit(repo)
    spool_commit(repo, first, NOON + seconds(made))
    drained(workspace)
    spool_commit(repo, second, NOON + seconds(60))
    drained(workspace)
    assert (one.turn_id in borne(repo, first)) is first_bears
    assert (one.turn_id in borne(repo, second)) is not first_bears


def test_a_turn_that_knew_the_commit_came_after_it(repo: Repo) -> None:
    """Its AI-Head is the commit: whatever the clocks say, the commit was there first."""
    workspace = repo.workspace()
    early = situated(repo, NOON - seconds(60))
    first = commit(repo)
    late = situated(repo, NOON)
    append_all(workspace, PLAN, [early, late])
    spool_commit(repo, first, NOON + seconds(3))
    drained(workspace)
    assert borne(repo, first) == [early.turn_id]


def test_a_turn_whose_date_was_lent_by_the_turn_before_it(repo: Repo) -> None:
    """Appended late, it bears the date of the turn before it: the true end says which commit followed."""
    workspace = repo.workspace()
    first, second = commit(repo, "First"), commit(repo, "Second")
    early, late = situated(repo, NOON, head=first[::-1]), situated(repo, NOON + seconds(50), head=first)
    overdue = situated(repo, NOON + seconds(10), head=first[::-1], duration_ms=1)
    append_all(workspace, PLAN, [early, late, overdue])
    assert repo.session(PLAN).commits[2].committed_at == NOON + seconds(50)
    spool_commit(repo, first, NOON + seconds(20))
    spool_commit(repo, second, NOON + seconds(60))
    drained(workspace)
    # The commit of the overdue turn says 12:00:50 and its beginning 12:00:09: in between lies the first event.
    assert borne(repo, first) == [early.turn_id, overdue.turn_id]
    assert borne(repo, second) == [late.turn_id]


def test_a_commit_that_is_reported_late_takes_its_turns_back(repo: Repo) -> None:
    """Both notes are right after the earlier commit's entry was drained last."""
    workspace = repo.workspace()
    one, two = situated(repo, NOON), situated(repo, NOON + seconds(20))
    append_all(workspace, PLAN, [one, two])
    first, second = commit(repo, "First"), commit(repo, "Second")
    spool_commit(repo, second, NOON + seconds(30))
    drained(workspace)
    assert borne(repo, second) == [one.turn_id, two.turn_id]
    spool_commit(repo, first, NOON + seconds(10), PLAN)
    drained(workspace)
    assert borne(repo, first) == [one.turn_id]
    assert borne(repo, second) == [two.turn_id]


def test_several_commits_of_one_second_are_in_their_true_order(repo: Repo) -> None:
    """The first of three is reported late, the others in the second after it: it takes its turn from the next of them,
    whichever of them has the lesser name."""
    workspace = repo.workspace()
    first = commit(repo)
    # The later one has the lesser oid.
    later, earlier = sorted(commit(repo) for _ in range(2))
    one, two, three, four = (situated(repo, NOON + seconds(at), head=first[::-1]) for at in (0, 1.3, 1.7, 50))
    append_all(workspace, PLAN, [one, two, three, four])
    for oid, at in ((earlier, 1.4), (later, 1.8), (commit(repo), 60)):
        spool_commit(repo, oid, NOON + seconds(at), PLAN)
    drained(workspace)
    assert [borne(repo, oid) for oid in (earlier, later)] == [[one.turn_id, two.turn_id], [three.turn_id]]
    spool_commit(repo, first, NOON + seconds(0.5), PLAN)
    drained(workspace)
    assert [borne(repo, oid) for oid in (first, earlier, later)] == [[one.turn_id], [two.turn_id], [three.turn_id]]


class HeldUp(Appender):
    """Another process has the ref whenever the event of ``commit`` comes."""

    commit = ""

    def append(self, session: SessionName, draft: Draft, *, patience: float = 1.0) -> Appended:
        if draft.facts.commits == (self.commit,):
            raise Locked("held by another process")
        return super().append(session, draft, patience=patience)


def test_a_commit_that_is_reported_late_while_another_waits_still(repo: Repo) -> None:
    """Of three commits the last has its event first; then the first, while the second's entry is locked out."""
    workspace = repo.workspace()
    turns = [situated(repo, NOON + seconds(20 * number)) for number in range(3)]
    append_all(workspace, PLAN, turns)
    oids = [commit(repo) for _ in turns]
    paths = [spool_commit(repo, oid, NOON + seconds(10 + 20 * number), PLAN) for number, oid in enumerate(oids)]
    for path in paths[:2]:
        path.rename(path.with_suffix(".later"))
    drained(workspace)
    assert borne(repo, oids[2]) == [one.turn_id for one in turns]
    made = [workspace.spool.read_commit(path.with_suffix(".later")) for path in paths[:2]]
    held_up = HeldUp(workspace.store, workspace.git)
    held_up.commit = oids[1]
    done = links.link(
        workspace.git, workspace.history, held_up, made, committer=workspace.committer, redact=str, patience=0.0
    )
    assert [path.name for path, _ in done.waiting] == [made[1].path.name]
    costnotes.write(workspace.git, workspace.history, done.touched, at=NOON)
    assert [borne(repo, oid) for oid in oids] == [[turns[0].turn_id], [], [one.turn_id for one in turns[1:]]]


def test_another_worktrees_commit_bears_nothing(repo: Repo, tmp_path: Path) -> None:
    """A turn goes to the commit of its own worktree, and the event says which that is."""
    workspace = repo.workspace()
    repo.git("worktree", "add", "-q", str(tmp_path / "side"))
    side = Repo(path=tmp_path / "side")
    here, there = situated(repo, NOON), situated(repo, NOON, worktree="side")
    append_all(workspace, PLAN, [here, there])
    assert Worktree(repo.path / ".git/worktrees/side").pending()[0] == [PLAN]
    first = commit(side)
    spool_commit(repo, first, NOON + seconds(10), worktree="side", branch="refs/heads/side")
    drained(workspace)
    assert borne(repo, first) == [there.turn_id]
    assert repo.session(PLAN).commits[-1].facts.worktree == "side"
    second = commit(repo)
    spool_commit(repo, second, NOON + seconds(20))
    drained(workspace)
    assert borne(repo, second) == [here.turn_id]


def test_a_worktree_that_is_gone_has_its_commit_linked_all_the_same(repo: Repo, tmp_path: Path) -> None:
    """The hook's entry names the sessions; nothing of the worktree is needed any more."""
    workspace = repo.workspace()
    repo.git("worktree", "add", "-q", str(tmp_path / "side"))
    one = situated(repo, NOON, worktree="side")
    append_all(workspace, PLAN, [one])
    oid = commit(Repo(path=tmp_path / "side"))
    repo.git("worktree", "remove", "--force", str(tmp_path / "side"))
    spool_commit(repo, oid, NOON + seconds(10), PLAN, worktree="side")
    assert drained(workspace) == 1
    assert borne(repo, oid) == [one.turn_id]


def test_a_branch_that_looks_like_a_secret_is_redacted_in_the_event(repo: Repo) -> None:
    workspace = repo.workspace()
    append_all(workspace, PLAN, [situated(repo, NOON)])
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    spool_commit(repo, commit(repo), NOON + seconds(10), branch=f"refs/heads/{secret}")
    drained(workspace)
    assert repo.session(PLAN).commits[-1].facts.branch == "[redacted:github-token]"


@pytest.mark.parametrize(
    "text",
    ["", "commit abc\nworktree .\n", f"commit {'a' * 40}\nworktree ../x\n", f"worktree .\ncommit {'A' * 40}\n"],
)
def test_an_entry_that_is_none_is_set_aside(repo: Repo, text: str) -> None:
    workspace = repo.workspace()
    path = spool_commit(repo, "a" * 40, NOON)
    path.write_text(text)
    done = workspace.drain()
    assert [failed.name for failed, _ in done.failed] == [path.name]
    assert list(workspace.spool.failed()) == [path.parent / "failed" / path.name]
    assert repo.ai("drain").err == "nothing waits in the spool\n"


@pytest.mark.parametrize("seconds_since_1970", [-1, 1 << 40])
def test_an_entry_of_an_impossible_date_is_set_aside(repo: Repo, seconds_since_1970: int) -> None:
    """Before 1970, or past the years that there are names for, where the file system keeps such dates."""
    workspace = repo.workspace()
    append_all(workspace, PLAN, [situated(repo, NOON)])
    path = spool_commit(repo, commit(repo), NOON)
    try:
        os.utime(path, (seconds_since_1970, seconds_since_1970))
    except OSError:
        pytest.skip("this file system has no such dates")
    kept = path.stat().st_mtime == seconds_since_1970
    done = workspace.drain()
    assert [failed.name for failed, _ in done.failed] == ([path.name] if kept else [])
    assert workspace.spool.waiting() == []
    repo.fsck()


def test_only_files_of_the_spool_are_read_whatever_they_are_called(repo: Repo, tmp_path: Path) -> None:
    """A pipe, a folder and a link are passed over; a name with a line break and colours is printed without them."""
    folder = repo.path / ".git/ai-sessions/spool"
    folder.mkdir(parents=True)
    (tmp_path / "elsewhere").write_text(f"commit {'a' * 40}\nworktree .\n")
    (folder / "link.commit").symlink_to(tmp_path / "elsewhere")
    (folder / "folder.commit").mkdir()
    os.mkfifo(folder / "pipe.commit")
    (folder / "a\nb\x1b[31m.commit").write_bytes(b"\xff" * 2_000_000)
    (folder / "-rf *.commit").touch()
    lines = repo.ai("drain", code=1).err.splitlines()
    assert [line.partition(" as ")[0] for line in lines] == [
        "warning: a spooled commit cannot be appended and was set aside"
    ] * 2
    assert "\x1b" not in "".join(lines)
    assert sorted(path.name for path in folder.iterdir()) == ["failed", "folder.commit", "link.commit", "pipe.commit"]
    assert (tmp_path / "elsewhere").exists()
    assert repo.ai("drain").err == "nothing waits in the spool\n"


def test_a_commit_that_was_pruned_has_its_event_and_no_note(repo: Repo) -> None:
    """git took the commit away before the drain came: the turn is borne by it, and nothing fails now or later."""
    workspace = repo.workspace()
    one = situated(repo, NOON)
    append_all(workspace, PLAN, [one])
    oid = commit(repo)
    repo.git("reset", "-q", "--hard", "HEAD^")
    repo.git("reflog", "expire", "--expire=now", "--all")
    repo.git("gc", "-q", "--prune=now")
    spool_commit(repo, oid, NOON + seconds(10), PLAN)
    assert drained(workspace) == 1
    assert (events(repo, PLAN), notes.noted(repo.git_handle)) == ([oid], [])
    assert costnotes.rebuild(workspace.git, workspace.history, at=NOON) == 0
    repo.fsck()


def test_a_session_that_cannot_be_read_keeps_no_other_from_its_event(repo: Repo) -> None:
    """A newer session is left alone; a locked one waits and is tried again."""
    workspace = repo.workspace()
    newer = repo.git("rev-parse", "HEAD")
    append_all(workspace, PLAN, [situated(repo, NOON)])
    append_all(workspace, WORK, [situated(repo, NOON)])
    repo.git("update-ref", "refs/ai-sessions/ask-no-session", newer)
    oid = commit(repo)
    path = spool_commit(repo, oid, NOON + seconds(10), "ask-no-session", "ask-not-there", PLAN, WORK)
    lock = repo.path / ".git" / f"{ref_of(PLAN)}.lock"
    lock.touch()
    done = workspace.drain()
    assert [(waiting, "locked" in why) for waiting, why in done.waiting] == [(path, True)]
    assert (events(repo, PLAN), events(repo, WORK)) == ([], [oid])
    assert Worktree(repo.path / ".git").pending()[0] == [PLAN]
    lock.unlink()
    assert drained(repo.workspace()) == 1
    assert (events(repo, PLAN), events(repo, WORK)) == ([oid], [oid])
    assert len(borne(repo, oid)) == 2


def test_a_turn_of_the_spool_is_kept_until_the_notes_it_asks_for_are_written(repo: Repo) -> None:
    """It names its commit, and something holds the notes: it is appended once, and its note is not forgotten."""
    append_all(repo.workspace(), PLAN, [turn(at=NOON)])
    oid = commit(repo)
    workspace = repo.workspace()
    held, barred = (repo.path / ".git" / f"{ref}.lock" for ref in (ref_of(PLAN), notes.REF))
    held.touch()
    one = situated(repo, NOON + seconds(1), commits=[oid])
    assert workspace.record(PLAN, one, patience=0.0).spooled is not None
    held.unlink()
    barred.parent.mkdir(exist_ok=True)
    barred.touch()
    done = repo.workspace().drain()
    assert (done.appended, len(done.waiting), note(repo, oid)) == (1, 1, "")
    barred.unlink()
    drained(repo.workspace())
    assert borne(repo, oid) == [one.turn_id]
    assert len(list(repo.session(PLAN).counted())) == 2


# Attribution


def test_an_agent_that_commits_inside_its_turn_and_then_a_person(repo: Repo) -> None:
    """Only the first of the two commits bears the turn."""
    workspace = repo.workspace()
    inside = commit(repo, "By the agent")
    one = situated(repo, NOON, commits=[inside])
    append_all(workspace, PLAN, [one])
    workspace.settle()
    assert borne(repo, inside) == [one.turn_id]
    second = commit(repo, "By a person")
    spool_commit(repo, second, NOON + seconds(10))
    drained(workspace)
    assert events(repo, PLAN) == [second]
    assert borne(repo, inside) == [one.turn_id]
    assert note(repo, second) == ""


def test_of_several_commits_the_last_bears_the_turn_and_the_others_name_it(repo: Repo) -> None:
    workspace = repo.workspace()
    first, second = commit(repo, "First"), commit(repo, "Second")
    one = situated(repo, NOON, commits=[first, second])
    append_all(workspace, PLAN, [one])
    workspace.settle()
    assert borne(repo, second) == [one.turn_id]
    assert note(repo, first).splitlines() == [
        f"plan-auth turn 1 made this commit among others; {second[:12]} bears its cost",
        "",
        f"AI-Shared-Turn: {one.turn_id} session=plan-auth borne-by={second}",
    ]


def test_a_note_reads_well_and_git_reads_its_trailers(repo: Repo) -> None:
    """Text for people first; then trailers, by git's own parser, with exact money."""
    workspace = repo.workspace()
    turns = [situated(repo, NOON + seconds(n), cost_usd=Decimal("0.1")) for n in range(3)]
    append_all(workspace, PLAN, turns)
    unknown = replace(situated(repo, NOON + seconds(4)), cost_usd=None, model="a-model-of-no-known-price")
    append_all(workspace, WORK, [unknown])
    oid = commit(repo)
    spool_commit(repo, oid, NOON + seconds(10))
    drained(workspace)
    text = note(repo, oid)
    assert text.splitlines()[:4] == [
        "4 turns, 60 tokens, $0.30+",
        "implement-auth turn 1: 15 tokens, price not known",
        "plan-auth turns 1-3: 45 tokens, $0.30",
        "",
    ]
    parsed = repo.git("interpret-trailers", "--parse", stdin=f"Note\n\n{text}\n".encode()).splitlines()
    assert parsed == [
        "AI-Cost-USD: 0.3",
        "AI-Unpriced-Turns: 1",
        "AI-Session: session=implement-auth turns=1 tokens=15 unpriced=1",
        f"AI-Turn: {unknown.turn_id} tokens=15",
        "AI-Session: session=plan-auth turns=3 tokens=45 cost=0.3",
        *(f"AI-Turn: {one.turn_id} tokens=15 cost=0.1" for one in turns),
    ]
    assert "    4 turns, 60 tokens, $0.30+" in repo.git("log", "-1", "--notes=ai-sessions")


def test_what_a_drain_had_begun_when_it_was_killed_is_finished_by_the_next(repo: Repo) -> None:
    """The event is there and the note is not: one event, and the note is right."""
    workspace = repo.workspace()
    one = situated(repo, NOON)
    append_all(workspace, PLAN, [one])
    oid = commit(repo)
    # The turn was appended while the commit was made: the hook had not heard of its session.
    path = spool_commit(repo, oid, NOON + seconds(10))
    made = [workspace.spool.read_commit(path)]
    links.link(
        workspace.git,
        workspace.history,
        workspace.appender,
        made,
        committer=workspace.committer,
        redact=str,
        patience=1.0,
    )
    assert events(repo, PLAN) == [oid]
    assert note(repo, oid) == ""
    assert drained(workspace) == 0
    assert events(repo, PLAN) == [oid]
    assert borne(repo, oid) == [one.turn_id]


def test_a_turn_that_waited_in_the_spool_is_borne_by_the_commit_after_it(repo: Repo) -> None:
    """A locked session: the turn is spooled, the marker is set, and one drain appends the turn, then the event."""
    append_all(repo.workspace(), PLAN, [turn(at=NOON)])
    lock = repo.path / ".git" / f"{ref_of(PLAN)}.lock"
    lock.touch()
    workspace = repo.workspace()
    one = situated(repo, NOON + seconds(1))
    assert workspace.record(PLAN, one, patience=0.0).spooled is not None
    assert Worktree(repo.path / ".git").pending()[0] == [PLAN]
    lock.unlink()
    oid = commit(repo)
    spool_commit(repo, oid, NOON + seconds(10))
    assert drained(workspace) == 1
    assert borne(repo, oid) == [one.turn_id]


def test_a_fork_that_no_note_names_is_looked_at_as_well(repo: Repo) -> None:
    """The turn from before the fork was borne by the original's commit: the fork's first commit bears its own alone."""
    workspace = repo.workspace()
    one = situated(repo, NOON)
    append_all(workspace, PLAN, [one])
    repo.git("update-ref", ref_of(WORK), ref_of(PLAN))
    first = commit(repo, "First")
    spool_commit(repo, first, NOON + seconds(10), PLAN)
    assert drained(workspace) == 1
    two = situated(repo, NOON + seconds(20))
    append_all(workspace, WORK, [two])
    second = commit(repo, "Second")
    spool_commit(repo, second, NOON + seconds(30), WORK)
    assert drained(repo.workspace()) == 1
    assert (borne(repo, first), borne(repo, second)) == ([one.turn_id], [two.turn_id])
    assert costnotes.rebuild(workspace.git, workspace.history, at=NOON) == 0


# What record knows of where it is


def test_record_knows_where_a_turn_ended_that_has_just_ended(repo: Repo) -> None:
    """Without ``ended_at`` HEAD, branch and worktree are recorded; a turn of another day has none of them."""
    repo.record("plan-auth", {"prompt": "Now"}, {"prompt": "Then", "ended_at": "2026-03-01T12:00:00Z"})
    now, then = (item.facts for item in repo.session("plan-auth").commits)
    assert (now.head, now.branch, now.worktree) == (repo.git("rev-parse", "HEAD"), "main", ".")
    assert (then.head, then.branch, then.worktree) == (None, None, None)


def test_record_writes_the_notes_of_the_commits_that_a_turn_names(repo: Repo) -> None:
    """Those of commits that are here; others are named in the session alone."""
    oid = commit(repo)
    repo.record("plan-auth", {"prompt": "Now", "commits": ["1" * 40, oid], "cost_usd": 0.5})
    assert "AI-Cost-USD: 0.5" in note(repo, oid)
    assert notes.noted(repo.git_handle) == [oid]
    assert list((repo.path / ".git").glob("fast_import_crash*")) == []


def test_a_commit_that_is_shown_in_full_was_not_asked_for(repo: Repo) -> None:
    """``show --full`` says of an event which commit it is of, and nothing after that."""
    repo.ai("init")
    repo.record("plan-auth", {"prompt": "Why?", "response": "So."})
    oid = commit(repo)
    repo.ai("drain", "--wait")
    repo.record("plan-auth", {"prompt": "And now?", "response": "Go on."})
    lines = repo.ai("show", "plan-auth", "--full").out.splitlines()
    assert lines.count("> asked") == 2
    place = lines.index(f"   commit {oid}")
    assert lines[place + 1] == ""
    assert lines[place + 2].startswith("── turn 3 ")
