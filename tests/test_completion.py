"""Completion, driven in the real shells: what they offer at a Tab, alone and behind git."""

from __future__ import annotations

import os
import pty
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from gitsess.cli.completions import SHELLS, script
from gitsess.cli.verbs import VERBS
from tests.conftest import Repo

SESSIONS = ("plan-auth", "implement-auth-service", "claude-fix-login", "solo")
ALL_VERBS = {verb.name for verb in VERBS}
COMMANDS = {"plan", "implement", "review", "verify", "claude", "solo"}

CASES = (
    ("", ALL_VERBS),
    ("li", {"list"}),
    ("--ver", {"--version"}),
    ("list ", set(SESSIONS)),
    ("list --so", {"--sort"}),
    ("list --sort ", {"name", "date", "tokens", "cost"}),
    ("list --active --sort t", {"tokens"}),
    ("show plan-auth impl", {"implement-auth-service"}),
    ("run ", COMMANDS),
    ("run rev", {"review"}),
    ("run plan a", {"auth", "auth-service"}),
    ("run -m ", {"opus", "sonnet", "haiku"}),
    ("run -m opus plan fix", {"fix-login"}),
    ("run plan auth --with so", {"solo"}),
    ("stats --by d", {"day"}),
    ("stats --session c", {"claude-fix-login"}),
    ("log cl", {"claude-fix-login"}),
    ("completion ", {"bash", "zsh", "fish"}),
)

GIT_COMPLETION = next(
    (
        path
        for path in (
            "/usr/share/bash-completion/completions/git",
            "/etc/bash_completion.d/git-completion.bash",
            "/usr/share/git-core/contrib/completion/git-completion.bash",
            "/usr/local/etc/bash_completion.d/git-completion.bash",
            "/opt/homebrew/etc/bash_completion.d/git-completion.bash",
            "/Library/Developer/CommandLineTools/usr/share/git-core/git-completion.bash",
        )
        if os.path.exists(path)
    ),
    None,
)


@pytest.fixture
def here(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repo:
    """A repository with sessions; the program on PATH only leaves a mark that it was started."""
    for name in SESSIONS:
        repo.git("update-ref", f"refs/ai-sessions/{name}", "HEAD")
    program = tmp_path / "bin" / "git-ai-session"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {shlex.quote(str(tmp_path / 'started'))}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return repo


def run(words: list[str], *, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        words, cwd=cwd, capture_output=True, text=True, env={**os.environ, **(env or {})}, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


BASH_DRIVER = """
[[ -n $2 ]] && source "$2"
source "$3"
COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDS=() COMPREPLY=()
# As readline splits a line: white space, and '=' is a word of its own.
for word in $1; do
    while [[ $word == *=* ]]; do
        [[ -z ${word%%=*} ]] || COMP_WORDS+=("${word%%=*}")
        COMP_WORDS+=("=") word=${word#*=}
    done
    [[ -z $word ]] || COMP_WORDS+=("$word")
done
[[ $1 != *" " ]] || COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
spec=$(complete -p "${COMP_WORDS[0]}")
spec=${spec##* -F }
${spec%% *} "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}" ""
((${#COMPREPLY[@]} == 0)) || printf '%s\\n' "${COMPREPLY[@]}"
"""


def bash(line: str, repo: Repo, tmp_path: Path) -> set[str]:
    folder = tmp_path / "bash"
    folder.mkdir(exist_ok=True)
    (folder / "driver").write_text(BASH_DRIVER)
    (folder / "completion").write_text(script("bash"))
    git = GIT_COMPLETION if line.startswith("git ") else ""
    if git is None:
        pytest.skip("git's own completion is not installed")
    out = run(["bash", "--norc", str(folder / "driver"), line, git, str(folder / "completion")], cwd=repo.path)
    offered = out.splitlines()
    assert len(offered) == len(set(offered)), offered
    return {word.strip() for word in offered}


ZSH_DRIVER = """
PS1= PS2= PROMPT_EOL_MARK=
fpath=({functions} $fpath)
autoload -Uz compinit && compinit -u -d {functions}/dump
zstyle ':completion:*' list-prompt ''
zstyle ':completion:*' select-prompt ''
LISTMAX=100000
compadd() {{
    if [[ ${{@[1,(i)(-|--)]}} == *-(O|A|D)\\ * ]]; then builtin compadd "$@"; return; fi
    local -a offered
    builtin compadd -A offered "$@"
    (( $#offered )) && print -rl -- $offered >> {folder}/offered
    builtin compadd "$@"
}}
press() {{ : > {folder}/offered; zle complete-word; : > {folder}/done; BUFFER= }}
zle -N press
bindkey '^I' press
: > {folder}/ready
"""


def zsh(line: str, repo: Repo, tmp_path: Path) -> set[str]:
    """An interactive zsh on a terminal of its own, in which Tab is pressed."""
    functions = tmp_path / "zsh"
    functions.mkdir(exist_ok=True)
    (functions / "_git-ai-session").write_text(script("zsh"))
    folder = Path(tempfile.mkdtemp(dir=functions))
    (folder / "driver").write_text(ZSH_DRIVER.format(folder=folder, functions=functions))
    main, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "dumb", "ZDOTDIR": str(folder)}
    shell = subprocess.Popen(
        ["zsh", "-f", "-i"],
        cwd=repo.path,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=environment,
        start_new_session=True,
    )
    os.close(terminal)
    try:
        os.write(main, f"source {shlex.quote(str(folder / 'driver'))}\n".encode())
        appears(folder / "ready", main)
        os.write(main, f"{line}\t".encode())
        appears(folder / "done", main)
        return set((folder / "offered").read_text().split())
    finally:
        shell.kill()
        shell.wait()
        os.close(main)


def appears(path: Path, main: int) -> None:
    """Waits until ``path`` is there, reading what the terminal shows so that it never blocks."""
    os.set_blocking(main, False)
    shown = b""
    for _ in range(6000):
        if path.exists():
            return
        try:
            shown += os.read(main, 4096)
        except BlockingIOError:
            time.sleep(0.01)
    raise AssertionError(f"{path.name} did not come: {shown[-2000:]!r}")


def fish(line: str, repo: Repo, tmp_path: Path) -> set[str]:
    folder = tmp_path / "home" / ".config" / "fish" / "completions"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "git-ai-session.fish"
    file.write_text(script("fish"))
    # fish 3.6.0 does not find the file behind git by itself.
    source = f"source {shlex.quote(str(file))}; " if line.startswith("git ") else ""
    out = run(["fish", "-c", f"{source}complete -C {shlex.quote(line)}"], cwd=repo.path)
    offered = [row.partition("\t")[0] for row in out.splitlines()]
    assert len(offered) == len(set(offered)), offered
    return set(offered)


DRIVERS: dict[str, Callable[[str, Repo, Path], set[str]]] = {"bash": bash, "zsh": zsh, "fish": fish}


@pytest.mark.parametrize("program", ["git-ai-session", "git ai-session"])
@pytest.mark.parametrize("shell", SHELLS)
def test_a_tab_offers_what_fits_and_starts_no_python(shell: str, program: str, here: Repo, tmp_path: Path) -> None:
    """Verbs, options, choices, sessions, commands, features and models are offered where each is expected."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    for words, expected in CASES:
        assert DRIVERS[shell](f"{program} {words}", here, tmp_path) == expected, words
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_a_value_completes_behind_its_equals_sign(shell: str, here: Repo, tmp_path: Path) -> None:
    """--sort=na is completed to a name, and --sort= to any choice, however the shell writes the whole word."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    for typed, expected in (("na", {"name"}), ("", {"name", "date", "tokens", "cost"})):
        offered = DRIVERS[shell](f"git-ai-session list --sort={typed}", here, tmp_path)
        assert {word.removeprefix("--sort=") for word in offered} == expected


@pytest.mark.parametrize("shell", SHELLS)
def test_a_hostile_ref_is_neither_offered_nor_run(shell: str, here: Repo, tmp_path: Path) -> None:
    """A ref whose name is a command is not a session's name, and no shell evaluates it."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    for name in ("$(touch${IFS}run)", "`touch${IFS}run`", "a;touch${IFS}run", "plan-'x", "-x"):
        here.git("update-ref", f"refs/ai-sessions/{name}", "HEAD")
    assert DRIVERS[shell]("git-ai-session list ", here, tmp_path) == set(SESSIONS)
    assert not (here.path / "run").exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_outside_a_repository_verbs_complete_and_nothing_is_said(shell: str, tmp_path: Path, here: Repo) -> None:
    """Where there is no repository the verbs are offered all the same, and no error disturbs the prompt."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    outside = Repo(path=tmp_path)
    assert DRIVERS[shell]("git-ai-session li", outside, tmp_path) == {"list"}
    assert DRIVERS[shell]("git-ai-session show cl", outside, tmp_path) == set()


def test_behind_git_the_repository_given_to_git_counts(here: Repo, tmp_path: Path) -> None:
    """With 'git -C DIR' the sessions are those of DIR."""
    outside = Repo(path=tmp_path)
    assert bash(f"git -C {here.path} ai-session show so", outside, tmp_path) == {"solo"}


def test_behind_git_the_options_of_log_are_git_logs_own(here: Repo, tmp_path: Path) -> None:
    assert "--oneline" in bash("git ai-session log --one", here, tmp_path)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_verb_prints_the_script(shell: str, repo: Repo) -> None:
    """'completion SHELL' prints what is installed, also outside of a repository."""
    assert repo.ai("completion", shell, cwd=Path("/")).out == script(shell)
