"""Help, and what a person reads who typed something wrong."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gitsess import __version__
from gitsess.cli import generated, manual
from gitsess.cli.manpage import man_page
from gitsess.cli.verbs import TOPICS, VERBS
from gitsess.text import width
from tests.conftest import Repo

ROOT = Path(__file__).parent.parent
PAGE = "share/man/man1/git-ai-session.1"


@pytest.mark.parametrize("name", generated.files(ROOT))
def test_what_is_made_from_tables_is_not_stale(name: str) -> None:
    """The man page, the completion scripts, docs/cli.md and the rules in docs/security.md say what the code says: else
    run 'make docs'."""
    assert (ROOT / name).read_text(encoding="utf-8") == generated.files(ROOT)[name]


def test_every_verb_stands_under_a_topic() -> None:
    assert {verb.topic for verb in VERBS} == set(TOPICS)


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("verb", ["", *(verb.name for verb in VERBS if not verb.passes)])
def test_help_works_everywhere(verb: str, flag: str, repo: Repo, tmp_path: Path) -> None:
    """Every verb has -h and --help, outside of a repository too, and no line of it passes 80 columns."""
    ran = repo.ai(*verb.split(), flag, cwd=tmp_path)
    assert ran.out.startswith(f"usage: git ai-session {verb or 'VERB'}")
    assert ran.err == ""
    for line in ran.out.splitlines():
        assert width(line) <= 80, line


def test_the_help_of_log_is_ours_and_its_options_are_gits(repo: Repo) -> None:
    """-h explains the verb; all other options belong to git log."""
    assert "usage: git ai-session log" in repo.ai("log", "-h").out
    repo.record("plan-auth", {"prompt": "Why?"})
    assert repo.ai("log", "plan-auth", "--format=%s").out == "Why?\n"


def test_help_follows_a_narrow_terminal(repo: Repo) -> None:
    """On 50 columns the prose is wrapped at 50; only examples, which are typed as they stand, are longer."""
    text = repo.ai("run", "-h", env={"COLUMNS": "50"}).out.partition("Examples")[0]
    assert max(map(len, text.splitlines())) <= 50


def test_alone_it_prints_what_there_is(repo: Repo) -> None:
    """Without a verb: the help, and the exit code of a command line that is not complete."""
    ran = repo.ai(code=2)
    assert ran.out == repo.ai("-h").out
    assert all(f"\n  {verb.name} " in ran.out and verb.summary in " ".join(ran.out.split()) for verb in VERBS)
    assert ran.err == ""


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_the_version_is_the_packages(flag: str, repo: Repo) -> None:
    assert repo.ai(flag).out == f"git-ai-session {__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lsit"], "there is no verb 'lsit'; did you mean 'list'?"),
        (["xyzzy"], "there is no verb 'xyzzy'; 'git ai-session -h' lists the verbs"),
        (["--bogus"], "there is no option '--bogus'; 'git ai-session -h' helps"),
        (["list", "--bogus"], "there is no option '--bogus'; 'git ai-session list -h' helps"),
        (["list", "--jsno"], "there is no option '--jsno'; did you mean '--json'?"),
        (["list", "--sort", "nmae"], "invalid value for '--sort': 'nmae' is unknown; did you mean 'name'?"),
        (["list", "--sort=zz"], "invalid value for '--sort': 'zz' is unknown; it is one of name, date, tokens, cost"),
        (["list", "--sort"], "option '--sort' requires an argument; 'git ai-session list -h' helps"),
        (["list", "--json=3"], "option '--json' does not take a value; 'git ai-session list -h' helps"),
        (["stats", "--by", "colour"], None),
        (["stats", "plan-auth"], "got unexpected extra argument (plan-auth); 'git ai-session stats -h' helps"),
        (["show"], "missing argument 'SESSION'; 'git ai-session show -h' helps"),
        (
            ["show", "x", "--turn", "0"],
            "invalid value for '--turn': '0' is not a number of 1 or more; 'git ai-session show -h' helps",
        ),
        (
            ["show", "x", "--last=two"],
            "invalid value for '--last': 'two' is not a number of 1 or more; 'git ai-session show -h' helps",
        ),
        (["run", "plan"], "missing argument 'FEATURE'; 'git ai-session run -h' helps"),
        (["run", "a", "b", "Do", "it", "now"], "got unexpected extra arguments (it now); put the prompt in quotes"),
        (["completion", "zhs"], "invalid value for 'SHELL': 'zhs' is unknown; did you mean 'zsh'?"),
        (["show", "a", "b\x1b[31m\nc", "--turn", "\x1b[31m"], None),
        (["run", "a", "b", "c", "\x1b[31mred\n"], "got unexpected extra argument (red ); put the prompt in quotes"),
    ],
)  # fmt: skip
def test_a_mistake_gets_one_line_and_exit_code_2(words: list[str], message: str | None, repo: Repo) -> None:
    """What is wrong and what to do about it, on one line; nothing on standard output; nothing was done."""
    ran = repo.ai(*words, code=2)
    assert ran.out == ""
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    assert "\x1b" not in ran.err
    if message is not None:
        assert ran.err == f"error: {message}\n"


def test_the_man_page_has_no_faults(tmp_path: Path) -> None:
    """groff and mandoc, where they are installed, find nothing to warn of."""
    page = tmp_path / "git-ai-session.1"
    page.write_text(man_page())
    checks = [["groff", "-ww", "-man", "-Tutf8", str(page)], ["mandoc", "-T", "lint", str(page)]]
    present = [words for words in checks if shutil.which(words[0])]
    if not present:
        pytest.skip("neither groff nor mandoc is installed")
    for words in present:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        assert words[0] == "groff" or done.stdout == ""


def test_the_man_page_shows_everything(tmp_path: Path) -> None:
    """Each verb, option and example can be read in the page as it is typed."""
    if shutil.which("mandoc") or shutil.which("groff"):
        tool = ["mandoc", "-T", "utf8"] if shutil.which("mandoc") else ["groff", "-man", "-Tutf8", "-P-cbou"]
    else:
        pytest.skip("neither groff nor mandoc is installed")
    page = tmp_path / "git-ai-session.1"
    page.write_text(man_page())
    done = subprocess.run([*tool, str(page)], capture_output=True, text=True, check=True)
    shown = re.sub(".\b", "", done.stdout)
    text = " ".join(shown.split())
    for verb in VERBS:
        assert f"git ai-session {verb.synopsis}" in text
        assert all(opt.shown in text for opt in verb.opts)
        assert all(line in text for line, _ in verb.examples)
    for name in ("NAME", "EXIT STATUS", "ENVIRONMENT", "CONFIGURATION", "FILES", "EXAMPLES", "SEE ALSO"):
        assert f"\n{name}\n" in shown


def test_help_by_git_opens_the_man_page(tmp_path: Path) -> None:
    """'git ai-session --help' is 'man git-ai-session', which man finds beside the folder of the program."""
    if shutil.which("man") is None:
        pytest.skip("man is not installed")
    program = tmp_path / "prefix/bin/git-ai-session"
    page = tmp_path / "prefix" / PAGE
    for path in (program, page):
        path.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    page.write_text(man_page())
    environment = {**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}", "MANPAGER": "cat"}
    done = subprocess.run(
        ["git", "ai-session", "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    if (
        "No manual entry" in done.stderr
        and subprocess.run(["man", "-w", "git"], capture_output=True, check=False).returncode
    ):
        pytest.skip("this man shows no pages")
    assert done.returncode == 0, done.stderr
    assert "git-ai-session - the record of AI work in a repository" in done.stdout


def test_the_manual_names_every_setting_and_variable_that_is_read() -> None:
    """No ai-session.* setting and no environment variable of ours is read that the manual does not explain, nor
    explained and not read."""
    package = ROOT / "gitsess"
    code = {str(path.relative_to(package)): path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    keys = re.findall(r'last\("(\w+)"\)|config\.get\(f"\{SECTION\}\.(\w+)"', code["config.py"])
    read = {f"ai-session.{a or b}" for a, b in keys}
    # Who looks for the tests' commands also looks at what projects say themselves.
    read |= {
        f"ai-session.{key}" for key in re.findall(r'^_[A-Z]+ = "(\w+Command)"', code["workbench/testing.py"], re.M)
    }
    assert read == {entry.term for entry in manual.SETTINGS}
    variable = re.compile(r'(?:environ|environment|env)(?:\.get\(|\[)\s*"([A-Z_]{3,})"|_base\("([A-Z_]+)"')
    names = {a or b for text in code.values() for a, b in variable.findall(text)}
    hooks = [path.read_text(encoding="utf-8") for path in (ROOT / "hooks").iterdir()]
    names |= {name for text in hooks for name in re.findall(r"\$\{([A-Z_]+)-\}", text)}
    assert names - NOT_OURS == {entry.term for entry in manual.ENVIRONMENT}


# What the system says of itself and its user; what the tour sets for git.
NOT_OURS = {"HOME", "USERPROFILE", "LOGNAME", "USER", "USERNAME", "COMPUTERNAME", "TERM", "GIT_PAGER", "PATH"}
