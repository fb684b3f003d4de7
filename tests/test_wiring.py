"""``init --agent``: hooks in the settings of agents, and these as they were before once it is taken back."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitsess.capture import wiring
from gitsess.capture.wiring import hooks
from gitsess.errors import StoreError
from tests.conftest import PROGRAM, Repo, another

LOCAL, SHARED = ".claude/settings.local.json", ".claude/settings.json"
EVENTS = ["UserPromptSubmit", "Stop", "SessionEnd"]
OTHERS: dict[str, Any] = {
    "permissions": {"allow": ["Bash(git:*)"], "deny": []},
    "hooks": {
        "Stop": [{"matcher": "*", "hooks": [{"type": "command", "command": "say 'done' # ours", "timeout": 5}]}],
        "PreToolUse": [],
    },
    "ünïcode": "\U0001f600 \x7f",
    "number": 1.5,
}
TEXTS = {
    "two spaces": json.dumps(OTHERS, indent=2, ensure_ascii=False) + "\n",
    "one space, no end": json.dumps(OTHERS, indent=1),
    "tabs": json.dumps(OTHERS, indent="\t") + "\n\n\n",
    "one line": json.dumps(OTHERS),
    "odd": json.dumps(OTHERS, indent=7).replace('"deny": []', '"deny" :  [ ]') + "   ",
    "CRLF": json.dumps(OTHERS, indent=4).replace("\n", "\r\n") + "\r\n",
    "a mark of order": "\ufeff" + json.dumps(OTHERS, indent=2),
    "empty object": "{}\n",
    "nothing": "",
}
REFUSED = {
    "comments": '{\n  // no JSON\n  "hooks": {}\n}\n',
    "cut off": '{"hooks": {',
    "a list": "[1]\n",
    "hooks are text": '{"hooks": "none"}',
    "an event is no list": '{"hooks": {"Stop": {"hooks": []}}}',
    "a key twice": '{"a": 1, "a": 2}',
    "other bytes": "\udcff",
}


def put(path: Path, text: str) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode("utf-8", "surrogateescape")
    path.write_bytes(data)
    return data


def everything(*folders: Path) -> dict[Path, bytes | str | None]:
    """Every folder (None), link and file with its bytes below these."""
    found: dict[Path, bytes | str | None] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            found[path] = os.readlink(path) if path.is_symlink() else None if path.is_dir() else path.read_bytes()
    return found


def commands(path: Path) -> dict[str, list[str]]:
    """The commands of a settings file by event."""
    hooks = json.loads(path.read_text(encoding="utf-8-sig"))["hooks"]
    return {
        event: [entry["command"] for group in groups for entry in group["hooks"]] for event, groups in hooks.items()
    }


def wire(repo: Repo, *words: str, code: int = 0) -> str:
    done = repo.ai("init", "--agent", "claude", *words, code=code)
    return done.err if code else done.out


def test_the_hooks_call_the_script(repo: Repo) -> None:
    """Three events, a command each that runs the script with its whole path; the script is private, and can be run."""
    out = wire(repo)
    script = repo.path / ".git/ai-sessions/agent"
    assert stat.S_IMODE(script.stat().st_mode) == 0o700
    assert stat.S_IMODE(script.parent.stat().st_mode) == 0o700
    found = commands(repo.path / LOCAL)
    assert list(found) == EVENTS
    assert all(str(script) in words for group in found.values() for words in group)
    done = subprocess.run(["sh", "-c", found["Stop"][0]], input=b"{}", capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert f"Claude Code tells of its turns, by hooks in {repo.path / LOCAL}\n" in out
    assert out.endswith(
        "its turns go to claude-main while main is checked out; 'git ai-session use' chooses another session\n"
    )
    repo.ai("use", "plan", "x")
    assert wire(repo).endswith("captured turns go to plan-x while main is checked out\n")


def test_a_file_and_a_folder_that_were_not_there_are_gone_again(repo: Repo) -> None:
    """Taken back, nothing of it is left, but in the folder of our own."""
    before = sorted(path for path in repo.path.rglob("*") if ".git/" not in str(path))
    wire(repo)
    out = repo.ai("init", "--undo").out
    assert f"Claude Code has its settings back as they were: {repo.path / LOCAL}\n" in out
    assert sorted(path for path in repo.path.rglob("*") if ".git/" not in str(path)) == before
    assert not (repo.path / ".git/ai-sessions/agent").exists()
    assert list((repo.path / ".git/ai-sessions/agents/before").iterdir()) == []


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("scope", ["local", "shared"])
def test_settings_are_kept_and_come_back_to_the_byte(kind: str, scope: str, repo: Repo) -> None:
    """Whatever the layout: other people's hooks, the order of keys and the ends of lines stay, and all comes back."""
    path = repo.path / (SHARED if scope == "shared" else LOCAL)
    before = put(path, TEXTS[kind])
    path.chmod(0o640)
    words = ["--shared"] if scope == "shared" else []
    wire(repo, *words)
    after = path.read_bytes()
    value = json.loads(after.decode("utf-8-sig"))
    old = json.loads(before.decode("utf-8-sig") or "{}")
    assert [key for key in value if key in old] == list(old)
    assert {key: value[key] for key in old if key != "hooks"} == {key: old[key] for key in old if key != "hooks"}
    assert {*value["hooks"]} == {*old.get("hooks", {}), *EVENTS}
    for event, groups in old.get("hooks", {}).items():
        assert value["hooks"][event][: len(groups)] == groups
    if kind == "CRLF":
        assert after.count(b"\n") == after.count(b"\r\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    wire(repo, *words)
    assert path.read_bytes() == after
    repo.ai("init", "--undo")
    assert path.read_bytes() == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_as_settings_is_left_alone(kind: str, repo: Repo) -> None:
    """One line says so, and not a byte is changed; taking back leaves it alone, too."""
    before = put(repo.path / LOCAL, REFUSED[kind])
    err = wire(repo, code=1)
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err.endswith("nothing was changed\n")
    assert (repo.path / LOCAL).read_bytes() == before
    assert [path.name for path in (repo.path / ".claude").iterdir()] == ["settings.local.json"]
    repo.ai("init", "--undo")
    assert (repo.path / LOCAL).read_bytes() == before


def test_changes_of_others_since_then_are_kept(repo: Repo) -> None:
    """Only what is ours is taken out, also where it stands in one group with theirs, and after a second init."""
    path = repo.path / LOCAL
    put(path, TEXTS["two spaces"])
    wire(repo)
    value = json.loads(path.read_text())
    value["hooks"]["Stop"][-1]["hooks"].append({"type": "command", "command": "theirs"})
    value["new"] = True
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False))
    wire(repo)
    out = repo.ai("init", "--undo").out
    assert "tells nothing any more; other changes were kept in" in out
    found = json.loads(path.read_text())
    assert found["new"] is True
    assert commands(path) == {"Stop": ["say 'done' # ours", "theirs"], "PreToolUse": []}


def test_an_older_command_is_replaced_and_not_added_to(repo: Repo) -> None:
    """Whatever our command was: there is one of it, and undoing leads to what was there before any of it."""
    path = repo.path / LOCAL
    before = put(path, TEXTS["tabs"])
    wire(repo)
    path.write_bytes(path.read_bytes().replace(b"if [ -x", b"if  [  -x"))
    wire(repo)
    assert [len(commands(path)[event]) for event in EVENTS] == [1, 2, 1]
    repo.ai("init", "--undo")
    assert json.loads(path.read_bytes()) == json.loads(before)
    assert path.read_bytes() == before.rstrip(b"\n") + b"\n\n\n"


def test_a_link_is_followed_inside_of_the_repository_only(repo: Repo, tmp_path: Path) -> None:
    """Inside, the file that it leads to is changed and the link stays; what leads out is refused, untouched."""
    path, inside, outside = repo.path / LOCAL, repo.path / "settings.json", tmp_path / "outside.json"
    before = put(inside, TEXTS["odd"])
    path.parent.mkdir()
    path.symlink_to("../settings.json")
    wire(repo)
    assert path.is_symlink()
    assert "Stop" in commands(inside)
    repo.ai("init", "--undo")
    assert path.is_symlink()
    assert inside.read_bytes() == before
    path.unlink()
    put(outside, "{}")
    path.symlink_to(outside)
    assert "leads out of the repository" in wire(repo, code=1)
    assert outside.read_text() == "{}"
    path.unlink()
    path.symlink_to("nowhere.json")
    assert "not there" in wire(repo, code=1)
    path.unlink()
    os.mkfifo(path)
    assert "no regular file" in wire(repo, code=1)


def test_ones_own_settings(repo: Repo, tmp_path: Path) -> None:
    """With --user the hooks are in the home folder, or in the agent's; only --undo --user takes them out."""
    path = Path(os.environ["HOME"]) / ".claude/settings.json"
    before = put(path, TEXTS["one line"])
    wire(repo, "--user")
    assert str(repo.path) not in path.read_text()
    assert not (repo.path / ".claude").exists()
    repo.ai("init", "--undo")
    assert path.read_bytes() != before
    repo.ai("init", "--undo", "--user")
    assert path.read_bytes() == before
    repo.environment["CLAUDE_CONFIG_DIR"] = str(tmp_path / "own")
    wire(repo, "--user")
    assert list(commands(tmp_path / "own/settings.json")) == EVENTS
    assert path.read_bytes() == before
    repo.ai("init", "--shared", "--user", code=2)


def test_all_worktrees_are_taken_back_together(repo: Repo, tmp_path: Path) -> None:
    """Hooks that were put into a linked worktree go with those of the main one."""
    side = tmp_path / "side"
    repo.git("worktree", "add", "-q", "-b", "fix", str(side))
    before = put(side / LOCAL, TEXTS["tabs"])
    repo.ai("init", "--agent", "claude", cwd=side)
    wire(repo)
    repo.ai("init", "--undo")
    assert (side / LOCAL).read_bytes() == before
    assert not (repo.path / ".claude").exists()


def test_a_bare_repository_has_agents_in_its_worktrees_alone(repo: Repo, tmp_path: Path) -> None:
    """Asked for one there, init refuses; what it did in a worktree is taken back from there as well."""
    repo.git("clone", "-q", "--bare", ".", str(tmp_path / "bare"))
    bare, side = Repo(path=tmp_path / "bare"), Repo(path=tmp_path / "side")
    before = everything(bare.path)
    for words in (["--agent", "claude"], ["--user", "--agent", "codex"], ["--shared"]):
        ran = bare.ai("init", *words, code=2)
        assert ran.err == "error: a bare repository has no agents at work in it: run this in one of its worktrees\n"
        assert ran.out == ""
    assert everything(bare.path) == before
    bare.git("worktree", "add", "-q", "-b", "fix", str(side.path))
    wire(side)
    side.ai("init", "--agent", "codex")
    assert (bare.path / "hooks/post-commit").exists()
    out = bare.ai("init", "--undo").out
    assert f"Claude Code has its settings back as they were: {side.path / LOCAL}\n" in out
    assert "Codex tells nothing of this repository any more" in out
    for path in (bare.path / "hooks/post-commit", bare.path / "ai-sessions/agent", side.path / ".claude"):
        assert not path.exists()
    assert (bare.path / "info/exclude").read_bytes() == before[bare.path / "info/exclude"]
    assert bare.ai("init", "--undo").out == f"no hook of gitsess is in {bare.path / 'hooks'}: nothing was changed\n"


@pytest.mark.parametrize(
    "words", [[], ["--agent", "claude"], ["--agent", "gemini", "--agent", "claude", "--shared"], ["--user", "--json"]]
)
def test_the_command_that_is_advised_does_what_was_asked(
    words: list[str], repo: Repo, installed: Path, tmp_path: Path
) -> None:
    """Where hooks are outside of the repository, it is the one that was typed with --yes, and wires no other agent."""
    repo.git("config", "--global", "core.hooksPath", str(tmp_path / "hooks"))
    err = repo.ai("init", *words, code=2).err
    command = " ".join(["git ai-session init", *words, "--yes"])
    assert err.endswith(f"; '{command}' puts it there all the same\n")
    done = repo.ai(*command.split()[2:], "--json").json["agents"]
    assert {item["agent"] for item in done} == ({*words} & {*wiring.AGENTS} or {*wiring.AGENTS})


# What names a path of this machine, and commits


EXCLUDES = {
    "none": None,
    "nothing": b"",
    "no end": b"*.o",
    "other bytes": b"# \xff\r\n/out/\r\n",
    "lines": b"*.o\n\n\n",
}


@pytest.mark.parametrize("kind", EXCLUDES)
def test_what_names_a_path_of_this_machine_is_not_committed(kind: str, repo: Repo) -> None:
    """'git add -A' passes it over; info/exclude is as it was, to the byte, once all is taken back."""
    folder, before = repo.path / ".git/info", EXCLUDES[kind]
    shutil.rmtree(folder, ignore_errors=True)
    if before is not None:
        folder.mkdir()
        (folder / "exclude").write_bytes(before)
    line = "  git ignores that file here, for it names a path of this machine\n"
    assert wire(repo).count(line) == 1
    assert repo.ai("init", "--agent", "opencode", "--agent", "gemini").out.count(line) == 1
    after = (folder / "exclude").read_bytes()
    assert after.startswith(before or b"")
    repo.ai("init", "--agent", "claude", "--agent", "opencode")
    assert (folder / "exclude").read_bytes() == after
    repo.git("add", "-A")
    assert repo.git("ls-files") == GEMINI
    repo.ai("init", "--undo")
    assert folder.exists() is (before is not None)
    assert ((folder / "exclude").read_bytes() if before is not None else None) == before


def test_lines_of_others_in_info_exclude_are_kept(repo: Repo) -> None:
    """What was added since stays, also where it is a line like ours; a second init makes no more of them."""
    path = repo.path / ".git/info/exclude"
    put(path, "*.o\n")
    wire(repo)
    put(path, f"first\n{path.read_text()}last\n/{LOCAL}\n")
    repo.ai("init", "--agent", "claude", "--agent", "opencode")
    repo.ai("init", "--undo")
    assert path.read_text() == f"first\n*.o\nlast\n/{LOCAL}\n"


def test_what_git_ignores_or_tracks_already_is_left_to_it(repo: Repo) -> None:
    """And so is what is for committing, or for all repositories; of what is tracked it is said not to commit it."""
    path = repo.path / ".git/info/exclude"
    before = put(path, "*.o\n")
    put(repo.path / ".gitignore", ".claude/*.local.json\n")
    assert "git ignores that file here" in wire(repo)
    put(repo.path / PLUGIN, "// gitsess agent 0: older\n")
    repo.git("add", PLUGIN)
    assert "do not commit that file" in repo.ai("init", "--agent", "opencode").out
    repo.ai("init", "--undo")
    wire(repo, "--shared")
    repo.ai("init", "--agent", "claude", "--agent", "opencode", "--user")
    assert path.read_bytes() == before
    put(repo.path / ".gitignore", f"!{LOCAL}\n")
    repo.ai("init", "--undo", "--user")
    assert "do not commit that file" in wire(repo)


def test_an_info_exclude_that_cannot_be_written_is_said(repo: Repo, tmp_path: Path) -> None:
    """The agent is told all the same, and whoever commits is warned."""
    path = repo.path / ".git/info/exclude"
    path.unlink(missing_ok=True)
    path.mkdir(parents=True)
    assert "do not commit that file" in wire(repo)
    repo.ai("init", "--undo")
    assert list(path.iterdir()) == []


def test_worktrees_share_what_git_ignores(repo: Repo, tmp_path: Path) -> None:
    """A link is excluded by the name of what it leads to, whatever that is, and once for all worktrees."""
    side, path = tmp_path / "side", repo.path / ".git/info/exclude"
    before = put(path, "")
    repo.git("worktree", "add", "-q", "-b", "fix", str(side))
    name = r" a\[b]*! "
    (side / LOCAL).parent.mkdir()
    put(side / name, "{}")
    (side / LOCAL).symlink_to(f"../{name}")
    repo.ai("init", "--agent", "claude", cwd=side)
    assert f"/{LOCAL}" not in path.read_text()
    wire(repo)
    assert f"/{LOCAL}\n" in path.read_text()
    assert Repo(path=side).git("status", "--porcelain", "-uall") == ""
    repo.ai("init", "--undo")
    assert path.read_bytes() == before


@pytest.fixture
def installed(repo: Repo, tmp_path: Path) -> Path:
    """The folder on PATH with programs of the names of all agents, which do nothing."""
    folder = tmp_path / "bin"
    for name in wiring.AGENTS:
        put(folder / name, "#!/bin/sh\n")
        (folder / name).chmod(0o755)
    others = [
        other
        for other in os.environ["PATH"].split(os.pathsep)
        if not any(os.path.lexists(os.path.join(other, name)) for name in wiring.AGENTS)
    ]
    repo.environment["PATH"] = os.pathsep.join([str(folder), *others])
    return folder


def test_without_a_terminal_nobody_is_asked_and_nothing_is_put_anywhere(repo: Repo, installed: Path) -> None:
    """What is installed is named, with the command; --yes takes it all."""
    for name in ("codex", "gemini", "opencode"):
        (installed / name).unlink()
    done = repo.ai("init")
    assert done.err == "Claude Code is here: 'git ai-session init --agent claude' captures its turns\n"
    assert not (repo.path / ".claude").exists()
    found = repo.ai("init", "--yes", "--json").json
    assert found["agents"] == [{"agent": "claude", "path": str(repo.path / LOCAL), "action": "wired"}]
    repo.ai("init", "--undo")
    (installed / "claude").unlink()
    assert repo.ai("init", "--yes", "--json").json["agents"] == []
    repo.ai("init", "--agent", "nobody", code=2)


def answered(repo: Repo, *answers: str) -> str:
    """What ``init`` asks on a terminal where somebody answers so."""
    ours, theirs = os.openpty()
    try:
        os.write(ours, "".join(f"{answer}\n" for answer in answers).encode())
        done = subprocess.run(
            [*PROGRAM, "init"],
            cwd=repo.path,
            env={**os.environ, **repo.environment},
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    return done.stderr


def test_each_agent_that_is_installed_is_asked_about(repo: Repo, config: Path, installed: Path) -> None:
    """On a terminal, once: those that tell of their turns already are not asked about again."""
    asked = [f"capture the turns of {title} in this repository? [Y/n] " for title in wiring.TITLES.values()]
    assert answered(repo, "n", "", "no", "yes") == "".join(asked)
    assert not (repo.path / LOCAL).exists()
    assert tomllib.loads(config.read_text())["notify"]
    assert not (repo.path / GEMINI).exists()
    assert (repo.path / PLUGIN).exists()
    assert answered(repo, "n", "n") == asked[0] + asked[2]


def test_init_again_says_what_is_told_already(repo: Repo, config: Path, installed: Path) -> None:
    """Without a word it changes nothing, and ends with where the next turn will land, as it did before."""
    first = repo.ai("init", "--agent", "claude", "--agent", "codex").out.splitlines()
    for name in ("gemini", "opencode"):
        (installed / name).unlink()
    before = ((repo.path / LOCAL).read_bytes(), config.read_bytes())
    again = repo.ai("init")
    assert again.err == ""
    assert f"Claude Code tells of its turns already, by hooks in {repo.path / LOCAL}" in again.out
    assert f"Codex tells of its turns already, by the notify of {config}" in again.out
    assert again.out.splitlines()[-2:] == first[-2:]
    assert ((repo.path / LOCAL).read_bytes(), config.read_bytes()) == before
    put(repo.path / LOCAL, (repo.path / LOCAL).read_text().replace("cat >/dev/null", "cat >/dev/nill"))
    repo.ai("init")
    assert (repo.path / LOCAL).read_bytes() == before[0]


def test_hooks_that_came_with_the_repository_are_not_put_in_twice(repo: Repo, installed: Path) -> None:
    """Who agrees to them needs the script alone; before, they are asked as anybody is."""
    wire(repo, "--shared")
    wiring.remove_script(str(repo.path / ".git/ai-sessions"))
    assert "Claude Code is here" in repo.ai("init").err
    out = wire(repo)
    assert f"Claude Code tells of its turns already, by hooks in {repo.path / SHARED}" in out
    assert not (repo.path / LOCAL).exists()
    assert (repo.path / ".git/ai-sessions/agent").exists()


def test_undo_in_a_clone_leaves_what_is_committed(repo: Repo, tmp_path: Path) -> None:
    """Hooks that a team has committed are the team's: only the script of the clone goes, and a line says so."""
    wire(repo, "--agent", "gemini", "--shared")
    put(repo.path / GEMINI, (repo.path / GEMINI).read_text().replace("cat >/dev/null", "cat  >/dev/null"))
    repo.ai("init", "--agent", "opencode")
    repo.git("add", "-Af", ".claude", ".gemini", ".opencode")
    repo.git("commit", "-qm", "x")
    repo.git("clone", "-q", ".", str(tmp_path / "clone"))
    clone = Repo(path=tmp_path / "clone")
    assert "tells of its turns already" in wire(clone)
    clone.ai("init", "--agent", "gemini")
    assert clone.git("status", "--porcelain") == " M .gemini/settings.json"
    out = clone.ai("init", "--undo").out
    assert clone.git("status", "--porcelain") == ""
    assert not (clone.path / ".git/ai-sessions/agent").exists()
    gone, other = "the script that it calls is gone", "init did not put it there"
    for name, why in ((SHARED, gone), (GEMINI, gone), (PLUGIN, other)):
        assert f"{clone.path / name} came with the repository and stays; {why}\n" in out
    assert "tells nothing" not in out


@pytest.mark.parametrize(
    ("environment", "last"),
    [
        ({}, "its turns go to claude-main while main is checked out; 'git ai-session use' chooses another session"),
        ({"AI_SESSION": "plan-x"}, "captured turns go to plan-x, which AI_SESSION names here"),
        ({"USE_SESSIONS": "false"}, "USE_SESSIONS is false here: nothing is captured until it is not"),
    ],
)
def test_init_ends_with_where_the_next_turn_will_land(environment: dict[str, str], last: str, repo: Repo) -> None:
    """By the same rules as the turn itself."""
    assert repo.ai("init", "--agent", "claude", env=environment).out.splitlines()[-1] == last
    repo.ai("use", "review", "y")
    if not environment:
        last = "captured turns go to review-y while main is checked out"
    assert repo.ai("init", "--agent", "claude", env=environment).out.splitlines()[-1] == last


def test_what_was_kept_may_be_damaged(repo: Repo) -> None:
    """Without it only what is ours is taken out."""
    path = repo.path / LOCAL
    put(path, TEXTS["two spaces"])
    wire(repo)
    (kept,) = (repo.path / ".git/ai-sessions/agents/before").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    kept.write_text("{")
    repo.ai("init", "--undo")
    assert json.loads(path.read_text()) == OTHERS


def test_the_command_has_no_word_that_a_path_could_change() -> None:
    """Whatever the folder is called, the command is one of ours and the shell takes the path as it is."""
    for name in ("/a b", "/it's", '/"$(touch x)"', "/ünï", "/# gitsess"):
        words = wiring.words_of("claude", "local", name, plugin="")
        assert hooks.is_ours({"command": words})
        done = subprocess.run(
            ["sh", "-c", words.replace('if [ -x "$a" ]', 'printf %s "$a"; if false')],
            input=b"",
            capture_output=True,
            check=False,
        )
        assert done.stdout.decode() == f"{name}/agent"


# Gemini CLI


GEMINI = ".gemini/settings.json"


@pytest.mark.parametrize("kind", TEXTS)
def test_geminis_settings_are_kept_and_come_back_to_the_byte(kind: str, repo: Repo) -> None:
    """Its one file a repository is for committing: our command finds the repository, and names no path."""
    before = put(repo.path / GEMINI, TEXTS[kind])
    out = repo.ai("init", "--agent", "gemini").out
    found = json.loads((repo.path / GEMINI).read_text(encoding="utf-8-sig"))["hooks"]
    for event in ("BeforeAgent", "AfterAgent", "SessionEnd"):
        (group,) = (group for group in found[event] if group.get("hooks", [{}])[0].get("name") == "gitsess")
        (entry,) = group["hooks"]
        assert (group["matcher"], entry["timeout"]) == ("*", 10_000)
        assert str(repo.path) not in entry["command"]
    assert "who has no gitsess, or did not run init, is not disturbed by them" in out
    assert "its turns go to gemini-main" in out
    after = (repo.path / GEMINI).read_bytes()
    repo.ai("init", "--agent", "gemini", "--shared")
    assert (repo.path / GEMINI).read_bytes() == after
    repo.ai("init", "--undo")
    assert (repo.path / GEMINI).read_bytes() == before


COMMENTED = """\
// Settings of the team: "hooks" are below.
{
    "ui": { "theme": "ünï // no comment" }, /* one */
    "list": ["a", "b",   "c"],
    "number": 1.50, // "hooks": {
    "hooks": {
        /* nothing
           before */
        "BeforeAgent": [{"hooks": [{"type": "command", "command": "say /* no comment */"}]}], // said
        "AfterAgent": [
            {"matcher": "x", "hooks": []} // last
            // of all
        ],
        "SessionEnd": [ // none yet
        ]
    } // end of hooks
}
// end
"""


def unread_comments(text: str) -> Any:
    """What Gemini CLI reads: comments are nothing to it."""
    return json.loads(re.sub(r'("(?:[^"\\]|\\.)*")|//[^\n]*|/\*.*?\*/', r"\1", text, flags=re.DOTALL))


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_comments_in_geminis_settings_are_kept(newline: str, repo: Repo) -> None:
    """Of what was there not a byte goes: lines are added, and a comma where something follows now."""
    path, text = repo.path / GEMINI, COMMENTED.replace("\n", newline)
    before = put(path, text)
    repo.ai("init", "--agent", "gemini")
    after = path.read_bytes().decode()
    assert after.replace("\r\n", "").count("\n") == (0 if newline == "\r\n" else after.count("\n"))
    old, new = unread_comments(text), unread_comments(after)
    for event in ("BeforeAgent", "AfterAgent", "SessionEnd"):
        assert new["hooks"][event][:-1] == old["hooks"][event]
    assert {**new, "hooks": 0} == {**old, "hooks": 0}
    changed = [line for line in text.split(newline) if line not in after.split(newline)]
    assert [line.strip()[:14] for line in changed] == ['"BeforeAgent":', '{"matcher": "x']
    # Somebody else's change: only what is ours goes.
    put(path, after.replace("1.50, //", "1.500, //"))
    repo.ai("init", "--undo")
    assert path.read_bytes().decode() == text.replace("1.50, //", "1.500, //")
    put(path, text)
    repo.ai("init", "--agent", "gemini")
    repo.ai("init", "--undo")
    assert path.read_bytes() == before
    put(path, '{"a": 1, /* a comma too many */}')
    assert repo.ai("init", "--agent", "gemini", code=1).err.endswith("nothing was changed\n")


def test_a_comment_before_ours_ends_with_its_line(repo: Repo) -> None:
    """Whatever stands behind it; and a file that refuses keeps no other from being taken back."""
    path = repo.path / ".gemini/settings.json"
    path.parent.mkdir()
    before = '{\n  "model": "x", // mine\n  "hooks": {} }\n'
    path.write_text(before)
    repo.ai("init", "--agent", "gemini", "--agent", "claude")
    repo.ai("init", "--undo")
    assert path.read_text() == before
    repo.ai("init", "--agent", "gemini", "--agent", "claude")
    path.write_text(path.read_text().replace('"x"', '"y"'))
    repo.ai("init", "--undo")
    assert "gitsess" not in path.read_text()
    assert '"model": "y"' in path.read_text()
    repo.ai("init", "--agent", "gemini", "--agent", "claude")
    path.write_text(path.read_text() + "]")
    repo.ai("init", "--undo", code=None)
    assert not (repo.path / ".claude").exists()
    ran = repo.ai("init", "--undo", "--agent", "claude", code=2)
    assert ran.err == "error: --undo takes back all that init did here: leave --agent out\n"


def test_committed_settings_are_not_laid_out_anew(repo: Repo) -> None:
    """Of a file that a team has committed, the diff has our hooks, and the comma before them."""
    put(repo.path / SHARED, '{\n  "allow": ["a", "b",  "c"],\n  "n": 1.50,\n  "o": {}\n}\n')
    repo.git("add", "-A")
    wire(repo, "--shared")
    lines = repo.git("diff", "--no-color", "-U0", SHARED).split("\n")
    assert [line for line in lines if line.startswith("-")][1:] == ['-  "o": {}']
    assert [line for line in lines if line.startswith("+")][1:4] == [
        '+  "o": {},',
        '+  "hooks": {',
        '+    "UserPromptSubmit": [',
    ]


FILLING = st.sampled_from(["", "", " ", "\n  ", "\r\n\t", "/* c */", ' // "c\n', "\n// [c\n", "/**/ // c\r\n   "])
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@st.composite
def written(draw: st.DrawFn, value: Any) -> str:
    """A value as somebody may have written it, with comments wherever there may be some."""
    if isinstance(value, dict):
        items = [f"{json.dumps(key)}{draw(FILLING)}:{draw(written(item))}" for key, item in value.items()]
        text = "{" + ",".join(f"{draw(FILLING)}{item}" for item in items) + draw(FILLING) + "}"
    elif isinstance(value, list):
        text = "[" + ",".join(draw(written(item)) for item in value) + draw(FILLING) + "]"
    else:
        text = json.dumps(value, ensure_ascii=draw(st.booleans()))
    return f"{draw(FILLING)}{text}{draw(FILLING)}"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
ENTRIES = st.lists(st.sampled_from([{"command": "say"}, {"command": "x # gitsess "}, 1, "# gitsess"]), min_size=1)
GROUPS = st.lists(
    st.fixed_dictionaries({"hooks": ENTRIES}, optional={"matcher": KEYS}) | VALUES, min_size=1, max_size=3
)
EVENTS_OF_OTHERS = st.dictionaries(st.sampled_from(["Stop", "SessionEnd", "Other"]), GROUPS, min_size=1)


@given(st.data())
def test_what_is_put_into_a_text_comes_out_again_to_the_byte(data: st.DataObject) -> None:
    """Whatever the layout and the comments: all of the text is there with ours, and all of it is there after it."""
    others = data.draw(st.dictionaries(KEYS.filter(lambda key: key != "hooks"), VALUES, min_size=1, max_size=3))
    theirs = data.draw(st.none() | EVENTS_OF_OTHERS)
    value = others if theirs is None else {**others, "hooks": theirs}
    before = data.draw(written(value)).encode()
    form = hooks.Hooks(events=("Stop", "SessionEnd"), group={"matcher": "*"}, entry={}, comments=True)
    path = Path("settings.json")
    made = form.added(path, form.parsed(path, before), "run # gitsess")
    found = form.parsed(path, made)
    assert form.has(found, "run # gitsess")
    assert {key: item for key, item in found.value.items() if key != "hooks"} == others
    rest = iter(made)
    assert all(byte in rest for byte in before)
    assert form.stripped(found) == before
    again = form.added(path, found, "again # gitsess")
    assert again == made.replace(b'"run # gitsess"', b'"again # gitsess"')


@given(st.binary() | st.text(st.sampled_from('{}[]",:/* \n\\1hooks')).map(str.encode))
def test_any_bytes_are_settings_or_are_refused(data: bytes) -> None:
    form = hooks.Hooks(events=("Stop",), group={}, entry={}, comments=True)
    path = Path("settings.json")
    try:
        found = form.parsed(path, data)
        made = form.added(path, found, "run # gitsess")
    except StoreError:
        return
    assert form.has(form.parsed(path, made), "run # gitsess")


def test_ones_own_gemini_settings(repo: Repo, tmp_path: Path) -> None:
    """With --user they are below the home folder, or where Gemini CLI is told that its home is."""
    repo.ai("init", "--agent", "gemini", "--user")
    assert (Path(os.environ["HOME"]) / GEMINI).exists()
    repo.environment["GEMINI_CLI_HOME"] = str(tmp_path)
    repo.ai("init", "--agent", "gemini", "--user")
    assert (tmp_path / GEMINI).exists()
    repo.ai("init", "--undo", "--user")
    assert not (tmp_path / ".gemini").exists()
    assert not (repo.path / ".gemini").exists()


# Codex


CONFIGS = {
    "none": None,
    "nothing": "",
    "tables": '# mine\nmodel = "x" # y\n\n[features]\napps = false\n\n[profiles."a b"]\nnotify = 1\n',
    "one line": 'model = "x"\nnotify = ["say", "it\'s \\"done\\""] # tell me\n[a]\nb = 1\n',
    "many lines": "notify = [\n  'say', # first\n  'done',\n]\n\n\n[a]\nb = [1,\n 2]",
    "CRLF": 'model = "x"\r\nnotify = ["say"]\r\n[a]\r\nb = 1\r\n',
    "a mark of order": '\ufeffnotify = ["say"]\nb = 1\n',
    "a mark of order alone": '\ufeffmodel = "x"\n',
    "dotted": 'notify = ["say"]\na.b = 1\na."c.d" = """x\ny"""\nünï = 1\n'.replace("ünï", '"ünï"'),
}


@pytest.fixture
def config() -> Path:
    return Path(os.environ["HOME"]) / ".codex/config.toml"


@pytest.mark.parametrize("kind", CONFIGS)
def test_codex_is_told_whom_to_tell(kind: str, repo: Repo, config: Path) -> None:
    """Ours stands before what was there; all else is as it was, and comes back to the byte."""
    text = CONFIGS[kind]
    before = None if text is None else put(config, text)
    old = tomllib.loads((text or "").removeprefix("\ufeff").replace("\r\n", "\n"))
    out = repo.ai("init", "--agent", "codex").out
    after = config.read_bytes()
    found = tomllib.loads(after.decode().removeprefix("\ufeff").replace("\r\n", "\n"))
    assert after.startswith(b"\xef\xbb\xbf") is (text or "").startswith("\ufeff")
    assert found["notify"][:2] == ["sh", "-c"]
    assert found["notify"][4:] == old.get("notify", [])
    assert {**found, "notify": 0} == {**old, "notify": 0}
    assert f"Codex tells of its turns, by the notify of {config}\n" in out
    assert "it does nothing in repositories where init --agent was not run" in out
    if kind == "CRLF":
        assert after.count(b"\n") == after.count(b"\r\n")
    repo.ai("init", "--agent", "codex")
    assert config.read_bytes() == after
    out = repo.ai("init", "--undo").out
    assert config.read_bytes() == after
    assert "Codex tells nothing of this repository any more; 'init --undo --user'" in out
    repo.ai("init", "--undo", "--user")
    assert (config.read_bytes() if config.exists() else None) == before


@pytest.mark.parametrize("chained", [[], ["say", "a b", "$x"]])
def test_only_ours_is_taken_out_of_a_changed_configuration(chained: list[str], repo: Repo, config: Path) -> None:
    """What others changed since then stays, and so does the program that was there before ours."""
    put(config, f"notify = {json.dumps(chained)}\n" if chained else 'model = "x"\n')
    repo.ai("init", "--agent", "codex")
    config.write_text(config.read_text() + "[new]\nkey = 1 # kept\n")
    assert "tells nothing any more; other changes were kept" in repo.ai("init", "--undo", "--user").out
    found = tomllib.loads(config.read_text())
    assert found.get("notify", []) == chained
    assert found["new"] == {"key": 1}
    assert "# kept" in config.read_text()


LAYOUT = "notify = [ # tell\n  'say', # first\n  \"a b\",\n  # nobody else\n]\n"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_what_stands_beside_ours_is_not_laid_out_anew(newline: str, repo: Repo, config: Path) -> None:
    """Comments and lines of the program that was there stay, with ours and without."""
    text = LAYOUT.replace("\n", newline)
    put(config, text)
    repo.ai("init", "--agent", "codex")
    found = config.read_bytes().decode()
    for line in text.split(newline):
        assert line in found.split(newline)
    config.write_bytes(config.read_bytes() + b"# mine\n")
    repo.ai("init", "--undo", "--user")
    assert config.read_bytes().decode() == f"{text}# mine\n"


def test_a_linked_configuration_stays_a_link(repo: Repo, config: Path, tmp_path: Path) -> None:
    """It is changed where it is, as people who keep their settings elsewhere want it; one too large is refused."""
    before = put(tmp_path / "dotfiles/config.toml", 'model = "x"\n')
    config.parent.mkdir()
    config.symlink_to(tmp_path / "dotfiles/config.toml")
    repo.ai("init", "--agent", "codex")
    assert config.is_symlink()
    assert "notify" in tomllib.loads((tmp_path / "dotfiles/config.toml").read_text())
    repo.ai("init", "--undo", "--user")
    assert (tmp_path / "dotfiles/config.toml").read_bytes() == before
    config.write_bytes(b"#" * (1 << 23))
    assert "larger than" in repo.ai("init", "--agent", "codex", code=1).err
    assert config.stat().st_size == 1 << 23


REFUSALS: dict[str, Callable[[Repo, Path], object]] = {
    "broken JSON": lambda repo, tmp: put(repo.path / LOCAL, '{"a":1,}'),
    "broken TOML": lambda repo, tmp: put(tmp / "home/.codex/config.toml", "notify = ["),
    "a link that leads out": lambda repo, tmp: (repo.path / ".gemini").symlink_to(tmp / "home"),
    "a plugin of somebody else": lambda repo, tmp: put(repo.path / PLUGIN, "export const Mine = 1\n"),
    "a folder in a file's place": lambda repo, tmp: (repo.path / LOCAL).mkdir(parents=True),
    "a file in a folder's place": lambda repo, tmp: put(repo.path / ".opencode/plugins", "mine"),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_where_one_cannot_be_told_nothing_is_changed(kind: str, repo: Repo, tmp_path: Path) -> None:
    """All settings are looked at before the first is written: no hook of git, no script, no other agent's settings."""
    REFUSALS[kind](repo, tmp_path)
    before = everything(tmp_path, repo.path)
    words = [word for name in wiring.AGENTS for word in ("--agent", name)]
    ran = repo.ai("init", *words, code=1)
    assert ran.err.startswith("error: ")
    assert ran.err.endswith("nothing was changed\n")
    assert ran.err.count("\n") == 1
    assert everything(tmp_path, repo.path) == before


def test_another_repository_goes_on_being_captured(repo: Repo, config: Path, tmp_path: Path) -> None:
    """Taken back in one repository, a person's notify still serves the other: only its own script is gone."""
    other = Repo(path=tmp_path / "other")
    other.path.mkdir()
    other.git("init", "-q")
    repo.ai("init", "--agent", "codex")
    assert other.ai("init", "--agent", "codex", "--json").json["agents"][0]["action"] == "unchanged"
    repo.ai("init", "--undo")
    words = tomllib.loads(config.read_text())["notify"]
    for folder in (repo.path, other.path):
        script = folder / ".git/ai-sessions/agent"
        if script.exists():
            script.write_text(f"#!/bin/sh\necho {folder} >>{tmp_path / 'told'}\n")
        event = json.dumps({"cwd": str(folder)}, separators=(",", ":"))
        done = subprocess.run([*words, event], cwd="/", capture_output=True, timeout=60, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (tmp_path / "told").read_text() == f"{other.path}\n"


def test_of_an_agent_that_told_nothing_here_undo_says_nothing(repo: Repo, config: Path, tmp_path: Path) -> None:
    """A person's notify tells of every repository with the script: only where that goes is there something to say."""
    other = another(tmp_path, "other")
    repo.ai("init", "--agent", "codex")
    other.ai("init", code=0)
    assert "Codex" not in other.ai("init", "--undo").out
    wire(other)
    assert "Codex tells nothing of this repository any more" in other.ai("init", "--undo").out
    assert "Codex" not in other.ai("init", "--undo").out
    # Taken out by hand, it tells of nothing.
    config.write_text("")
    assert "Codex" not in repo.ai("init", "--undo").out


def test_a_program_that_fails_or_is_gone_fails_as_it_did(repo: Repo, config: Path) -> None:
    """Codex sees what it saw before: the exit code is that of the program that was there."""
    for theirs, code in ((["sh", "-c", "exit 7"], 7), (["/nowhere/say"], 127)):
        put(config, f"notify = {json.dumps(theirs)}\n")
        repo.ai("init", "--agent", "codex")
        words = tomllib.loads(config.read_text())["notify"]
        assert subprocess.run([*words, "{}"], capture_output=True, timeout=60, check=False).returncode == code


@pytest.mark.parametrize("text", ["notify = [", 'notify = "say"', "notify = [1]", "\udcff", "a = 1\na = 2\n"])
def test_a_configuration_that_codex_would_not_read_is_left_alone(text: str, repo: Repo, config: Path) -> None:
    """One line says so, and not a byte is changed."""
    before = put(config, text)
    ran = repo.ai("init", "--agent", "codex", code=1)
    assert ran.err.startswith("error: ")
    assert ran.err.endswith("nothing was changed\n")
    assert ran.err.count("\n") == 1
    assert config.read_bytes() == before


def test_the_notify_runs_what_was_there_before(repo: Repo, config: Path, tmp_path: Path) -> None:
    """With the same event, whether there is a repository or not; both get it, and nothing is printed."""
    told = tmp_path / "told"
    before = json.dumps(["sh", "-c", f'printf %s, "$@" >>{told}', "x", "a b"])
    put(config, f"notify = {before}\n")
    repo.ai("init", "--agent", "codex")
    words = tomllib.loads(config.read_text())["notify"]
    script = repo.path / ".git/ai-sessions/agent"
    script.write_text(f'#!/bin/sh\nprintf "%s;" "$@" >>{told}\n')
    event = json.dumps(
        {
            "type": "agent-turn-complete",
            "cwd": str(repo.path),
            "input-messages": ['"cwd":"/else" it\'s $(touch x) `y`'],
        },
        separators=(",", ":"),
    )
    other = event.replace(str(repo.path), str(tmp_path))
    for said in (event, other, "{}", ""):
        done = subprocess.run([*words, said], cwd="/", capture_output=True, timeout=60, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert told.read_text() == f"codex;{event};" + "".join(f"a b,{given}," for given in (event, other, "{}", ""))


def test_codex_has_no_settings_for_sharing(repo: Repo, config: Path) -> None:
    """What cannot be is refused where it was asked for, with a reason."""
    assert "no --shared" in repo.ai("init", "--agent", "codex", "--shared", code=2).err
    assert "no --shared" in repo.ai("init", "--agent", "opencode", "--shared", code=2).err
    assert not config.exists()


# opencode


PLUGIN = ".opencode/plugins/gitsess.js"


def test_opencodes_plugin(repo: Repo) -> None:
    """The plugin as it is shipped, with the path of the script; nothing is left of it once it is taken back."""
    out = repo.ai("init", "--agent", "opencode").out
    text = (repo.path / PLUGIN).read_text()
    assert f"const SCRIPT = {json.dumps(str(repo.path / '.git/ai-sessions/agent'))}\n" in text
    assert "@SCRIPT@" not in text
    assert f"opencode tells of its turns, by the plugin {repo.path / PLUGIN}\n  git ignores that file here" in out
    assert repo.ai("init", "--agent", "opencode", "--json").json["agents"][0]["action"] == "unchanged"
    repo.ai("init", "--undo")
    assert not (repo.path / ".opencode").exists()


def test_a_plugin_of_somebody_else_is_left_alone(repo: Repo) -> None:
    """A file of that name is not ours to change; an older one of ours is brought up to date."""
    before = put(repo.path / PLUGIN, "export const Mine = 1\n")
    assert "is not a plugin of gitsess" in repo.ai("init", "--agent", "opencode", code=1).err
    repo.ai("init", "--undo")
    assert (repo.path / PLUGIN).read_bytes() == before
    put(repo.path / PLUGIN, "// gitsess agent 0: older\n")
    repo.ai("init", "--agent", "opencode")
    assert "gitsess agent 1" in (repo.path / PLUGIN).read_text()
    (repo.path / PLUGIN).write_text((repo.path / PLUGIN).read_text() + "// changed\n")
    out = repo.ai("init", "--undo").out
    assert not (repo.path / PLUGIN).exists()
    assert f"opencode tells nothing any more; removed {repo.path / PLUGIN}\n" in out
    shutil.rmtree(repo.path / ".opencode")
    repo.ai("init", "--agent", "opencode")
    (repo.path / PLUGIN).write_text("// gitsess agent 1: changed\n")
    repo.ai("init", "--undo")
    assert not (repo.path / ".opencode").exists()


def test_ones_own_plugin_finds_the_repository(repo: Repo) -> None:
    """With --user it is in the person's folder, and names no repository."""
    repo.ai("init", "--agent", "opencode", "--user")
    path = Path(os.environ["HOME"]) / ".config/opencode/plugins/gitsess.js"
    assert 'const SCRIPT = ""\n' in path.read_text()
    repo.ai("init", "--undo", "--user")
    assert not path.exists()


def test_agents_are_wired_together(repo: Repo, config: Path) -> None:
    """Several in one go, each where its settings are, and one line says where all of their turns go."""
    words = [word for name in ("claude", "codex", "gemini", "opencode") for word in ("--agent", name)]
    out = repo.ai("init", *words).out
    assert out.endswith(
        "their turns go to claude-main, codex-main, gemini-main, opencode-main\n"
        "  while main is checked out; 'git ai-session use' chooses another session\n"
    )
    for path in (repo.path / LOCAL, config, repo.path / GEMINI, repo.path / PLUGIN):
        assert path.exists()
    repo.ai("init", "--undo", "--user")
    for path in (repo.path / ".claude", config, repo.path / ".gemini", repo.path / ".opencode"):
        assert not path.exists()
