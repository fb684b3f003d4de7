"""Out to a file and in again: what comes in is what went out, or nothing of it does."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitsess import metadata
from gitsess.commit import Facts, Metrics, Person, encode, message_of
from gitsess.errors import FormatError
from gitsess.model import Oid, TurnId
from gitsess.transfer.parsing import End, Line, elements
from tests.conftest import NOON, Repo, append_all, hours, turn

FORMATS = ("json", "jsonl", "bundle")
CARRIED = ("json", "jsonl")
LONG = "A text that is long enough to be named and not written out again. " * 20


@pytest.fixture
def other(repo: Repo, tmp_path: Path) -> Repo:
    """An empty repository beside the first."""
    return made(tmp_path / "other")


def made(path: Path, *words: str) -> Repo:
    subprocess.run(["git", "init", "-q", *words, str(path)], check=True)
    return Repo(path=path)


def filled(repo: Repo) -> Repo:
    """Two sessions of a few turns: of all kinds of text, with tools, of a model without a price."""
    tools = [
        {"role": "user", "content": "Read it"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "Read", "input": {"path": "a.py"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": LONG}]},
        {"role": "assistant", "content": [{"type": "text", "text": "I have read it."}]},
    ]
    plan = [
        turn("Plan it\n\nAI-Kind: merge \x00\x7f\u202e é 🙂", "1. Begin", at=NOON),
        turn("Again", LONG, at=NOON + hours(1), model="a-model-of-no-price"),
        turn("Again", LONG, at=NOON + hours(2), messages=tools),
    ]
    append_all(repo.workspace(now=NOON), "plan-auth", plan)
    append_all(repo.workspace(now=NOON), "implement-auth", [turn("Do it", "Done", at=NOON + hours(3))])
    return repo


def state(repo: Repo) -> str:
    return repo.git("for-each-ref", "--format=%(objectname) %(refname)", "refs/ai-sessions/")


def objects(repo: Repo) -> int:
    return len(repo.git("cat-file", "--batch-check", "--batch-all-objects").splitlines())


def exported(repo: Repo, form: str) -> Path:
    return Path(os.environ["HOME"]) / f"{repo.path.name}.{form}"


def export(repo: Repo, form: str = "json", *words: str) -> bytes:
    path = exported(repo, form)
    repo.ai("export", "--format", form, "--output", str(path), *words)
    return path.read_bytes()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_an_import_into_an_empty_repository_gives_the_same_commits(
    form: str, object_format: str, tmp_path: Path, repo: Repo
) -> None:
    """Every ref is at the same oid, git finds no fault, and what is listed is the same to the digit."""
    source = filled(made(tmp_path / "source", f"--object-format={object_format}"))
    target = made(tmp_path / "target", f"--object-format={object_format}")
    data = export(source, form)
    ran = target.ai("import", "-", stdin=data)
    assert state(target) == state(source)
    assert ran.out == "implement-auth  1 turn, new\nplan-auth  3 turns, new\n"
    target.fsck()
    assert (
        target.ai("show", "plan-auth", "--full", "--json").out == source.ai("show", "plan-auth", "--full", "--json").out
    )
    assert not list((target.path / ".git/ai-sessions").glob("import-*"))


@pytest.mark.parametrize("form", FORMATS)
def test_importing_twice_is_importing_once(form: str, repo: Repo, other: Repo) -> None:
    """The second import writes no object, moves no ref, and says so."""
    data = export(filled(repo), form)
    other.ai("import", stdin=data)
    before = state(other), objects(other), len(list((other.path / ".git/objects/pack").iterdir()))
    ran = other.ai("import", stdin=data)
    assert "nothing to do: 2 sessions" in ran.err
    assert ran.out == ""
    assert (state(other), objects(other), len(list((other.path / ".git/objects/pack").iterdir()))) == before


def test_a_dry_run_says_it_and_changes_nothing(repo: Repo, other: Repo) -> None:
    """The outcome is told, and neither a ref nor an object is there afterwards."""
    data = export(filled(repo))
    ran = other.ai("import", "--dry-run", "--json", "-", stdin=data)
    assert [(item["session"], item["outcome"], item["turns"]) for item in ran.json] == [
        ("implement-auth", "created", 1),
        ("plan-auth", "created", 3),
    ]
    assert (state(other), objects(other)) == ("", 0)


def test_the_documented_sum_works(repo: Repo) -> None:
    """jq's sum over the interactions is the cost that stats knows; a turn of unknown price adds nothing."""
    value = json.loads(export(filled(repo)), parse_float=Decimal)
    costs = [item["cost"] for session in value for item in session["interactions"]]
    assert costs.count(None) == 1
    known = sum(cost for cost in costs if cost is not None)
    assert known == Decimal(str(repo.ai("stats", "--json").json["cost_usd"]))
    if shutil.which("jq"):
        path = exported(repo, "json")
        done = subprocess.run(["jq", "[.[].interactions[].cost] | add", path], capture_output=True, check=True)
        assert Decimal(done.stdout.decode().strip()) == known


def test_an_entry_has_the_layout_that_scripts_read(repo: Repo) -> None:
    """Keys, previews of 100 characters, disjoint counts, exact cost, dates in UTC."""
    usage = {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2}
    long = turn("x" * 101, usage=usage, cost_usd=Decimal("0.10"), duration_ms=1500, at=NOON)
    append_all(repo.workspace(now=NOON), "plan-auth", [long, turn("y" * 100, at=NOON + hours(1))])
    (value,) = json.loads(export(repo))
    tip, session = repo.git("rev-parse", "refs/ai-sessions/plan-auth"), repo.session("plan-auth")
    commits = value.pop("commits")
    interactions = value.pop("interactions")
    assert value == {
        "created_at": "2026-03-01T11:59:58Z",
        "last_used": "2026-03-01T13:00:00Z",
        "session_id": session.session_id,
        "command": "plan",
        "session_name": "plan-auth",
        "feature": "auth",
        "repository": str(repo.path / ".git"),
        "tip": tip,
    }
    assert interactions[0] == {
        "timestamp": "2026-03-01T12:00:00Z",
        "turn_id": long.turn_id,
        "model": "claude-sonnet-4-5",
        "prompt_preview": "x" * 100 + "...",
        "tokens": {"input": 10, "output": 5, "cache_read": 3, "cache_write": 2},
        "cost": 0.1,
        "duration_ms": 1500,
    }
    assert interactions[1]["prompt_preview"] == "y" * 100
    assert [set(item) for item in commits] == [{"oid", "commit", "files"}] * 2
    assert commits[-1]["oid"] == tip


def test_a_correction_counts_in_the_export(repo: Repo) -> None:
    """The entry has the metrics as corrected, and the correction has no entry of its own."""
    # So many that the first is written before the correction is met.
    append_all(repo.workspace(now=NOON), "plan-auth", [turn(at=NOON, cost_usd=1) for _ in range(60)])
    wrong, *_, last = repo.session("plan-auth").commits
    facts = Facts(
        kind="correction",
        turn_id=TurnId("c" * 32),
        seq=61,
        corrects=wrong.facts.turn_id,
        metrics=Metrics(model="m", cost_usd=Decimal("1.25"), cost_basis="reported"),
    )
    put(repo, "plan-auth", facts, parents=(last.oid,))
    (value,) = json.loads(export(repo))
    assert [item["cost"] for item in value["interactions"]] == [1.25] + [1] * 59
    assert len(value["commits"]) == 61


def put(repo: Repo, name: str, facts: Facts, *, parents: tuple[Oid, ...] = (), tree: str | None = None) -> Oid:
    """A commit of ours by hand, on an empty tree or another, and the session's ref on it."""
    person = Person(name="Ann", email="ann@example.com")
    raw = encode(
        tree=Oid(tree or repo.git("mktree", stdin=b"")),
        parents=parents,
        author=person,
        authored_at=NOON,
        committer=person,
        committed_at=NOON,
        message=message_of("By hand", facts),
    )
    oid = Oid(repo.git("hash-object", "-w", "-t", "commit", "--stdin", stdin=raw))
    repo.git("update-ref", f"refs/ai-sessions/{name}", oid)
    return oid


def root(**more: Any) -> Facts:
    return Facts(kind="turn", turn_id=TurnId("a" * 32), session_id="b" * 32, **more)


def tree_of(repo: Repo, *entries: str) -> str:
    return repo.git("mktree", "--missing", stdin="".join(f"{entry}\n" for entry in entries).encode())


def blob(repo: Repo, data: bytes) -> str:
    return repo.git("hash-object", "-w", "--stdin", stdin=data)


@pytest.mark.parametrize("form", FORMATS)
def test_files_that_are_no_text_and_folders_survive(form: str, repo: Repo, other: Repo) -> None:
    """Bytes that are no UTF-8, an empty file, and the native entries of a captured turn come in as they were."""
    raw = bytes(range(256)) * 3
    inner = tree_of(repo, f"100644 blob {blob(repo, raw)}\tagent-1.jsonl", f"100644 blob {blob(repo, b'')}\tempty")
    native = tree_of(repo, f"040000 tree {inner}\tsubagents", f"100644 blob {blob(repo, raw)}\tmain.jsonl")
    tree = tree_of(
        repo,
        f"040000 tree {native}\tnative",
        f"100644 blob {blob(repo, raw)}\tnative.bin",
        f"100644 blob {blob(repo, b'Why?')}\tprompt.md",
    )
    put(repo, "plan-auth", root(), tree=tree)
    other.ai("import", stdin=export(repo, form))
    assert state(other) == state(repo)
    other.fsck()


@pytest.mark.parametrize("indent", [None, 2])
def test_an_export_that_was_laid_out_anew_is_still_one(indent: int | None, repo: Repo, other: Repo) -> None:
    """Sorted keys, other white space, one object instead of a list, texts with every character escaped."""
    sessions = json.loads(export(filled(repo)))
    for session in sessions:
        text = json.dumps(session, indent=indent, sort_keys=True, ensure_ascii=True)
        other.ai("import", stdin=f"\n  {text}\n")
    assert state(other) == state(repo)


def test_a_session_that_went_on_goes_on(repo: Repo, other: Repo) -> None:
    """What is here is an ancestor: the ref moves on. What comes is one: nothing happens, and it is said."""
    first = export(filled(repo))
    other.ai("import", stdin=first)
    append_all(repo.workspace(now=NOON), "plan-auth", [turn("More", at=NOON + hours(9))])
    ran = other.ai("import", "--json", stdin=export(repo))
    assert [(item["outcome"], item["turns"]) for item in ran.json] == [("unchanged", 0), ("updated", 1)]
    assert state(other) == state(repo)
    assert "nothing to do" in other.ai("import", stdin=first).err
    assert state(other) == state(repo)


@pytest.mark.parametrize("form", FORMATS)
def test_sides_that_were_appended_to_apart_are_merged_alike(form: str, repo: Repo, other: Repo) -> None:
    """Each imports the other's export, and both have the same merge, which then is imported as it is."""
    other.ai("import", stdin=export(filled(repo)))
    append_all(repo.workspace(now=NOON), "plan-auth", [turn("Here", at=NOON + hours(5))])
    append_all(other.workspace(now=NOON), "plan-auth", [turn("There", at=NOON + hours(6))])
    ours, theirs = export(repo, form), export(other, form)
    ran = repo.ai("import", "--json", stdin=theirs)
    assert [item["outcome"] for item in ran.json] == ["unchanged", "merged"]
    other.ai("import", stdin=ours)
    assert state(repo) == state(other)
    assert [item.subject for item in repo.session("plan-auth").commits][-1] == "Merge turns recorded apart"
    assert repo.ai("list", "plan-auth", "--json").json[0]["turns"] == 5
    repo.fsck()
    assert "nothing to do" in repo.ai("import", stdin=theirs).err


def test_another_session_of_the_name_comes_in_beside_it(repo: Repo, other: Repo) -> None:
    """It is called NAME-XXXXXX by its id; the one here stays; importing again changes nothing."""
    append_all(repo.workspace(now=NOON), "plan-auth", [turn("Mine")])
    append_all(other.workspace(now=NOON), "plan-auth", [turn("Yours")])
    here, theirs = state(repo), other.session("plan-auth")
    data = export(other)
    ran = repo.ai("import", "--json", stdin=data)
    assert [item["session"] for item in ran.json] == [f"plan-auth-{str(theirs.session_id)[:6]}"]
    assert ran.json[0]["outcome"] == "renamed"
    assert here in state(repo)
    assert theirs.tip in state(repo)
    assert "nothing to do" in repo.ai("import", stdin=data).err


def test_histories_of_different_epochs_are_a_conflict(repo: Repo, other: Repo) -> None:
    """Text that was taken out does not come back by an import: exit 3, the session named, nothing changed."""
    first = put(repo, "plan-auth", root())
    other.ai("import", stdin=export(repo))
    append_all(repo.workspace(now=NOON), "plan-auth", [turn("Mine")])
    put(other, "plan-auth", root(epoch=1).replace(seq=2, turn_id=TurnId("d" * 32), session_id=None), parents=(first,))
    before = state(repo), objects(repo)
    ran = repo.ai("import", stdin=export(other), code=3)
    assert ran.err.startswith("error: plan-auth cannot be brought together")
    assert (state(repo), objects(repo)) == before


def _text(commits: list[dict[str, Any]]) -> None:
    commits[1]["files"]["response.md"] = "Something else"


def _message(commits: list[dict[str, Any]]) -> None:
    commits[1]["commit"] = commits[1]["commit"].replace("AI-Input-Tokens: 10", "AI-Input-Tokens: 11")


def _more(commits: list[dict[str, Any]]) -> None:
    commits[1]["files"]["more.md"] = ""


def _gone(commits: list[dict[str, Any]]) -> None:
    del commits[0]


def _twice(commits: list[dict[str, Any]]) -> None:
    commits.insert(1, commits[1])


def _unknown(commits: list[dict[str, Any]]) -> None:
    commits[1]["files"]["response.md"] = {"oid": "e" * 40}


def _no_base64(commits: list[dict[str, Any]]) -> None:
    commits[1]["files"]["response.md"] = {"base64": "é"}


def _surrogate(commits: list[dict[str, Any]]) -> None:
    commits[1]["files"]["response.md"] = "\udfff"


@pytest.mark.parametrize("form", CARRIED)
@pytest.mark.parametrize("change", [_text, _message, _more, _gone, _twice, _unknown, _no_base64, _surrogate])
def test_what_was_changed_is_refused(
    change: Callable[[list[dict[str, Any]]], None], form: str, repo: Repo, other: Repo
) -> None:
    """The error names the first commit that does not match; no session comes in, also none of the good ones."""
    data = export(filled(repo), form)
    if form == "json":
        value = json.loads(data)
        commits = value[1]["commits"]
        number, named = 2, commits[1]["oid"]
        change(commits)
        changed = json.dumps(value)
    else:
        lines = [json.loads(line) for line in data.splitlines()]
        commits = lines[3:]
        number, named = 5, commits[1]["oid"]
        change(commits)
        changed = "".join(json.dumps(line) + "\n" for line in [*lines[:3], *commits])
    ran = other.ai("import", stdin=changed, code=1)
    where = f"commit {number}" if form == "json" else f"object {number - (change is _gone)}"
    if change is _twice:
        where = f"commit {number + 1}" if form == "json" else f"object {number + 1}"
    if change is _gone and form == "json":
        where = "commit 1"
    assert where in ran.err
    if change not in (_unknown, _no_base64, _surrogate):
        assert named[:12] in ran.err
    assert ran.err.rstrip().endswith("nothing was imported")
    assert (state(other), objects(other)) == ("", 0)


def test_the_last_turns_cannot_be_cut_off_unseen(repo: Repo, other: Repo) -> None:
    """The tip belongs to what is checked."""
    value = json.loads(export(filled(repo)))
    del value[1]["commits"][-1]
    ran = other.ai("import", stdin=json.dumps(value), code=1)
    assert "not at its tip" in ran.err
    assert state(other) == ""


def test_nothing_comes_in_that_the_tip_does_not_reach(repo: Repo, other: Repo) -> None:
    """A commit beside the history is refused, though it is what it says it is."""
    first = put(repo, "plan-auth", root())
    for number in (2, 3):
        facts = Facts(kind="turn", turn_id=TurnId(str(number) * 32), seq=2)
        put(repo, f"plan-{number}", facts, parents=(first,))
    value = {session["session_name"]: session for session in json.loads(export(repo))}
    value["plan-3"]["commits"].insert(1, value["plan-2"]["commits"][1])
    ran = other.ai("import", stdin=json.dumps(value["plan-3"]), code=1)
    assert "do not lead to its tip" in ran.err
    assert objects(other) == 0


@pytest.mark.parametrize(
    "path",
    ["../x", "a/../b", ".git/config", "a/.GIT", "git~1", "/x", "a//b", "", "a\\b", "a\nb", "x" * 256, "a/" * 9 + "b"],
)
def test_hostile_paths_are_refused(path: str, repo: Repo, other: Repo) -> None:
    """Whatever a tree names its files, none is taken in that could lead elsewhere on a disk."""
    value = json.loads(export(filled(repo)))
    value[0]["commits"][0]["files"][path] = "x"
    ran = other.ai("import", stdin=json.dumps(value), code=1)
    assert "holds" in ran.err
    assert objects(other) == 0


@pytest.mark.parametrize("name", ["../../heads/main", "Plan-X", "con", "a/b", "", 3, None])
def test_hostile_names_are_refused(name: object, repo: Repo, other: Repo) -> None:
    """A name is held to the rule before it becomes a ref."""
    value = json.loads(export(filled(repo)))
    value[0]["session_name"] = name
    ran = other.ai("import", stdin=json.dumps(value), code=1)
    assert "nothing was imported" in ran.err
    assert other.git("for-each-ref") == ""


@pytest.mark.parametrize("mode", ["120000", "100755", "160000"])
@pytest.mark.parametrize("form", FORMATS)
def test_only_regular_files_go_out_or_come_in(mode: str, form: str, repo: Repo, other: Repo) -> None:
    """A session with a link, a program or a submodule in a tree is left out aloud; in a bundle it is refused."""
    append_all(repo.workspace(now=NOON), "implement-auth", [turn("Fine")])
    entry = f"{mode} commit {'5' * 40}" if mode == "160000" else f"{mode} blob {blob(repo, b'/etc/passwd')}"
    put(repo, "plan-auth", root(), tree=tree_of(repo, f"{entry}\tx"))
    path = Path(os.environ["HOME"]) / "out"
    ran = repo.ai("export", "--format", form, "--output", str(path), code=1)
    assert "plan-auth is left out" in ran.err
    other.ai("import", str(path))
    assert other.refs() == ["refs/ai-sessions/implement-auth"]
    if form == "bundle":
        repo.git("bundle", "create", "-q", str(path), "--glob=refs/ai-sessions/*")
        before = state(other)
        assert "no regular file" in other.ai("import", str(path), code=1).err
        assert state(other) == before


def test_what_a_newer_version_wrote_is_left_out_and_refused(repo: Repo, other: Repo) -> None:
    """The contents of a newer format are neither read nor taken in."""
    append_all(repo.workspace(now=NOON), "implement-auth", [turn("Fine")])
    raw = repo.git("cat-file", "commit", "refs/ai-sessions/implement-auth") + "\n"
    newer = raw.replace("AI-Format: 1", "AI-Format: 2").encode()
    oid = repo.git("hash-object", "-w", "-t", "commit", "--stdin", stdin=newer)
    repo.git("update-ref", "refs/ai-sessions/plan-auth", oid)
    ran = repo.ai("export", code=1)
    assert "plan-auth is left out: it was written by a newer gitsess" in ran.err
    assert [session["session_name"] for session in ran.json] == ["implement-auth"]
    value = ran.json
    value[0]["commits"][0] |= {"oid": oid, "commit": newer.decode()}
    value[0]["tip"] = oid
    assert "newer gitsess" in other.ai("import", stdin=json.dumps(value), code=1).err


def test_a_broken_commit_in_the_middle_is_carried(repo: Repo, other: Repo) -> None:
    """Readers pass over it, and its children name it: it goes along as it is."""
    append_all(repo.workspace(now=NOON), "plan-auth", [turn("One")])
    tip = repo.git("rev-parse", "refs/ai-sessions/plan-auth")
    broken = repo.git("commit-tree", "-p", tip, "-m", "Not one of ours", repo.git("mktree", stdin=b""))
    put(repo, "plan-auth", Facts(kind="turn", turn_id=TurnId("e" * 32), seq=3), parents=(Oid(broken),))
    other.ai("import", stdin=export(repo))
    assert state(other) == state(repo)


def test_a_history_with_a_hole_is_left_out(repo: Repo) -> None:
    """What cannot be carried whole is not carried, and the others are."""
    filled(repo)
    lost = repo.git("rev-parse", "refs/ai-sessions/plan-auth~1")
    (repo.path / ".git/objects" / lost[:2] / lost[2:]).unlink()
    ran = repo.ai("export", code=1)
    assert "plan-auth is left out" in ran.err
    assert [session["session_name"] for session in ran.json] == ["implement-auth"]


def test_the_file_is_private_and_whole(repo: Repo) -> None:
    """0600 whatever the umask, an older file stays until the new one is whole, and no other is left behind."""
    filled(repo)
    folder = Path(os.environ["HOME"]) / "to"
    folder.mkdir()
    path = folder / "out.json"
    path.write_text("before")
    old = os.umask(0)
    try:
        repo.ai("export", "--output", str(path))
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600
    good = path.read_bytes()
    assert len(json.loads(good)) == 2
    for oid in repo.git("rev-parse", "refs/ai-sessions/plan-auth:response.md").split():
        (repo.path / ".git/objects" / oid[:2] / oid[2:]).unlink()
    repo.ai("export", "--output", str(path), code=1)
    assert path.read_bytes() == good
    assert [item.name for item in folder.iterdir()] == ["out.json"]


def test_names_patterns_and_active_choose(repo: Repo) -> None:
    """A pattern, a name, and --active each leave out what they do not mean; a name that is none is an error."""
    filled(repo)
    now = datetime.now(UTC)
    append_all(repo.workspace(now=now), "review-auth", [turn("New", at=now)])

    def chosen(*words: str) -> list[str]:
        return [session["session_name"] for session in repo.ai("export", *words).json]

    assert chosen("plan-*") == ["plan-auth"]
    assert chosen("implement-auth", "plan-auth") == ["implement-auth", "plan-auth"]
    assert chosen("--active") == ["review-auth"]
    assert "did you mean plan-auth" in repo.ai("export", "plan-aut", code=1).err


def test_an_empty_repository_exports_an_empty_list(repo: Repo, other: Repo) -> None:
    """It is JSON all the same, and imports as nothing."""
    data = export(repo)
    assert json.loads(data) == []
    assert "it holds no session" in other.ai("import", stdin=data).err


def test_markdown_reads_as_what_was_said(repo: Repo) -> None:
    """Headings, model and cost, the prompt quoted, the answer as it is; nothing that a terminal would act upon."""
    append_all(repo.workspace(now=NOON), "plan-auth", [turn("# Mine\n\x1b[31mred", "```\n## Theirs", at=NOON)])
    text = repo.ai("export", "--format", "md").out
    assert "# plan-auth\n" in text
    assert "## Turn 1\n\n2026-03-01 11:59" not in text
    assert "## Turn 1\n\n2026-03-01 12:00 · claude-sonnet-4-5 · 10 in, 5 out" in text
    assert "> # Mine\n> red\n" in text
    assert "\n## Theirs\n" in text
    assert "\x1b" not in text


def test_a_bundle_is_one_that_git_fetches(repo: Repo, other: Repo) -> None:
    """Plain git takes it without this program."""
    export(filled(repo), "bundle")
    other.git("fetch", "-q", str(exported(repo, "bundle")), "refs/ai-sessions/*:refs/ai-sessions/*")
    assert state(other) == state(repo)


def test_names_of_the_other_hash_are_refused(repo: Repo, tmp_path: Path) -> None:
    """The names would change: an export of SHA-1 does not come into a SHA-256 repository."""
    target = made(tmp_path / "target", "--object-format=sha256")
    for form in CARRIED:
        assert "SHA-1 repository" in target.ai("import", stdin=export(filled(repo), form), code=1).err
    assert target.ai("import", stdin=export(repo, "bundle"), code=1).err.startswith("error: git cannot read the bundle")


def test_an_append_in_between_is_not_lost(repo: Repo, other: Repo) -> None:
    """An import that finds the session moved on since it looked merges with what is there now."""
    from gitsess.transfer.importing import Importer

    other.ai("import", stdin=export(filled(repo)))
    append_all(repo.workspace(now=NOON), "plan-auth", [turn("Here", at=NOON + hours(5))])
    workspace = other.workspace(now=NOON)
    importer = Importer(workspace.git, workspace.store)
    real = importer._move

    def late(moves: Any) -> str | None:
        importer._move = real  # type: ignore[method-assign]
        append_all(other.workspace(now=NOON), "plan-auth", [turn("There", at=NOON + hours(6))])
        return real(moves)

    importer._move = late  # type: ignore[method-assign]
    outcomes = importer.take(io.BytesIO(export(repo)), "it")
    assert [item.outcome for item in outcomes] == ["unchanged", "merged"]
    assert other.ai("list", "plan-auth", "--json").json[0]["turns"] == 5


# --- the reader of JSON -----------------------------------------------------------------------------------------

SOME = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
SESSION = st.fixed_dictionaries(
    {"commits": st.lists(st.dictionaries(st.text(max_size=4), SOME, max_size=3), max_size=3)},
    optional={"tip": SOME, "interactions": st.lists(SOME, max_size=3), 'é"\\': SOME},
)


class Dripping:
    """A stream that gives a few bytes at a time."""

    def __init__(self, data: bytes, step: int) -> None:
        self._data = data
        self._step = step

    def read(self, size: int = -1, /) -> bytes:
        taken, self._data = self._data[: self._step], self._data[self._step :]
        return taken


@given(st.lists(SESSION, max_size=3), st.integers(1, 9), st.sampled_from([None, 1]), st.booleans())
def test_any_list_of_sessions_is_read_as_it_is(
    sessions: list[dict[str, Any]], step: int, indent: int | None, ascii_only: bool
) -> None:
    """However the text is laid out, and wherever a read ends, the same elements come out in order."""
    data = json.dumps(sessions, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    expected: list[tuple[str, Any]] = []
    for session in sessions:
        expected += [("line", item) for item in session["commits"]]
        expected.append(("end", {k: v for k, v in session.items() if k not in ("commits", "interactions")}))
    found = [("line" if isinstance(item, Line) else "end", item.value) for item in elements(Dripping(data, step), "it")]
    assert found == expected


@given(st.binary(max_size=60) | st.text('[]{}",:\\ "1ae', max_size=40).map(str.encode))
def test_any_bytes_raise_only_our_error(data: bytes) -> None:
    """Whatever comes is elements or a FormatError."""
    complaint = "it"
    try:
        for item in elements(io.BytesIO(data), "it"):
            assert isinstance(item, Line | End)
    except FormatError as error:
        complaint = str(error)
    assert complaint.startswith("it")


def cuts(data: bytes) -> Iterator[bytes]:
    """Beginnings of ``data`` that end within a line."""
    for end in range(0, len(data) - 1, 97):
        if b"\n" not in data[max(0, end - 1) : end + 1]:
            yield data[:end]


@pytest.mark.parametrize("form", CARRIED)
def test_a_file_that_ends_early_is_refused(form: str, repo: Repo, other: Repo) -> None:
    """Cut within any line, an export brings in nothing."""
    from gitsess.transfer.importing import Importer

    data = export(filled(repo), form)
    workspace = other.workspace(now=NOON)
    whole = 0
    for part in cuts(data):
        importer = Importer(workspace.git, workspace.store)
        try:
            importer.take(io.BytesIO(part), "it", dry_run=True)
            whole += 1
        except FormatError:
            pass
    assert whole == 0
    assert objects(other) == 0


def test_nesting_and_endless_values_are_refused() -> None:
    """A value is refused before it is held whole."""
    with pytest.raises(FormatError, match="nested too deeply"):
        list(elements(io.BytesIO(b'[{"x":' + b"[" * 5000), "it"))

    class Endless:
        count = 0

        def read(self, size: int = -1, /) -> bytes:
            self.count += 1
            return b'[{"x":"' if self.count == 1 else b"a" * (1 << 20)

    endless = Endless()
    with pytest.raises(FormatError, match="more than 64 MiB"):
        list(elements(endless, "it"))
    assert endless.count < 70


@pytest.mark.parametrize(
    ("text", "shown"),
    [("short", "short"), ("x" * 100, "x" * 100), ("x" * 101, "x" * 100 + "..."), ("\x1b[31mred\x07", "red"), ("", "")],
)
def test_a_preview_is_a_hundred_printable_characters(text: str, shown: str) -> None:
    assert metadata.preview(text) == shown


def test_json_has_money_to_the_digit() -> None:
    """No amount goes through a binary fraction, and what a terminal would act upon is escaped."""
    cost = Decimal("0.123456789012345678")
    assert (
        metadata.dumps({"a": cost, "b": [None, "\x9b\u202e"]})
        == '{"a":0.123456789012345678,"b":[null,"\\u009b\\u202e"]}'
    )
