"""What the README and the documents claim, tried out."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from gitsess import config
from gitsess.catalog import DEFAULT_MODEL
from gitsess.cli import manual
from tests.conftest import PROGRAM, Repo

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
USAGE = {"input_tokens": 100, "output_tokens": 50}


def blocks(heading: str) -> list[str]:
    """The shell commands of a section of the README, a block each."""
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def sh(script: str, repo: Repo) -> str:
    done = subprocess.run(["sh", "-e", "-c", script], cwd=repo.path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def readme(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repo:
    """A repository with the sessions that the README speaks of, the program on PATH, and a remote."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "git-ai-session"
    program.write_text(f"#!/bin/sh\nexec {PROGRAM[0]} {PROGRAM[1]} '{PROGRAM[2]}' \"$@\"\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    plan = {"prompt": "Plan token refresh", "response": "1. Expiry", "model": "claude-opus-4-5", "usage": USAGE}
    work = {"prompt": "Do it", "response": "Done.", "model": "claude-sonnet-4-5", "usage": USAGE, "task": "T1.1"}
    repo.record("plan-auth-service", plan)
    repo.record("implement-auth-service", work, {**work, "task": "T1.2"})
    repo.git("init", "-q", "--bare", str(tmp_path / "remote"))
    repo.git("remote", "add", "origin", str(tmp_path / "remote"))
    return repo


def test_the_audit_commands_do_what_is_said_of_them(readme: Repo) -> None:
    """Each command of 'Audit with plain git' runs, and answers the question beside it."""
    audit, without, share = blocks("Audit with plain git")
    out = sh(audit, readme)
    assert "AI-Task: T1.2" in out
    assert "     2\tclaude-sonnet-4-5\n     1\tclaude-opus-4-5\n" in out
    assert "     1\tT1.1\n     1\tT1.2\n" in out
    assert "1. Expiry" in out
    costs = [turn["cost_usd"] for s in readme.ai("show", "*", "--json").json for turn in s["turn_list"]]
    assert float(out.rpartition("1. Expiry")[2]) == pytest.approx(sum(costs), rel=1e-5)

    out = sh(f"{without}\ngit la", readme)
    assert "Begin" in out
    assert "Do it" not in out
    assert "Do it" in readme.git("log", "--all")

    own = readme.refs()
    out = sh(
        share.replace("git update-ref", "git update-ref -d refs/ai-sessions/plan-auth-service; git update-ref"), readme
    )
    assert "Plan token refresh" in out
    assert readme.refs() == own


def test_git_carries_sessions_only_where_the_security_page_says_so(readme: Repo, tmp_path: Path) -> None:
    """push, push --all, push --tags, clone and fetch carry no session; --mirror and bundle --all carry them."""
    remote = Repo(path=tmp_path / "remote")
    for words in (["origin", "HEAD"], ["--all", "origin"], ["--tags", "origin"]):
        readme.git("push", "-q", *words)
        assert remote.refs() == []
    readme.git("clone", "-q", str(readme.path), str(tmp_path / "clone"))
    clone = Repo(path=tmp_path / "clone")
    clone.git("fetch", "-q", "--all")
    assert clone.refs() == []
    readme.git("bundle", "create", str(tmp_path / "bundle"), "--all")
    assert "refs/ai-sessions/plan-auth-service" in readme.git("bundle", "list-heads", str(tmp_path / "bundle"))
    readme.git("push", "-q", "--mirror", "origin")
    assert remote.refs() == readme.refs()


def test_a_session_that_is_taken_back_is_gone(readme: Repo) -> None:
    """The commands of the security page remove a session's objects from the clone."""
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    commands = re.findall(r"```sh\n(git update-ref -d .*?)```", page, re.DOTALL)
    blob = readme.git("rev-parse", "refs/ai-sessions/plan-auth-service:prompt.md")
    sh(commands[0], readme)
    assert "plan-auth-service" not in readme.ai("list").out
    assert subprocess.run(["git", "cat-file", "-e", blob], cwd=readme.path, stderr=-3, check=False).returncode != 0


def test_the_patterns_of_the_security_page_are_taken(readme: Repo) -> None:
    """The examples of ai-session.redact redact what they are for."""
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    (commands,) = re.findall(r"```sh\n(git config --add ai-session.redact .*?)```", page, re.DOTALL)
    sh(commands, readme)
    readme.record("ask-x", {"prompt": "ACME-0123456789ABCDEF01234567 and B123456789"})
    assert readme.git("show", "refs/ai-sessions/ask-x:prompt.md") == "[redacted:custom] and [redacted:badge]"


def test_the_quick_start_records(readme: Repo) -> None:
    """The JSON line of the quick start is taken as it stands."""
    _, line = blocks("Quick start")
    assert sh(line, readme).strip() == readme.git("rev-parse", "refs/ai-sessions/ask-login")


def test_the_quick_start_runs(readme: Repo, request: pytest.FixtureRequest) -> None:
    """The commands of the quick start, against the stand-in."""
    standin = request.getfixturevalue("standin")
    (readme.path / "src").mkdir()
    (readme.path / "src/auth.py").write_text("def sign(): ...\n")
    commands, _ = blocks("Quick start")
    commands = commands.replace("cd your-repository", f"export ANTHROPIC_BASE_URL={standin.url}").replace("=…", "=key")
    assert "#" in sh(commands, readme)
    assert [s["turns"] for s in readme.ai("list", "--json", "--sort", "name").json] == [4, 2]


def test_every_setting_is_in_the_readme_with_its_default() -> None:
    table = README.partition("\n## Configuration\n")[2].partition("\n## ")[0]
    for entry in manual.SETTINGS:
        assert f"| `{entry.term}` |" in table
    for entry in manual.ENVIRONMENT:
        assert entry.term in table or entry.term.startswith("XDG_")
    for default in (DEFAULT_MODEL, config.MAX_CONTEXT_TOKENS, config.MAX_OUTPUT_TOKENS):
        assert f"`{default}`" in table


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page is a file of the repository, and every anchor a heading of it."""
    for target in re.findall(r"\]\(([^)#:]*)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert not target or (page.parent / target).exists(), target
