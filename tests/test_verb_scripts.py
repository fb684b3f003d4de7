"""The scripts that call verbs: the words that they call with, and when sessions are used, in real shells."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from gitsess.cli.scripting import SCRIPTS
from gitsess.cli.shipped import scripts_dir
from gitsess.cli.verbs import BY_NAME
from tests.conftest import PROGRAM, Ran, Repo
from tests.test_scripts import SHELLS, asked
from tests.test_workflow import PLAN, Script, model, script

__all__ = ["model", "script"]

CALLERS = {name: found for name, found in SCRIPTS.items() if found.verb}
HOSTILE = ["a b", "it's", 'a "word"', "$(touch x)`touch x`", "one\ntwo\n", "*", "", "\\n", "ü", "-", "%s", "${IFS}"]
"""Words that a shell would read as something else, were they not quoted."""
_MARK = "called"

# A stand-in for the program: writes down how it was called, and ends as it was told to.
_NOTED = """\
#!/bin/sh
printf '%s\\0' called "${USE_SESSIONS-unset}" "$@" >>"$CALLS"
echo "out of $1"
echo "err of $1" >&2
eval "exit \\${CODE_$1:-0}"
"""


class Stage:
    """A folder with a program that writes down its calls."""

    def __init__(self, folder: Path, path: str) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        programs = folder / "bin"
        programs.mkdir(parents=True)
        (programs / "git-ai-session").write_text(_NOTED)
        (programs / "git-ai-session").chmod(0o755)
        self.environment = {"PATH": f"{programs}{os.pathsep}{path}", "CALLS": str(self.calls)}

    def call(self, name: str, *words: str, shell: Sequence[str] = (), code: int = 0, **environment: str) -> Ran:
        done = subprocess.run(
            [*shell, str(scripts_dir() / f"{name}.sh"), *words],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        ran = Ran(code=done.returncode, out=done.stdout, err=done.stderr)
        assert ran.code == code, f"exit {ran.code}\n{ran.out}\n{ran.err}"
        return ran

    def noted(self) -> list[tuple[str, list[str]]]:
        """The calls since the last time: what USE_SESSIONS was, and the words."""
        text = self.calls.read_text() if self.calls.exists() else ""
        self.calls.unlink(missing_ok=True)
        # A word could be the mark: none of ours is.
        parts = text.split(f"{_MARK}\0")[1:]
        return [(words[0], words[1:]) for words in (part.split("\0")[:-1] for part in parts)]

    def words(self, name: str, *words: str, shell: Sequence[str] = (), **environment: str) -> list[str]:
        """What the one call of the program was made with."""
        self.call(name, *words, shell=shell, code=0, **environment)
        ((_, found),) = self.noted()
        return found


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path / "a stage", os.environ["PATH"])


@pytest.mark.parametrize("name", CALLERS)
def test_each_is_a_few_lines_of_sh(name: str) -> None:
    """Every shell reads it; it says of which version it is, and fits a screen."""
    path = scripts_dir() / f"{name}.sh"
    lines = path.read_text().splitlines()
    assert len(lines) <= 42
    assert max(map(len, lines)) <= 120
    assert re.match(f"# gitsess script [0-9]+: {name}[.]sh, ", lines[1])
    for shell in SHELLS:
        assert subprocess.run([*shell, "-n", str(path)], capture_output=True, check=True).stderr == b""


DAYS = ["clean", "--older-than"]
CALLS = [
    ("plan", ["login", "Token refresh", "--full-context"], ["plan", "login", "Token refresh", "--full-context"]),
    ("implement", ["my-feature", "--task", "T1.1"], ["implement", "my-feature", "--task", "T1.1"]),
    ("implement", [], ["implement"]),
    ("implement", ["login", "-h"], ["implement", "login", "-h"]),
    ("review", ["login", "a.py", "--security"], ["review", "login", "a.py", "--security"]),
    ("review-code", ["login", "--diff", "main..HEAD"], ["review", "login", "--diff", "main..HEAD"]),
    ("review-architecture", ["login", "src"], ["review", "--architecture", "login", "src"]),
    ("verify", ["login", "--unit"], ["verify", "login", "--unit"]),
    ("status", [], ["status"]),
    ("status", ["login", "--all"], ["status", "login", "--all"]),
    ("history", ["login", "--limit", "3", "--model", "opus"], ["history", "login", "--limit", "3", "--model", "opus"]),
    ("switch-feature", ["login"], ["switch", "login"]),
    ("list-sessions", ["--active", "--sort", "cost"], ["list", "--active", "--sort", "cost"]),
    ("escalate", ["opus"], ["escalate", "opus"]),
    ("escalate", ["opus", "The lock is taken twice"], ["escalate", "opus", "The lock is taken twice"]),
    ("escalate", ["codex", "claude-code gave up"], ["escalate", "codex", "claude-code gave up"]),
    ("escalate", ["codex", "claude-\nwhy?"], ["escalate", "codex", "claude-\nwhy?"]),
    ("escalate", ["login", "opus"], ["escalate", "--feature", "login", "opus"]),
    ("escalate", ["login", "claude", "Why?"], ["escalate", "--feature", "login", "claude", "Why?"]),
    ("escalate", ["claude-login", "sonnet"], ["escalate", "--feature", "claude-login", "sonnet"]),
    ("escalate", ["login", "claude-opus-4-5", "Why?"], ["escalate", "--feature", "login", "claude-opus-4-5", "Why?"]),
    ("escalate", ["login", "gemini", "--json"], ["escalate", "--feature", "login", "gemini", "--json"]),
    ("escalate", ["--feature", "haiku", "opus"], ["escalate", "--feature", "haiku", "opus"]),
    ("escalate", ["--session", "codex", "opus"], ["escalate", "--session", "codex", "opus"]),
    ("escalate", ["gpt-5", "--model", "x"], ["escalate", "gpt-5", "--model", "x"]),
    ("escalate", [], ["escalate"]),
    ("cleanup-sessions", [], [*DAYS, "30"]),
    ("cleanup-sessions", ["60"], [*DAYS, "60"]),
    ("cleanup-sessions", ["60", "--dry-run"], [*DAYS, "60", "--dry-run"]),
    ("cleanup-sessions", ["--dry-run", "60"], [*DAYS, "60", "--dry-run"]),
    ("cleanup-sessions", ["--force"], [*DAYS, "30", "--force"]),
    ("cleanup-sessions", ["--older-than", "7", "--force"], [*DAYS, "7", "--force"]),
    ("cleanup-sessions", ["--force", "--older-than=7"], ["clean", "--force", "--older-than=7"]),
    ("cleanup-sessions", ["--keep", "7", "plan-*", "9"], [*DAYS, "9", "--keep", "7", "plan-*"]),
    ("cleanup-sessions", ["30d"], [*DAYS, "30", "30d"]),
]


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_the_words_that_it_calls_with(stage: Stage, shell: list[str]) -> None:
    """The documented calls, and those that could be taken for another."""
    for name, given, wanted in CALLS:
        assert stage.words(name, *given, shell=shell) == wanted, (name, given)


def test_every_script_was_called() -> None:
    """No script that calls a verb is without its line above, but the one that calls two, which has its own tests."""
    assert {name for name, _, _ in CALLS} | {"init-session"} == set(CALLERS)
    for name, _, wanted in CALLS:
        assert wanted[0] == CALLERS[name].verb


@pytest.mark.parametrize("name", CALLERS)
def test_any_word_arrives_as_it_is(stage: Stage, name: str) -> None:
    """Blanks, quotes, newlines, patterns, empty words and what looks like a command, in every shell."""
    for shell in SHELLS:
        # What begins a feature asks first whether it has begun.
        fails = {"CODE_switch": "1"} if name == "init-session" else {}
        stage.call(name, "a-name", *HOSTILE, shell=shell, code=0, **fails)
        _, found = stage.noted()[-1]
        assert found[-len(HOSTILE) :] == HOSTILE
        assert "a-name" in found
    assert sorted(path.name for path in stage.folder.iterdir()) == ["bin"]


@pytest.mark.parametrize("name", CALLERS)
def test_sessions_are_used_where_it_says_true_and_nowhere_else(stage: Stage, name: str) -> None:
    """Any other value, or none, has the verbs begin fresh; those that only look do so all the same."""
    said = {"true": "true", "True": "false", "1": "false", "yes": "false", "": "false", " true": "false"}
    for shell in SHELLS:
        for value, wanted in said.items():
            stage.call(name, "login", shell=shell, USE_SESSIONS=value)
            assert {found for found, _ in stage.noted()} == {wanted if CALLERS[name].sessions else value}
        stage.call(name, "login", shell=shell)
        assert {found for found, _ in stage.noted()} == {"false" if CALLERS[name].sessions else "unset"}


@pytest.mark.parametrize("name", CALLERS)
def test_what_the_verb_says_and_how_it_ends_pass_through(stage: Stage, name: str) -> None:
    """Standard output, standard error and the exit code."""
    verb = CALLERS[name].verb
    for shell in SHELLS:
        for code in (0, 1, 2, 3, 4, 130):
            codes = {f"CODE_{verb}": str(code), **({"CODE_switch": "1"} if name == "init-session" else {})}
            ran = stage.call(name, "login", shell=shell, code=code, **codes)
            assert ran.out.endswith(f"out of {verb}\n")
            assert ran.err == f"err of {verb}\n"


@pytest.mark.parametrize("name", CALLERS)
def test_help_says_how_it_is_called(stage: Stage, name: str) -> None:
    """-h and --help, in every shell, also without the program; each option that is named is one of the verb."""
    for shell in SHELLS:
        for word in ("-h", "--help"):
            out = stage.call(name, word, shell=shell, PATH=os.environ["PATH"]).out
            assert out.startswith(f"usage: {name}.sh ")
            assert ("USE_SESSIONS=true" in out) == (
                CALLERS[name].sessions and name not in ("init-session", "switch-feature")
            )
    assert stage.noted() == []
    flags = {flag for opt in BY_NAME[CALLERS[name].verb].opts for flag in opt.flags}
    assert set(re.findall(r"--[a-z-]+", out.splitlines()[0])) <= flags


@pytest.mark.parametrize("name", SCRIPTS)
def test_without_the_program_it_says_what_to_install(stage: Stage, name: str) -> None:
    """One line, and the exit code of a shell that finds no program."""
    shell = shutil.which("sh")
    assert shell is not None
    ran = stage.call(name, "login", "opus", shell=[shell], PATH=str(stage.folder), code=127)
    assert ran.out == ""
    assert ran.err.startswith("error: git-ai-session is not on PATH: install gitsess")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_a_feature_that_has_begun_is_put_in_use(stage: Stage, shell: list[str]) -> None:
    """switch first, start where there is none; the mistake that start finds is the one that is told."""
    ran = stage.call("init-session", "login", "What it is", "--json", shell=shell, USE_SESSIONS="true")
    assert (ran.out, ran.err) == ("out of switch\n", "err of switch\n")
    assert stage.noted() == [("true", ["switch", "--json", "--", "login"])]
    for failed in ("1", "2"):
        ran = stage.call("init-session", "login", "What it is", shell=shell, CODE_switch=failed)
        assert ran.err == "err of start\n"
        calls = [["switch", "--", "login"], ["start", "login", "What it is"]]
        assert [words for _, words in stage.noted()] == calls
    stage.call("init-session", "login", shell=shell, CODE_switch="130", code=130)
    stage.call("init-session", shell=shell, CODE_switch="2", CODE_start="2", code=2)
    assert stage.noted()[-1] == ("false", ["start"])


@pytest.fixture
def scripted(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repo:
    """A repository with the scripts installed, and the program on PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "git-ai-session").write_text(f"#!/bin/sh\nexec {PROGRAM[0]} {PROGRAM[1]} '{PROGRAM[2]}' \"$@\"\n")
    (programs / "git-ai-session").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    repo.ai("scripts", "install")
    return repo


def sh(repo: Repo, line: str, code: int = 0) -> Ran:
    """A line as somebody would type it in the repository."""
    done = subprocess.run(
        ["sh", "-c", line],
        cwd=repo.path,
        env={**os.environ, **repo.environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return Ran(code=code, out=done.stdout, err=done.stderr)


def test_a_feature_by_the_scripts_alone(scripted: Repo) -> None:
    """Begun twice, planned by hand, looked at, listed, and too young to be removed: with the real program."""
    assert "login is begun" in sh(scripted, "./scripts/init-session.sh login 'Tokens that expire'").out
    assert "login is in use here" in sh(scripted, "./scripts/init-session.sh login").out
    sh(scripted, "./scripts/init-session.sh other")
    assert "login is in use here" in sh(scripted, "./scripts/switch-feature.sh login").out
    assert "error: " in sh(scripted, "./scripts/init-session.sh 'No Name'", code=2).err
    plan = PLAN.split("```")[1].removeprefix("yaml\n").replace("feature: calc", "feature: login")
    (scripted.path / "plan.yaml").write_text(plan)
    assert "T1.2" in sh(scripted, "USE_SESSIONS=true ./scripts/plan.sh login --import plan.yaml").out
    assert "T1.2" in sh(scripted, "./scripts/plan.sh login --show").out
    scripted.record("implement-login", asked(40), asked(1))
    scripted.record("plan-old", asked(90))
    assert "login" in sh(scripted, "./scripts/status.sh login").out
    assert "other" in sh(scripted, "./scripts/status.sh --all").out
    assert sh(scripted, "./scripts/history.sh login --limit 1 --command implement").out.count("\n") >= 1
    assert "plan-old" in sh(scripted, "./scripts/list-sessions.sh --sort name").out
    assert "plan-old" not in sh(scripted, "./scripts/list-sessions.sh --active").out
    assert "Would remove: 0" in sh(scripted, "./scripts/cleanup-sessions.sh 120 --dry-run").out
    assert "Removed: 1" in sh(scripted, "./scripts/cleanup-sessions.sh --force").out
    assert "refs/ai-sessions/plan-old" not in scripted.refs()


def test_a_plan_is_kept_where_sessions_are_used(scripted: Repo, request: pytest.FixtureRequest, script: Script) -> None:
    """Without USE_SESSIONS=true the model is asked, and nothing is recorded."""
    request.getfixturevalue("model")
    script.says(PLAN)
    assert "T1.2" in sh(scripted, "./scripts/plan.sh calc 'A calculator'").out
    assert scripted.refs() == []
    script.says(PLAN)
    sh(scripted, "USE_SESSIONS=true ./scripts/plan.sh calc 'A calculator'")
    assert scripted.refs() == ["refs/ai-sessions/plan-calc"]
