"""``doctor`` finds each fault that is planted, and only that; ``--fix`` mends what can be mended."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gitsess import accounts
from gitsess.index import Index, Line
from gitsess.model import Oid
from tests.conftest import NOON, Repo, append_all, hours, turn

USAGE = {"input_tokens": 100, "output_tokens": 20}
ENTRY = {"prompt": "Why?", "response": "So.", "model": "claude-sonnet-4-5", "usage": USAGE, "cost_usd": 0.5}
PLAN = "refs/ai-sessions/plan-auth"


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    return tmp_path / "copies"


def made(place: Path) -> None:
    """A repository in which everything happened that happens: hook, notes, an index, an import, a merge, a fork."""
    repo, copies = Repo(path=place / "project"), place / "copies"
    repo.environment["SESSION_DIR"] = str(copies)
    subprocess.run(["git", "init", "-q", str(repo.path)], check=True)
    repo.git("commit", "--allow-empty", "-qm", "Begin")
    repo.ai("init")
    turns = [turn(f"Ask {number}", at=NOON + hours(number), cost_usd="0.5") for number in range(3)]
    append_all(repo.workspace(), "plan-auth", turns)
    clone = Repo(path=place / "clone", environment={"SESSION_DIR": str(place / "elsewhere")})
    subprocess.run(["git", "init", "-q", str(clone.path)], check=True)
    clone.git("fetch", "-q", str(repo.path), "refs/ai-sessions/*:refs/ai-sessions/*")
    clone.record("plan-auth", ENTRY)
    repo.record("plan-auth", ENTRY)
    repo.ai("import", "-", stdin=clone.ai("export").out)
    repo.git("update-ref", "refs/ai-sessions/review-auth", f"{PLAN}^")
    repo.record("review-auth", ENTRY)
    repo.record("implement-auth", ENTRY, {**ENTRY, "status": "error"}, {"prompt": "no model"})
    repo.git("commit", "--allow-empty", "-qm", "Change")
    repo.ai("drain", "--wait", code=None)
    repo.record("verify-auth", ENTRY, {**ENTRY, "prompt": "Really?"}, {**ENTRY, "prompt": "Sure?"})
    (copies / "Old_Tool").mkdir(exist_ok=True)
    (copies / "Old_Tool/metadata.json").write_text('{"created_at":"2026-01-01T00:00:00Z","interactions":[]}')
    repo.ai("import", "--from", "session-dir")
    workspace = repo.workspace(environment=repo.environment)
    index = Index(workspace.repository.state_dir)
    accounts.find(workspace.history, index, turns=False, worth=1)
    refreshed(repo)
    assert index.exists
    assert repo.git("notes", "--ref=ai-sessions", "list")


def refreshed(repo: Repo) -> None:
    """Brings the copies up to date with what the sessions say."""
    workspace = repo.workspace(environment=repo.environment)
    assert workspace.mirroring is not None
    workspace.mirroring.refresh(list(workspace.history.tips()[0]), every_s=0)


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pattern")


@pytest.fixture
def healthy(pattern: Path, sealed: dict[str, str], tmp_path: Path) -> Repo:
    """One's own of what ``made`` makes."""
    if not (pattern / "project").exists():
        made(pattern)
    shutil.copytree(pattern / "project", tmp_path / "project", symlinks=True)
    shutil.copytree(pattern / "copies", tmp_path / "copies", symlinks=True)
    for file in (tmp_path / "copies").glob("*/metadata.json"):
        file.write_text(file.read_text().replace(str(pattern / "project"), str(tmp_path / "project")))
    return Repo(path=tmp_path / "project", environment={"SESSION_DIR": str(tmp_path / "copies")})


def checks(repo: Repo, *args: str, code: int | None = None) -> list[str]:
    found = repo.ai("doctor", "--json", *args, code=code).json
    return [item["check"] for item in found["findings"]]


def test_nothing_is_wrong_with_what_is_well(healthy: Repo, tmp_path: Path) -> None:
    """No finding after everything that usually happens, in a linked worktree and in a fresh repository neither."""
    ran = healthy.ai("doctor", code=None)
    assert (ran.code, ran.err) == (0, ""), ran
    assert re.fullmatch(r"5 sessions with \d+ turns looked at: nothing is wrong\n", ran.out), ran.out
    healthy.git("worktree", "add", "-q", str(tmp_path / "linked"))
    healthy.ai("doctor", cwd=tmp_path / "linked")
    healthy.ai("doctor", cwd=healthy.path / ".git")
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "bare")], check=True)
    subprocess.run(["git", "init", "-q", str(tmp_path / "fresh")], check=True)
    for name in ("bare", "fresh"):
        assert "0 sessions with 0 turns" in healthy.ai("doctor", cwd=tmp_path / name).out


def test_looking_changes_nothing(healthy: Repo, copies: Path) -> None:
    """Without --fix every file in the repository and the mirror is as it was."""
    (copies / "plan-auth/metadata.json").write_text("{")
    (healthy.path / ".git/ai-sessions/index.sqlite").write_text("no index")
    (healthy.path / ".git/ai-sessions/spool").mkdir(exist_ok=True)
    (healthy.path / ".git/ai-sessions/spool/x.json").write_text("{}")

    def state() -> dict[Path, bytes]:
        places = (healthy.path, copies)
        return {path: path.read_bytes() for top in places for path in top.rglob("*") if path.is_file()}

    before = state()
    assert len(set(checks(healthy, code=1))) >= 3
    assert state() == before


# Commits


def rewritten(repo: Repo, ref: str, change: Callable[[str], str]) -> None:
    """Puts another commit in the place of a session's tip."""
    raw = change(repo.git("cat-file", "commit", ref) + "\n")
    oid = repo.git("hash-object", "-t", "commit", "-w", "--stdin", "--literally", stdin=raw.encode())
    repo.git("update-ref", ref, oid)


def trailer(key: str, value: str) -> Callable[[str], str]:
    def change(raw: str) -> str:
        made = re.sub(rf"^{key}: .*$", f"{key}: {value}", raw, count=1, flags=re.MULTILINE)
        assert made != raw
        return made

    return change


VERIFY = "refs/ai-sessions/verify-auth"


def second_root(repo: Repo) -> None:
    tip = repo.git("rev-parse", VERIFY)
    session_id = repo.session("verify-auth").session_id
    raw = repo.git("cat-file", "commit", VERIFY) + "\n"
    raw = raw.replace("AI-Format: 1\n", f"AI-Format: 1\nAI-Session-Id: {session_id}\n")
    raw = re.sub(r"^parent .*\n", "", raw, flags=re.MULTILINE)
    raw = raw.replace("AI-Turn-Id: ", "AI-Turn-Id: f", 1)
    raw = re.sub(r"(AI-Turn-Id: f[0-9a-f]{31})[0-9a-f]", r"\1", raw)
    raw = re.sub(r"AI-Seq: \d+", "AI-Seq: 1", raw)
    other = repo.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=raw.encode())
    merge_of(repo, sorted((tip, other)), VERIFY)


def merge_of(repo: Repo, parents: list[str], ref: str, *, subject: str = "Merge turns recorded apart") -> None:
    facts = [repo.git("log", "-1", "--format=%ct %(trailers:key=AI-Seq,valueonly)", oid).split() for oid in parents]
    date, seq = max(int(fact[0]) for fact in facts), 1 + max(int(fact[1]) for fact in facts)
    tree = repo.git("hash-object", "-t", "tree", "-w", "--stdin", stdin=b"")
    lines = [f"tree {tree}", *(f"parent {oid}" for oid in parents)]
    lines += [f"{who} gitsess <gitsess@invalid> {date} +0000" for who in ("author", "committer")]
    message = f"{subject}\n\nAI-Format: 1\nAI-Kind: merge\nAI-Seq: {seq}\n"
    raw = "\n".join([*lines, "", message])
    repo.git("update-ref", ref, repo.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=raw.encode()))


def wrong_merge(repo: Repo) -> None:
    tip = repo.git("rev-parse", VERIFY)
    raw = repo.git("cat-file", "commit", tip) + "\n"
    raw = raw.replace("AI-Turn-Id: ", "AI-Turn-Id: f", 1)
    raw = re.sub(r"(AI-Turn-Id: f[0-9a-f]{31})[0-9a-f]", r"\1", raw)
    other = repo.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=raw.encode())
    merge_of(repo, sorted((tip, other)), VERIFY, subject="Merge of mine")


def loose(repo: Repo, name: str) -> Path:
    oid = repo.git("rev-parse", name)
    path = repo.path / ".git/objects" / oid[:2] / oid[2:]
    assert path.exists(), "a loose object is to be damaged"
    return path


def broken_blob(repo: Repo) -> None:
    path = loose(repo, f"{VERIFY}:turn.json")
    path.chmod(0o600)
    path.write_bytes(b"rubbish")


def twice_on_a_line(repo: Repo) -> None:
    ids = repo.git("log", "--format=%(trailers:key=AI-Turn-Id,valueonly,separator=)", VERIFY).split()
    tip = repo.git("rev-parse", VERIFY)
    raw = repo.git("cat-file", "commit", VERIFY) + "\n"
    raw = re.sub(r"^parent .*$", f"parent {tip}", raw, flags=re.MULTILINE)
    raw = trailer("AI-Turn-Id", ids[1])(raw)
    raw = re.sub(r"AI-Seq: (\d+)", lambda found: f"AI-Seq: {int(found[1]) + 1}", raw)
    repo.git("update-ref", VERIFY, repo.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=raw.encode()))


def in_two_sessions(repo: Repo) -> None:
    entry = {**ENTRY, "turn_id": "c" * 32}
    repo.record("plan-one", entry)
    repo.record("plan-two", entry)


def foreign(repo: Repo) -> None:
    repo.git("update-ref", "refs/ai-sessions/plan-foreign", "HEAD")


LEDGER: dict[str, tuple[str, Callable[[Repo], object]]] = {
    "a ref of bytes": ("ref", lambda r: (r.path / ".git/refs/ai-sessions/plan-x").write_text("no oid\n")),
    "a ref that is no name": ("ref", lambda r: r.git("update-ref", "refs/ai-sessions/Bad_Name", PLAN)),
    "a ref to a ref": ("ref", lambda r: r.git("symbolic-ref", "refs/ai-sessions/plan-x", PLAN)),
    "a ref to a blob": ("ref", lambda r: r.git("update-ref", "refs/ai-sessions/plan-x", blob(r))),
    "a ref to code": ("ref", foreign),
    "a trailer twice": ("format", lambda r: rewritten(r, VERIFY, lambda raw: f"{raw}AI-Seq: 9\n")),
    "a newer format": ("format", lambda r: rewritten(r, VERIFY, trailer("AI-Format", "2"))),
    "files of another kind": (
        "format",
        lambda r: rewritten(r, VERIFY, lambda raw: re.sub("tree .*", f"tree {tree(r)}", raw)),
    ),
    "a lost blob": ("chain", lambda r: loose(r, f"{VERIFY}:turn.json").unlink()),
    "a broken blob": ("chain", broken_blob),
    "a lost tree": ("chain", lambda r: loose(r, f"{VERIFY}^{{tree}}").unlink()),
    "a lost commit": ("chain", lambda r: loose(r, f"{VERIFY}~1").unlink()),
    "a number out of turn": ("chain", lambda r: rewritten(r, VERIFY, trailer("AI-Seq", "7"))),
    "an earlier date": ("chain", lambda r: rewritten(r, VERIFY, earlier)),
    "two roots": ("chain", second_root),
    "a merge of its own kind": ("chain", wrong_merge),
    "a turn with two parents": ("chain", lambda r: rewritten(r, VERIFY, lambda raw: two_parents(r, raw))),
    "a root without an id": ("chain", lambda r: rewritten(r, "refs/ai-sessions/old_tool", no_session_id)),
    "sums that do not sum": ("sums", lambda r: rewritten(r, VERIFY, trailer("AI-Input-Tokens", "11"))),
    "a cost that does not sum": (
        "sums",
        lambda r: rewritten(r, VERIFY, trailer("AI-Cost-USD", "3")),
    ),
    "a turn twice": ("turn-id", twice_on_a_line),
    "a turn in two sessions": ("turn-id", in_two_sessions),
}


def tree(repo: Repo) -> str:
    """A tree whose turn.json is no object."""
    oid = repo.git("hash-object", "-w", "--stdin", stdin=b"[]")
    return repo.git("mktree", stdin=f"100644 blob {oid}\tturn.json\n".encode())


def blob(repo: Repo) -> str:
    return repo.git("rev-parse", f"{VERIFY}:prompt.md")


def earlier(raw: str) -> str:
    return re.sub(r"^(committer .*>) \d+", r"\1 86400", raw, flags=re.MULTILINE)


def two_parents(repo: Repo, raw: str) -> str:
    return re.sub(r"^(parent .*)$", rf"\1\nparent {repo.git('rev-parse', VERIFY + '~2')}", raw, flags=re.MULTILINE)


def no_session_id(raw: str) -> str:
    return re.sub(r"^AI-Session-Id: .*\n", "", raw, flags=re.MULTILINE)


@pytest.mark.parametrize("fault", LEDGER)
def test_a_fault_in_the_commits_is_found_and_only_that(healthy: Repo, fault: str) -> None:
    """One finding, of one line, that names the session or the ref; the exit code says that something is wrong."""
    expected, plant = LEDGER[fault]
    plant(healthy)
    refreshed(healthy)
    index = Index(healthy.workspace().repository.state_dir)
    index.discard()
    ran = healthy.ai("doctor", code=1)
    lines = [line for line in ran.out.splitlines() if not line.startswith(("mirror: ", "notes: "))]
    assert [line.partition(":")[0] for line in lines] == [expected], ran.out
    assert "auth" in lines[0] or "plan" in lines[0] or "Bad_Name" in lines[0] or "old_tool" in lines[0]
    assert "; " in lines[0], "it says what to do"
    healthy.ai("doctor", "--fix", code=1)


# What lies around them


def spooled(repo: Repo) -> None:
    lock = repo.path / ".git" / f"{PLAN}.lock"
    lock.touch()
    repo.ai("record", "plan", "auth", stdin=json.dumps(ENTRY))
    lock.unlink()


def aged(path: Path) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.touch(0o600)
    os.utime(path, (1, 1))


def in_copies(repo: Repo) -> Path:
    return Path(repo.environment["SESSION_DIR"])


def changed_copy(repo: Repo) -> None:
    file = in_copies(repo) / "plan-auth/metadata.json"
    file.write_text(file.read_text().replace('"cost":0.5', '"cost":5.0', 1))


def changed_head(repo: Repo) -> None:
    """A copy of an older tip whose head says something else: what is added to it does not put that right."""
    file = in_copies(repo) / "verify-auth/metadata.json"
    file.write_text(re.sub(r'"created_at":"[^"]*"', '"created_at":"2001-01-01T00:00:00Z"', file.read_text(), count=1))
    append_all(repo.workspace(environment=repo.environment), "verify-auth", [turn("One more", at=NOON + hours(99_000))])


def orphan(repo: Repo) -> None:
    repo.git("update-ref", "-d", "refs/ai-sessions/old_tool")


def wrong_index(repo: Repo) -> None:
    """Sums that are none of the commits', with a check that is right."""
    workspace = repo.workspace()
    index = Index(workspace.repository.state_dir)
    tip = Oid(repo.git("rev-parse", VERIFY))
    entries = index.entries({tip})[tip]
    outline = index.outlines({tip})[tip]._replace(used=7)
    index.discard()
    index.save([Line(tip=tip, after=None, entries=entries, outline=outline)], alive={tip})


def broken_index(repo: Repo) -> None:
    (repo.path / ".git/ai-sessions/index.sqlite").write_bytes(b"SQLite format 3\0" + b"\xff" * 4000)


def cut_row(repo: Repo) -> None:
    with closing(sqlite3.connect(repo.path / ".git/ai-sessions/index.sqlite")) as connection:
        connection.execute("UPDATE lines SET outline = '[]'")
        connection.commit()


def other_note(repo: Repo) -> None:
    oid = repo.git("notes", "--ref=ai-sessions", "list").split()[1]
    repo.git("notes", "--ref=ai-sessions", "add", "-f", "-m", "mine", oid)


def no_note(repo: Repo) -> None:
    repo.git("update-ref", "-d", "refs/notes/ai-sessions")


def hook(repo: Repo) -> Path:
    return repo.path / ".git/hooks/post-commit"


def program_gone(repo: Repo) -> None:
    hook(repo).write_text(
        re.sub(r"(\t+set -- ')?/\S+(python|git-ai-session)\S*", r"\1/gone/bin/python", hook(repo).read_text())
    )


def other_hooks(repo: Repo) -> None:
    (repo.path / "elsewhere").mkdir()
    repo.git("config", "core.hooksPath", "elsewhere")


def told(repo: Repo, *agents: str) -> None:
    repo.ai("init", *(word for name in agents for word in ("--agent", name)))


def script_of_agents(repo: Repo) -> Path:
    return repo.path / ".git/ai-sessions/agent"


def script_lost(repo: Repo) -> None:
    told(repo, "claude")
    script_of_agents(repo).unlink()


def script_of_nobody(repo: Repo) -> None:
    told(repo, "codex")
    text = script_of_agents(repo).read_text()
    script_of_agents(repo).write_text(re.sub(r"(\t+set -- )'?/\S+", r"\1/gone/bin/python", text))


def script_for_nobody(repo: Repo) -> None:
    told(repo, "gemini")
    script_of_agents(repo).chmod(0o600)


def script_outlived(repo: Repo) -> None:
    told(repo, "gemini")
    script_of_agents(repo).write_text(script_of_agents(repo).read_text().replace("agent 1:", "agent 0:"))


def settings_outlived(name: str, path: str) -> Callable[[Repo], object]:
    """What an agent is told to run is what was there when the repository was elsewhere."""

    def plant(repo: Repo) -> None:
        told(repo, name)
        settings = repo.path / path
        settings.write_text(settings.read_text().replace(str(repo.path), "/elsewhere"))

    return plant


AROUND: dict[str, tuple[str, Callable[[Repo], object], bool]] = {
    "a lock left behind": ("lock", lambda r: aged(r.path / ".git" / f"{PLAN}.lock"), True),
    "packed-refs.lock": ("lock", lambda r: aged(r.path / ".git/packed-refs.lock"), True),
    "a turn in the spool": ("spool", spooled, True),
    "a turn set aside": ("spool", lambda r: aged(r.path / ".git/ai-sessions/spool/failed/x.json"), False),
    "a writer killed": ("spool", lambda r: aged(r.path / ".git/ai-sessions/spool/t.x.json.123"), False),
    "a copy changed": ("mirror", changed_copy, True),
    "a copy changed and behind": ("mirror", changed_head, True),
    "a copy lost": ("mirror", lambda r: shutil.rmtree(in_copies(r) / "plan-auth"), True),
    "all copies lost": ("mirror", lambda r: shutil.rmtree(in_copies(r)), True),
    "a copy of nothing": ("mirror", orphan, True),
    "a copy for all to read": ("permissions", lambda r: (in_copies(r) / "plan-auth/metadata.json").chmod(0o644), True),
    "a mirror for all to read": ("permissions", lambda r: in_copies(r).chmod(0o755), True),
    "a spool for all to read": ("permissions", lambda r: (r.path / ".git/ai-sessions").chmod(0o755), True),
    "an index that says otherwise": ("index", wrong_index, True),
    "an index of rubbish": ("index", broken_index, True),
    "an index with a row cut": ("index", cut_row, True),
    "an index for all to write": (
        "permissions",
        lambda r: (r.path / ".git/ai-sessions/index.sqlite").chmod(0o666),
        True,
    ),
    "a note changed": ("notes", other_note, True),
    "notes lost": ("notes", no_note, True),
    "a hook not executable": ("hook", lambda r: hook(r).chmod(0o644), False),
    "a hook of an older kind": (
        "hook",
        lambda r: hook(r).write_text(re.sub(r"post-commit \d+:", "post-commit 0:", hook(r).read_text())),
        False,
    ),
    "a hook that starts nothing": ("hook", program_gone, False),
    "a hook lost before its chain": ("hook", lambda r: hook(r).rename(hook(r).with_suffix(".chained")), False),
    "hooks looked for elsewhere": ("hook", other_hooks, False),
    "a script of agents lost": ("agent", script_lost, True),
    "a script of agents that starts nothing": ("agent", script_of_nobody, True),
    "a script of agents not executable": ("agent", script_for_nobody, True),
    "a script of agents of an older kind": ("agent", script_outlived, True),
    "hooks of a repository that moved": ("agent", settings_outlived("claude", ".claude/settings.local.json"), True),
    "a plugin of a repository that moved": (
        "agent",
        settings_outlived("opencode", ".opencode/plugins/gitsess.js"),
        True,
    ),
    "a remote that mirrors": ("remote", lambda r: r.git("remote", "add", "--mirror=push", "m", "/nowhere"), False),
    "a refspec for all": ("remote", lambda r: r.git("config", "remote.x.push", "refs/*:refs/*"), False),
    "a refspec that overwrites": ("remote", lambda r: r.git("config", "remote.x.fetch", "+refs/*:refs/*"), False),
    "a setting that is none": ("settings", lambda r: r.git("config", "ai-session.budget", "plenty"), False),
}


@pytest.mark.parametrize("fault", AROUND)
def test_a_fault_around_them_is_found_and_only_that(healthy: Repo, fault: str) -> None:
    """One finding; --fix mends what can be mended, and then nothing is wrong any more."""
    expected, plant, mendable = AROUND[fault]
    plant(healthy)
    assert set(checks(healthy, code=1)) == {expected}
    found = healthy.ai("doctor", "--json", "--fix", code=0 if mendable else 1).json["findings"]
    assert {item["fixed"] for item in found} == {mendable}
    assert (set(checks(healthy)) == set()) == mendable


def test_agents_that_were_told_are_no_fault(healthy: Repo) -> None:
    """Nor are settings that came with the repository where nobody ran init, nor the person's own for others."""
    agents = ("claude", "codex", "gemini", "opencode")
    told(healthy, *agents)
    healthy.ai("init", "--agent", "claude", "--shared")
    assert checks(healthy, code=0) == []
    committed = [healthy.path / ".claude/settings.json", healthy.path / ".gemini/settings.json"]
    texts = [path.read_bytes() for path in committed]
    healthy.ai("init", "--undo")
    assert not script_of_agents(healthy).exists()
    for path, text in zip(committed, texts, strict=True):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text)
    healthy.ai("init")
    assert checks(healthy, code=0) == []
    # What cannot be read as settings is left to the agent.
    (healthy.path / ".claude/settings.local.json").write_text("{")
    assert checks(healthy, code=0) == []


def test_what_agents_are_told_is_mended_as_it_was(healthy: Repo) -> None:
    """--fix brings ours up to date, keeps what others have there, and undoing still takes only ours out."""
    settings = healthy.path / ".claude/settings.local.json"
    settings.parent.mkdir()
    theirs = {"hooks": {"Stop": [{"hooks": [{"type": "command", "command": "say"}]}], "PreToolUse": []}, "other": 1}
    settings.write_text(json.dumps(theirs))
    settings_outlived("claude", ".claude/settings.local.json")(healthy)
    script_of_agents(healthy).unlink()
    healthy.ai("doctor", "--fix")
    assert str(script_of_agents(healthy)) in settings.read_text()
    assert os.access(script_of_agents(healthy), os.X_OK)
    healthy.ai("init", "--undo")
    assert json.loads(settings.read_text()) == theirs


def test_a_lock_that_may_be_in_use_is_no_fault(healthy: Repo) -> None:
    """git holds a lock for a moment, and it is let be."""
    (healthy.path / ".git" / f"{PLAN}.lock").touch()
    assert checks(healthy, code=0) == []


def test_what_cannot_be_mended_is_said(healthy: Repo) -> None:
    """A turn that still cannot be appended stays in the spool, and the line says why."""
    lock = healthy.path / ".git" / f"{PLAN}.lock"
    lock.touch()
    healthy.ai("record", "plan", "auth", stdin=json.dumps(ENTRY))
    ran = healthy.ai("doctor", "--fix", code=1)
    assert "it could not be mended: " in ran.out
    assert len(list((healthy.path / ".git/ai-sessions/spool").glob("*.json"))) == 1


def test_a_shared_repository_is_open_to_its_group(healthy: Repo) -> None:
    """Where git is told to share, what is shared is no fault."""
    (healthy.path / ".git/ai-sessions").chmod(0o770)
    healthy.git("config", "core.sharedRepository", "group")
    assert checks(healthy, code=0) == []


def test_findings_are_lines_whatever_is_found(healthy: Repo) -> None:
    """Names that a terminal would act upon come out harmless."""
    spool = healthy.path / ".git/ai-sessions/spool/failed"
    spool.mkdir(mode=0o700, exist_ok=True)
    (spool / "x\x1b[31m\n.json").write_text("{}")
    ran = healthy.ai("doctor", code=1)
    assert "\x1b" not in ran.out
    assert len([line for line in ran.out.splitlines() if line.startswith("spool: ")]) == 1


def test_outside_of_a_repository_there_is_nothing_to_check(healthy: Repo, tmp_path: Path) -> None:
    ran = healthy.ai("doctor", cwd=tmp_path, env={"GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}, code=1)
    assert ran.err.startswith("error: not in a git repository")
