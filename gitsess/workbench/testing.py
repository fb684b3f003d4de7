"""The project's own tests: the command that runs them, and what came of a run.

The command is ``ai-session.testCommand``, a line for ``sh`` run in the top folder as git runs an alias, or what the
project makes obvious: pytest, npm (or pnpm, yarn), go, cargo, make, the first that fits. To find it out files are read,
in bounds and never through a link that leads out of the tree, and nothing is run.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from gitsess import strictjson
from gitsess.config import SECTION
from gitsess.errors import FormatError, TestsCannotRun, TestsTimedOut
from gitsess.model import JSON
from gitsess.providers.processes import Watched
from gitsess.text import clip, one_line, printable
from gitsess.values import Value

HEAD_BYTES, TAIL_BYTES = 4 << 10, 16 << 10
"""Of an output that is longer, its beginning and its end are kept."""
# More is held than is kept: a secret that lies across the edge is to be seen whole.
_MARGIN = 8 << 10
_LINE_BYTES = 8 << 10
_LINE_COLUMNS = 500
_SHOWN_COLUMNS = 200

_MAX_FILE = 1 << 20
_MAX_ENTRIES = 5_000
_DEEPEST = 6
_VENVS = (".venv", "venv")
_MAKEFILES = ("GNUmakefile", "makefile", "Makefile")
_SECRETS = frozenset(("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"))

_TESTS = "testCommand"
_INTEGRATION = "integrationTestCommand"


class TestCommand(Value):
    """``words`` are run in the top folder; ``shown`` is one line for people; ``source`` is the setting it comes from,
    or ``pytest``, ``npm``, ``go``, ``cargo``, ``make``. ``setting`` is the one that would name another command."""

    words: tuple[str, ...]
    shown: str
    source: str
    setting: str = f"{SECTION}.{_TESTS}"


class TestRun(Value):
    """``output`` is both outputs in their order, redacted and printable, without its middle where it is long.

    ``code`` is negative where a signal ended it. ``no_tests``: there was none to run, as far as that can be told for
    sure; ``passed`` is what the exit code says even so.
    """

    passed: bool
    code: int
    output: str
    duration_ms: int
    no_tests: bool


def find(top: Path, config: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> TestCommand | None:
    """The command that runs the project's tests, None where there is none to be seen.

    A new Python project, which has a ``[project]`` or some ``*.py`` file and nothing else yet, is taken to be going to
    have tests for pytest where nothing else fits.
    """
    configured = _configured(config, _TESTS)
    if configured is not None:
        return configured
    if _uses_pytest(top):
        return _command(_pytest(top, environment), "pytest")
    scripts = _scripts(top)
    script = scripts.get("test")
    if isinstance(script, str) and script.strip() and "no test specified" not in script:
        return _command((_runner(top), "test"), "npm")
    if _file(top, "go.mod") is not None:
        return _command(("go", "test", "./..."), "go")
    if _file(top, "Cargo.toml") is not None:
        return _command(("cargo", "test"), "cargo")
    if "test" in _targets(top):
        return _command(("make", "test"), "make")
    if isinstance(_pyproject(top).get("project"), dict) or any(name.endswith(".py") for name in _files(top)):
        return _command(_pytest(top, environment), "pytest")
    return None


def find_integration(
    top: Path, config: Mapping[str, Sequence[str]], environment: Mapping[str, str]
) -> TestCommand | None:
    """The command of the tests that need more than the code: ``ai-session.integrationTestCommand``, the npm script
    ``test:integration``, make's ``integration-test`` or ``test-integration``, or pytest on ``tests/integration``."""
    found = _configured(config, _INTEGRATION)
    if found is None and isinstance(_scripts(top).get("test:integration"), str):
        found = _command((_runner(top), "run", "test:integration"), "npm")
    for target in ("integration-test", "test-integration"):
        if found is None and target in _targets(top):
            found = _command(("make", target), "make")
    if found is None and any(_is_test(name) for name in _walk(top, "tests/integration")):
        found = _command((*_pytest(top, environment), "tests/integration"), "pytest")
    return None if found is None else found.replace(setting=f"{SECTION}.{_INTEGRATION}")


def _configured(config: Mapping[str, Sequence[str]], key: str) -> TestCommand | None:
    text = config.get(f"{SECTION}.{key.lower()}", [""])[-1]
    if not text.strip():
        return None
    return TestCommand(words=("sh", "-c", text), shown=clip(one_line(text), _SHOWN_COLUMNS), source=f"{SECTION}.{key}")


def _command(words: tuple[str, ...], source: str) -> TestCommand:
    return TestCommand(words=words, shown=shlex.join(words), source=source)


# pytest


def _uses_pytest(top: Path) -> bool:
    if any(_file(top, name) is not None for name in ("pytest.ini", "conftest.py")):
        return True
    tool = _pyproject(top).get("tool")
    if isinstance(tool, dict) and "pytest" in tool:
        return True
    if "[tool:pytest]" in (line.strip() for line in _text(top, "setup.cfg").splitlines()):
        return True
    return any(_is_test(name) or name == "conftest.py" for names in _likely(top) for name in names)


def _likely(top: Path) -> Iterator[Iterator[str]]:
    yield _files(top)
    yield from (_walk(top, folder) for folder in ("tests", "test"))


def _is_test(name: str) -> bool:
    return name.endswith(".py") and (name.startswith("test_") or name.endswith("_test.py"))


def _pytest(top: Path, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The worktree's own interpreter, for that is the one which has what the project needs."""
    for folder in _VENVS:
        python = f"{folder}/bin/python"
        # The interpreter itself is a link to the system's; the folders are the worktree's own.
        if _inside(top, f"{folder}/bin") is not None and os.access(top / python, os.X_OK):
            return (python, "-m", "pytest", "-q")
    if shutil.which("pytest", path=environment.get("PATH", os.defpath)) is not None:
        return ("pytest", "-q")
    return ("python3", "-m", "pytest", "-q")


def _pyproject(top: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(_text(top, "pyproject.toml"))
    except (ValueError, RecursionError):
        return {}


# npm and make


def _scripts(top: Path) -> Mapping[str, JSON]:
    text = _text(top, "package.json")
    try:
        package = strictjson.loads(text, what="package.json") if text else None
    except FormatError:
        return {}
    scripts = package.get("scripts") if isinstance(package, dict) else None
    return scripts if isinstance(scripts, dict) else {}


def _runner(top: Path) -> str:
    for name, lock in (("pnpm", "pnpm-lock.yaml"), ("yarn", "yarn.lock")):
        if _file(top, lock) is not None:
            return name
    return "npm"


def _targets(top: Path) -> frozenset[str]:
    """The targets that make's file names at the beginning of a line."""
    name = next((name for name in _MAKEFILES if _file(top, name) is not None), None)
    found: set[str] = set()
    for line in _text(top, name).splitlines() if name else ():
        head, colon, rest = line.partition(":")
        is_rule = colon and not rest.lstrip(":").startswith("=") and "=" not in head
        if is_rule and not head.startswith(("\t", "#")):
            found.update(head.split())
    return frozenset(found)


# What is in the tree


def _inside(top: Path, name: str) -> str | None:
    """Where a name of the tree leads, None where that is nowhere, or out of it."""
    real = os.path.realpath(top / name)
    return real if os.path.lexists(real) and Path(real).is_relative_to(os.path.realpath(top)) else None


def _file(top: Path, name: str) -> str | None:
    real = _inside(top, name)
    return real if real is not None and os.path.isfile(real) else None


def _text(top: Path, name: str) -> str:
    """The text of a file of the tree; empty where there is none, or it is no such text as is looked for here."""
    real = _file(top, name)
    if real is None:
        return ""
    try:
        with open(os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            data = stream.read(_MAX_FILE + 1) if stat.S_ISREG(os.fstat(stream.fileno()).st_mode) else b""
    except OSError:
        return ""
    return data.decode("utf-8-sig", "replace") if len(data) <= _MAX_FILE else ""


def _files(top: Path) -> Iterator[str]:
    return _walk(top, ".", deepest=0)


def _walk(top: Path, folder: str, *, deepest: int = _DEEPEST) -> Iterator[str]:
    """The names of the files in a folder of the tree and below it, of so many as are worth a look."""
    real = _inside(top, folder)
    waiting = [] if real is None else [(real, 0)]
    seen = 0
    while waiting:
        path, depth = waiting.pop()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    seen += 1
                    if seen > _MAX_ENTRIES:
                        return
                    if entry.is_file(follow_symlinks=False):
                        yield entry.name
                    elif depth < deepest and entry.is_dir(follow_symlinks=False):
                        waiting.append((entry.path, depth + 1))
        except OSError:
            continue


# A run


def run(
    command: TestCommand,
    top: Path,
    environment: Mapping[str, str],
    *,
    timeout_s: float,
    redact: Callable[[str], str],
    on_line: Callable[[str], None] | None = None,
) -> TestRun:
    """Runs the tests to their end; ``on_line`` is handed each line that they print, redacted and printable.

    They have no input, and neither git's variables, which would lead their own repositories to this one, nor the key
    of the service. All that they started is ended with them, and by ^C as well. Raises TestsCannotRun where the command
    cannot be started, TestsTimedOut past ``timeout_s``.
    """
    given = {k: v for k, v in environment.items() if not k.startswith("GIT_") and k not in _SECRETS}
    kept, lines = _Kept(), _Lines()
    begun = time.monotonic()
    try:
        process = Watched(command.words, folder=top, environment=given)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError) and top.is_dir()
        why = f"{one_line(command.words[0])} is not installed" if missing else one_line(error.strerror or str(error))
        raise _cannot_run(command, why) from None
    except ValueError:
        raise _cannot_run(command, "a NUL byte cannot be handed to it") from None

    def take(piece: bytes) -> None:
        kept.add(piece)
        say(lines.take(piece))

    def say(whole: Iterator[bytes]) -> None:
        if on_line is None:
            return
        for line in whole:
            on_line(clip(redact(_last(_clean(line))), _LINE_COLUMNS))

    try:
        for piece in process.pieces(begun + timeout_s):
            take(piece)
        code, said = process.code, ""
        if code is None:
            said = _last_line(kept.text(redact))
            process.end(patient=False)
        for piece in process.rest():
            take(piece)
        say(lines.rest())
    except BaseException:
        process.drop()
        raise
    duration_ms = round((time.monotonic() - begun) * 1000)
    output = kept.text(redact)
    if code is None:
        raise TestsTimedOut(
            f"the tests ('{command.shown}') did not end within {timeout_s:.10g} s{f': {said}' if said else ''};"
            f" 'git config {SECTION}.testTimeout SECONDS' gives them longer",
            output,
        )
    reason = _why_not(command, code, _last_line(output))
    if reason is not None:
        raise _cannot_run(command, reason)
    return TestRun(
        passed=code == 0,
        code=code,
        output=output,
        duration_ms=duration_ms,
        no_tests=not kept.left_out and _no_tests(command, code, output),
    )


def _cannot_run(command: TestCommand, why: str) -> TestsCannotRun:
    return TestsCannotRun(
        f"the tests ('{command.shown}') cannot run: {why}; 'git config {command.setting} COMMAND' names another command"
    )


def _why_not(command: TestCommand, code: int, last: str) -> str | None:
    """Why it was no run of the tests, in a few words; None where it was one."""
    if code in (126, 127):
        return last or ("what it names cannot be executed" if code == 126 else "what it names is not there")
    if command.source == "make" and code == 2 and re.search(r"\bError 12[67]$", last):
        return last
    if command.source == "pytest" and code == 1 and last.endswith("No module named pytest"):
        return f"pytest is not installed there ('{command.words[0]} -m pip install pytest' installs it)"
    return None


_NO_SCRIPTS = re.compile(r"^(?:Error: )?No test(?:s| files) found(?:[.,:]|$)", re.MULTILINE)
_NO_GO = re.compile(r"\[no test files\]$|\[no tests to run\]$|matched no packages$|^no packages to test$")
_CARGO = re.compile(r"^running (\d+) tests?$", re.MULTILINE)
# pytest says so in words unless it has something else to say; unittest, from Python 3.12 on, in capitals.
_NO_PYTHON = re.compile(r"\bno tests (?:ran|collected)\b|^collected 0 items$|^NO TESTS RAN", re.MULTILINE)
_ENDS_WITH_5 = re.compile(r"\b(?:py\.?test|unittest)\b")
_MAKE_5 = re.compile(r"\bError 5$")


def _no_tests(command: TestCommand, code: int, output: str) -> bool:
    match command.source:
        case "npm":
            return _no_scripts(code, output)
        case "go":
            return _no_go(code, output)
        case "cargo":
            counts = _CARGO.findall(output)
            return code == 0 and bool(counts) and not any(map(int, counts))
        case "pytest":
            return code == 5
        case "make":
            return code == 2 and bool(_NO_PYTHON.search(output)) and bool(_MAKE_5.search(_last_line(output)))
    # A configured command may be any of them.
    if code == 5 and (_ENDS_WITH_5.search(" ".join(command.words)) or _NO_PYTHON.search(output)):
        return True
    return code != 0 and (_no_scripts(code, output) or _no_go(code, output))


def _no_scripts(code: int, output: str) -> bool:
    return code != 0 and _NO_SCRIPTS.search(output) is not None


def _no_go(code: int, output: str) -> bool:
    lines = output.splitlines()
    return code in (0, 1) and bool(lines) and all(_NO_GO.search(line) for line in lines)


class _Kept:
    """The beginning and the end of an output, however long it is."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._total = 0

    def add(self, piece: bytes) -> None:
        self._total += len(piece)
        room = max(0, HEAD_BYTES + _MARGIN - len(self._head))
        self._head += piece[:room]
        self._tail += piece[room:]
        if len(self._tail) > 2 * (TAIL_BYTES + _MARGIN):
            del self._tail[: -(TAIL_BYTES + _MARGIN)]

    @property
    def left_out(self) -> bool:
        return self._total > HEAD_BYTES + TAIL_BYTES

    def text(self, redact: Callable[[str], str]) -> str:
        if self._total == len(self._head) + len(self._tail):
            whole = redact(_clean(bytes(self._head + self._tail))).encode()
            if len(whole) <= HEAD_BYTES + TAIL_BYTES:
                return whole.decode()
            head, tail, size = whole, whole, len(whole)
        else:
            # A line that is not whole may hold half a secret, which nobody would know for one.
            first = bytes(self._head[: self._head.rfind(b"\n") + 1 or None])
            last = bytes(self._tail[self._tail.find(b"\n") + 1 :])
            head, tail = redact(_clean(first)).encode(), redact(_clean(last)).encode()
            size = self._total - len(first) - len(last) + len(head) + len(tail)
        head, tail = _to_line(head[:HEAD_BYTES]), _from_line(tail[-TAIL_BYTES:])
        left = f"[… {size - len(head) - len(tail):,} bytes left out …]"
        return f"{head.decode('utf-8', 'ignore').rstrip()}\n{left}\n{tail.decode('utf-8', 'ignore')}"


def _to_line(head: bytes) -> bytes:
    end = head.rfind(b"\n") + 1
    return head[:end] if end > len(head) // 2 else head


def _from_line(tail: bytes) -> bytes:
    begin = tail.find(b"\n") + 1
    return tail[begin:] if begin < len(tail) // 2 else tail


class _Lines:
    """Lines put together of pieces; what is past some thousand bytes of one is left out."""

    def __init__(self) -> None:
        self._begun = b""

    def take(self, piece: bytes) -> Iterator[bytes]:
        *lines, rest = (self._begun + piece).split(b"\n")
        self._begun = rest[:_LINE_BYTES]
        yield from (line[:_LINE_BYTES] for line in lines)

    def rest(self) -> Iterator[bytes]:
        if self._begun:
            yield self._begun


def _clean(data: bytes) -> str:
    text = data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    return printable(text)


def _last(text: str) -> str:
    """What a terminal would show of a line that was written over itself."""
    return text.rstrip("\n").rpartition("\n")[2]


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return clip(one_line(lines[-1]), _SHOWN_COLUMNS) if lines else ""
