"""The shell tool's folders become sessions, once, and whatever else lies there is left alone."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gitsess import names
from gitsess.agents import sessiondir
from gitsess.agents.sessiondir import Found, Passed
from gitsess.text import iso
from gitsess.transfer.migrating import derived_name
from tests.conftest import NOON, PROGRAM, Repo, append_all, hours, turn


def interaction(number: int, **more: Any) -> dict[str, Any]:
    """What the tool logs after an answer: the beginning of the prompt, estimated tokens and cost."""
    chosen = random.Random(number)
    prompt = f"Do step {number} " + "and more " * chosen.randrange(30)
    entry = {
        "timestamp": iso(NOON + timedelta(minutes=number)),
        "model": chosen.choice(["claude-sonnet-4", "claude-opus-4"]),
        "prompt_preview": prompt if len(prompt) <= 100 else prompt[:100] + "...",
        "tokens": {"input": chosen.randrange(5000), "output": chosen.randrange(2000)},
        "cost": chosen.randrange(1, 10**6) / 10**6,
        "duration_ms": chosen.randrange(60_000),
    }
    return {**entry, **more}


def session(directory: Path, name: str, count: int | None = 1, **more: Any) -> dict[str, Any]:
    """A folder as the tool writes it; ``count`` None: a metadata.json without interactions."""
    command, _, _ = name.partition("-")
    value: dict[str, Any] = {
        "created_at": iso(NOON - timedelta(minutes=5)),
        "last_used": iso(NOON + timedelta(minutes=count or 0)),
        "session_id": f"id-of-{name}",
        "command": command,
        "session_name": name,
    }
    if count is not None:
        value["interactions"] = [interaction(number) for number in range(count)]
    value |= more
    write(directory, name, json.dumps(value, indent=2))
    return value


def write(directory: Path, name: str, text: str) -> None:
    folder = directory / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metadata.json").write_text(text, encoding="utf-8", errors="surrogateescape")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folder of folders."""
    folder = tmp_path / "old"
    folder.mkdir()
    return folder


def migrate(repo: Repo, old: Path, *words: str, code: int = 0) -> Any:
    return repo.ai("import", "--from", "session-dir", str(old), "--json", *words, code=code).json


def content(repo: Repo, rev: str, path: str = "turn.json") -> Any:
    return json.loads(repo.git("show", f"{rev}:{path}"))


def test_a_folder_becomes_a_session(repo: Repo, old: Path) -> None:
    """Its dates, tokens, costs, previews, models and its own id are in the commits."""
    value = session(old, "implement-auth", 3)
    migrate(repo, old)
    row = repo.ai("list", "--json").json[0]
    given = value["interactions"]
    assert row["session"] == "implement-auth"
    assert row["turns"] == 3
    assert row["created_at"] == value["created_at"]
    assert row["last_used"] == given[-1]["timestamp"]
    assert row["input_tokens"] == sum(item["tokens"]["input"] for item in given)
    assert row["output_tokens"] == sum(item["tokens"]["output"] for item in given)
    assert Decimal(str(row["cost_usd"])) == sum(Decimal(str(item["cost"])) for item in given)
    turns = [item for item in repo.session("implement-auth").commits if item.facts.kind == "turn"]
    for item, entry in zip(turns, given, strict=True):
        assert repo.git("show", f"{item.oid}:prompt.md") == entry["prompt_preview"].rstrip("\n")
        assert iso(item.committed_at) == entry["timestamp"]
        assert item.author.name == entry["model"]
        assert item.facts.conversation == "id-of-implement-auth"
        assert item.facts.metrics is not None
        assert item.facts.metrics.cost_basis == "estimated"
        assert item.facts.metrics.duration_ms == entry["duration_ms"]
        assert content(repo, item.oid)["imported"] == {
            "from": "session-dir",
            "folder": "implement-auth",
            "prompt": "preview",
        }
    repo.fsck()


def test_what_the_tool_had_is_what_an_export_says(repo: Repo, old: Path) -> None:
    """The way back: the interactions of an export are those of the folder."""
    value = session(old, "implement-auth", 20)
    migrate(repo, old)
    (out,) = repo.ai("export").json
    for entry in out["interactions"]:
        del entry["turn_id"]
        entry["tokens"] = {key: entry["tokens"][key] for key in ("input", "output")}
    assert out["interactions"] == value["interactions"]
    kept = ("created_at", "command", "session_name")
    assert {key: out[key] for key in kept} == {key: value[key] for key in kept}


@pytest.mark.parametrize("count", [None, 0, 1, 500])
def test_any_number_of_interactions(count: int | None, repo: Repo, old: Path) -> None:
    """None at all makes a session as well: it has no turns, and the folder's date."""
    value = session(old, "plan-auth", count)
    migrate(repo, old)
    row = repo.ai("list", "--json").json[0]
    assert (row["session"], row["turns"], row["created_at"]) == ("plan-auth", count or 0, value["created_at"])


def test_twice_is_once(repo: Repo, old: Path) -> None:
    """The second import writes nothing; what was logged meanwhile is added to the session, and nothing else."""
    session(old, "plan-auth", 2)
    session(old, "Implement_Auth", 3, session_id="")
    migrate(repo, old)
    before = repo.git("for-each-ref", "refs/ai-sessions")
    assert {item["outcome"] for item in migrate(repo, old)["sessions"]} == {"unchanged"}
    assert repo.git("for-each-ref", "refs/ai-sessions") == before
    session(old, "plan-auth", 5)
    found = {item["session"]: item for item in migrate(repo, old)["sessions"]}
    assert (found["plan-auth"]["outcome"], found["plan-auth"]["turns"]) == ("updated", 3)
    assert found["implement_auth"]["outcome"] == "unchanged"
    assert {row["session"]: row["turns"] for row in repo.ai("list", "--json").json} == {
        "plan-auth": 5,
        "implement_auth": 3,
    }


def test_a_list_that_was_cut_at_its_beginning_brings_nothing_twice(repo: Repo, old: Path) -> None:
    """A turn's id follows from what is logged, not from its place."""
    value = session(old, "plan-auth", 5)
    migrate(repo, old)
    session(old, "plan-auth", interactions=value["interactions"][2:])
    assert migrate(repo, old)["sessions"][0]["outcome"] == "unchanged"


def test_two_clones_get_the_same_commits(repo: Repo, old: Path, tmp_path: Path) -> None:
    """Nothing random is in them."""
    session(old, "plan-auth", 3)
    other = Repo(path=tmp_path / "other")
    subprocess.run(["git", "init", "-q", str(other.path)], check=True)
    migrate(repo, old)
    migrate(other, old)
    assert other.git("for-each-ref", "refs/ai-sessions") == repo.git("for-each-ref", "refs/ai-sessions")


def test_a_dry_run_changes_nothing(repo: Repo, old: Path) -> None:
    """It tells the same outcomes, and no ref and no object is made."""
    session(old, "plan-auth", 3)
    objects = repo.git("count-objects", "-v")
    planned = migrate(repo, old, "--dry-run")
    assert (repo.refs(), repo.git("count-objects", "-v")) == ([], objects)
    assert planned == migrate(repo, old)


def test_names_are_made_of_folders(repo: Repo, old: Path) -> None:
    """Capitals, spaces and other letters; the folder's own name is kept."""
    for name in ("My Feature", "implement-Auth_2", "prüfen-ä", "x" * 120, "...", "plan-auth"):
        session(old, name)
    found = {item["folder"]: item["session"] for item in migrate(repo, old)["sessions"]}
    assert found["My Feature"] == "my-feature"
    assert found["implement-Auth_2"] == "implement-auth_2"
    assert found["plan-auth"] == "plan-auth"
    assert all(names.is_valid(name) for name in found.values())
    assert len(set(found.values())) == len(found) == 6
    assert content(repo, "refs/ai-sessions/my-feature")["imported"]["folder"] == "My Feature"


def test_folders_that_differ_in_capitals_alone_stay_apart(repo: Repo, old: Path) -> None:
    """Also where one of them came later, and whichever it is that has the plain name."""
    session(old, "Plan-Auth", 2)
    migrate(repo, old)
    session(old, "PLAN-auth", 1)
    session(old, "plan-auth", 3)
    migrate(repo, old)
    before = repo.git("for-each-ref", "refs/ai-sessions")
    migrate(repo, old)
    assert repo.git("for-each-ref", "refs/ai-sessions") == before
    assert sorted(row["turns"] for row in repo.ai("list", "--json").json) == [1, 2, 3]
    for ref in repo.refs():
        items = repo.session(ref.removeprefix("refs/ai-sessions/")).commits[1:]
        assert len({content(repo, item.oid)["imported"]["folder"] for item in items}) == 1


def test_turns_do_not_land_behind_newer_ones(repo: Repo, old: Path) -> None:
    """A session that went on here since keeps its order: the folder becomes a session beside it, once."""
    append_all(repo.workspace(now=NOON), "plan-auth", [turn("Newer", at=NOON + hours(99))])
    tip = repo.git("rev-parse", "refs/ai-sessions/plan-auth")
    session(old, "plan-auth", 2)
    (made,) = migrate(repo, old)["sessions"]
    assert made["session"].startswith("plan-auth-import-")
    assert repo.git("rev-parse", "refs/ai-sessions/plan-auth") == tip
    assert migrate(repo, old)["sessions"][0]["outcome"] == "unchanged"
    session(old, "plan-auth", 3)
    (more,) = migrate(repo, old)["sessions"]
    assert (more["session"], more["turns"]) == (made["session"], 1)


def test_newer_turns_go_on_with_a_session_of_that_name(repo: Repo, old: Path) -> None:
    """Where nothing newer is here the turns are appended, and dates do not go back."""
    append_all(repo.workspace(now=NOON), "plan-auth", [turn("Older", at=NOON - hours(99))])
    session(old, "plan-auth", 2)
    assert migrate(repo, old)["sessions"][0]["outcome"] == "updated"
    assert repo.ai("list", "--json").json[0]["turns"] == 3


def test_what_is_no_session_is_counted_and_left_alone(repo: Repo, old: Path, tmp_path: Path) -> None:
    """Folders of features, without metadata or with a broken one, links, files: said, and unchanged."""
    session(old, "plan-auth", 1)
    (old / "features" / "auth").mkdir(parents=True)
    (old / "empty").mkdir()
    (old / "a-file").write_text("{}")
    write(old, "broken", '{"created_at": ')
    write(old, "list", "[]")
    session(tmp_path / "elsewhere", "implement-auth", 1)
    (old / "link").symlink_to(tmp_path / "elsewhere" / "implement-auth")
    (old / "inner-link").mkdir()
    (old / "inner-link" / "metadata.json").symlink_to(tmp_path / "elsewhere" / "implement-auth" / "metadata.json")
    (old / "pipe").mkdir()
    os.mkfifo(old / "pipe" / "metadata.json")
    (old / "folder" / "metadata.json").mkdir(parents=True)
    listing = sorted(str(path) for path in old.rglob("*"))
    found = migrate(repo, old)
    assert {item["folder"]: item["kind"] for item in found["passed"]} == {
        "broken": "broken",
        "empty": "other",
        "features": "other",
        "folder": "broken",
        "inner-link": "broken",
        "link": "link",
        "list": "broken",
        "pipe": "broken",
    }
    assert repo.refs() == ["refs/ai-sessions/plan-auth"]
    assert sorted(str(path) for path in old.rglob("*")) == listing
    ran = repo.ai("import", "--from", "session-dir", str(old))
    assert "2 folders left alone, without a metadata.json" in ran.err
    assert "6 folders left alone, which cannot be read or are links" in ran.err
    assert "warning: 'broken' is left alone: metadata.json is no JSON" in ran.err


def test_our_own_mirror_is_no_source(repo: Repo, old: Path) -> None:
    """A folder that names a repository and a tip is a copy of a session, which would come in twice."""
    session(old, "plan-auth", 1, repository="/x/.git", tip="a" * 40)
    found = migrate(repo, old)
    assert [item["kind"] for item in found["passed"]] == ["mirror"]
    assert repo.refs() == []


HOSTILE: list[tuple[str, dict[str, Any]]] = [
    ("no object", {"interactions": [3]}),
    ("tokens are no object", {"interactions": [interaction(1, tokens=[])]}),
    ("out of range", {"interactions": [interaction(1, tokens={"input": -1})]}),
    ("out of range", {"interactions": [interaction(1, tokens={"input": 10**30})]}),
    ("no number", {"interactions": [interaction(1, tokens={"input": "many"})]}),
    ("no number", {"interactions": [interaction(1, cost=True)]}),
    ("out of range", {"interactions": [interaction(1, cost=-0.1)]}),
    ("out of range", {"interactions": [interaction(1, cost=1e200)]}),
    ("out of range", {"interactions": [interaction(1, duration_ms=10**17)]}),
]


@pytest.mark.parametrize(("why", "more"), HOSTILE)
def test_a_bad_interaction_is_one_line_and_the_rest_comes_in(
    why: str, more: dict[str, Any], repo: Repo, old: Path
) -> None:
    """It is left out with its number; those beside it are not."""
    session(old, "plan-auth", interactions=[interaction(0), *more["interactions"], interaction(2)])
    found = migrate(repo, old)
    assert [item["folder"] for item in found["problems"]] == ["plan-auth"]
    assert found["problems"][0]["reason"].startswith("interaction 2: ")
    assert why in found["problems"][0]["reason"]
    assert found["sessions"][0]["turns"] == 2


@pytest.mark.parametrize(
    "text",
    [
        '{"a":' * 5000,
        "[" * 100_000,
        '{"interactions": 3}',
        '{"interactions": []}',
        '{"created_at": "2026-01-01", "created_at": "2026-01-02"}',
        '{"created_at": NaN}',
        '{"created_at": "0001-01-01T00:00:00+14:00"}',
        '{"created_at": ' + "9" * 5000 + "}",
        "\udcff",
        "",
        " " * (64 * 1024 * 1024 + 1),
    ],
    ids=range(11),
)
def test_a_hostile_file_is_one_line(text: str, repo: Repo, old: Path) -> None:
    """Deep, huge, without a date, no UTF-8: one warning, and the folder beside it comes in."""
    write(old, "plan-x", text)
    session(old, "plan-auth", 1)
    ran = repo.ai("import", "--from", "session-dir", str(old))
    assert [line for line in ran.err.splitlines() if "plan-x" in line] == [
        line for line in ran.err.splitlines() if line.startswith("warning: ")
    ]
    assert ran.err.count("warning: ") == 1
    assert repo.refs() == ["refs/ai-sessions/plan-auth"]


def test_times_and_numbers_as_scripts_write_them(old: Path) -> None:
    """Zones, no zone, seconds, milliseconds, numbers in quotes, nothing at all."""
    entries = [
        interaction(0, timestamp="2026-03-01T13:00:00+01:00"),
        interaction(0, timestamp="2026-03-01 12:01:00"),
        interaction(0, timestamp=1772366520),
        interaction(0, timestamp=1772366580000),
        interaction(0, timestamp=None, tokens=None, cost=None, duration_ms=None),
        interaction(0, timestamp="yesterday", tokens={"input": "12", "output": ""}, cost="0.5", duration_ms=1.6),
    ]
    session(old, "plan-auth", interactions=entries)
    (found,) = sessiondir.read(old)
    assert isinstance(found, Found)
    assert [iso(item.ended_at)[11:16] for item in found.interactions] == [
        *("12:00", "12:01", "12:02", "12:03", "12:03", "12:03")
    ]
    assert (found.interactions[4].usage, found.interactions[4].cost_usd) == (None, None)
    last = found.interactions[5]
    assert last.usage is not None
    assert (last.usage.input_tokens, last.cost_usd, last.duration_ms) == (12, Decimal("0.5"), 2)
    assert len({item.key for item in found.interactions}) == 6


def test_a_name_that_leads_elsewhere_is_only_a_name(repo: Repo, old: Path) -> None:
    """Control characters and option-like names are shown as text and make plain names; nothing outside is touched."""
    for name in ("-rf", "a\nb", "\x1b[31mred", "con", "a.lock", "~"):
        session(old, name, 1, session_name="../../etc")
    ran = repo.ai("import", "--from", "session-dir", str(old))
    assert "\x1b" not in ran.out + ran.err
    assert len(repo.refs()) == 6
    assert all(names.is_valid(ref.removeprefix("refs/ai-sessions/")) for ref in repo.refs())


def test_secrets_in_previews_are_redacted(repo: Repo, old: Path) -> None:
    """What is imported is redacted before it is hashed."""
    secret = "ghp_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"
    session(old, "plan-auth", interactions=[interaction(0, prompt_preview=f"Use {secret}")])
    migrate(repo, old)
    assert secret not in repo.git("show", "refs/ai-sessions/plan-auth:prompt.md")


def test_the_folder_is_found_by_itself(repo: Repo, tmp_path: Path) -> None:
    """SESSION_DIR, else ~/.ai-sessions; one that is not there is an error."""
    words = ("import", "--from", "session-dir")
    assert "cannot be read: No such file" in repo.ai(*words, code=1).err
    session(Path(os.environ["HOME"]) / ".ai-sessions", "plan-home", 1)
    session(tmp_path / "mine", "plan-mine", 1)
    repo.ai(*words)
    repo.ai(*words, env={"SESSION_DIR": str(tmp_path / "mine")})
    assert repo.refs() == ["refs/ai-sessions/plan-home", "refs/ai-sessions/plan-mine"]


def test_a_session_that_needs_an_upgrade_is_not_added_to(repo: Repo, old: Path) -> None:
    """The whole import is refused, the session named."""
    append_all(repo.workspace(now=NOON), "plan-auth", [turn()])
    raw = repo.git("cat-file", "commit", "refs/ai-sessions/plan-auth") + "\n"
    newer = raw.replace("AI-Format: 1", "AI-Format: 2").encode()
    oid = repo.git("hash-object", "-w", "-t", "commit", "--stdin", stdin=newer)
    repo.git("update-ref", "refs/ai-sessions/plan-auth", oid)
    session(old, "plan-auth", 1)
    session(old, "implement-auth", 1)
    ran = repo.ai("import", "--from", "session-dir", str(old), code=1)
    assert "plan-auth cannot be added to" in ran.err
    assert repo.refs() == ["refs/ai-sessions/plan-auth"]


def test_derived_names_are_names() -> None:
    """Whatever a folder is called, a valid name comes out, and the same one each time."""
    for folder in ("", "ä", "x" * 300, "A" * 89 + "é", "..", "nul", "a/b", "\udcff"):
        name = derived_name(folder)
        assert names.is_valid(name), folder
        assert derived_name(folder) == name


def test_a_passed_folder_says_why(old: Path) -> None:
    (old / "empty").mkdir()
    assert list(sessiondir.read(old)) == [Passed(folder="empty", kind="other", why="it has no metadata.json")]


ROOT = Path(__file__).parent.parent


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program on PATH, as documents call it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    path = folder / "git-ai-session"
    path.write_text(f"#!/bin/sh\nexec {PROGRAM[0]} {PROGRAM[1]} '{PROGRAM[2]}' \"$@\"\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def sh(script: str, cwd: Path) -> str:
    done = subprocess.run(["sh", "-e", "-c", script], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def documented(page: str, containing: str) -> str:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    (found,) = [block for block in blocks if containing in block]
    return str(found)


@pytest.mark.usefixtures("program")
def test_the_documented_commands_work(repo: Repo) -> None:
    """Those of the README and of the migration page, on folders where they are looked for."""
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    session(Path(os.environ["HOME"]) / ".ai-sessions", "implement-auth", 3)
    session(Path(os.environ["HOME"]) / ".ai-sessions", "My Feature", 2)
    page = "docs/migration.md"
    assert "my-feature" in sh(documented(page, "--dry-run"), repo.path)
    assert "implement-auth\t3\t" in sh(documented(page, "@tsv"), repo.path)
    sh(documented("README.md", "export --output"), repo.path)
    sh(documented(page, "update-ref -d"), repo.path)
    assert repo.refs() == ["refs/ai-sessions/implement-auth"]


@pytest.mark.usefixtures("program")
def test_the_way_back_gives_folders_that_can_be_imported(repo: Repo, old: Path, tmp_path: Path) -> None:
    """The documented script writes the folders again, with the entries that were there."""
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    value = session(old, "implement-auth", 3)
    migrate(repo, old)
    sh(documented("docs/migration.md", "old-sessions"), repo.path)
    made = json.loads((repo.path / "old-sessions/implement-auth/metadata.json").read_text())
    for entry in made["interactions"]:
        del entry["turn_id"]
        entry["tokens"] = {key: entry["tokens"][key] for key in ("input", "output")}
    assert made["interactions"] == value["interactions"]
    other = Repo(path=tmp_path / "other")
    subprocess.run(["git", "init", "-q", str(other.path)], check=True)
    assert migrate(other, repo.path / "old-sessions")["sessions"][0]["turns"] == 3
