"""What every test stands on: a sealed environment, real repositories, and the program as people run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from gitsess.gitcli import Git, discover
from gitsess.history import Session
from gitsess.names import session_name
from gitsess.providers.standin import StandIn
from gitsess.records import parse
from gitsess.turns import Turn
from gitsess.workspace import Surroundings, Workspace

PROGRAM = (sys.executable, "-c", "from gitsess.cli.entry import script; script()")
"""The program in a process of its own, from this checkout or wherever the package is installed."""

_KEPT = ("PATH", "LANG", "TMPDIR", "SYSTEMROOT", "PYTHONPATH", "COVERAGE_PROCESS_START", "VIRTUAL_ENV")
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

# No test times anything, so no example has a deadline either.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment that knows nothing of the person who runs the tests: home, git, keys, settings."""
    home = tmp_path / "home"
    home.mkdir()
    config = home / ".gitconfig"
    config.write_text(
        "[init]\n\tdefaultBranch = main\n[user]\n\tname = Ann\n\temail = ann@example.com\n[gc]\n\tauto = 0\n"
    )
    sealed = {
        **{key: os.environ[key] for key in _KEPT if key in os.environ},
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_STATE_HOME": str(home / ".local/state"),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "GIT_CONFIG_GLOBAL": str(config),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_EDITOR": "false",
        "GIT_TERMINAL_PROMPT": "0",
        "PYTHONIOENCODING": "utf-8",
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
    }
    for key in os.environ:
        if key not in sealed:
            monkeypatch.delenv(key)
    for key, value in sealed.items():
        monkeypatch.setenv(key, value)
    return sealed


@pytest.fixture(scope="session", autouse=True)
def _libgit2_sealed() -> None:
    """libgit2 looks for configuration on its own: it finds none."""
    import pygit2
    from pygit2.enums import ConfigLevel

    for level in (ConfigLevel.GLOBAL, ConfigLevel.XDG, ConfigLevel.SYSTEM):
        pygit2.settings.search_path[level] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A finished run of the program."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(slots=True, kw_only=True)
class Repo:
    """A real repository, and the program run in it."""

    path: Path
    environment: dict[str, str] = field(default_factory=dict)

    def git(self, *args: str, stdin: bytes | None = None, check: bool = True) -> str:
        """git's standard output, without the final newline."""
        done = subprocess.run(["git", *args], cwd=self.path, input=stdin, capture_output=True, check=False)
        assert not check or done.returncode == 0, done.stderr.decode("utf-8", "replace")
        return done.stdout.decode("utf-8", "replace").rstrip("\n")

    def ai(
        self,
        *args: str,
        stdin: str | bytes | None = None,
        env: Mapping[str, str] | None = None,
        code: int | None = 0,
        cwd: Path | None = None,
    ) -> Ran:
        """Runs ``git ai-session ARGS``; ``code`` is the exit code expected (None: any)."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [*PROGRAM, *args],
            cwd=cwd or self.path,
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            env={**os.environ, **self.environment, **(env or {})},
            check=False,
        )
        ran = Ran(
            code=done.returncode,
            out=done.stdout.decode("utf-8", "replace"),
            err=done.stderr.decode("utf-8", "replace"),
        )
        assert code is None or ran.code == code, f"exit {ran.code}\n{ran.out}\n{ran.err}"
        return ran

    def record(self, session: str, *entries: Mapping[str, Any], code: int | None = 0) -> list[str]:
        """Records turns through the program; the oids it printed."""
        command, _, feature = session.partition("-")
        lines = "".join(json.dumps(entry) + "\n" for entry in entries)
        return self.ai("record", command, feature, stdin=lines, code=code).out.split()

    def workspace(self, *, now: datetime | None = None, environment: Mapping[str, str] | None = None) -> Workspace:
        """The repository opened in this process, at a clock that stands still if ``now`` is given."""
        around = Surroundings(
            environment={**os.environ, **(environment or {})},
            now=lambda: now or datetime.now(UTC),
            cwd=self.path,
            home=Path(os.environ["HOME"]),
            user="ann",
            host="box",
        )
        return Workspace.open(around)

    def session(self, name: str) -> Session:
        return self.workspace().history.one(name)

    @property
    def git_handle(self) -> Git:
        return Git(discover(os.environ, self.path), os.environ)

    def refs(self) -> list[str]:
        return self.git("for-each-ref", "--format=%(refname)", "refs/ai-sessions/").split()

    def fsck(self) -> None:
        """Asserts that git finds no fault in any object or ref."""
        done = subprocess.run(
            ["git", "fsck", "--strict", "--no-dangling"], cwd=self.path, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def repo(git_repo: Any, sealed: dict[str, str]) -> Repo:
    """pytest-git's repository, sealed: an identity, a branch, one commit."""
    path = Path(git_repo.workspace)
    made = Repo(path=path)
    made.git("symbolic-ref", "HEAD", "refs/heads/main")
    made.git("commit", "--allow-empty", "-qm", "Begin")
    return made


def another(tmp_path: Path, name: str) -> Repo:
    """One more repository, without a commit."""
    made = Repo(path=tmp_path / name)
    subprocess.run(["git", "init", "-q", str(made.path)], check=True)
    return made


@pytest.fixture
def standin() -> Iterator[StandIn]:
    """The stand-in for the Messages API, on loopback."""
    with StandIn() as server:
        yield server


@pytest.fixture
def api(repo: Repo, standin: StandIn) -> StandIn:
    """The stand-in, with the repository's program pointed at it."""
    repo.environment.update(ANTHROPIC_BASE_URL=standin.url, ANTHROPIC_API_KEY="key-for-the-stand-in")
    return standin


def turn(prompt: str = "Why?", response: str = "Because.", *, at: datetime = NOON, **more: Any) -> Turn:
    """A turn as ``record`` would take it."""
    entry = {"prompt": prompt, "response": response, "model": "claude-sonnet-4-5", "agent": "test", **more}
    entry.setdefault("usage", {"input_tokens": 10, "output_tokens": 5})
    return parse(entry, now=at)


def append_all(workspace: Workspace, name: str, turns: Sequence[Turn]) -> list[str]:
    """Records turns in this process; their oids."""
    oids = []
    for item in turns:
        done = workspace.record(session_name(name), item)
        assert done.oid is not None, done.reason
        oids.append(str(done.oid))
    return oids


def hours(count: float) -> timedelta:
    return timedelta(hours=count)
