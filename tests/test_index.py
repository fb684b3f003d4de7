"""The index: whatever becomes of it, the answers are those of the commits."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import pygit2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitsess import accounts, commit, content, history, report, tally
from gitsess.cli.output import style
from gitsess.cli.showing import chosen, full_json, session_lines
from gitsess.commit import Facts, Metrics, Person, UsageLine
from gitsess.content import Content
from gitsess.gitcli import Objects
from gitsess.history import Ledger
from gitsess.index import Index
from gitsess.model import Oid, TokenUsage, TurnId
from gitsess.names import ref_of, session_name
from gitsess.text import iso
from gitsess.workspace import Workspace
from tests.conftest import NOON, Repo, append_all, hours, turn
from tests.test_spool import reader  # noqa: F401

MODELS = ("claude-sonnet-4-5", "claude-haiku-4-5", "a model of 100 %", "mod\u00e8le")
SPANS = ((None, None), (NOON + hours(3), None), (NOON + hours(2), NOON + hours(9)))


class Histories:
    """Sessions that change at random, written straight into the object store."""

    def __init__(self, repo: Repo, seed: int) -> None:
        self.random = random.Random(seed)
        self._repository = pygit2.Repository(str(repo.path))
        tree = self._repository.TreeBuilder()
        self._empty = Oid(str(tree.write()))
        for name, data in content.encode(Content(prompt="What next?", response="This.", started_at=iso(NOON))).items():
            tree.insert(name, self._repository.create_blob(data), pygit2.enums.FileMode.BLOB)
        self._tree = Oid(str(tree.write()))
        self.commits: dict[Oid, tuple[datetime, Facts, tuple[Oid, ...]]] = {}
        self.refs: dict[str, Oid] = {}
        self._ids = [TurnId(f"{n:032x}") for n in range(400)]
        self._made = 0

    def step(self) -> None:
        """One of the things that happen to sessions."""
        changes: Sequence[Callable[[], None]] = (self._begin, self._fork, self._merge, self._rewind, self._delete)
        if not self.refs or self.random.random() < 0.35:
            self.random.choice(changes if self.refs else changes[:1])()
        else:
            self._append(self.random.choice(sorted(self.refs)), self.random.randint(1, 4))

    def _begin(self) -> None:
        name = f"{self.random.choice(('plan', 'implement'))}-{len(self.refs)}{self._made}"
        facts = self._facts().replace(session_id=f"{self.random.getrandbits(128):032x}")
        self._move(name, self._write(facts, ()))
        self._append(name, self.random.randint(0, 6))

    def _append(self, name: str, count: int) -> None:
        for _ in range(count):
            self._move(name, self._write(self._facts(), (self.refs[name],)))

    def _fork(self) -> None:
        """A new session from somewhere in another, or a second ref at the same place."""
        origin = self._back(self.refs[self.random.choice(sorted(self.refs))])
        name = f"review-{self._made}"
        self._move(name, origin)
        self._append(name, self.random.randint(0, 3))

    def _merge(self) -> None:
        name = self.random.choice(sorted(self.refs))
        side = other = self._back(self.refs[name])
        for _ in range(self.random.randint(1, 3)):
            other = self._write(self._facts(), (other,))
        if other == self.refs[name] or side == self.refs[name]:
            return
        tips = [(oid, *self.commits[oid][:2]) for oid in (self.refs[name], other)]
        raw = commit.encode_merge(tips=tips, empty_tree=self._empty)
        facts = Facts(kind="merge", seq=max(f.seq for _, _, f in tips) + 1)
        self._move(name, self._keep(raw, max(at for _, at, _ in tips), facts, tuple(sorted(oid for oid, _, _ in tips))))

    def _rewind(self) -> None:
        name = self.random.choice(sorted(self.refs))
        self._move(name, self._back(self.refs[name]))
        self._append(name, self.random.randint(0, 2))

    def _delete(self) -> None:
        name = self.random.choice(sorted(self.refs))
        del self.refs[name]
        self._repository.references.delete(ref_of(session_name(name)))

    def _back(self, oid: Oid) -> Oid:
        for _ in range(self.random.randint(0, 5)):
            parents = self.commits[oid][2]
            oid = self.random.choice(parents) if parents else oid
        return oid

    def _facts(self) -> Facts:
        """Mostly turns with ids of their own."""
        self._made += 1
        pick = self.random
        turn_id = pick.choice(self._ids[:10]) if pick.random() < 0.1 else self._ids[self._made % 400]
        kinds = ("turn", "compaction", "event", "correction", "merge", "novelty")
        kind = pick.choices(kinds, (79, 5, 8, 5, 2, 1))[0]
        measured = kind in ("compaction", "correction") or (kind == "turn" and pick.random() < 0.9)
        return Facts(
            kind=kind,
            turn_id=turn_id,
            status=pick.choice(("ok", "ok", "error")) if kind == "turn" else None,
            agent=pick.choice(("test", "claude-code/2.1", None)),
            metrics=self._metrics() if measured else None,
            task=pick.choice((None, "T1", "50 %")),
            event=pick.choice(("started", "completed", "reopened", "commit")) if kind == "event" else None,
            corrects=pick.choice(self._ids[max(0, self._made - 12) % 400 :][:12]) if kind == "correction" else None,
        )

    def _metrics(self) -> Metrics:
        lines = tuple(self._line() for _ in range(self.random.choice((1, 1, 1, 2, 3))))
        usage = sum((line.usage for line in lines), TokenUsage())
        cost = self.random.choice((None, Decimal(self.random.randrange(10**9)).scaleb(-9), Decimal("9" * 18)))
        return Metrics(
            model=lines[0].model,
            usage=usage,
            requests=len(lines),
            duration_ms=self.random.choice((None, 10, 2000)),
            cost_usd=cost,
            cost_basis=None if cost is None else "computed",
            lines=lines,
        )

    def _line(self) -> UsageLine:
        counts = [self.random.randrange(1000) for _ in range(5)]
        usage = TokenUsage(**dict(zip(TokenUsage.__annotations__, counts, strict=True)))
        cost = self.random.choice((None, Decimal("0.000000000000000001"), Decimal("2.50")))
        return UsageLine(model=self.random.choice(MODELS), requests=1, usage=usage, cost_usd=cost)

    def _write(self, facts: Facts, parents: tuple[Oid, ...]) -> Oid:
        last = max((self.commits[oid][0] for oid in parents), default=NOON)
        at = last + timedelta(minutes=self.random.randint(0, 90))
        facts = facts.replace(seq=1 + max((self.commits[oid][1].seq for oid in parents), default=0))
        message = commit.message_of("What next?", facts)
        fate = self.random.random()
        if fate < 0.03:
            message = message.replace("AI-Seq: ", self.random.choice(("AI-Seq: x", "AI-Seq: 1\nAI-Seq: ", "prose ")))
        elif fate < 0.035:
            message = message.replace("AI-Format: 1", "AI-Format: 7")
        raw = commit.encode(
            tree=self._tree,
            parents=parents,
            author=Person(name="m", email="a@agents.invalid"),
            authored_at=at - timedelta(seconds=5),
            committer=Person(name=self.random.choice(("Ann", "Zo\u00eb")), email="a@example.com"),
            committed_at=at,
            message=message,
        )
        return self._keep(raw, at, facts, parents)

    def _keep(self, raw: bytes, at: datetime, facts: Facts, parents: tuple[Oid, ...]) -> Oid:
        oid = Oid(str(self._repository.odb.write(pygit2.enums.ObjectType.COMMIT, raw)))
        self.commits[oid] = (at, facts, parents)
        return oid

    def _move(self, name: str, oid: Oid) -> None:
        self._repository.references.create(ref_of(session_name(name)), oid, force=True)
        self.refs[name] = oid


def answers(found: Any, *, parts: bool = True) -> list[Any]:
    """Everything that ``list`` and ``stats`` say of sessions, and the warnings."""
    said: list[Any] = [report.row_of(session).json() for session in found.sessions]
    said += [report.total_of(found.sessions).json(), found.warnings]
    for since, until in SPANS if parts else SPANS[:1]:
        for by in (None, *report.GROUPS) if parts else (None,):
            said.append(report.stats_of(found.sessions, now=NOON, by=by, since=since, until=until).json())
    return said


def indexed(workspace: Workspace, patterns: Sequence[str] = (), *, turns: bool = True) -> accounts.Accounts:
    """What the index says, made here however small the repository is."""
    return accounts.find(workspace.history, Index(workspace.repository.state_dir), patterns, turns=turns, worth=0)


def agrees(workspace: Workspace) -> None:
    """Asserts that the index, as it stands and as it is after that, answers as the commits do."""
    expected = answers(workspace.history.find())
    for _ in range(2):
        assert answers(indexed(workspace)) == expected


MEASURES = ("AI-Input-Tokens", "AI-Output-Tokens", "AI-Cache-Read-Tokens", "AI-Cache-Write-Tokens", "AI-Duration-Ms")


def recount(repo: Repo, refs: Sequence[str]) -> tuple[int, int, int, Decimal, list[int]]:
    """Turns, those that failed, those without a price, the cost, and MEASURES, over some refs: from what ``git log``
    prints of each, with nothing of what is tested."""
    counted: set[tuple[str, str]] = set()
    turns = failed = unpriced = 0
    cost, measures = Decimal(0), [0] * len(MEASURES)
    with localcontext(prec=99):
        for ref in refs:
            said = {}
            for text in repo.git("log", "-z", "--format=%H %P%n%B", ref).split("\0")[:-1]:
                line, _, message = text.strip("\n").partition("\n")
                oid, *parents = line.split()
                said[oid] = parents, _trailers(message)
            own = [said[oid][1] for oid in _in_order(repo.git("rev-parse", ref), said)]
            if any(found.get("AI-Format") == "7" for found in own):
                continue
            own = [found for found in own if found]
            (session_id,) = {found["AI-Session-Id"] for found in own if "AI-Session-Id" in found} or {""}
            instead = {found["AI-Corrects"]: found for found in own if "AI-Corrects" in found}
            here: set[tuple[str, str]] = set()
            for found in own:
                key = session_id, found.get("AI-Turn-Id", "")
                if found["AI-Kind"] not in ("turn", "compaction") or key in counted | here:
                    continue
                here.add(key)
                turns += found["AI-Kind"] == "turn"
                failed += found["AI-Kind"] == "turn" and found["AI-Status"] == "error"
                if "AI-Model" in found:
                    taken = instead.get(key[1], found)
                    unpriced += "AI-Cost-USD" not in taken
                    cost += Decimal(taken.get("AI-Cost-USD", 0))
                    measures = [n + int(taken.get(name, 0)) for n, name in zip(measures, MEASURES, strict=True)]
            counted |= here
    return turns, failed, unpriced, cost, measures


def _trailers(message: str) -> dict[str, str]:
    """The trailers of a message; none where it is one of those that Histories broke."""
    lines = message.rpartition("\n\n")[2].split("\n")
    pairs = [line.partition(": ")[::2] for line in lines]
    numbers = [value for key, value in pairs if key == "AI-Seq"]
    return dict(pairs) if len(numbers) == 1 and numbers[0].isdecimal() else {}


def _in_order(oid: str, said: dict[str, tuple[list[str], dict[str, str]]]) -> list[str]:
    """Reading order as the format has it: all of the first parent's side, what is new on the second's, the merge."""
    order: dict[str, None] = {}
    for parent in said[oid][0]:
        order.update(dict.fromkeys(_in_order(parent, said)))
    return [*order, oid]


def recounted(found: Any) -> tuple[int, int, int, Decimal, list[int]]:
    """The same from what is tested."""
    total = report.total_of(found.sessions)
    usage = total.usage
    counts = [usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens]
    return total.turns, total.failed_turns, total.unpriced_turns, total.cost_usd, [*counts, total.duration_ms]


@pytest.mark.parametrize("seed", range(8))
def test_the_index_says_what_the_commits_say(repo: Repo, seed: int) -> None:
    """And what ``git log`` says: after appends, merges, forks, rewinds, deletions, corrections and broken commits,
    with and without a look between two of them."""
    histories = Histories(repo, seed)
    workspace = repo.workspace()
    for _ in range(20):
        for _ in range(histories.random.randint(1, 3)):
            histories.step()
        partly = histories.random.random() < 0.3
        if partly and any(name.startswith("plan") for name in histories.refs):
            indexed(workspace, ["plan-*"], turns=False)
        expected = workspace.history.find()
        found = indexed(workspace, turns=not partly)
        assert answers(found, parts=not partly) == answers(expected, parts=not partly)
        assert recounted(found) == recount(repo, repo.refs())
    agrees(workspace)
    with closing(sqlite3.connect(Index(workspace.repository.state_dir).path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# --- entries -------------------------------------------------------------------------------------------------

PLAIN = commit.encode(
    tree=Oid("4b825dc642cb6eb9a060e54bf8d69288fbee4904"),
    parents=[Oid("a" * 40)],
    author=Person(name="m", email="test@agents.invalid"),
    authored_at=NOON,
    committer=Person(name="Zo\u00eb", email="z@example.com"),
    committed_at=NOON + hours(1),
    message=commit.message_of(
        "What next?",
        Facts(
            kind="turn",
            turn_id=TurnId("1" * 32),
            seq=2,
            epoch=1,
            session_id="2" * 32,
            status="ok",
            agent="claude-code/2.1",
            metrics=Metrics(
                model="m",
                usage=TokenUsage(input_tokens=1, output_tokens=20, cache_write_tokens=300, cache_write_1h_tokens=4),
                requests=1,
                duration_ms=5,
                cost_usd=Decimal("0.10"),
                cost_basis="reported",
                lines=(UsageLine(model="m", requests=1, usage=TokenUsage(cache_write_1h_tokens=4)),),
            ),
            task="T1",
            conversation="c d",
            head=Oid("b" * 40),
            branch="main",
            worktree=".",
            commits=("c" * 40,),
        ),
    ),
)
OID = Oid("d" * 40)


def test_a_plain_turn_is_read_at_once() -> None:
    """The shape that is read without decoding is that which is written."""
    assert tally._plain_turn().fullmatch(PLAIN.decode("latin-1"))
    _, entry = tally.read_entry(OID, PLAIN)
    assert (entry.person, entry.cost_usd, entry.cache_write_1h_tokens, entry.task) == ("Zo\u00eb", "0.1", 4, "T1")


@given(st.data())
def test_both_ways_of_reading_a_commit_agree(data: st.DataObject) -> None:
    """Lines dropped, doubled, swapped and altered: what is read at once is what decoding makes of it."""
    lines = PLAIN.split(b"\n")
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, len(lines) - 1))
        how = data.draw(st.sampled_from(("drop", "double", "swap", "alter", "alter", "alter")))
        if how == "drop":
            del lines[at]
        elif how == "double":
            lines.insert(at, lines[at])
        elif how == "swap":
            lines[at - 1], lines[at] = lines[at], lines[at - 1]
        else:
            line = lines[at]
            start = data.draw(st.integers(0, len(line)))
            end = data.draw(st.integers(start, min(len(line), start + 2)))
            part = data.draw(st.one_of(st.binary(max_size=2), st.sampled_from([b" ", b"0", b"%41", b"<", b">", b"-"])))
            lines[at] = line[:start] + part + line[end:]
    raw = b"\n".join(lines)
    assert tally.read_entry(OID, raw) == tally._decoded(OID, raw)


# --- reading only what is new --------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the objects that git is asked for."""
    names: list[str] = []
    plain = Objects._ask

    def ask(self: Objects, words: Sequence[str]) -> None:
        names.extend(words)
        plain(self, words)

    monkeypatch.setattr(Objects, "_ask", ask)
    return names


def test_only_new_commits_are_read(repo: Repo, asked: list[str]) -> None:
    """Nothing where no tip moved; of a tip that moved, what came since; of a fork from a tip, what is its own."""
    workspace = repo.workspace()
    append_all(workspace, "plan-x", [turn(f"{n}") for n in range(30)])
    append_all(workspace, "plan-y", [turn(f"{n}") for n in range(30)])
    indexed(workspace)
    asked.clear()
    indexed(workspace)
    assert asked == []
    repo.git("update-ref", "refs/ai-sessions/plan-z", "refs/ai-sessions/plan-y")
    new = append_all(workspace, "plan-x", [turn("more"), turn("and more")])
    fork = append_all(workspace, "plan-z", [turn("apart")])
    asked.clear()
    indexed(workspace)
    assert sorted(asked) == sorted([*new, *fork])
    asked.clear()
    indexed(workspace)
    assert asked == [], "neither took the other's beginning away"
    agrees(workspace)


def test_a_correction_is_taken_in_without_reading_again(repo: Repo, asked: list[str]) -> None:
    workspace = repo.workspace()
    histories = Histories(repo, 1)
    append_all(workspace, "plan-x", [turn(f"{n}", turn_id=f"{n:032x}") for n in range(9)])
    indexed(workspace)
    histories.commits[tip := Oid(repo.git("rev-parse", "refs/ai-sessions/plan-x"))] = NOON, Facts(kind="turn"), ()
    facts = Facts(
        kind="correction", turn_id=TurnId("f" * 32), corrects=TurnId(f"{3:032x}"), metrics=histories._metrics()
    )
    histories.random.random = lambda: 0.5  # type: ignore[method-assign]
    histories._move("plan-x", new := histories._write(facts, (tip,)))
    before = answers(workspace.history.find())
    asked.clear()
    assert answers(indexed(workspace)) == before
    assert asked == [new]


def test_a_history_with_a_gap_is_read_again_each_time(repo: Repo) -> None:
    """What is missing may come back: then it counts."""
    workspace = repo.workspace()
    oids = append_all(workspace, "plan-x", [turn(f"{n}") for n in range(5)])
    append_all(workspace, "plan-y", [turn()])
    path = repo.path / ".git/objects" / oids[2][:2] / oids[2][2:]
    away = path.rename(repo.path / "away")
    agrees(workspace)
    assert "a part of its history is missing" in indexed(workspace).warnings[0]
    away.rename(path)
    agrees(workspace)
    assert indexed(workspace).warnings == ()


def test_a_deleted_session_leaves_the_index_with_the_next_that_is_new(repo: Repo) -> None:
    workspace = repo.workspace()
    kept = Index(workspace.repository.state_dir)
    append_all(workspace, "plan-x", [turn(model="secret-name")])
    append_all(workspace, "plan-y", [turn()])
    indexed(workspace)
    assert len(kept.tips()) == 2
    repo.git("update-ref", "-d", "refs/ai-sessions/plan-x")
    assert [session.name for session in indexed(workspace).sessions] == ["plan-y"]
    append_all(workspace, "plan-y", [turn()])
    indexed(workspace)
    assert kept.tips() == {repo.git("rev-parse", "refs/ai-sessions/plan-y")}


def test_long_sessions_are_kept_in_chunks(repo: Repo) -> None:
    """An append writes one of them anew, and the whole is right."""
    workspace = repo.workspace()
    histories = Histories(repo, 3)
    histories._begin()
    (name,) = histories.refs
    histories._append(name, 700)
    agrees(workspace)
    with closing(sqlite3.connect(Index(workspace.repository.state_dir).path)) as connection:
        before = dict(connection.execute("SELECT number, body FROM chunks"))
    assert len(before) > 3
    histories._append(name, 1)
    agrees(workspace)
    with closing(sqlite3.connect(Index(workspace.repository.state_dir).path)) as connection:
        after = dict(connection.execute("SELECT number, body FROM chunks"))
    changed = [number for number in after if after[number] != before.get(number)]
    assert changed == [max(after)]


def test_what_is_replaced_in_git_stays_what_it_was(repo: Repo) -> None:
    """``git replace`` and grafts put other commits in the place of turns, for git: sums are those of what is there."""
    workspace = repo.workspace()
    oids = append_all(workspace, "plan-x", [turn(f"{n}", cost_usd="0.25") for n in range(6)])
    other = append_all(workspace, "plan-y", [turn(cost_usd="7")])
    expected = answers(workspace.history.find())
    assert answers(indexed(workspace)) == expected
    before = repo.git("log", "--format=%(trailers:key=AI-Cost-USD,valueonly)", oids[-1])
    repo.git("replace", oids[-1], other[0])
    (repo.path / ".git/info/grafts").write_text(f"{oids[3]}\n")
    assert repo.git("log", "--format=%(trailers:key=AI-Cost-USD,valueonly)", oids[-1]) != before
    agrees(workspace)
    Index(workspace.repository.state_dir).discard()
    assert answers(indexed(workspace)) == expected == answers(workspace.history.find())


def test_a_shallow_clone_counts_what_it_has_and_then_all(repo: Repo, tmp_path: Path) -> None:
    """What lies before its border is missing, said so, and counted once it is there."""
    append_all(repo.workspace(), "plan-x", [turn(f"{n}") for n in range(9)])
    clone = Repo(path=tmp_path / "clone")
    repo.git("init", "-q", str(clone.path))
    refspec = "refs/ai-sessions/*:refs/ai-sessions/*"
    clone.git("fetch", "-q", "--depth=3", f"file://{repo.path}", refspec)
    workspace = clone.workspace()
    agrees(workspace)
    found = indexed(workspace)
    assert (report.total_of(found.sessions).turns, len(found.warnings)) == (3, 1)
    clone.git("fetch", "-q", "--unshallow", f"file://{repo.path}", refspec)
    agrees(workspace)
    found = indexed(workspace)
    assert (report.total_of(found.sessions).turns, len(found.warnings)) == (9, 0)


# --- reading long sessions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_reading_all_at_once_is_reading_by_generations(repo: Repo, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Whether git is asked for each generation or for all that is left, the same is found: whole histories, those
    with a gap, and those that go on from what is known."""
    histories = Histories(repo, seed)
    for _ in range(15):
        histories.step()
    for name in sorted(histories.refs):
        histories._append(name, histories.random.randint(0, 8))
    gone = histories.random.choice(sorted(histories.commits))
    path = repo.path / ".git/objects" / gone[:2] / gone[2:]
    tips, _ = repo.workspace().history.tips()
    known = {oid for oid in histories.commits if histories.random.random() < 0.2}
    for _ in range(2):
        found = []
        for waits in (1, 2, 10**6):
            monkeypatch.setattr(history, "WAITS", waits)
            past = repo.workspace().history
            found.append((past.find(), past.strands(tips, set())))
            for strand in past.strands(tips, known)[0]:
                whole = next(one for one in found[0][1][0] if one.name == strand.name)
                assert strand.entries == whole.entries[len(whole.entries) - len(strand.entries) :]
                assert strand.missing or (strand.after in known) == (len(strand.entries) < len(whole.entries))
        assert found[0] == found[1] == found[2]
        path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    "parent", ["-" * 40, "--all".ljust(40, "-"), "^" + "a" * 39, "b" * 40, "refs/heads/".ljust(40, "x")]
)
def test_a_parent_is_never_taken_for_an_option(repo: Repo, monkeypatch: pytest.MonkeyPatch, parent: str) -> None:
    """Nor for an expression or a branch, whatever a commit names as its parent: it is one that is missing."""
    repo.git("branch", "x" * 29)
    broken = PLAIN.replace(b"a" * 40, parent.encode())
    first = repo.git("hash-object", "-t", "commit", "--literally", "-w", "--stdin", stdin=broken)
    then = PLAIN.replace(b"a" * 40, first.encode()).replace(b"1" * 32, b"3" * 32)
    tip = repo.git("hash-object", "-t", "commit", "--literally", "-w", "--stdin", stdin=then)
    repo.git("update-ref", "refs/ai-sessions/plan-x", tip)
    for waits in (1, 2, 10**6):
        monkeypatch.setattr(history, "WAITS", waits)
        found = repo.workspace().history.find()
        assert [len(session.commits) for session in found.sessions] == [2]
        assert found.warnings == ("plan-x: a part of its history is missing; 'git fsck' tells more",)
        assert repo.workspace().history.ends([Oid(tip)], 3) is None


# --- showing the last turns ----------------------------------------------------------------------------------


def shown(workspace: Workspace, found: tuple[Ledger, Sequence[report.Counted]], last: int) -> list[Any]:
    """What ``show --last`` prints, as text and as JSON."""
    ledger, counted = found
    said: list[Any] = [ledger.warnings]
    for session, sums in zip(ledger.sessions, counted, strict=True):
        row, items = report.row_of(sums), chosen(session, None, last)
        said.append(full_json(workspace.history, session, row, items, full=True))
        look = style({})
        said.append([*session_lines(workspace.history, session, row, items, full=True, now=NOON, look=look)])
    return said


@pytest.mark.parametrize("seed", range(4))
def test_the_last_turns_are_shown_alike_with_the_index(repo: Repo, seed: int) -> None:
    """Whatever the history: to the byte what is shown when all of it is read."""
    histories = Histories(repo, seed)
    workspace = repo.workspace()
    place = Index(workspace.repository.state_dir)
    short = 0
    for _ in range(12):
        for _ in range(histories.random.randint(1, 3)):
            histories.step()
        if histories.random.random() < 0.5:
            indexed(workspace)
        for name in sorted(histories.refs):
            for last in (1, 2, 4):
                whole = accounts.read(workspace.history, place, [name])
                part = accounts.read(workspace.history, place, [name], last=last)
                assert shown(workspace, part, last) == shown(workspace, whole, last)
                short += len(part[0].sessions[0].commits) < len(whole[0].sessions[0].commits)
    assert short


def test_only_the_turns_that_are_shown_are_read(repo: Repo, asked: list[str]) -> None:
    """Of a session that the index knows, whose totals come from there."""
    workspace = repo.workspace()
    oids = append_all(workspace, "plan-x", [turn(f"{n}") for n in range(20)])
    indexed(workspace)
    whole = repo.ai("show", "plan-x", "--last", "3").out
    asked.clear()
    (session,), (account,) = (part := workspace.sessions(["plan-x"], last=3))[0].sessions, part[1]
    assert asked == oids[:-4:-1]
    assert [item.oid for item in session.commits] == oids[-3:]
    assert account.outline.sums[0][0] == 20
    Index(workspace.repository.state_dir).discard()
    assert repo.ai("show", "plan-x", "--last", "3").out == whole


# --- whether there is one ------------------------------------------------------------------------------------


def test_a_small_repository_has_no_index(repo: Repo) -> None:
    """It is read sooner than an index is opened."""
    repo.record("plan-x", {"prompt": "p"})
    repo.ai("list")
    repo.ai("stats", "--by", "day")
    assert not (repo.path / ".git/ai-sessions/index.sqlite").exists()


def test_a_large_repository_has_one_that_only_its_owner_reads(repo: Repo) -> None:
    """0600 in a folder of 0700, its journal too, and the program makes and uses it by itself."""
    histories = Histories(repo, 5)
    histories._begin()
    histories._append(next(iter(histories.refs)), accounts.WORTH)
    (repo.path / ".git/ai-sessions").mkdir(mode=0o700, exist_ok=True)
    old = os.umask(0)
    try:
        first = repo.ai("stats", "--json").out
    finally:
        os.umask(old)
    path = repo.path / ".git/ai-sessions/index.sqlite"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == ["index.sqlite"]
    assert repo.ai("stats", "--json").out == first
    agrees(repo.workspace())


# --- damage --------------------------------------------------------------------------------------------------


def _overwrite(at: float, data: bytes) -> Callable[[Path], object]:
    def work(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(int(path.stat().st_size * at))
            file.write(data)

    return work


def _statement(text: str) -> Callable[[Path], object]:
    def work(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(text)
            connection.commit()

    return work


def _replaced(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def work(path: Path) -> None:
        path.unlink()
        make(path)

    return work


DOUBTFUL: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "no database": lambda path: path.write_bytes(b"#!/bin/sh\n" * 2000),
    "one byte": lambda path: path.write_bytes(b"S"),
    "the head alone": lambda path: os.truncate(path, 100),
    "half of it": lambda path: os.truncate(path, path.stat().st_size // 2),
    "a page less": lambda path: os.truncate(path, path.stat().st_size - 4096),
    "zeros in the middle": _overwrite(0.5, b"\0" * 5000),
    "zeros at the front": _overwrite(0, b"\0" * 200),
    "another version": _statement("PRAGMA user_version = 1"),
    "no tables": _statement("DROP TABLE chunks"),
    "other tables": _statement("ALTER TABLE lines RENAME COLUMN tip TO top"),
    "another outline": _statement("UPDATE lines SET outline = replace(outline, '5', '6')"),
    "outlines exchanged": _statement("UPDATE lines SET outline = (SELECT outline FROM lines LIMIT 1)"),
    "another tip": _statement("UPDATE lines SET tip = 'ffff' WHERE id = 1"),
    "chunks of another": _statement("UPDATE chunks SET body = (SELECT max(body) FROM chunks)"),
    "chunks gone": _statement("DELETE FROM chunks"),
    "a number for a text": _statement("UPDATE chunks SET body = 7"),
    "a text for a number": _statement("UPDATE lines SET sum = 'x'"),
    "bytes for a text": _statement("UPDATE lines SET outline = x'ff'"),
    "others may write it": lambda path: path.chmod(0o666),
    "a journal of another": lambda path: path.with_name("index.sqlite-journal").write_bytes(b"\xd9\xd5\x05\xf9" * 500),
}


@pytest.fixture
def small(repo: Repo) -> Workspace:
    """Two sessions of a few turns, indexed."""
    workspace = repo.workspace()
    append_all(workspace, "plan-x", [turn(f"{n}", cost_usd="0.25") for n in range(5)])
    append_all(workspace, "plan-y", [turn(f"{n}", at=NOON + hours(5)) for n in range(3)])
    indexed(workspace)
    return workspace


@pytest.mark.parametrize("what", DOUBTFUL)
def test_an_index_in_doubt_is_made_anew(small: Workspace, what: str, repo: Repo) -> None:
    """In silence; the answers are right at once, and after that there is a good one."""
    place = Index(small.repository.state_dir)
    expected = answers(small.history.find())
    DOUBTFUL[what](place.path)
    ran = [repo.ai("list", "--json"), repo.ai("stats", "--by", "model", "--json")]
    assert [one.err for one in ran] == ["", ""]
    assert sum(row["turns"] for row in ran[0].json) == ran[1].json["turns"] == 8
    assert answers(indexed(small)) == expected
    assert answers(indexed(small)) == expected
    assert place.entries(place.tips()).keys() == set(small.history.tips()[0].values())
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o600


def test_no_byte_that_is_changed_changes_an_answer(small: Workspace) -> None:
    """Wherever the disk flips one."""
    path = Index(small.repository.state_dir).path
    good, expected = path.read_bytes(), answers(small.history.find())
    pick = random.Random(1)
    for _ in range(120):
        at = pick.randrange(len(good))
        path.write_bytes(good[:at] + bytes([good[at] ^ 1 << pick.randrange(8)]) + good[at + 1 :])
        path.chmod(0o600)
        assert answers(indexed(small)) == expected, at


LEFT_ALONE: dict[str, Callable[[Path], object]] = {
    "a link": _replaced(lambda path: path.symlink_to(path.with_name("elsewhere"))),
    "a link to nothing": _replaced(lambda path: path.symlink_to("/nowhere/at/all")),
    "a folder": _replaced(Path.mkdir),
    "a pipe": _replaced(os.mkfifo),
}


@pytest.mark.parametrize("what", LEFT_ALONE)
def test_what_is_no_file_of_ours_is_left_alone(small: Workspace, what: str) -> None:
    """It is neither followed, read, written nor deleted."""
    place = Index(small.repository.state_dir)
    other = place.path.with_name("elsewhere")
    other.write_bytes(place.path.read_bytes())
    other.chmod(0o600)
    _statement("UPDATE lines SET outline = 'x'")(other)
    before = other.read_bytes()
    LEFT_ALONE[what](place.path)
    kind = place.path.lstat()
    agrees(small)
    assert other.read_bytes() == before
    assert (kind.st_mode, kind.st_ino) == (place.path.lstat().st_mode, place.path.lstat().st_ino)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a file away")
def test_an_index_of_somebody_else_is_left_alone(small: Workspace) -> None:
    place = Index(small.repository.state_dir)
    _statement("UPDATE lines SET outline = 'x'")(place.path)
    before = place.path.read_bytes()
    os.chown(place.path, 12345, -1)
    agrees(small)
    assert place.path.read_bytes() == before


@pytest.mark.parametrize("lock", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_a_locked_index_stops_nobody(small: Workspace, repo: Repo, lock: str) -> None:
    """Whoever holds it, answers are right; when it is free again, what was new gets in."""
    place = Index(small.repository.state_dir)
    with closing(sqlite3.connect(place.path, isolation_level=None)) as connection:
        connection.execute(lock)
        append_all(small, "plan-x", [turn("new")])
        agrees(small)
        ran = repo.ai("stats", "--json")
        assert (ran.json["turns"], ran.err) == (9, "")
    agrees(small)
    assert place.tips() == set(small.history.tips()[0].values())


def test_a_full_disk_stops_nobody(small: Workspace, repo: Repo) -> None:
    """A limit on the size of files stands for the disk."""
    append_all(small, "plan-z", [turn("x" * 100, task="T" * 900) for _ in range(40)])
    expected = repo.ai("list", "--json").out
    indexed(small)
    append_all(small, "plan-z", [turn("y", task="U" * 5000)])
    size = Index(small.repository.state_dir).path.stat().st_size
    limited = f"ulimit -f {size // 1024 // 2}; trap '' XFSZ; exec \"$@\""
    program = [sys.executable, "-c", "from gitsess.cli.entry import script; script()"]
    done = subprocess.run(
        ["bash", "-c", limited, "-", *program, "list", "--json"], cwd=repo.path, capture_output=True, check=True
    )
    assert done.stderr == b""
    assert done.stdout.decode() != expected
    agrees(small)


@pytest.mark.parametrize("whose", ["one's own", "another's"])
def test_an_index_that_may_only_be_read(
    reader: Callable[..., subprocess.CompletedProcess[str]],  # noqa: F811
    whose: str,
) -> None:
    """In a repository that may only be read, looking is right and silent, whether the index has all of it or not."""
    repo = Repo(path=Path(tempfile.mkdtemp()))
    try:
        repo.git("init", "-q")
        workspace = repo.workspace()
        append_all(workspace, "plan-x", [turn(f"{n}", cost_usd="0.25") for n in range(5)])
        indexed(workspace)
        for number in range(2):
            everything = [repo.path, *repo.path.rglob("*")]
            for path in everything:
                path.chmod(0o555 if path.is_dir() else 0o444)
                if whose == "one's own" and os.geteuid() == 0:
                    os.chown(path, 65534, 65534)
            before = {str(path): path.stat().st_mtime_ns for path in everything}
            for words in (["list", "--json"], ["stats", "--by", "day", "--json"], ["show", "plan-x", "--last", "1"]):
                ran = reader(repo, *words)
                assert (ran.returncode, ran.stderr) == (0, "")
                if words[0] == "list":
                    assert [row["turns"] for row in json.loads(ran.stdout)] == [5 + number]
            assert {str(path): path.stat().st_mtime_ns for path in [repo.path, *repo.path.rglob("*")]} == before
            for path in everything:
                path.chmod(0o755 if path.is_dir() else 0o644)
                if os.geteuid() == 0:
                    os.chown(path, 0, 0)
            append_all(workspace, "plan-x", [turn("more")])
    finally:
        shutil.rmtree(repo.path)


def _elsewhere() -> Path | None:
    """A folder on another file system than the tests', where there is one."""
    place = Path("/dev/shm")
    here = Path(tempfile.gettempdir()).stat().st_dev
    return place if place.is_dir() and os.access(place, os.W_OK) and place.stat().st_dev != here else None


@pytest.mark.skipif(_elsewhere() is None, reason="there is no other file system to write to")
@pytest.mark.parametrize("what", ["the repository", "its ai-sessions", "ai-sessions through a link"])
def test_an_index_on_another_file_system(tmp_path: Path, what: str) -> None:
    """The answers are right, and a folder that is reached through a link is left alone."""
    away = Path(tempfile.mkdtemp(dir=_elsewhere()))
    repo = Repo(path=tmp_path / "repo")
    repo.path.mkdir()
    try:
        where = ["--separate-git-dir", str(away / "git")] if what == "the repository" else []
        repo.git("init", "-q", *where)
        if what == "its ai-sessions":
            # Bare and elsewhere, with its objects here.
            shutil.rmtree(repo.path / ".git")
            repo.git("init", "-q", "--bare", str(away / "bare"))
            shutil.move(away / "bare/objects", tmp_path / "objects")
            (away / "bare/objects").symlink_to(tmp_path / "objects")
            repo = Repo(path=away / "bare")
        elif what == "ai-sessions through a link":
            (away / "state").mkdir(mode=0o700)
            (repo.path / ".git/ai-sessions").symlink_to(away / "state")
        workspace = repo.workspace()
        append_all(workspace, "plan-x", [turn(f"{n}") for n in range(5)])
        agrees(workspace)
        append_all(workspace, "plan-x", [turn("more")])
        agrees(workspace)
        place = Index(workspace.repository.state_dir)
        linked = what == "ai-sessions through a link"
        assert (place.exists, place.path.exists()) == (not linked, not linked)
    finally:
        shutil.rmtree(away)


# --- races and kills -----------------------------------------------------------------------------------------

LOOKING = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from gitsess import accounts, report
from gitsess.index import Index
from gitsess.workspace import Surroundings, Workspace
workspace = Workspace.open(Surroundings(environment=dict(os.environ), now=lambda: datetime.now(UTC)))
place = Index(workspace.repository.state_dir)
print("ready", flush=True)
for number in range(int(sys.argv[1])):
    if sys.argv[2] == "anew":
        place.discard()
    found = accounts.find(workspace.history, place, turns=number % 2 == 0, worth=0)
    print(report.total_of(found.sessions).turns, *found.warnings, flush=True)
"""


def looking(repo: Repo, times: int, how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", LOOKING, str(times), how]
    return subprocess.Popen(command, cwd=repo.path, stdout=subprocess.PIPE, text=True, env=dict(os.environ))


def test_several_write_at_once(repo: Repo) -> None:
    """Two that keep it up to date and one that deletes it, while turns are recorded: no count goes back, and no
    number is one that never was."""
    workspace = repo.workspace()
    append_all(workspace, "plan-x", [turn()])
    processes = [looking(repo, 25, how) for how in ("kept", "kept", "anew")]
    for number in range(40):
        append_all(workspace, "plan-x" if number % 3 else f"plan-{number}", [turn(f"{number}")])
        if number % 10 == 0:
            repo.git("update-ref", "refs/ai-sessions/review-x", "refs/ai-sessions/plan-x")
    for process in processes:
        out, _ = process.communicate()
        assert process.returncode == 0
        counts = [int(text) for text in out.split()[1:]]
        assert len(counts) == 25, "no warning either"
        assert counts == sorted(counts)
        assert counts[-1] <= 41
    agrees(workspace)
    with closing(sqlite3.connect(Index(workspace.repository.state_dir).path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("how", ["anew", "kept"])
def test_whoever_writes_it_may_be_killed(repo: Repo, how: str) -> None:
    """At any moment: what is left is right, or made anew."""
    workspace = repo.workspace()
    histories = Histories(repo, 9)
    histories._begin()
    name = next(iter(histories.refs))
    histories._append(name, 150)
    pick = random.Random(how)
    for _ in range(10):
        histories._append(name, 3)
        process = looking(repo, 10_000, how)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(pick.random() / 10)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        agrees(workspace)


def test_an_index_lost_between_two_questions_is_done_without(small: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleted by another process after each of the questions in turn."""
    expected = answers(small.history.find())
    plain = Index._ask
    for last in range(1, 7):
        indexed(small)
        tips = append_all(small, "plan-x", [turn(f"after {last}")])
        expected = answers(small.history.find())
        count = 0

        def ask(self: Index, *args: Any, last: int = last, **more: Any) -> Any:
            nonlocal count
            count += 1
            if count > last:
                self.path.unlink(missing_ok=True)
            return plain(self, *args, **more)

        monkeypatch.setattr(Index, "_ask", ask)
        assert answers(indexed(small)) == expected, tips
        monkeypatch.setattr(Index, "_ask", plain)
        assert answers(indexed(small)) == expected


def test_sqlite_is_loaded_only_where_there_is_an_index(small: Workspace, repo: Repo) -> None:
    """And nothing else that takes long to import."""
    from tests.test_startup import SLOW, imports

    for words in ("list", "stats", "stats --by day"):
        assert imports(repo, words) & SLOW == {"sqlite3"}
    assert "sqlite3" not in imports(repo, "--version")
    Index(small.repository.state_dir).discard()
    assert "sqlite3" not in imports(repo, "list")
