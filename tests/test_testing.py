"""The project's own tests: which command runs them, and what is made of a run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from gitsess import config, errors
from gitsess.errors import UsageError
from gitsess.providers import processes
from gitsess.redact import Redactor
from gitsess.text import UNSAFE
from gitsess.workbench import testing
from tests.test_run import signals_by_default

NOWHERE = {"PATH": "/nonexistent"}


@pytest.fixture
def top(tmp_path: Path) -> Path:
    made = tmp_path / "project"
    made.mkdir()
    return made


def write(top: Path, **files: str) -> None:
    """Files by name, ``__`` for a slash and ``_dot_`` for a dot in a keyword's place."""
    for name, text in files.items():
        path = top / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def run(top: Path, script: str, **more: Any) -> testing.TestRun:
    """A configured command, run."""
    found = testing.find(top, {"ai-session.testcommand": [script]}, {})
    assert found is not None
    given: dict[str, Any] = {"timeout_s": 60, "redact": str, **more}
    return testing.run(found, top, given.pop("environment", os.environ), **given)


def run_words(top: Path, source: str, *words: str, environment: Mapping[str, str] = os.environ) -> testing.TestRun:
    command = testing.TestCommand(words=words, shown=" ".join(words), source=source)
    return testing.run(command, top, environment, timeout_s=60, redact=str)


# Which command

PYTEST = ("python3", "-m", "pytest", "-q")
NPM = '{"scripts": {"test": "node --test"}}'


@pytest.mark.parametrize(
    ("files", "source", "words"),
    [
        ({"pytest_dot_ini": ""}, "pytest", PYTEST),
        ({"pyproject_dot_toml": "[tool.pytest.ini_options]\n"}, "pytest", PYTEST),
        ({"pyproject_dot_toml": "[tool.pytest]\n"}, "pytest", PYTEST),
        ({"setup_dot_cfg": "[metadata]\n\n[tool:pytest]\n"}, "pytest", PYTEST),
        ({"conftest_dot_py": ""}, "pytest", PYTEST),
        ({"test_it_dot_py": ""}, "pytest", PYTEST),
        ({"it_test_dot_py": ""}, "pytest", PYTEST),
        ({"tests__unit__test_it_dot_py": "", "Makefile": "test:\n"}, "pytest", PYTEST),
        ({"test__conftest_dot_py": ""}, "pytest", PYTEST),
        ({"package_dot_json": NPM}, "npm", ("npm", "test")),
        ({"package_dot_json": NPM, "go_dot_mod": "", "pnpm-lock_dot_yaml": ""}, "npm", ("pnpm", "test")),
        ({"package_dot_json": NPM, "yarn_dot_lock": ""}, "npm", ("yarn", "test")),
        ({"go_dot_mod": "module x\n", "Cargo_dot_toml": ""}, "go", ("go", "test", "./...")),
        ({"Cargo_dot_toml": "", "Makefile": "test:\n"}, "cargo", ("cargo", "test")),
        ({"Makefile": "all: build\n\ntest: all\n\ttrue\n"}, "make", ("make", "test")),
        ({"makefile": ".PHONY: test\ncheck test::\n\ttrue\n", "x_dot_py": ""}, "make", ("make", "test")),
        ({"pyproject_dot_toml": "[project]\nname = 'x'\n"}, "pytest", PYTEST),
        ({"x_dot_py": ""}, "pytest", PYTEST),
    ],
)
def test_what_a_project_makes_obvious(files: dict[str, str], source: str, words: Sequence[str], top: Path) -> None:
    """The first that fits, by the files that are there, whatever is installed."""
    write(top, **files)
    found = testing.find(top, {}, NOWHERE)
    assert found is not None
    assert (found.source, found.words, found.shown) == (source, words, " ".join(words))


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"README": "", "tests__fixture_dot_json": ""},
        {"package_dot_json": '{"scripts": {"test": "echo \\"Error: no test specified\\" && exit 1"}}'},
        {"package_dot_json": '{"scripts": {"test": ["x"]}}'},
        {"package_dot_json": '{"scripts": "x"}'},
        {"package_dot_json": "[" * 100_000},
        {"package_dot_json": '{"scripts": {"test": "x"}}' + " " * (1 << 20)},
        {"pyproject_dot_toml": "[project"},
        {"pyproject_dot_toml": "a = " + "[" * 100_000},
        {"pyproject_dot_toml": "tool = 1\nproject = 2\n"},
        {"setup_dot_cfg": "[metadata]\n# [tool:pytest] no\n"},
        {"Makefile": "test := a\nTEST = test:\n\ttest: x\n#test:\ntests: b\n"},
        {"GNUmakefile": "all:\n", "Makefile": "test:\n"},
    ],
)
def test_what_is_not_obvious(files: dict[str, str], top: Path) -> None:
    """Nothing is guessed of files that say nothing, or are broken, or too large."""
    write(top, **files)
    assert testing.find(top, {}, NOWHERE) is None


def test_files_that_are_no_files(top: Path, tmp_path: Path) -> None:
    """A link out of the tree, a FIFO, a folder and a link that leads nowhere say nothing; one inside is its file."""
    outside = tmp_path / "outside"
    write(outside, test_x_dot_py="", pyproject_dot_toml="[tool.pytest]\n", Makefile="test:\n", go_dot_mod="")
    for name in ("pyproject.toml", "Makefile", "go.mod", "test_x.py"):
        (top / name).symlink_to(outside / name)
    (top / "tests").symlink_to(outside)
    os.mkfifo(top / "package.json")
    (top / "Cargo.toml").mkdir()
    (top / "conftest.py").symlink_to("nowhere")
    (top / "pytest.ini").symlink_to("pytest.ini")
    assert testing.find(top, {}, NOWHERE) is None
    assert testing.find_integration(top, {}, NOWHERE) is None
    write(top, build__cargo="")
    (top / "Cargo.toml").rmdir()
    (top / "Cargo.toml").symlink_to("build/cargo")
    found = testing.find(top, {}, NOWHERE)
    assert found is not None
    assert found.source == "cargo"


def test_the_interpreter_of_the_worktree(top: Path, tmp_path: Path) -> None:
    """.venv goes before venv, before pytest on the PATH that is given; one outside of the tree is not taken."""
    write(top, conftest_dot_py="")
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    write(bin_folder, pytest="#!/bin/sh\n")
    (bin_folder / "pytest").chmod(0o755)

    def words() -> Sequence[str]:
        found = testing.find(top, {}, {"PATH": str(bin_folder)})
        assert found is not None
        return found.words

    assert words() == ("pytest", "-q")
    write(tmp_path, other__bin__python="")
    (tmp_path / "other/bin/python").chmod(0o755)
    (top / ".venv").symlink_to(tmp_path / "other")
    assert words() == ("pytest", "-q")
    (top / ".venv").unlink()
    for name in ("venv", ".venv"):
        (top / name / "bin").mkdir(parents=True)
        assert words()[0] != f"{name}/bin/python"
        (top / name / "bin/python").symlink_to(sys.executable)
        assert words() == (f"{name}/bin/python", "-m", "pytest", "-q")


def test_the_configured_command(top: Path) -> None:
    """The last value goes before all that is obvious; an empty one unsets it; what is shown of it is one safe line."""
    write(top, conftest_dot_py="")
    key = "ai-session.testcommand"
    found = testing.find(top, {key: ["make x", "true\ntrue '\x1b[31m'"]}, {})
    assert found is not None
    assert (found.words, found.shown) == (("sh", "-c", "true\ntrue '\x1b[31m'"), "true true ''")
    assert found.source == found.setting == "ai-session.testCommand"
    assert testing.run(found, top, os.environ, timeout_s=60, redact=str).passed
    found = testing.find(top, {key: ["make x", ""]}, NOWHERE)
    assert found is not None
    assert found.source == "pytest"


def test_the_integration_tests(top: Path) -> None:
    """The setting, the npm script, make's target, or pytest on their folder; None where there is none of these."""
    write(top, tests__integration__data_dot_txt="", tests__test_x_dot_py="")
    assert testing.find_integration(top, {}, NOWHERE) is None
    seen = []
    for files in (
        {"tests__integration__api__test_x_dot_py": ""},
        {"Makefile": "test-integration: x\n"},
        {"Makefile": "test-integration integration-test: x\n"},
        {"package_dot_json": '{"scripts": {"test:integration": "x"}}', "yarn_dot_lock": ""},
    ):
        write(top, **files)
        seen.append(testing.find_integration(top, {}, NOWHERE))
    seen.append(testing.find_integration(top, {"ai-session.integrationtestcommand": ["x y"]}, NOWHERE))
    assert [found.words for found in seen if found] == [
        (*PYTEST, "tests/integration"),
        ("make", "test-integration"),
        ("make", "integration-test"),
        ("yarn", "run", "test:integration"),
        ("sh", "-c", "x y"),
    ]
    assert {found.setting for found in seen if found} == {"ai-session.integrationTestCommand"}


def test_how_long_they_may_take() -> None:
    """ai-session.testTimeout is a whole number of seconds, 600 where it is not set."""
    assert config.settings({}, {}).test_timeout_s == 600
    assert config.settings({"ai-session.testtimeout": ["5", " 90 "]}, {}).test_timeout_s == 90
    for wrong in ("0", "-1", "1.5", "", "ten", "10k", "\uff19", "1" * 10):
        with pytest.raises(UsageError, match=r"^ai-session\.testTimeout must be a number of seconds such as 600$"):
            config.settings({"ai-session.testtimeout": [wrong]}, {})


# A run


def test_red_and_green(top: Path) -> None:
    """The exit code decides; both outputs are there, in their order, and the tests have no input."""
    ran = run(top, "echo one; echo two >&2; cat; echo three; exit 3")
    assert (ran.passed, ran.code, ran.output, ran.no_tests) == (False, 3, "one\ntwo\nthree\n", False)
    assert run(top, "true").passed
    assert run(top, "kill -9 $$").code == -9


def test_real_pytest(top: Path) -> None:
    """A project without a test, then with a failing and a passing one, by its own interpreter."""
    write(top, _dot_venv__bin__python=f'#!/bin/sh\nexec {sys.executable} "$@"\n', x_dot_py="")
    (top / ".venv/bin/python").chmod(0o755)
    outcomes = []
    for text in ("", "def test_it():\n    assert 1 == 2\n", "def test_it():\n    assert 2 == 2\n# x\n"):
        write(top, test_x_dot_py=text)
        found = testing.find(top, {}, os.environ)
        assert found is not None
        ran = testing.run(found, top, os.environ, timeout_s=60, redact=str)
        outcomes.append((ran.passed, ran.code, ran.no_tests))
        assert ("assert 1 == 2" in ran.output) == (ran.code == 1)
    assert outcomes == [(False, 5, True), (False, 1, False), (True, 0, False)]


@pytest.mark.parametrize(
    ("source", "output", "code", "none"),
    [
        ("npm", "No tests found, exiting with code 1\nRun with ...\n", 1, True),
        ("npm", "> x@1.0.0 test\n\nError: No test files found: 'test'\n", 1, True),
        ("npm", "No test files found, exiting with code 1\n", 1, True),
        ("npm", "it says No tests found\n", 1, False),
        ("go", "?   \tx\t[no test files]\n?   \tx/y\t[no test files]\n", 0, True),
        ("go", "?   \tx\t[no test files]\nok  \tx/y\t0.1s\n", 0, False),
        ("go", "", 0, False),
        ("cargo", "\nrunning 0 tests\n\nrunning 0 tests\n", 0, True),
        ("cargo", "\nrunning 0 tests\n\nrunning 1 test\n", 0, False),
        ("cargo", "", 0, False),
        ("pytest", "", 5, True),
        ("make", "no tests ran in 0.01s\n", 5, False),
        ("make", "no tests ran in 0.01s\nmake: *** [Makefile:2: test] Error 5\n", 2, True),
        ("make", "no tests ran in 0.01s\nmake: *** [Makefile:3: test] Error 1\n", 2, False),
        ("ai-session.testCommand", "no tests ran in 0.01s\n", 5, True),
        ("ai-session.testCommand", "", 5, False),
        ("ai-session.testCommand", "collected 0 items\n\n2 warnings in 0.19s\n", 5, True),
        ("ai-session.testCommand", "Ran 0 tests in 0.000s\n\nNO TESTS RAN\n", 5, True),
        ("ai-session.testCommand", "no tests ran in 0.01s\n", 1, False),
        ("ai-session.testCommand", "No tests found, exiting with code 1\n", 1, True),
        ("ai-session.testCommand", "no packages to test\n", 1, True),
        ("ai-session.testCommand", "FAIL\tx [build failed]\nno packages to test\n", 1, False),
    ],
)
def test_whether_there_were_tests(source: str, output: str, code: int, none: bool, top: Path) -> None:
    """It is said where the runner says so for sure, and nowhere else."""
    ran = run_words(top, source, "sh", "-c", 'printf %s "$1"; exit $2', "sh", output, str(code))
    assert (ran.no_tests, ran.passed, ran.code) == (none, code == 0, code)


@pytest.mark.parametrize(
    ("text", "none"),
    [("pytest() { echo 2 warnings; return 5; }; pytest -q", True), ("echo 2 warnings; exit 5", False)],
)
def test_a_configured_pytest_that_finds_none(text: str, none: bool, top: Path) -> None:
    """What it warns of stands in place of its words for it: then it is known by its exit code."""
    found = testing.find(top, {"ai-session.testcommand": [text]}, os.environ)
    assert found is not None
    ran = testing.run(found, top, os.environ, timeout_s=60, redact=str)
    assert (ran.code, ran.no_tests) == (5, none)


@pytest.mark.parametrize(
    ("source", "script", "message"),
    [
        ("x", "no-such-program --at all", "no-such-program: not found"),
        ("x", "./plain", "ermission denied"),
        ("x", "exit 127", "what it names is not there"),
        ("x", "exit 126", "what it names cannot be executed"),
        ("make", "echo 'make: *** [Makefile:2: test] Error 127'; exit 2", "Error 127"),
        ("pytest", "echo '/usr/bin/python3: No module named pytest'; exit 1", "('sh -m pip install pytest' installs"),
    ],
)
def test_what_is_no_run_of_the_tests(source: str, script: str, message: str, top: Path) -> None:
    """A command that is not there is no red test: one line says what is missing, and what names another command."""
    write(top, plain="true\n")
    with pytest.raises(errors.TestsCannotRun) as raised:
        run_words(top, source, "sh", "-c", script)
    text = str(raised.value)
    assert message in text
    assert text.startswith(f"the tests ('sh -c {script}') cannot run: ")
    assert text.endswith("; 'git config ai-session.testCommand COMMAND' names another command")
    assert "\n" not in text


def test_a_program_that_is_not_installed(top: Path) -> None:
    """It is found by the PATH that is handed down, and its absence is told from the absence of the folder."""
    with pytest.raises(errors.TestsCannotRun, match=r"\('npm test'\) cannot run: npm is not installed; 'git config"):
        run_words(top, "npm", "npm", "test", environment=NOWHERE)
    with pytest.raises(errors.TestsCannotRun, match="No such file or directory"):
        run_words(top / "gone", "x", "sh", "-c", "true")
    with pytest.raises(errors.TestsCannotRun, match="NUL"):
        run_words(top, "x", "sh", "-c", "true\0")


def test_what_they_are_given(top: Path) -> None:
    """The caller's environment, the top folder; neither git's variables nor the key of the service."""
    own = {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_AUTH_TOKEN": "t", "GIT_DIR": "/x", "GIT_INDEX_FILE": "/y"}
    ran = run(top, "pwd -P; env", environment={**os.environ, **own, "MINE": "kept"})
    lines = ran.output.splitlines()
    assert lines[0] == str(top.resolve())
    assert "MINE=kept" in lines
    names = {line.partition("=")[0] for line in lines[1:]}
    assert not names & own.keys()
    assert not any(name.startswith("GIT_") for name in names)


def test_a_long_output_loses_its_middle(top: Path) -> None:
    """The beginning and the end stay, in whole lines, and all of what is missing is counted."""
    ran = run(top, "seq 1000000")
    head, rest = ran.output.split("\n[… ")
    count, tail = rest.split(" bytes left out …]\n")
    assert head.startswith("1\n2\n3\n")
    assert tail.endswith("\n999999\n1000000\n")
    assert 3500 < len(head) + 1 <= testing.HEAD_BYTES
    assert 15000 < len(tail) <= testing.TAIL_BYTES
    whole = "".join(f"{number}\n" for number in range(1, 1_000_001))
    assert int(count.replace(",", "")) == len(whole) - len(head) - 1 - len(tail)
    assert whole.startswith(head + "\n")
    assert whole.endswith(tail)
    # Just over what is kept, nothing was thrown away before it is cut.
    edge = run(top, f"head -c {testing.HEAD_BYTES + testing.TAIL_BYTES} /dev/zero | tr '\\0' x")
    assert edge.output == "x" * (testing.HEAD_BYTES + testing.TAIL_BYTES)
    over = run(top, f"head -c {testing.HEAD_BYTES + testing.TAIL_BYTES + 7} /dev/zero | tr '\\0' x").output
    assert "\n[… 7 bytes left out …]\n" in over


@pytest.mark.parametrize("script", ["head -c 3000000 /dev/urandom", "head -c 100000000 /dev/zero | tr '\\0' x"])
def test_garbage_and_a_line_without_end(script: str, top: Path) -> None:
    """They are survived, in bounds, and what is kept can be printed."""
    seen: list[str] = []
    ran = run(top, f"echo begin; {script}; echo; echo end", on_line=seen.append)
    assert ran.output.startswith("begin\n")
    assert ran.output.endswith("\nend\n")
    assert len(ran.output.encode()) <= testing.HEAD_BYTES + testing.TAIL_BYTES + 100
    assert not UNSAFE.search(ran.output)
    assert (seen[0], seen[-1]) == ("begin", "end")
    assert not any(UNSAFE.search(line) or "\n" in line or len(line) > 1000 for line in seen)


def test_lines_as_they_come(top: Path) -> None:
    """Each is handed on while the tests run: what was written over is gone, and the last needs no line break."""
    seen: list[str] = []

    def take(line: str) -> None:
        seen.append(line)
        (top / "go-on").touch()

    script = (
        "echo first; while ! test -e go-on; do sleep 0.05; done; printf '\\033[31mred\\033[m\\r\\n\\n10%%\\r20%%\\nend'"
    )
    ran = run(top, script, on_line=take)
    assert seen == ["first", "red", "", "20%", "end"]
    assert ran.output == "first\nred\n\n10%\n20%\nend"


def test_secrets_are_redacted(top: Path) -> None:
    """In the lines and in the output, wherever the output is cut."""
    key = "AKIA" + "IOSFODNN7EXAMPLX"
    seen: list[str] = []
    redact = Redactor().text
    for filler in (4070, 4080, 4090, 12270, 12280, 12287):
        script = f"head -c {filler} /dev/zero | tr '\\0' ' '; echo {key}; seq 20000; echo {key}"
        ran = run(top, script, redact=redact, on_line=seen.append)
        assert "AKIA" not in ran.output
        assert ran.output.endswith("\n20000\n[redacted:aws-access-key]\n")
    assert not any("AKIA" in line for line in seen)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie that nobody has waited for yet has ended.
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def gone(path: Path) -> bool:
    """Whether the process whose id stands in a file ends."""
    pid = int(path.read_text())
    for _ in range(100):
        if not alive(pid):
            return True
        time.sleep(0.05)
    return False


def test_tests_that_hang(top: Path) -> None:
    """They are ended with all that they started; one line says what they said last and what gives them longer."""
    script = "sleep 100 & echo $! >child; echo collected; printf 'at test_x'; trap 'echo stopped; exit 1' INT; wait"
    with pytest.raises(errors.TestsTimedOut) as raised:
        run(top, script, timeout_s=1)
    assert str(raised.value) == (
        f"the tests ('{script}') did not end within 1 s: at test_x;"
        " 'git config ai-session.testTimeout SECONDS' gives them longer"
    )
    assert raised.value.output == "collected\nat test_xstopped\n"
    assert gone(top / "child")


def test_tests_that_go_on_without_an_output(top: Path) -> None:
    """A closed output is no end: what counts is the exit code, and the time."""
    assert run(top, "exec >&- 2>&-; sleep 0.3; exit 4").code == 4
    with pytest.raises(errors.TestsTimedOut, match=r"did not end within 0\.5 s; 'git config"):
        run(top, "exec >&- 2>&-; sleep 100", timeout_s=0.5)


@pytest.mark.parametrize("left", ["sleep 100", "yes"])
def test_what_the_tests_leave_behind(left: str, top: Path) -> None:
    """A server that they forgot is ended with them, whether it is silent or not, and nobody waits for it."""
    ran = run(top, f"{left} & echo $! >child; echo done", timeout_s=60)
    assert ran.passed
    assert "done\n" in ran.output or left == "yes"
    assert ran.duration_ms < processes.GRACE_S * 1000
    assert gone(top / "child")


@pytest.mark.parametrize("left", ["sleep 20", "yes"])
def test_what_left_their_group(left: str, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in a session of its own that holds the output is not waited for longer than it takes to end."""
    monkeypatch.setattr(processes, "GRACE_S", 0.5)
    start = f"subprocess.Popen({left.split()!r}, start_new_session=True)"
    (top / "leave.py").write_text(f"import subprocess\nprint({start}.pid, file=open('child', 'w'))\n")
    try:
        assert run(top, f"{sys.executable} leave.py", timeout_s=60).passed
    finally:
        os.kill(int((top / "child").read_text()), signal.SIGKILL)


def test_an_interruption_ends_them(top: Path) -> None:
    """^C ends the tests with all that they started, and comes through."""
    script = "sleep 100 & echo $! >child; : >begun; wait"
    program = (
        "import os, pathlib; from gitsess.workbench import testing\n"
        f"command = testing.TestCommand(words=('sh', '-c', {script!r}), shown='x', source='x')\n"
        "try: testing.run(command, pathlib.Path('.'), os.environ, timeout_s=60, redact=str)\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=top,
        env={**os.environ, "PYTHONPATH": str(Path(testing.__file__).parents[2])},
        stdout=subprocess.PIPE,
        preexec_fn=signals_by_default,
    )
    for _ in range(600):
        if (top / "begun").exists():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == b"interrupted\n"
    assert gone(top / "child")


def test_a_listener_that_fails(top: Path) -> None:
    """What the listener raises ends the tests, and comes through."""

    def fail(line: str) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run(top, "sleep 100 & echo $! >child; echo x; wait", on_line=fail)
    assert gone(top / "child")


@pytest.mark.parametrize(
    ("program", "files"),
    [
        ("make", {"Makefile": "test:\n\t@echo tested\n"}),
        ("npm", {"package_dot_json": json.dumps({"name": "x", "scripts": {"test": "echo tested"}})}),
    ],
)
def test_the_real_programs(program: str, files: dict[str, str], top: Path) -> None:
    """What is obvious runs, where the program is installed."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    write(top, **files)
    found = testing.find(top, {}, os.environ)
    assert found is not None
    ran = testing.run(found, top, os.environ, timeout_s=60, redact=str)
    assert ran.passed
    assert "tested" in ran.output.splitlines()
