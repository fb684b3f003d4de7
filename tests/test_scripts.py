"""ai-session.sh: the calls and the headings that scripts of the shell tool rely on, in real shells."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gitsess.cli.scripting import SCRIPTS
from gitsess.cli.shipped import scripts_dir
from gitsess.text import iso
from tests.conftest import PROGRAM, Ran, Repo

NOW = datetime.now(UTC).replace(microsecond=0)
SHELLS = [words for words in (["dash"], ["bash"], ["bash", "--posix"], ["busybox", "sh"]) if shutil.which(words[0])]
USAGE = {"input_tokens": 1000, "output_tokens": 500, "cache_read_input_tokens": 200}


def asked(days: float, **more: Any) -> dict[str, Any]:
    model = {"model": "claude-sonnet-4-5", "usage": USAGE, "cost_usd": 0.25}
    return {"prompt": "Why?", "response": "So.", "ended_at": iso(NOW - timedelta(days=days)), **model, **more}


def folder(copies: Path, name: str, *, days: float, **more: Any) -> Path:
    at = iso(NOW - timedelta(days=days))
    entry = {"timestamp": at, "model": "m", "prompt_preview": "Do", "tokens": {"input": 3, "output": 4}, "cost": 0.5}
    value = {"created_at": at, "last_used": at, "session_id": f"id-of-{name}", "command": "x", "session_name": name}
    (copies / name).mkdir(parents=True)
    (copies / name / "metadata.json").write_text(json.dumps({**value, "interactions": [entry, entry], **more}))
    return copies / name


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    return tmp_path / "home/.ai-sessions"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder outside of any repository, with the script in it and the program on PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "git-ai-session"
    program.write_text(f"#!/bin/sh\nexec {PROGRAM[0]} {PROGRAM[1]} '{PROGRAM[2]}' \"$@\"\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    made = tmp_path / "a place"
    made.mkdir()
    Repo(path=made).ai("scripts", "install")
    return made


def call(place: Path, *words: str, code: int = 0, shell: list[str] | None = None, stdin: str = "") -> Ran:
    """Calls the script as scripts do, without a terminal."""
    done = subprocess.run(
        [*(shell or []), "scripts/ai-session.sh", *words],
        cwd=place,
        input=stdin.encode(),
        capture_output=True,
        check=False,
    )
    ran = Ran(code=done.returncode, out=done.stdout.decode(), err=done.stderr.decode())
    assert ran.code == code, f"exit {ran.code}\n{ran.out}\n{ran.err}"
    return ran


def heading(text: str, name: str) -> str:
    """What follows a heading that begins its line, as a script looks for it."""
    found = [line.strip() for line in text.splitlines() if line.strip().startswith(f"{name}:")]
    assert len(found) == 1, (name, text)
    return found[0].removeprefix(f"{name}:").strip()


@pytest.fixture
def sessions(repo: Repo, copies: Path) -> Repo:
    """Two in a repository, one of them old, and two folders of the shell tool, one of them old."""
    repo.record("plan-auth", asked(2), asked(1))
    repo.record("plan-old", asked(90))
    folder(copies, "My_Feature", days=3)
    folder(copies, "old-folder", days=200)
    return repo


def test_it_is_a_few_lines_of_sh_that_can_be_run(place: Path) -> None:
    """What is written is what is shipped; every shell reads it, and it can be run as it is."""
    script = place / "scripts/ai-session.sh"
    assert script.read_bytes() == (scripts_dir() / "ai-session.sh").read_bytes()
    assert len(script.read_text().splitlines()) <= 10
    assert stat.S_IMODE(script.stat().st_mode) & 0o111
    for shell in SHELLS:
        assert subprocess.run([*shell, "-n", str(script)], capture_output=True, check=True).stderr == b""


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_words_and_exit_codes_pass_through_any_shell(
    sessions: Repo, place: Path, copies: Path, shell: list[str]
) -> None:
    """Blanks and quotes in a name arrive as they are typed, options are not taken for the program's own."""
    folder(copies, 'it\'s a "name" *', days=3)
    assert heading(call(place, "show", 'it\'s a "name" *', shell=shell).out, "Session") == 'it\'s a "name" *'
    call(place, "show", "nobody", code=1, shell=shell)
    call(place, "list", "--json", code=2, shell=shell)
    call(place, code=2, shell=shell)


def test_list_ends_with_the_number_of_sessions(sessions: Repo, place: Path) -> None:
    """All of them, wherever they are; the active; in an order."""
    out = call(place, "list").out
    assert out.splitlines()[-1] == "Total sessions: 4"
    assert all(name in out for name in ("plan-auth", "plan-old", "My_Feature", "old-folder"))
    active = call(place, "list", "--active").out
    assert heading(active, "Total sessions") == "2"
    assert not re.search("plan-old|old-folder", active)
    lines = call(place, "list", "--sort", "name").out.splitlines()[1:-1]
    assert [line.split()[0] for line in lines] == ["My_Feature", "old-folder", "plan-auth", "plan-old"]
    lines = call(place, "list", "--active", "--sort=tokens").out.splitlines()[1:-1]
    assert [line.split()[0] for line in lines] == ["plan-auth", "My_Feature"]


def test_without_sessions_there_are_none(place: Path) -> None:
    """An empty SESSION_DIR, or none: every call answers, and the JSON is a list."""
    assert call(place, "list").out == "Total sessions: 0\n"
    assert heading(call(place, "stats").out, "Total sessions") == "0"
    assert call(place, "export").out == "[]\n"
    assert call(place, "clean", "--older-than", "1").out == "Removed: 0\n"


def test_show_has_the_documented_headings(sessions: Repo, place: Path) -> None:
    """Of a session of a repository, with all four kinds of tokens."""
    (row,) = sessions.ai("list", "plan-auth", "--json").json
    out = call(place, "show", "plan-auth").out
    assert heading(out, "Session") == "plan-auth"
    assert re.fullmatch("[0-9a-f]{32}", heading(out, "ID"))
    assert heading(out, "Created") == row["created_at"]
    assert heading(out, "Last used") == row["last_used"]
    assert heading(out, "Interactions") == "2"
    assert heading(out, "Tokens") == ""
    assert [heading(out, name) for name in ("Input", "Output", "Cache read", "Total")] == [
        "2000",
        "1000",
        "400",
        "3400",
    ]
    assert heading(out, "Cost") == "$0.5"


def test_show_of_a_folder_says_what_the_folder_says(sessions: Repo, place: Path) -> None:
    """By the folder's name, with the id that the tool gave."""
    out = call(place, "show", "My_Feature").out
    assert heading(out, "Session") == "My_Feature"
    assert heading(out, "ID") == "id-of-My_Feature"
    assert heading(out, "Created") == iso(NOW - timedelta(days=3))
    assert heading(out, "Interactions") == "2"
    assert heading(out, "Total") == "14"
    assert heading(out, "Cost") == "$1"


def test_a_session_is_found_by_either_name(sessions: Repo, place: Path, copies: Path, tmp_path: Path) -> None:
    """The folder's, also of a second repository's session; the session's; and that of a folder that was imported."""
    other = Repo(path=tmp_path / "other")
    subprocess.run(["git", "init", "-q", str(other.path)], check=True)
    other.record("plan-auth", asked(5), asked(5), asked(5))
    (second,) = (path.name for path in copies.glob("plan-auth~*"))
    assert heading(call(place, "show", "plan-auth").out, "Interactions") == "2"
    assert heading(call(place, "show", second).out, "Interactions") == "3"
    sessions.ai("import", "--from", "session-dir")
    out = call(place, "show", "My_Feature").out
    assert heading(out, "Session") == "my_feature"
    assert heading(call(place, "list").out, "Total sessions") == "5"


def test_unknown_costs_are_not_nought(repo: Repo, copies: Path, place: Path) -> None:
    """Where no price is known it says so; where some are, the rest is counted."""
    repo.record("plan-a", asked(1, model="a-model-of-no-known-price", cost_usd=None))
    assert heading(call(place, "show", "plan-a").out, "Cost") == "unknown"
    repo.record("plan-b", asked(1))
    assert heading(call(place, "stats").out, "Cost") == "$0.25 (1 without a known cost)"


def test_stats_are_sums(sessions: Repo, place: Path) -> None:
    """Over all, and over one."""
    out = call(place, "stats").out
    assert heading(out, "Total sessions") == "4"
    assert heading(out, "Active sessions") == "2"
    assert heading(out, "Interactions") == "7"
    assert heading(out, "Total") == str(3 * 1700 + 4 * 7)
    assert heading(out, "Cost") == "$2.75"
    out = call(place, "stats", "--session", "plan-auth").out
    assert heading(out, "Total sessions") == "1"
    assert heading(out, "Cost") == "$0.5"
    call(place, "stats", "--session", "nobody", code=1)


def test_clean_says_how_many(sessions: Repo, place: Path, copies: Path) -> None:
    """A dry run, one with nobody to ask, and one by force: refs and folders, and nothing that is younger."""
    assert heading(call(place, "clean", "--older-than", "30", "--dry-run").out, "Would remove") == "2"
    ran = call(place, "clean", "--older-than", "30", stdin="y\n", code=2)
    assert "--force" in ran.err
    assert len(sessions.refs()) == 2
    assert (copies / "old-folder").exists()
    ran = call(place, "clean", "--older-than", "30", "--force")
    assert heading(ran.out, "Removed") == "2"
    assert sessions.refs() == ["refs/ai-sessions/plan-auth"]
    assert sorted(path.name for path in copies.iterdir()) == ["My_Feature", "plan-auth"]
    (command,) = (line for line in ran.out.splitlines() if line.startswith("  git "))
    subprocess.run(["sh", "-c", command], cwd=place, check=True)
    assert heading(call(place, "list").out, "Total sessions") == "3"
    call(place, "clean", code=2)


def test_export_is_a_list_that_jq_sums(sessions: Repo, place: Path, copies: Path) -> None:
    """One object a session in the documented layout, what a folder has besides, and costs that are numbers."""
    folder(copies, "odd", days=1, extra={"of": ["the", 1.50]}, interactions=[
        {"timestamp": iso(NOW), "cost": "0.125", "note": "kept"}, {"timestamp": iso(NOW), "cost": -3}, "none", None,
    ])  # fmt: skip
    folder(copies, "empty", days=1, interactions=None)
    ran = call(place, "export")
    found = {item["session_name"]: item for item in json.loads(ran.out, parse_float=Decimal)}
    assert set(found) == {"plan-auth", "plan-old", "My_Feature", "old-folder", "odd", "empty"}
    costs = [entry["cost"] for item in found.values() for entry in item["interactions"]]
    assert sum(costs) == Decimal("2.875")
    assert found["odd"]["interactions"] == [{"timestamp": iso(NOW), "cost": Decimal("0.125"), "note": "kept"}]
    assert found["odd"]["extra"] == {"of": ["the", Decimal("1.5")]}
    mirrored = json.loads((copies / "plan-auth/metadata.json").read_text(), parse_float=Decimal)
    del mirrored["check"]
    assert found["plan-auth"] == mirrored
    if shutil.which("jq"):
        query = ["jq", "[.[].interactions[].cost] | add"]
        assert subprocess.run(query, input=ran.out.encode(), capture_output=True, check=True).stdout == b"2.875\n"


def test_export_writes_a_private_file(sessions: Repo, place: Path) -> None:
    """--output FILE, 0600, of the active alone; nothing is printed."""
    assert call(place, "export", "--output", "out.json", "--active").out == ""
    assert stat.S_IMODE((place / "out.json").stat().st_mode) == 0o600
    assert {item["session_name"] for item in json.loads((place / "out.json").read_text())} == {
        "plan-auth",
        "My_Feature",
    }


def test_a_repository_out_of_reach_speaks_through_its_copies(sessions: Repo, place: Path, tmp_path: Path) -> None:
    """list, show and export have its sessions as last copied; clean leaves them alone."""
    before = json.loads(call(place, "export").out)
    sessions.path.rename(tmp_path / "away")
    assert heading(call(place, "list").out, "Total sessions") == "4"
    assert heading(call(place, "show", "plan-auth").out, "Interactions") == "2"
    assert json.loads(call(place, "export").out) == before
    ran = call(place, "clean", "--older-than", "30", "--force")
    assert heading(ran.out, "Removed") == "1"
    assert "cannot be reached" in ran.err


def test_session_dir_says_where(repo: Repo, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's SESSION_DIR stands in for ~/.ai-sessions."""
    elsewhere = tmp_path / "elsewhere"
    folder(elsewhere, "there", days=1)
    assert heading(call(place, "list").out, "Total sessions") == "0"
    monkeypatch.setenv("SESSION_DIR", str(elsewhere))
    assert heading(call(place, "list").out, "Total sessions") == "1"
    monkeypatch.delenv("SESSION_DIR")
    monkeypatch.delenv("HOME")
    assert "SESSION_DIR" in call(place, "list", code=2).err


def test_a_folder_that_lies_is_one_line(place: Path, copies: Path) -> None:
    """Broken JSON and links are passed over and said; what is good is listed."""
    folder(copies, "good", days=1)
    (copies / "bad").mkdir()
    (copies / "bad/metadata.json").write_text("{")
    (copies / "away").symlink_to("/")
    ran = call(place, "export")
    assert [item["session_name"] for item in json.loads(ran.out)] == ["good"]
    assert ran.err.count("warning: ") == 2
    assert not re.search("[\x00-\x09\x0b-\x1f]", ran.err)


@pytest.mark.parametrize("words", [["help"], ["--help"], ["list", "-h"]])
def test_help_is_no_mistake(place: Path, words: list[str]) -> None:
    """Asked for, the calls go to standard output; without a word, to standard error."""
    assert call(place, *words).out == call(place, code=2).err
    for line in call(place, *words).out.splitlines():
        assert len(line) <= 80


@pytest.mark.parametrize(
    "words",
    [
        ["bogus"],
        ["--json"],
        ["list", "more"],
        ["list", "--sort"],
        ["list", "--sort", "colour"],
        ["show"],
        ["show", "a", "b"],
        ["stats", "--session"],
        ["clean", "--older-than"],
        ["clean", "--older-than", "x"],
        ["export", "--output"],
        ["\x1b[31m"],
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(sessions: Repo, place: Path, words: list[str]) -> None:
    ran = call(place, *words, code=2)
    assert ran.out == ""
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    assert "\x1b" not in ran.err


def test_without_the_program_it_says_what_to_install(place: Path, tmp_path: Path) -> None:
    """A PATH that has no git-ai-session."""
    (tmp_path / "none").mkdir()
    shell = shutil.which("sh")
    assert shell is not None
    done = subprocess.run(
        [shell, "scripts/ai-session.sh", "list"],
        cwd=place,
        env={"PATH": str(tmp_path / "none")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (127, "")
    assert done.stderr.startswith("error: git-ai-session is not on PATH: install gitsess")
    assert done.stderr.count("\n") == 1


def test_install_says_what_it_did_and_once_is_once(repo: Repo, tmp_path: Path) -> None:
    """A folder is made where it is missing; a second time nothing changes; --json says the same."""
    target = tmp_path / "deep/er"
    path = target / "ai-session.sh"
    files = [script.file for script in SCRIPTS.values()]
    ran = repo.ai("scripts", "install", str(target))
    assert ran.out == "".join(f"written: {target}/{file}\n" for file in files)
    before = path.stat()
    assert repo.ai("scripts", "install", str(target)).out == ran.out.replace("written", "unchanged")
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    path.chmod(0o644)
    first, *others = repo.ai("scripts", "install", str(target), "--json").json
    assert first == {"name": "ai-session", "path": str(path), "action": "updated"}
    assert {one["action"] for one in others} == {"unchanged"}
    assert {stat.S_IMODE(entry.stat().st_mode) for entry in target.iterdir()} == {0o755}
    assert sorted(entry.name for entry in target.iterdir()) == sorted(files)


def test_an_older_script_of_ours_is_brought_up_to_date(repo: Repo, tmp_path: Path) -> None:
    """And one that a newer gitsess wrote is left."""
    path = tmp_path / "ai-session.sh"
    path.write_text("#!/bin/sh\n# gitsess script 0: of an older version\n")
    assert f"updated: {path}" in repo.ai("scripts", "install", str(tmp_path)).out.splitlines()
    shipped = path.read_text()
    newer = shipped.replace("gitsess script 1:", "gitsess script 999:")
    path.write_text(newer)
    assert f"unchanged: {path}" in repo.ai("scripts", "install", str(tmp_path)).out.splitlines()
    assert path.read_text() == newer


@pytest.mark.parametrize("kind", ["theirs", "changed", "link", "empty"])
def test_what_is_not_ours_is_left_alone(repo: Repo, tmp_path: Path, kind: str) -> None:
    """The shell tool's own file, ours with a line added, a link: left, said, and replaced by --force alone; the other
    scripts are written all the same."""
    path = tmp_path / "d/ai-session.sh"
    path.parent.mkdir()
    text = {"theirs": "#!/bin/bash\necho mine\n", "link": "kept\n", "empty": ""}.get(kind)
    path.write_text((scripts_dir() / "ai-session.sh").read_text() + "# mine\n" if text is None else text)
    target = tmp_path / "target"
    if kind == "link":
        path.rename(target)
        path.symlink_to(target)
    before = path.read_bytes()
    ran = repo.ai("scripts", "install", str(path.parent), code=1)
    assert "--force" in ran.err
    assert ran.err.count("\n") == 1
    assert path.read_bytes() == before
    actions = [line.split(":")[0] for line in ran.out.splitlines()]
    assert actions == ["left", *["written"] * (len(SCRIPTS) - 1)]
    forced = repo.ai("scripts", "install", str(path.parent), "--force", "--json").json
    assert [one["action"] for one in forced] == ["replaced", *["unchanged"] * (len(SCRIPTS) - 1)]
    assert path.read_bytes() == (scripts_dir() / "ai-session.sh").read_bytes()
    assert not path.is_symlink()
    assert kind != "link" or target.read_bytes() == before


def test_several_files_in_the_way_are_one_line(repo: Repo, tmp_path: Path) -> None:
    """How many, and the first of them with its reason; --json has each."""
    for name in ("plan.sh", "status.sh"):
        (tmp_path / name).write_text("theirs\n")
    ran = repo.ai("scripts", "install", str(tmp_path), "--json", code=1)
    assert [one["name"] for one in ran.json if one["action"] == "left"] == ["plan", "status"]
    assert ran.err.count("\n") == 1
    assert f"{tmp_path}/plan.sh is not of gitsess" in ran.err
    assert f"2 of {len(SCRIPTS)} scripts were left" in ran.err
    assert (tmp_path / "plan.sh").read_text() == "theirs\n"


def test_a_folder_that_cannot_be_written_is_one_line(repo: Repo, tmp_path: Path) -> None:
    """A file in the folder's place, and a folder in the file's."""
    (tmp_path / "file").write_text("")
    ran = repo.ai("scripts", "install", str(tmp_path / "file"), code=1)
    assert "cannot be written" in ran.err
    assert (ran.out, ran.err.count("\n")) == ("", 1)
    (tmp_path / "d/ai-session.sh").mkdir(parents=True)
    for force in ([], ["--force"]):
        assert repo.ai("scripts", "install", str(tmp_path / "d"), *force, code=1).err.count("\n") == 1
    assert {path.name for path in (tmp_path / "d").iterdir()} == {script.file for script in SCRIPTS.values()}
    assert list((tmp_path / "d/ai-session.sh").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["install", "a", "b"], "name one folder"),
        (["run"], "the scripts are ai-session"),
        (["run", "other"], "the scripts are ai-session"),
        (["run", "plan"], "'git ai-session plan'"),
        (["run", "--json", "ai-session"], "--force and --json are for install"),
        (["remove"], "it is one of install, run"),
    ],
)
def test_the_verb_is_held_to_its_form(repo: Repo, words: list[str], said: str) -> None:
    ran = repo.ai("scripts", *words, code=2)
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_every_script_is_shipped() -> None:
    """The table and the folder name the same files."""
    assert {script.file for script in SCRIPTS.values()} == {path.name for path in scripts_dir().iterdir()}
