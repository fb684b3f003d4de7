"""What is built and installed: the wheel, the sdist, an editable install, and the set-up by make."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from gitsess import __version__
from gitsess.cli.shipped import hooks_dir
from gitsess.templating import VARIABLES

ROOT = Path(__file__).parent.parent
SHARED = {
    "share/man/man1/git-ai-session.1": "share/man/man1/git-ai-session.1",
    "share/bash-completion/completions/git-ai-session": "share/completions/git-ai-session.bash",
    "share/zsh/site-functions/_git-ai-session": "share/completions/_git-ai-session",
    "share/fish/vendor_completions.d/git-ai-session.fish": "share/completions/git-ai-session.fish",
}


def run(*words: str | Path, cwd: Path, env: Mapping[str, str] | None = None, code: int = 0) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A fresh environment outside of the checkout, in which gitsess was installed."""

    prefix: Path

    @property
    def python(self) -> Path:
        return self.prefix / "bin" / "python"

    @property
    def env(self) -> dict[str, str]:
        """What a shell has in which the environment is active."""
        return {"PATH": f"{self.prefix / 'bin'}{os.pathsep}{os.environ['PATH']}", "MANPAGER": "cat", "PYTHONPATH": ""}


def install(what: list[str], prefix: Path) -> Installed:
    """Installs without the network: the dependencies are those of the environment that runs the tests."""
    made = Installed(prefix=prefix)
    run(sys.executable, "-m", "venv", "--without-pip", prefix, cwd=prefix.parent)
    purelib = run(made.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=prefix.parent)
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(purelib.strip()) / "dependencies.pth").write_text("\n".join(sorted(paths)) + "\n")
    run(
        sys.executable,
        *("-m", "pip", "--python", made.python, "install", "--quiet", "--disable-pip-version-check"),
        # The gitsess that runs the tests is in sight by now, and is none to take the place of.
        *("--ignore-installed", "--no-deps", "--no-index", "--no-build-isolation", *what),
        cwd=prefix.parent,
    )
    return made


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and with the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install([str(next(built.glob("*.whl")))], tmp_path_factory.mktemp("wheel") / "venv")


@pytest.fixture(scope="module")
def editable(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(["--editable", str(ROOT)], tmp_path_factory.mktemp("editable") / "venv")


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    """Code, py.typed, hooks, scripts and the shared files travel in the wheel; tests do not; hooks can be run."""
    with zipfile.ZipFile(next(built.glob("*.whl"))) as archive:
        names = set(archive.namelist())
        for folder in ("hooks", "scripts"):
            files = {path.name for path in (ROOT / folder).iterdir()}
            assert files
            for file in files:
                found = archive.getinfo(f"gitsess/{folder}/{file}")
                # A plugin is read by its agent, all else is run.
                assert bool(found.external_attr >> 16 & 0o111) == (not file.endswith(".js"))
        templates = {f"gitsess/templates/{path.name}" for path in (ROOT / "gitsess/templates").iterdir()}
        assert len(templates) == len(VARIABLES)
        assert templates <= names
    data = f"gitsess-{__version__}.data/data/"
    assert {f"{data}{name}" for name in SHARED} | {"gitsess/py.typed", "gitsess/cli/entry.py"} <= names
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"gitsess", f"gitsess-{__version__}.data", f"gitsess-{__version__}.dist-info"}


def test_the_sdist_holds_what_a_packager_needs(built: Path) -> None:
    """Tests, docs, hooks, the Makefile and the lock are in the sdist; what is ignored by git is not."""
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = ["README.md", "LICENSE", "CHANGELOG.md", "Makefile", "requirements-dev.lock", ".ci/run", "hooks/spool"]
    needed += [f"scripts/{path.name}" for path in (ROOT / "scripts").iterdir()]
    needed += ["tests/conftest.py", "tests/test_packaging.py", "docs/architecture.md", *SHARED.values()]
    assert set(needed) <= names
    assert not any(name.startswith((".venv", "dist", ".mypy_cache")) or name.endswith(".pyc") for name in names)


def test_an_installed_wheel_works_outside_of_the_checkout(wheel: Installed, tmp_path: Path) -> None:
    """git finds the program; it records and lists; its files are those of the installation."""
    run("git", "init", "-q", ".", cwd=tmp_path)
    assert run("git", "ai-session", "--version", cwd=tmp_path, env=wheel.env) == f"git-ai-session {__version__}\n"
    turn = tmp_path / "turn"
    turn.write_text('{"prompt":"Why?","response":"So."}\n')
    run("sh", "-c", f"git ai-session record plan auth <'{turn}'", cwd=tmp_path, env=wheel.env)
    assert "plan-auth" in run("git", "ai-session", "list", cwd=tmp_path, env=wheel.env)
    where = run(wheel.python, "-c", "import gitsess; print(gitsess.__file__)", cwd=tmp_path, env=wheel.env)
    assert where.startswith(str(wheel.prefix))


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_man_page_and_completion_are_installed(kind: str, request: pytest.FixtureRequest) -> None:
    """Either kind of installation puts the shared files where man and the shells look for them."""
    installed: Installed = request.getfixturevalue(kind)
    for name, source in SHARED.items():
        assert (installed.prefix / name).read_bytes() == (ROOT / source).read_bytes()


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_git_shows_the_man_page_of_an_installation(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """'git ai-session --help' works once the environment's bin is on PATH."""
    if shutil.which("man") is None:
        pytest.skip("man is not installed")
    installed: Installed = request.getfixturevalue(kind)
    page = run("git", "ai-session", "--help", cwd=tmp_path, env=installed.env)
    assert "GIT-AI-SESSION(1)" in page
    assert f"gitsess {__version__}" in page


def test_each_kind_of_installation_finds_its_own_hooks(wheel: Installed, editable: Installed, tmp_path: Path) -> None:
    """A wheel finds the hooks that it brought, an editable install those of the checkout."""
    code = "from gitsess.cli.shipped import hooks_dir; print(hooks_dir())"
    found = Path(run(wheel.python, "-c", code, cwd=tmp_path, env=wheel.env).strip())
    assert found.is_relative_to(wheel.prefix)
    assert os.access(found / "spool", os.X_OK)
    found = Path(run(editable.python, "-c", code, cwd=tmp_path, env=editable.env).strip())
    assert found == ROOT / "hooks" == hooks_dir()


def test_each_kind_of_installation_writes_the_scripts(wheel: Installed, editable: Installed, tmp_path: Path) -> None:
    """What 'scripts install' writes are the files of the checkout, and they can be run."""
    for number, installed in enumerate((wheel, editable)):
        folder = tmp_path / str(number)
        run("git", "ai-session", "scripts", "install", folder, cwd=tmp_path, env=installed.env)
        for shipped in (ROOT / "scripts").iterdir():
            assert (folder / shipped.name).read_bytes() == shipped.read_bytes()
        assert "Total sessions: 0" in run(folder / "ai-session.sh", "list", cwd=tmp_path, env=installed.env)


def test_each_kind_of_installation_has_the_templates(wheel: Installed, editable: Installed, tmp_path: Path) -> None:
    """The prompts are package data: 'template show' prints the file of the checkout."""
    for installed in (wheel, editable):
        text = run("git", "ai-session", "template", "show", "verify", cwd=tmp_path, env=installed.env)
        assert text == (ROOT / "gitsess/templates/verify.md").read_text(encoding="utf-8")


def test_the_lock_has_what_pyproject_asks_for() -> None:
    """Every dependency is pinned, to a version that pyproject.toml allows: else run 'make lock'."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "requirements-dev.lock").read_text().splitlines()
    pinned = dict(line.lower().split("==") for line in lines if line and not line.startswith("#"))
    for text in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(pinned[wanted.name.lower()]), text


PYTHONS = {
    "an old one": ("#!/bin/sh\nexit 1\n", r"error: python3 is not Python 3\.11 or newer: .*make PYTHON=.*"),
    "one without venv": (
        f'#!/bin/sh\ncase $2 in *ensurepip*) exit 1 ;; esac\nexec {sys.executable} "$@"\n',
        r"error: python3 has no venv: .*apt install python3-venv.*",
    ),
    "none": (None, r"error: python3 is not Python 3\.11 or newer: .*"),
}


@pytest.mark.parametrize("target", ["demo", "test"])
@pytest.mark.parametrize("python", PYTHONS)
def test_make_says_in_one_line_what_is_missing(python: str, target: str, tmp_path: Path) -> None:
    """Without a Python that will do, the set-up stops with one line that says what to install."""
    script, message = PYTHONS[python]
    checkout, tools = tmp_path / "checkout", tmp_path / "bin"
    tools.mkdir()
    (checkout / ".ci").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "requirements-dev.lock", ".ci/venv"):
        shutil.copy2(ROOT / name, checkout / name)
    for tool in ("make", "sh", "env"):
        path = shutil.which(tool)
        assert path is not None
        (tools / tool).symlink_to(path)
    if script is not None:
        (tools / "python3").write_text(script)
        (tools / "python3").chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", "-s", target],
        cwd=checkout,
        env={**environment, "PATH": str(tools)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    ours = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(ours) == 1, done.stderr
    assert re.fullmatch(message, ours[0])
    assert not (checkout / ".venv").exists()


def test_the_files_that_are_run_can_be_run() -> None:
    scripts = [f"scripts/{path.name}" for path in (ROOT / "scripts").iterdir()]
    for name in (".ci/run", ".ci/venv", "hooks/spool", *scripts):
        assert os.access(ROOT / name, os.X_OK), name
