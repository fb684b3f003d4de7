"""Appending, what stands in its way, and reading back: order, merges, corrections, sums."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gitsess import commit
from gitsess.append import Appender
from gitsess.commit import Commit, Facts, Metrics, Person
from gitsess.errors import FormatError, Locked, NewerFormat, NotASession
from gitsess.history import Session, reading_order
from gitsess.model import COMMIT_LIMIT, Oid, SessionName, TokenUsage, TurnId
from gitsess.names import ref_of, session_name
from gitsess.report import row_of
from gitsess.store import Store
from gitsess.turns import draft_of
from gitsess.workspace import Workspace
from tests.conftest import NOON, Repo, append_all, hours, turn
from tests.damage import loose

NAME = session_name("plan-auth")
REF = ref_of(NAME)
OTHER = session_name("review-auth")
ANN = Person(name="Ann", email="ann@example.com")


def an_id() -> TurnId:
    return TurnId(uuid4().hex)


def crafted(
    repo: Repo,
    facts: Facts,
    *parents: str,
    at: datetime = NOON,
    tree: str | None = None,
    message: str | None = None,
    ref: str | None = REF,
) -> Oid:
    """A commit of these facts, written past every check, with ``ref`` moved to it."""
    data = commit.encode(
        tree=Oid(tree) if tree else repo.git_handle.empty_tree(),
        parents=[Oid(parent) for parent in parents],
        author=ANN,
        authored_at=at,
        committer=ANN,
        committed_at=at,
        message=message or commit.message_of("A crafted turn", facts),
    )
    return written(repo, data, ref=ref)


def written(repo: Repo, data: bytes, *, ref: str | None = REF) -> Oid:
    """A commit object of exactly these bytes, which git need not like."""
    oid = repo.git("hash-object", "-t", "commit", "-w", "--literally", "--stdin", stdin=data)
    if ref is not None:
        repo.git("update-ref", ref, oid)
    return Oid(oid)


def a_turn(seq: int = 2, *, turn_id: TurnId | None = None, tokens: int = 100, kind: str = "turn", **more: str) -> Facts:
    """Facts of a turn of so many input tokens at a dollar for a hundred."""
    usage = TokenUsage(input_tokens=tokens)
    metrics = Metrics(model="m", usage=usage, requests=1, cost_usd=Decimal(tokens) / 100, cost_basis="reported")
    compacts, corrects = (None if more.get(key) is None else TurnId(more[key]) for key in ("compacts", "corrects"))
    return Facts(
        kind=kind,
        turn_id=turn_id or an_id(),
        seq=seq,
        status="ok" if kind == "turn" else None,
        metrics=metrics,
        compacts=compacts,
        corrects=corrects,
    )


def merged(repo: Repo, *tips: str, ref: str = REF) -> Oid:
    """The merge of these tips, as any clone would write it."""
    handle = repo.git_handle
    decoded = [commit.decode(Oid(tip), handle.output("cat-file", "commit", tip)) for tip in tips]
    data = commit.encode_merge(
        tips=[(found.oid, found.committed_at, found.facts) for found in decoded], empty_tree=handle.empty_tree()
    )
    return written(repo, data, ref=ref)


def state(repo: Repo) -> tuple[str, str, list[str]]:
    """Every ref, every object, and every file that gitsess keeps beside its lock."""
    kept = sorted(str(path) for path in (repo.path / ".git/ai-sessions").rglob("*") if path.is_file())
    symbolic = repo.git("for-each-ref", "--format=%(refname) %(objectname) %(symref)")
    return (
        symbolic,
        repo.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)"),
        [path for path in kept if not path.endswith("lock")],
    )


def line(prompt: str = "Why?", **more: str) -> str:
    return json.dumps({"prompt": prompt, "response": "Because.", **more}) + "\n"


# Appending


def test_a_session_is_a_chain_of_commits(repo: Repo) -> None:
    """The first turn has the session's id and no parent; each other one the number after its parent's."""
    oids = append_all(repo.workspace(), NAME, [turn("One"), turn("Two"), turn("Three")])
    session = repo.session(NAME)

    assert [item.oid for item in session.commits] == oids
    assert [item.parents for item in session.commits] == [(), (oids[0],), (oids[1],)]
    assert [item.facts.seq for item in session.commits] == [1, 2, 3]
    assert [item.facts.session_id is None for item in session.commits] == [False, True, True]
    assert len(session.session_id or "") == 32
    repo.fsck()


def test_two_sessions_have_two_ids(repo: Repo) -> None:
    """A session's id is random: sessions of one name in two clones are told apart by it."""
    for name in (NAME, OTHER):
        append_all(repo.workspace(), name, [turn()])
    assert repo.session(NAME).session_id != repo.session(OTHER).session_id


def test_an_epoch_is_carried_on(repo: Repo) -> None:
    """What a redaction raised stays raised for the turns after it."""
    crafted(repo, Facts(kind="turn", turn_id=an_id(), seq=7, epoch=3, session_id=an_id()))
    append_all(repo.workspace(), NAME, [turn()])
    facts = repo.session(NAME).commits[-1].facts

    assert (facts.seq, facts.epoch) == (8, 3)


@given(offsets=st.lists(st.integers(-1000, 1000), min_size=2, max_size=5))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_dates_never_go_back_along_a_session(repo: Repo, offsets: list[int]) -> None:
    """Turns may be reported in any order; ``git log --since`` finds every one, and the true end is kept in the tree."""
    name = session_name(f"plan-x{uuid4().hex}")
    ends = [NOON + timedelta(minutes=offset) for offset in offsets]
    workspace = repo.workspace()
    append_all(workspace, name, [turn(at=end) for end in ends])
    commits = workspace.history.one(name).commits

    assert [item.committed_at for item in commits] == [max(ends[: i + 1]) for i in range(len(ends))]
    assert [item.authored_at for item in commits] == ends
    kept = [datetime.fromisoformat(content.ended_at or "") for _, content in workspace.history.contents(commits)]
    assert kept == ends


def test_an_append_is_seen_by_git_log_since(repo: Repo) -> None:
    """A turn that ended before its parent does not hide the turns behind it."""
    append_all(repo.workspace(), NAME, [turn(at=NOON), turn(at=NOON - hours(48)), turn(at=NOON + hours(1))])
    since = (NOON - hours(1)).isoformat()

    assert len(repo.git("log", f"--since={since}", "--format=%h", REF).split()) == 3


# Once is once


def test_a_turn_id_is_recorded_once(repo: Repo) -> None:
    """Again in the same run, in another run, or with other words: the same commit is printed and none is made."""
    turn_id = an_id()
    twice = repo.ai("record", "plan", "auth", stdin=line(turn_id=turn_id) * 2).out.split()
    append_all(repo.workspace(), NAME, [turn("Another")])
    again = repo.ai("record", "plan", "auth", "--json", stdin=line("In other words", turn_id=turn_id)).json

    assert len(twice) == 2
    assert {*twice, again["oid"]} == {twice[0]}
    assert again["existed"] is True
    assert repo.git("rev-list", "--count", REF) == "2"


def test_a_turn_id_is_looked_for_behind_merges(repo: Repo) -> None:
    """The whole of the session is searched, both sides of every merge."""
    known = an_id()
    root = crafted(repo, a_turn(1))
    left = crafted(repo, a_turn(2), root)
    right = crafted(repo, a_turn(2, turn_id=known), root)
    merged(repo, left, right)
    append_all(repo.workspace(), NAME, [turn()])

    done = repo.workspace().record(NAME, turn(turn_id=known))
    assert (done.oid, done.existed) == (right, True)


def test_the_same_id_in_another_session_is_another_turn(repo: Repo) -> None:
    """An id is the session's own."""
    same = turn(turn_id=an_id())
    first, second = (repo.workspace().record(name, same) for name in (NAME, OTHER))

    assert not second.existed
    assert first.oid != second.oid


def test_an_id_is_forgotten_with_the_history_it_was_in(repo: Repo) -> None:
    """Where the ref was set back meanwhile, a turn that is no longer there is recorded again."""
    workspace = repo.workspace()
    items = [turn(str(number), turn_id=an_id()) for number in range(3)]
    oids = append_all(workspace, NAME, items)
    repo.git("update-ref", REF, oids[0])

    again = [workspace.record(NAME, item) for item in items]
    assert [done.existed for done in again] == [True, False, False]
    assert again[0].oid == oids[0]
    repo.git("update-ref", "-d", REF)
    assert not workspace.record(NAME, items[0]).existed
    assert repo.git("rev-list", "--count", REF) == "1"


def test_an_id_that_came_from_another_process_is_found(repo: Repo) -> None:
    """What a process learnt of a session grows with the ref."""
    one, two = repo.workspace(), repo.workspace()
    items = [turn(str(number), turn_id=an_id()) for number in range(4)]
    append_all(one, NAME, items[:2])
    append_all(two, NAME, items[1:3])
    done = [one.record(NAME, item) for item in items]

    assert [item.existed for item in done] == [True, True, True, False]
    assert repo.git("rev-list", "--count", REF) == "4"


class Meddled:
    """A store where something happens at the moment a ref is to be moved, once."""

    def __init__(self, store: Store, before: Callable[[], None], *, deny: bool = False) -> None:
        self._store, self._before, self._deny = store, before, deny
        self.name = store.name
        self.tip, self.read_commit, self.head, self.close = store.tip, store.read_commit, store.head, store.close
        self.write_tree, self.write_commit = store.write_tree, store.write_commit

    def swap(self, ref: str, new: Oid, old: Oid | None) -> bool:
        before, self._before = self._before, lambda: None
        before()
        swapped = self._store.swap(ref, new, old)
        denied, self._deny = self._deny, False
        return swapped and not denied


def meddled(workspace: Workspace, before: Callable[[], None] = lambda: None, *, deny: bool = False) -> Workspace:
    """The workspace, with something happening in the middle of its next append."""
    workspace.__dict__["appender"] = Appender(Meddled(workspace.store, before, deny=deny), workspace.git)
    return workspace


@pytest.mark.parametrize("begun", [True, False], ids=["a session", "no session yet"])
def test_a_turn_id_is_checked_again_after_a_lost_race(repo: Repo, begun: bool) -> None:
    """Another process records the very same turn between this one's look and its swap."""
    if begun:
        append_all(repo.workspace(), NAME, [turn("Before")])
    same = turn("The same", turn_id=an_id(), conversation="c")
    same = same if same.checked else pytest.fail("an id that was given is to be checked")
    theirs: list[str] = []
    workspace = meddled(repo.workspace(), lambda: theirs.extend(append_all(repo.workspace(), NAME, [same])))

    done = workspace.record(NAME, same)
    assert ([done.oid], done.existed) == (theirs, True)
    assert repo.git("rev-list", "--count", REF) == str(1 + begun)


def test_after_a_lost_race_the_turn_follows_the_winner(repo: Repo) -> None:
    """Both turns are there, in the order in which they came to the ref."""
    first = append_all(repo.workspace(), NAME, [turn("Before")])
    theirs: list[str] = []
    workspace = meddled(repo.workspace(), lambda: theirs.extend(append_all(repo.workspace(), NAME, [turn("Winner")])))
    (mine,) = append_all(workspace, NAME, [turn("Loser")])

    assert [item.oid for item in repo.session(NAME).commits] == [*first, *theirs, mine]
    assert [item.facts.seq for item in repo.session(NAME).commits] == [1, 2, 3]


@pytest.mark.parametrize("begun", [True, False], ids=["a session", "no session yet"])
def test_a_swap_that_worked_and_said_otherwise_is_not_repeated(repo: Repo, begun: bool) -> None:
    """A new turn, whose id nobody can have used, is all the same looked for after a swap that failed."""
    if begun:
        append_all(repo.workspace(), NAME, [turn("Before")])
    (oid,) = append_all(meddled(repo.workspace(), deny=True), NAME, [turn("Once")])

    assert repo.git("rev-parse", REF) == oid
    assert repo.git("rev-list", "--count", REF) == str(1 + begun)


def test_a_lock_is_waited_for_and_then_reported(repo: Repo) -> None:
    """With patience the append outlasts a short lock; without it the first attempt is the last."""
    (oid,) = append_all(repo.workspace(), NAME, [turn()])
    lock = repo.path / f".git/{REF}.lock"
    workspace = repo.workspace()
    draft = draft_of(turn("Held"), committer=ANN, price=workspace.price)
    lock.touch()
    with pytest.raises(Locked, match="locked by another process"):
        workspace.appender.append(NAME, draft, patience=0)
    assert repo.git("rev-parse", REF) == oid

    calls: list[None] = []

    class Released(Meddled):
        def swap(self, ref: str, new: Oid, old: Oid | None) -> bool:
            calls.append(None)
            if len(calls) == 3:
                lock.unlink()
            return super().swap(ref, new, old)

    done = Appender(Released(workspace.store, lambda: None), workspace.git).append(NAME, draft)
    assert repo.git("rev-parse", REF) == done.oid
    assert len(calls) == 3


# What is no session


def _blob(repo: Repo) -> str:
    return repo.git("hash-object", "-w", "--stdin", stdin=b"x\n\nAI-Format: 1\nAI-Kind: turn\n")


def _tag(repo: Repo) -> str:
    repo.git("tag", "-a", "-m", "A tag", "v1", ref_of(OTHER))
    return repo.git("rev-parse", "refs/tags/v1")


FOREIGN: Mapping[str, Callable[[Repo], str]] = {
    "code history": lambda repo: repo.git("rev-parse", "main"),
    "a tag object": _tag,
    "a blob": _blob,
    "a tree": lambda repo: repo.git("rev-parse", f"{ref_of(OTHER)}^{{tree}}"),
    "a commit like ours": lambda repo: crafted(repo, a_turn(), message="x\n\nAI-Format: 1\nnot a trailer\n", ref=None),
    "a commit of nothing": lambda repo: written(repo, b"x\nAI-Format: 1", ref=None),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_ref_at_something_foreign_is_refused_and_named(repo: Repo, what: str) -> None:
    """Recording there fails in one line and changes nothing; a listing names it and shows the others."""
    append_all(repo.workspace(), OTHER, [turn()])
    # git itself would not let a ref point at all of these.
    (repo.path / f".git/{REF}").write_text(FOREIGN[what](repo) + "\n")
    before = state(repo)

    for text in (line(), line(turn_id=an_id()), line() * 3):
        ran = repo.ai("record", "plan", "auth", stdin=text, code=1)
        assert ran.err.startswith("error: ")
        assert ran.err.count("\n") == 1
        assert "nothing was changed" in ran.err
        assert ran.out == ""
    listed = repo.ai("list", "--json")
    assert [row["session"] for row in listed.json if row["session"] != NAME or row["turns"]] == [OTHER]
    assert what in ("a commit like ours", "a commit of nothing") or len(listed.json) == 1
    assert listed.err.startswith("warning: ")
    assert listed.err.count("\n") == 1
    assert NAME in listed.err
    shown = repo.ai("show", NAME, code=None)
    assert NAME in shown.err
    assert state(repo) == before


@pytest.mark.parametrize("target", ["refs/heads/main", ref_of(OTHER), "refs/heads/nothing-there"])
def test_a_symbolic_session_is_refused(repo: Repo, target: str) -> None:
    """Nothing is written through a symbolic ref, wherever it leads; a listing shows the others."""
    append_all(repo.workspace(), OTHER, [turn()])
    repo.git("symbolic-ref", REF, target)
    before = state(repo)

    ran = repo.ai("record", "plan", "auth", stdin=line() * 2, code=1)
    assert ran.err == f"error: {REF} is a symbolic ref, which no session is; nothing was changed\n"
    listed = repo.ai("list", "--json")
    assert [row["session"] for row in listed.json] == [OTHER]
    if target != "refs/heads/nothing-there":  # git lists no ref that leads nowhere
        assert listed.err == f"warning: {REF} is a symbolic ref, which no session is; passed over\n"
    assert state(repo) == before
    assert repo.git("symbolic-ref", REF) == target


@pytest.mark.parametrize("name", ["Upper", "a/b", "con", "plan-größe", "-dash", "x" * 91, "nul.txt"])
def test_a_badly_named_ref_is_passed_over(repo: Repo, name: str) -> None:
    """git allows the name and the rule does not: it is named, left alone, and the others are listed."""
    (oid,) = append_all(repo.workspace(), OTHER, [turn()])
    made = subprocess.run(
        ["git", "update-ref", f"refs/ai-sessions/{name}", oid], cwd=repo.path, capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("git itself refuses the name")
    before = state(repo)
    listed = repo.ai("list", "--json")

    assert [row["session"] for row in listed.json] == [OTHER]
    assert listed.err.count("\n") == 1
    assert name in listed.err
    assert "no session name" in listed.err
    assert repo.ai("record", "review", "auth", stdin=line()).err == ""
    assert state(repo)[0].split()[:1] == before[0].split()[:1]
    assert repo.git("rev-parse", f"refs/ai-sessions/{name}") == oid


@pytest.mark.parametrize("feature", ["a/b", "..", "Upper", "x.lock", "x" * 300, "", "größe"])
def test_a_turn_for_a_bad_name_is_refused(repo: Repo, feature: str) -> None:
    """One line, the exit code of a wrong command line, and no ref, object or file of it anywhere."""
    append_all(repo.workspace(), OTHER, [turn()])
    before = state(repo)
    ran = repo.ai("record", "plan", feature, stdin=line(), code=2)

    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    assert state(repo) == before


@pytest.mark.parametrize("content", [b"", b"0" * 40 + b"\n", b"no oid\n"], ids=["empty", "zeros", "garbage"])
def test_a_ref_that_a_crash_left_empty_is_named(repo: Repo, content: bytes) -> None:
    """git passes over a broken ref in silence; a listing does not, and a turn for it waits in the spool."""
    append_all(repo.workspace(), OTHER, [turn()])
    broken = repo.path / f".git/{REF}"
    broken.write_bytes(content)
    listed = repo.ai("list", "--json")

    assert [row["session"] for row in listed.json] == [OTHER]
    assert listed.err == f"warning: '{REF}' is a broken ref; passed over\n"
    kept = repo.ai("record", "plan", "auth", stdin=line(turn_id=an_id()))
    assert kept.out.startswith("spooled ")
    assert broken.read_bytes() == content
    broken.unlink()
    assert "1 turn from the spool appended" in repo.ai("list").err
    assert repo.git("rev-list", "--count", REF) == "1"


def test_a_refused_turn_leaves_no_object(repo: Repo) -> None:
    """The parent is looked at before anything is written."""
    repo.git("update-ref", REF, "main")
    before = repo.git("count-objects")

    with pytest.raises(NotASession):
        repo.workspace().record(NAME, turn("Something new"))
    assert repo.git("count-objects") == before


# What is broken, newer or unknown


BROKEN: Mapping[str, Callable[[Repo, str], Oid]] = {
    "no trailers": lambda repo, parent: crafted(repo, a_turn(), parent, message="Only words\n"),
    "twice the same": lambda repo, parent: crafted(
        repo, a_turn(), parent, message=commit.message_of("x", a_turn()) + "AI-Kind: turn\n"
    ),
    "no number": lambda repo, parent: crafted(
        repo, a_turn(), parent, message=commit.message_of("x", a_turn()).replace("AI-Seq: 2", "AI-Seq: two")
    ),
    "no id": lambda repo, parent: crafted(repo, Facts(kind="turn", seq=2), parent),
    "a date before all time": lambda repo, parent: written(
        repo,
        b"\n".join(
            [
                f"tree {repo.git_handle.empty_tree()}\nparent {parent}".encode(),
                b"author a <b> -99999999999 +0000\ncommitter a <b> -99999999999 +0000",
                b"",
                commit.message_of("x", a_turn()).encode(),
            ]
        ),
    ),
    "not UTF-8": lambda repo, parent: written(
        repo,
        f"tree {repo.git_handle.empty_tree()}\nparent {parent}\n".encode()
        + b"author a <b> 1 +0000\ncommitter a <b> 1 +0000\n\n\xff\n\nAI-Format: 1\nAI-\xff: 1\n",
    ),
    "too large": lambda repo, parent: crafted(
        repo, a_turn(), parent, message="x" * COMMIT_LIMIT + "\n\n" + commit.message_of("x", a_turn())
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_commit_is_passed_over_and_named(repo: Repo, what: str) -> None:
    """The turns before and after it are listed, shown and counted, and the session takes more."""
    before = append_all(repo.workspace(), NAME, [turn("One"), turn("Two")])
    bad = BROKEN[what](repo, before[-1])
    after = crafted(repo, a_turn(4), bad)
    append_all(repo.workspace(), OTHER, [turn()])

    listed = repo.ai("list", "--json", "--sort", "name")
    assert [(row["session"], row["turns"]) for row in listed.json] == [(NAME, 3), (OTHER, 1)]
    assert listed.err.count("\n") == 1
    assert listed.err.startswith(f"warning: {NAME}: commit {bad[:12]} was passed over: ")
    shown = repo.ai("show", NAME, "--json")
    assert [item["oid"] for item in shown.json["turn_list"]] == [*before, after]
    assert bad[:12] in shown.err
    assert repo.ai("record", "plan", "auth", stdin=line()).err == ""
    assert repo.session(NAME).commits[-1].facts.seq == 5


def test_a_parent_may_be_any_text(repo: Repo) -> None:
    """A commit that claims hundreds of long parents hides what is behind it, stops no listing and hangs none."""
    before = append_all(repo.workspace(), NAME, [turn()])
    append_all(repo.workspace(), OTHER, [turn()])
    claimed = "".join(f"parent {n:03}{'x' * 5000}\n" for n in range(200)) + f"parent {before[0]}\n"
    head = f"tree {repo.git_handle.empty_tree()}\n{claimed}author a <b> 1 +0000\ncommitter a <b> 1 +0000\n\n"
    oid = written(repo, head.encode() + commit.message_of("x", a_turn()).encode(), ref=None)
    (repo.path / f".git/{REF}").write_text(f"{oid}\n")

    listed = repo.ai("list", "--json", "--sort", "name")
    assert [(row["session"], row["turns"]) for row in listed.json] == [(NAME, 2), (OTHER, 1)]
    assert listed.err == f"warning: {NAME}: a part of its history is missing; 'git fsck' tells more\n"


def test_a_broken_root_leaves_the_rest(repo: Repo) -> None:
    """Without its root a session has no id, and is listed all the same."""
    bad = crafted(repo, a_turn(), message="Only words\n")
    crafted(repo, a_turn(2), bad)
    session = repo.session(NAME)

    assert session.session_id is None
    assert len(session.commits) == 1
    assert repo.ai("list", "--json").json[0]["turns"] == 1


def test_a_newer_format_needs_an_upgrade(repo: Repo) -> None:
    """The session is listed as such; its contents and appends are refused, and nothing changes."""
    append_all(repo.workspace(), OTHER, [turn()])
    first = crafted(repo, a_turn(1))
    newer = commit.message_of("x", a_turn(2)).replace("AI-Format: 1", "AI-Format: 2")
    crafted(repo, a_turn(2), first, message=newer)
    before = state(repo)

    listed = repo.ai("list", "--json", "--sort", "name")
    assert [(row["session"], row["status"], row["turns"]) for row in listed.json] == [
        (NAME, "newer", 0),
        (OTHER, "open", 1),
    ]
    assert listed.err == f"warning: {NAME} was written by a newer gitsess and needs an upgrade to be read\n"
    assert "upgrade" in repo.ai("list").out
    shown = repo.ai("show", NAME, "--full", code=1)
    assert shown.out == ""
    assert "upgrade" in shown.err
    recorded = repo.ai("record", "plan", "auth", stdin=line() * 2, code=1)
    assert recorded.err == f"error: {NAME} was written by a newer gitsess: upgrade to append to it\n"
    assert state(repo) == before
    with pytest.raises(NewerFormat):
        repo.session(NAME)


def test_an_unknown_kind_is_listed_and_not_counted(repo: Repo) -> None:
    """What a later minor version adds is seen, and changes no sum."""
    (first,) = append_all(repo.workspace(), NAME, [turn()])
    facts = a_turn(2, tokens=10**6)
    novel = crafted(
        repo, facts, first, message=commit.message_of("x", facts).replace("AI-Kind: turn", "AI-Kind: novelty")
    )
    (row,) = repo.ai("list", "--json").json
    shown = repo.ai("show", NAME, "--json")

    assert (row["turns"], row["input_tokens"]) == (1, 10)
    assert [(item["oid"], item["kind"]) for item in shown.json["turn_list"]] == [(first, "turn"), (novel, "novelty")]
    assert shown.err == ""
    assert "(novelty)" in repo.ai("show", NAME).out
    assert append_all(repo.workspace(), NAME, [turn()])


@pytest.mark.parametrize("packed", [False, True], ids=["loose ref", "packed ref"])
def test_a_missing_tip_does_not_hide_the_other_sessions(repo: Repo, packed: bool) -> None:
    """git's own listing of refs stops at a missing object; ours names it, and keeps a turn for it in the spool."""
    (oid,) = append_all(repo.workspace(), NAME, [turn()])
    append_all(repo.workspace(), OTHER, [turn()])
    if packed:
        repo.git("pack-refs", "--all")
    away = loose(repo, oid)
    data = away.read_bytes()
    away.unlink()

    listed = repo.ai("list", "--json")
    assert [row["session"] for row in listed.json] == [OTHER]
    assert listed.err == f"warning: {NAME}: its tip {oid[:12]} cannot be read; passed over\n"
    assert repo.ai("stats", "--json").json["turns"] == 1
    assert oid[:12] in repo.ai("show", NAME, code=1).err
    kept = repo.ai("record", "plan", "auth", stdin=line())
    assert kept.out.startswith("spooled ")
    assert "git fsck" in kept.err
    assert repo.git("rev-parse", REF) == oid
    away.write_bytes(data)
    repo.ai("drain")
    assert repo.git("rev-list", "--count", REF) == "2"


def test_a_missing_commit_in_the_middle_hides_only_what_is_behind_it(repo: Repo) -> None:
    """The later turns of that session and all of the others are listed, with a line that names the session."""
    oids = append_all(repo.workspace(), NAME, [turn(str(number)) for number in range(4)])
    append_all(repo.workspace(), OTHER, [turn(str(number)) for number in range(3)])
    append_all(repo.workspace(), session_name("a-first"), [turn()])
    loose(repo, oids[1]).unlink()
    listed = repo.ai("list", "--json", "--sort", "name")

    found = {row["session"]: row["turns"] for row in listed.json}
    assert found == {"a-first": 1, NAME: 2, OTHER: 3}
    assert listed.err == f"warning: {NAME}: a part of its history is missing; 'git fsck' tells more\n"
    assert repo.ai("record", "plan", "auth", stdin=line()).err == ""


def test_a_missing_text_is_named_where_it_is_shown(repo: Repo) -> None:
    """A listing needs no tree; showing the turn says which object is gone."""
    (oid,) = append_all(repo.workspace(), NAME, [turn("A prompt of its own")])
    blob = repo.git("rev-parse", f"{oid}:prompt.md")
    loose(repo, blob).unlink()

    assert repo.ai("list").err == ""
    shown = repo.ai("show", NAME, "--full", code=1)
    assert shown.err == f"error: turn {oid[:12]}: blob {blob} is missing; try 'git fsck'\n"


# Reading order


def test_reading_order_of_a_merge_is_one_side_and_then_the_other() -> None:
    """The whole side of the first parent since the fork, then the whole side of the second, then the merge."""
    parents = graph({"root": "", "a": "root", "b": "a", "x": "root", "y": "x", "m": "b y", "z": "m"})

    assert reading_order(Oid("z"), parents) == ["root", "a", "b", "x", "y", "m", "z"]
    assert reading_order(Oid("z"), {**parents, Oid("m"): (Oid("y"), Oid("b"))}) == [
        *("root", "x", "y", "a", "b", "m", "z")
    ]


def graph(text: Mapping[str, str]) -> dict[Oid, tuple[Oid, ...]]:
    return {Oid(oid): tuple(Oid(parent) for parent in parents.split()) for oid, parents in text.items()}


@st.composite
def graphs(draw: st.DrawFn) -> dict[Oid, tuple[Oid, ...]]:
    """Histories of at most fourteen commits, each with up to three of the earlier ones as parents."""
    count = draw(st.integers(1, 14))
    found: dict[Oid, tuple[Oid, ...]] = {}
    for number in range(count):
        earlier = st.sampled_from(sorted(found)) if found else st.nothing()
        found[Oid(f"{number:02}")] = tuple(draw(st.lists(earlier, max_size=3 if found else 0, unique=True)))
    return found


def as_documented(tip: Oid, parents: Mapping[Oid, Sequence[Oid]]) -> list[Oid]:
    """The order in the words of the document: each parent's whole history in turn, without repeats, then the tip."""
    found: dict[Oid, None] = {}
    for parent in parents[tip]:
        found.update(dict.fromkeys(as_documented(parent, parents)))
    return [*found, tip]


def reachable(tip: Oid, parents: Mapping[Oid, Sequence[Oid]]) -> set[Oid]:
    return {tip}.union(*(reachable(parent, parents) for parent in parents[tip]))


@given(parents=graphs(), data=st.data())
@settings(max_examples=300, deadline=None)
def test_reading_order_of_any_history(parents: dict[Oid, tuple[Oid, ...]], data: st.DataObject) -> None:
    """Everything reachable once, parents first, the first parent's side before what only the others have."""
    tip = data.draw(st.sampled_from(sorted(parents)))
    order = reading_order(tip, parents)
    place = {oid: number for number, oid in enumerate(order)}

    assert set(order) == reachable(tip, parents)
    assert len(place) == len(order)
    assert all(place[parent] < place[oid] for oid in order for parent in parents[oid])
    first, *others = parents[tip] or (tip,)
    for other in others:
        alone = reachable(other, parents) - reachable(first, parents)
        assert all(place[oid] > place[first] for oid in alone)
    assert order == as_documented(tip, parents)


def test_reading_order_of_a_long_history() -> None:
    """A session of any length is read: nothing recurses."""
    parents = {Oid(str(n)): ((Oid(str(n - 1)),) if n else ()) for n in range(50_000)}

    assert reading_order(Oid("49999"), parents) == [str(n) for n in range(50_000)]


# Merges, corrections, sums


@pytest.fixture(params=["sha1", "sha256"])
def plain(request: pytest.FixtureRequest, tmp_path: Path) -> Repo:
    """An empty repository of either object format."""
    repo = Repo(path=tmp_path / "plain")
    repo.path.mkdir()
    repo.git("init", "-q", f"--object-format={request.param}")
    return repo


def diverged(repo: Repo) -> tuple[Oid, list[Oid], list[Oid]]:
    """Two sides of three turns each on one root: what two clones append apart, told apart by their dates."""
    root = crafted(repo, Facts(kind="turn", turn_id=an_id(), session_id=an_id()), at=NOON)
    sides: list[list[Oid]] = []
    for start in (1, 2):
        side = [root]
        for number in range(3):
            side.append(crafted(repo, a_turn(2 + number), side[-1], at=NOON + hours(start + 2 * number)))
        sides.append(side[1:])
    left, right = sorted(sides, key=lambda side: side[-1])
    return root, left, right


def test_a_merge_reads_one_side_after_the_other(plain: Repo) -> None:
    """Sides that grew at the same time are not interleaved; every turn counts once; the session goes on."""
    root, left, right = diverged(plain)
    tip = merged(plain, left[-1], right[-1])
    session = plain.session(NAME)

    assert [item.oid for item in session.commits] == [root, *left, *right, tip]
    assert session.commits[-1].parents == (left[-1], right[-1])
    row = row_of(session)
    assert (row.sums.turns, row.sums.usage.input_tokens) == (7, 600)
    assert row.last_used == NOON + hours(6)
    (oid,) = append_all(plain.workspace(), NAME, [turn(at=NOON)])
    last = plain.session(NAME).commits[-1]
    assert (last.oid, last.parents, last.facts.seq) == (oid, (tip,), 6)
    assert last.committed_at == NOON + hours(6)
    plain.fsck()


def test_both_clones_write_the_same_merge(plain: Repo) -> None:
    """The order in which the tips are given does not matter, nor who merges and when."""
    _, left, right = diverged(plain)
    first = merged(plain, left[-1], right[-1])
    plain.git("config", "user.name", "Somebody else")

    assert merged(plain, right[-1], left[-1]) == first


def test_a_turn_on_both_sides_counts_once(plain: Repo) -> None:
    """Both clones imported the same turn: the first in reading order is the one that counts."""
    same = an_id()
    root = crafted(plain, a_turn(1, tokens=1))
    tips = sorted(crafted(plain, a_turn(2, turn_id=same, tokens=tokens), root) for tokens in (10, 1000))
    merged(plain, *tips)
    session = plain.session(NAME)
    counted = list(session.counted())
    (row,) = plain.ai("list", "--json").json

    assert [item.oid for item in counted] == [root, tips[0]]
    first = counted[1].facts.metrics
    assert first is not None
    assert (row["turns"], row["input_tokens"]) == (2, 1 + first.usage.input_tokens)


def correction(of: TurnId, seq: int, tokens: int) -> Facts:
    return a_turn(seq, kind="correction", tokens=tokens, corrects=of)


def test_a_correction_replaces_a_turns_metrics(plain: Repo) -> None:
    """All of them, the cost too; the last correction in reading order wins; nothing is counted twice."""
    wrong, right = an_id(), an_id()
    tip = crafted(plain, a_turn(1, turn_id=wrong, tokens=5))
    tip = crafted(plain, a_turn(2, turn_id=right, tokens=7), tip)
    tip = crafted(plain, correction(wrong, 3, 500), tip)
    tip = crafted(plain, correction(wrong, 4, 900), tip)
    crafted(plain, correction(an_id(), 5, 10**9), tip)
    (row,) = plain.ai("list", "--json").json
    shown = plain.ai("show", NAME, "--json").json["turn_list"]

    assert (row["turns"], row["input_tokens"], row["cost_usd"]) == (2, 907, 9.07)
    assert [item["input_tokens"] for item in shown[:2]] == [900, 7]
    assert [item["kind"] for item in shown[2:]] == ["correction"] * 3
    assert plain.ai("stats", "--json").json["input_tokens"] == 907


def test_of_corrections_on_two_sides_the_last_in_reading_order_wins(plain: Repo) -> None:
    """Not the newer one: every clone reads them in the same order."""
    wrong = an_id()
    root = crafted(plain, a_turn(1, turn_id=wrong, tokens=5))
    first, last = sorted(
        crafted(plain, correction(wrong, 2, tokens), root, at=NOON + hours(late))
        for tokens, late in ((100, 0), (200, 5))
    )
    merged(plain, first, last)
    session = plain.session(NAME)
    found = {item.oid: item.facts.metrics for item in session.commits}

    assert session.metrics(session.commits[0]) == found[last] != found[first]


def test_a_compaction_costs_and_is_no_turn(plain: Repo) -> None:
    """Its tokens are paid for, so they are in the sums; the turns it stands for are still there."""
    first = an_id()
    tip = crafted(plain, a_turn(1, turn_id=first, tokens=100))
    tip = crafted(plain, a_turn(2, kind="compaction", tokens=40, compacts=first), tip)
    crafted(plain, a_turn(3, tokens=10), tip)
    (row,) = plain.ai("list", "--json").json
    total = plain.ai("stats", "--json").json

    assert (row["turns"], row["input_tokens"], row["cost_usd"]) == (2, 150, 1.5)
    assert (total["turns"], total["input_tokens"]) == (2, 150)
    assert len(plain.ai("show", NAME, "--json").json["turn_list"]) == 3


def test_events_and_merges_are_in_no_sum(plain: Repo) -> None:
    """A commit event and a merge are commits of the session and nothing else."""
    root, left, right = diverged(plain)
    event = crafted(plain, Facts(kind="event", turn_id=an_id(), seq=5, event="commit", commits=("1" * 40,)), left[-1])
    merged(plain, event, right[-1])
    (row,) = plain.ai("list", "--json").json

    assert (row["turns"], row["input_tokens"]) == (7, 600)
    assert sorted(kinds(plain.session(NAME))) == ["event", "merge", *["turn"] * 7]
    assert root


def kinds(session: Session) -> list[str]:
    return [item.facts.kind for item in session.commits]


def test_a_fork_shares_its_turns(repo: Repo) -> None:
    """Two sessions that hold the same turns are each whole, and together count them once."""
    append_all(repo.workspace(), NAME, [turn(), turn()])
    repo.git("update-ref", ref_of(OTHER), REF)
    append_all(repo.workspace(), OTHER, [turn()])

    assert {row["session"]: row["turns"] for row in repo.ai("list", "--json").json} == {NAME: 2, OTHER: 3}
    assert repo.ai("stats", "--json").json["turns"] == 3
    assert repo.session(NAME).session_id == repo.session(OTHER).session_id


def test_facts_are_decoded_as_they_were_written(repo: Repo) -> None:
    """What the tests craft is what the program reads: the helpers agree with the format."""
    facts = a_turn(1, tokens=3)
    oid = crafted(repo, facts)
    found: Commit = repo.session(NAME).commits[0]

    assert (found.oid, found.committed_at, found.committer) == (oid, NOON.astimezone(UTC), ANN)
    assert found.facts.metrics == facts.metrics
    with pytest.raises(FormatError):
        commit.decode(oid, b"tree x\n\nno turn\n")


def test_a_name_is_a_session_name() -> None:
    """The names above are valid, so that what is refused is refused for what stands at the ref."""
    assert {NAME, OTHER} == {SessionName("plan-auth"), SessionName("review-auth")}
