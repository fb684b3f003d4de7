"""What a model may do in a worktree: the tools, and everything that is refused."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gitsess.gitcli import Git, discover
from gitsess.providers import Request
from gitsess.providers.anthropic_api import AnthropicApi
from gitsess.providers.standin import Answer, StandIn, ToolUse
from gitsess.providers.tools import ToolResult
from gitsess.redact import Redactor
from gitsess.workbench import files
from gitsess.workbench import settings as workbench_settings
from gitsess.workbench.paths import Refused, is_git_name, parts_of
from gitsess.workbench.toolbox import Toolbox
from tests.conftest import Repo

CANARY = "canary-which-nobody-may-read"
TOKEN = "ghp_" + "a1B2c3D4e5" * 3 + "F6g7H8"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7bq9\nQmFzZTY0IGxpbmVzIG9m\n-----END RSA PRIVATE KEY-----"


class Bench:
    """A toolbox on a repository, called as a model calls it."""

    def __init__(self, repo: Repo, **more: Any) -> None:
        self.top = repo.path
        self.toolbox = Toolbox(repo.path, repo.git_handle, Redactor().text, **{"writes": True, **more})
        self.tools = {tool.name: tool for tool in self.toolbox.tools()}

    def call(self, name: str, **given: Any) -> ToolResult:
        return self.tools[name].run(given)

    def ok(self, name: str, **given: Any) -> str:
        done = self.call(name, **given)
        assert not done.is_error, done.text
        return done.text

    def no(self, name: str, **given: Any) -> str:
        done = self.call(name, **given)
        assert done.is_error, done.text
        assert "\n" not in done.text
        return done.text

    def put(self, path: str, data: str | bytes) -> Path:
        full = self.top / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_bytes(data.encode() if isinstance(data, str) else data)
        return full


@pytest.fixture
def bench(repo: Repo) -> Bench:
    return Bench(repo)


# --- looking


def test_files_are_listed_as_git_knows_them(repo: Repo, bench: Bench) -> None:
    """Tracked and new ones, sorted; neither ignored nor deleted ones, nor those of another repository inside."""
    for path in ("b.py", "src/a.py", "src/deep/c.ts", "gone.py", "build/out.py", ".gitignore", "odd\nname"):
        bench.put(path, "build/\n" if path == ".gitignore" else "x")
    repo.git("add", "src", "gone.py")
    (repo.path / "gone.py").unlink()
    subprocess.run(["git", "init", "-q", str(repo.path / "inner")], check=True)
    bench.put("inner/x.py", "x")
    note = "(1 file with control characters in the name left out)"
    assert bench.ok("list_files").split("\n") == [".gitignore", "b.py", "src/a.py", "src/deep/c.ts", note]
    assert bench.ok("list_files", pattern="*.py").split("\n") == ["b.py", "src/a.py"]
    assert bench.ok("list_files", pattern="src/**/*.ts") == "src/deep/c.ts"
    assert bench.ok("list_files", path="src/", pattern=None).split("\n") == ["src/a.py", "src/deep/c.ts"]
    assert bench.ok("list_files", pattern=":(exclude)x") == "there is no such file"


def test_a_long_list_is_cut_and_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gitsess.workbench.toolbox.MAX_LISTED", 2)
    for number in range(5):
        bench.put(f"f{number}", "x")
    assert bench.ok("list_files").split("\n") == ["f0", "f1", "(3 more: give a pattern or a path)"]


def test_lines_are_read_with_their_numbers(bench: Bench) -> None:
    """A part says of what it is one, and where to read on follows from it."""
    bench.put("a.txt", "one\ntwo\nthree\n")
    assert bench.ok("read_file", path="a.txt") == "     1\tone\n     2\ttwo\n     3\tthree"
    assert bench.ok("read_file", path="./a.txt", from_line=2, lines=1) == "     2\ttwo\n(lines 2 to 2 of 3)"
    assert "has only 3 lines" in bench.no("read_file", path="a.txt", from_line=4)
    assert "count from 1" in bench.no("read_file", path="a.txt", from_line=0)
    bench.put("b.txt", b"\xef\xbb\xbfone\r\ntwo")
    assert bench.ok("read_file", path="b.txt") == (
        "     1\tone\n     2\ttwo\n(lines end in CR LF; no line break at the end)"
    )
    bench.put("c.txt", b"caf\xe9\n")
    assert bench.ok("read_file", path="c.txt") == "     1\tcaf\ufffd\n(not UTF-8, it cannot be edited)"
    bench.put("d.txt", "")
    assert bench.ok("read_file", path="d.txt") == "(the file is empty)"
    bench.put("e.txt", "line\n" * 3000)
    assert bench.ok("read_file", path="e.txt").endswith("  1000\tline\n(lines 1 to 1000 of 3000)")
    bench.put("f.txt", "x" * 3000)
    assert "… (1,000 more characters)" in bench.ok("read_file", path="f.txt")


def test_what_is_no_text_or_too_large_is_not_read(bench: Bench) -> None:
    bench.put("a.bin", b"a\0b")
    bench.put("big.txt", "x" * (files.MAX_FILE_BYTES + 1))
    assert "binary" in bench.no("read_file", path="a.bin")
    assert "larger than 1 MiB" in bench.no("read_file", path="big.txt")
    assert "there is no such file" in bench.no("read_file", path="none.txt")
    (bench.top / "folder").mkdir()
    assert "it is a folder" in bench.no("read_file", path="folder")
    assert bench.toolbox.refusals == []


def test_a_search_shows_lines_and_their_files(repo: Repo, bench: Bench) -> None:
    """Regular expressions and plain texts, in tracked and new files; in ignored and binary ones nothing is found."""
    bench.put("src/a.py", "def one():\n    return 1\n")
    bench.put("b.txt", "ONE\none + 1\n")
    bench.put(".gitignore", "*.log\n")
    bench.put("x.log", "one")
    bench.put("x.bin", b"one\0")
    repo.git("add", "src")
    assert bench.ok("search", pattern=r"\bone\b").split("\n") == ["b.txt:2: one + 1", "src/a.py:1: def one():"]
    assert bench.ok("search", pattern="one + 1", fixed=True) == "b.txt:2: one + 1"
    assert bench.ok("search", pattern="^one$", ignore_case=True) == "b.txt:1: ONE"
    assert bench.ok("search", pattern="one", path="src") == "src/a.py:1: def one():"
    assert bench.ok("search", pattern="nothing") == "nothing matches"
    assert bench.ok("search", pattern="-Oless") == "nothing matches"
    assert "the search is not possible" in bench.no("search", pattern="(")
    assert "on one line" in bench.no("search", pattern="a\nb")


def test_a_long_search_is_cut_and_says_so(bench: Bench) -> None:
    bench.put("a.txt", "one\n" * 150)
    bench.put("b.txt", "one\n" * 150)
    lines = bench.ok("search", pattern="one").split("\n")
    assert len(lines) == 201
    assert lines[-2] == "b.txt:50: one"
    assert lines[-1] == "(more lines match than are shown: narrow the pattern or the path)"


def test_a_search_that_takes_too_long_ends(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """git is ended, with what it has started, and what it had found by then is shown as that."""
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    real = shutil.which("git")
    printed = r"a.txt\0001\000one\n"
    on_grep = f"case \"$*\" in *' grep '*) printf '{printed}'; sleep 600 ;; esac"
    slow.write_text(f'#!/bin/sh\n{on_grep}\nexec {real} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(files, "_GIT_TIMEOUT_S", 1.5)
    bench = Bench(repo)
    bench.put("a.txt", "one\n")
    assert bench.ok("search", pattern="one").split("\n") == [
        "a.txt:1: one",
        "(it took too long: not all files were searched)",
    ]


def test_git_is_ended_at_its_limits(repo: Repo) -> None:
    """Output past the limit is not held, and says that it was cut."""
    for number in range(50):
        (repo.path / f"file-{number:02}").write_text("x")
    git, top = repo.git_handle, str(repo.path)
    part = git.in_worktree(top, "ls-files", "-o", limit_bytes=100, timeout_s=60)
    assert (len(part.result.out), part.cut) == (100, "size")
    assert git.in_worktree(top, "ls-files", "-o", limit_bytes=10_000, timeout_s=60).cut is None
    echoed = git.in_worktree(top, "hash-object", "--stdin", stdin=b"", limit_bytes=100, timeout_s=60)
    assert echoed.result.out.startswith(b"e69de29")


def test_secrets_are_redacted_in_all_that_is_read(bench: Bench) -> None:
    """Files and search results alike; a line in the middle of a key is not shown by itself either."""
    bench.put("a.py", f'token = "{TOKEN}"\n')
    bench.put("key.pem", f"before\n{PEM}\nafter\n")
    assert bench.ok("read_file", path="a.py") == '     1\ttoken = "[redacted:github-token]"'
    assert "MIIE" not in bench.ok("read_file", path="key.pem")
    assert bench.ok("read_file", path="key.pem", from_line=3).startswith("     3\tafter")
    assert bench.ok("search", pattern="token") == 'a.py:1: token = "[redacted:github-token]"'
    assert bench.ok("search", pattern=".", path="key.pem").split("\n") == [
        "key.pem:1: before",
        *(f"key.pem:{number}: (left out: it is a part of a secret)" for number in range(2, 6)),
        "key.pem:6: after",
    ]
    secret = bench.put(f"{TOKEN}.txt", "x")
    assert TOKEN not in bench.ok("list_files")
    assert TOKEN not in bench.no("read_file", path=f"../{TOKEN}")
    assert TOKEN not in bench.toolbox.refusals[-1]
    secret.unlink()


# --- changing


def test_files_are_written_whole(bench: Bench) -> None:
    """Folders are made, the mode is kept, no other file is left, and what changed is known."""
    assert bench.ok("write_file", path="new/deep/a.py", content="one\ntwo\n") == "made 'new/deep/a.py', 2 lines"
    script = bench.put("run.sh", "old\n")
    script.chmod(0o750)
    assert bench.ok("write_file", path="run.sh", content="né\n") == "replaced 'run.sh', 1 line"
    assert script.read_text() == "né\n"
    assert stat.S_IMODE(script.stat().st_mode) == 0o750
    assert "is so already" in bench.ok("write_file", path="run.sh", content="né\n")
    bench.put("gone.txt", "x")
    bench.ok("delete_file", path="gone.txt")
    assert bench.toolbox.changed == {"new/deep/a.py", "run.sh", "gone.txt"}
    assert sorted(p.name for p in bench.top.rglob("*") if ".git" not in p.parts) == ["a.py", "deep", "new", "run.sh"]


def test_a_failed_write_leaves_the_file_as_it_was(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old text is there until the new one is, whole."""
    bench.put("a.txt", "old")

    def full(*names: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert "No space left" in bench.no("write_file", path="a.txt", content="new")
    assert (bench.top / "a.txt").read_text() == "old"
    assert sorted(os.listdir(bench.top)) == [".git", "a.txt"]
    assert bench.toolbox.changed == set()


@pytest.mark.parametrize(
    ("before", "old", "new", "after"),
    [
        (b"a\nb\nc\n", "b\n", "x\ny\n", b"a\nx\ny\nc\n"),
        (b"a\r\nb\r\nc", "a\nb\n", "x\ny\nz\n", b"x\r\ny\r\nz\r\nc"),
        (b"a\r\nb\r\nc", "c", "c\nd", b"a\r\nb\r\nc\r\nd"),
        (b"a\r\nb\nc\r\n", "a\nb\nc", "x", b"a\r\nb\nc\r\n"),
        (b"a\r\nb\r\nc\nd", "a\nb", "x\ny", b"x\r\ny\r\nc\nd"),
        (b"\xef\xbb\xbfa\nb", "a", "x", b"\xef\xbb\xbfx\nb"),
        (b"a\nb", "b", "x", b"a\nx"),
        (b"a b", "b", "", b"a "),
    ],
    ids=["plain", "crlf", "crlf grows", "mixed, not there", "mixed", "bom", "no break at the end", "removed"],
)
def test_an_edit_keeps_line_endings(bench: Bench, before: bytes, old: str, new: str, after: bytes) -> None:
    """Whatever a file's line endings, a break at its end or none: only the text that is meant changes."""
    file = bench.put("a.txt", before)
    done = bench.call("edit_file", path="a.txt", old=old, new=new)
    assert file.read_bytes() == after
    assert done.is_error == (before == after)


def test_an_edit_needs_one_place(bench: Bench) -> None:
    """Where the old text is more than once, or not at all, nothing changes and the reason is told."""
    file = bench.put("a.txt", "a a\nb\n")
    assert "more than once" in bench.no("edit_file", path="a.txt", old="a", new="x")
    assert "must be the same to the letter" in bench.no("edit_file", path="a.txt", old="c", new="x")
    assert "begins with line numbers" in bench.no("edit_file", path="a.txt", old="     2\tb\n", new="x")
    assert "are the same" in bench.no("edit_file", path="a.txt", old="b", new="b")
    assert "is empty" in bench.no("edit_file", path="a.txt", old="", new="b")
    assert "write_file makes it" in bench.no("edit_file", path="none.txt", old="b", new="c")
    bench.put("b.txt", "aaa")
    assert "more than once" in bench.no("edit_file", path="b.txt", old="aa", new="x")
    bench.put("c.txt", b"caf\xe9")
    assert "not UTF-8" in bench.no("edit_file", path="c.txt", old="caf", new="x")
    assert file.read_text() == "a a\nb\n"
    assert bench.toolbox.changed == set()
    assert bench.ok("edit_file", path="a.txt", old="a", new="x", all=True) == "edited 'a.txt' in 2 places"
    assert file.read_text() == "x x\nb\n"


def test_a_marker_never_overwrites_a_secret(bench: Bench) -> None:
    """What is shown instead of a secret cannot be written in its place, nor anywhere that had none."""
    file = bench.put("a.py", f'one = 1\ntoken = "{TOKEN}"\n')
    shown = 'one = 2\ntoken = "[redacted:github-token]"\n'
    assert "would destroy the secret" in bench.no("write_file", path="a.py", content=shown)
    assert "would destroy the secret" in bench.no("write_file", path="b.py", content=shown)
    old = 'token = "[redacted:github-token]"'
    assert "stands for a secret" in bench.no("edit_file", path="a.py", old=old, new="x")
    assert "destroy" in bench.no("edit_file", path="a.py", old="one = 1", new="[redacted:github-token]")
    assert "destroy" in bench.no("edit_file", path="a.py", old="one = 1", new="[redacted:")
    assert TOKEN in file.read_text()
    bench.ok("edit_file", path="a.py", old="one = 1", new="one = 2")
    assert TOKEN in file.read_text()
    about = "what [redacted:github-token] is\n"
    text = bench.put("doc.md", about)
    bench.ok("write_file", path="doc.md", content=about * 2)
    bench.ok("edit_file", path="doc.md", old=f"{about}{about}", new=about)
    assert text.read_text() == about
    both = bench.put("both.md", f"{about}{TOKEN}\n")
    assert "destroy" in bench.no("write_file", path="both.md", content=about * 2)
    assert TOKEN in both.read_text()


# --- what is refused


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../x",
        "src/../../x",
        "src/..",
        "...",
        ".. /x",
        "~",
        "~/x",
        "C:\\x",
        "c:/x",
        "..\\x",
        ".git",
        ".git/config",
        ".GIT/config",
        ".Git/x",
        ".git./x",
        ".git /x",
        ".git::$INDEX_ALLOCATION/x",
        "git~1/x",
        "GIT~2/x",
        ".g\u200cit/x",
        "\uff0egit/x",
        "src/.git/x",
        "src/.git",
        "a\0b",
        "a\nb",
        "a\x1b[31mb",
        "a\u202eb",
        "a\ud800b",
        "x" * 5000,
        "a/" * 200 + "a",
    ],
)
def test_paths_that_lead_elsewhere_are_refused(bench: Bench, path: str) -> None:
    """By every tool alike, and the record says which and why, on one line each."""
    before = everything(bench.top)
    for name, more in ANY:
        assert "is refused:" in bench.no(name, path=path, **more)
    assert everything(bench.top) == before
    assert len(bench.toolbox.refusals) == len(ANY)
    assert all("\n" not in line and line.isprintable() for line in bench.toolbox.refusals)


ANY: list[tuple[str, dict[str, Any]]] = [
    ("read_file", {}),
    ("list_files", {}),
    ("search", {"pattern": "."}),
    ("write_file", {"content": "x"}),
    ("edit_file", {"old": "a", "new": "b"}),
    ("delete_file", {}),
]


def everything(*roots: Path) -> dict[str, tuple[int, ...]]:
    """All that is in a folder, not following links, by what would differ if it were written."""
    found: dict[str, tuple[int, ...]] = {}
    for root in roots:
        for folder, names, others in os.walk(root):
            for name in (*names, *others):
                seen = os.lstat(os.path.join(folder, name))
                kept = (seen.st_ino, seen.st_mode, seen.st_size, seen.st_mtime_ns)
                found[os.path.join(folder, name)] = kept if not stat.S_ISDIR(seen.st_mode) else kept[:2]
    return found


@pytest.mark.parametrize(
    ("name", "is_git"),
    [(".git", True), (".GiT . .", True), ("git~12", True), (".git:x", True), (".gitignore", False), ("git", False)],
)
def test_names_that_a_file_system_takes_for_git(name: str, is_git: bool) -> None:
    assert is_git_name(name) == is_git


def test_links_are_followed_inside_only(bench: Bench, tmp_path: Path) -> None:
    """A link to a file of the worktree is that file; one that leads out, or into git's own, is refused."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_text(CANARY)
    bench.put("src/a.txt", "inside\n")
    (bench.top / "in").symlink_to("src")
    (bench.top / "a").symlink_to("in/../in/a.txt")
    for name, target in {
        "out": "../outside",
        "deep": "src/../../outside",
        "abs": str(outside),
        "file": str(outside / "x"),
        "git": ".git",
        "loop": "loop",
        "rel": "../outside/x",
    }.items():
        (bench.top / name).symlink_to(target)
    assert bench.ok("read_file", path="a") == "     1\tinside"
    bench.ok("edit_file", path="a", old="inside", new="still inside")
    assert (bench.top / "src/a.txt").read_text() == "still inside\n"
    assert (bench.top / "a").is_symlink()
    assert bench.toolbox.changed == {"src/a.txt"}
    before = everything(outside, bench.top / ".git")
    for path in (
        "out/x",
        "deep/x",
        "abs/x",
        "file",
        "git/config",
        "loop",
        "loop/x",
        "rel",
        "out",
        "out/new",
        "git/new",
    ):
        for name, more in ANY[3 if path in ("out", "loop") else 0 : -1]:
            answer = bench.no(name, path=path, **more)
            assert "is refused" in answer
            assert CANARY not in answer
    assert CANARY not in bench.ok("search", pattern=".")
    for path in ("out/x", "git/config"):
        assert "is refused" in bench.no("delete_file", path=path)
    bench.ok("delete_file", path="rel")
    assert everything(outside, bench.top / ".git") == before


def test_a_link_made_meanwhile_leads_nowhere(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a folder, or the file, becomes a link between the look and the deed, nothing outside is touched."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_text(CANARY)
    real = files.Files.ignored

    def swapped(self: files.Files, places: Any) -> Any:
        found = real(self, places)
        for name, target in (("src", outside), ("x", outside / "x")):
            here = bench.top / name
            if not here.is_symlink():
                here.rename(bench.top / f"was-{name}")
                here.symlink_to(target)
        return found

    before = everything(outside)
    for name, more in [one for one in ANY if one[0] not in ("list_files", "search")]:
        for path in ("src/x", "x"):
            bench.put("src/x", "a")
            bench.put("x", "a")
            monkeypatch.setattr(files.Files, "ignored", swapped)
            done = bench.call(name, path=path, **more)
            monkeypatch.undo()
            assert CANARY not in done.text
            assert done.is_error or (name, path) == ("delete_file", "x")
            subprocess.run(["rm", "-rf", "src", "x", "was-src", "was-x"], cwd=bench.top, check=True)
    assert everything(outside) == before


def test_a_file_that_becomes_a_link_is_not_read(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where it was an ordinary file when it was looked at last, and is opened next."""
    outside = tmp_path / "outside"
    outside.write_text(CANARY)
    file = bench.put("x", "a")
    real = files._check_kind

    def swapped(seen: os.stat_result, **more: Any) -> None:
        real(seen, **more)
        file.unlink()
        file.symlink_to(outside)

    monkeypatch.setattr(files, "_check_kind", swapped)
    assert "became a link" in bench.no("read_file", path="x")


def test_pipes_and_devices_are_refused(bench: Bench) -> None:
    """Nothing waits for a writer that never comes."""
    os.mkfifo(bench.top / "pipe")
    for name, more in ANY:
        if name not in ("list_files", "search"):
            assert "no ordinary file" in bench.no(name, path="pipe", **more)
    assert stat.S_ISFIFO((bench.top / "pipe").stat().st_mode)
    assert bench.ok("search", pattern=".") == "nothing matches"


def test_ignored_files_are_kept_from_it(repo: Repo, bench: Bench) -> None:
    """Reading, writing and finding; a tracked file is not ignored, whatever the patterns say."""
    bench.put(".gitignore", ".env\nsecret/\n*.log\n")
    bench.put(".env", CANARY)
    bench.put("tracked.log", "fine\n")
    (repo.path / "link").symlink_to(".env")
    repo.git("add", "-f", "tracked.log")
    for path in (".env", "secret/new", "link"):
        for name, more in ANY:
            if name not in ("list_files", "search") and (path, name) != ("link", "delete_file"):
                assert "git ignores it" in bench.no(name, path=path, **more)
    assert bench.ok("read_file", path="tracked.log") == "     1\tfine"
    # git ends a line after "odd", and what follows reads as another file's name.
    bench.put("odd\n.env", "canary\n")
    assert bench.ok("search", pattern="canary|fine") == "tracked.log:1: fine"
    assert not (repo.path / "secret").exists()
    assert (repo.path / ".env").read_text() == CANARY


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("*.log\n.env\n!a.log\nbuild/\n", True),
        ("# more\nbuild/\n*.log\r\n.env\n!a.log", True),
        ("*.log\n!a.log\n", False),
        ("*.log\n.env\n!a.log\n!.env\n", False),
        ("*.log\n!.env\n.env\n!a.log\n", False),
        ("", False),
        ("\ufeff!.env\n*.log\n.env\n!a.log\n", False),
        (".env\n*.log\n!a.log\n", False),
    ],
)
def test_what_is_ignored_is_not_its_to_say(bench: Bench, text: str, allowed: bool) -> None:
    """Lines may come into a .gitignore, but none out of it, and none that let a file through."""
    old = "*.log\n.env\n!a.log\n"
    file = bench.put(".gitignore", old)
    done = bench.call("write_file", path=".gitignore", content=text)
    assert done.is_error != allowed
    assert file.read_bytes().decode() == (text if allowed else old)
    assert "none taken away" in bench.no("delete_file", path=".gitignore")
    assert "none taken away" in bench.no("write_file", path="src/.gitignore", content="!x\n")


def test_the_hooks_are_not_its_to_write(repo: Repo, bench: Bench) -> None:
    """A folder of the worktree from which git runs hooks may be read, and no more."""
    repo.git("config", "core.hooksPath", "tools/Hooks")
    bench.put("tools/Hooks/pre-commit", "#!/bin/sh\n")
    (repo.path / "link").symlink_to("tools/Hooks")
    for path in ("tools/Hooks/pre-commit", "tools/hooks/post-commit", "link/pre-commit", "tools/Hooks"):
        assert "git runs the hooks there" in bench.no("write_file", path=path, content="x")
    assert "git runs the hooks there" in bench.no("delete_file", path="tools/Hooks/pre-commit")
    assert bench.ok("read_file", path="tools/Hooks/pre-commit") == "     1\t#!/bin/sh"
    bench.ok("write_file", path="tools/other", content="x")


@pytest.mark.parametrize(
    "path",
    [
        ".ai-session/templates/verify.md",
        ".AI-Session/templates/verify.md",
        ".claude/settings.json",
        ".claude./settings.json",
        "CLAUDE~1/settings.json",
        "src/.claude/settings.json",
        ".claude",
        ".gemini/settings.json",
        ".codex/config.toml",
        ".opencode/plugin/x.js",
        "opencode.json",
        ".mcp.json",
        "agents/settings.json",
        "way/settings.json",
    ],
)
def test_settings_are_not_its_to_write(bench: Bench, path: str) -> None:
    """What models are asked, and what agents run, may be read and no more: by name, and where a link leads there."""
    if "agents" in path or "way" in path:
        bench.put("agents/settings.json", "{}\n")
        (bench.top / ".claude").symlink_to("agents")
        (bench.top / "way").symlink_to(".claude")
    elif path != ".claude":
        bench.put(path, "{}\n")
    before = everything(bench.top)
    for name, more in (("write_file", {"content": "x"}), ("edit_file", {"old": "a", "new": "b"}), ("delete_file", {})):
        assert "is refused: it is a setting of" in bench.no(name, path=path, **more)
    assert everything(bench.top) == before
    assert len(bench.toolbox.refusals) == 3
    if path != ".claude":
        assert bench.ok("read_file", path=path) == "     1\t{}"


def test_other_names_are_no_settings(bench: Bench) -> None:
    for path in ("claude/x", ".ai-sessions/x", "src/opencode.py", "docs/.claude.md", ".github/x", "AGENTS.md"):
        bench.ok("write_file", path=path, content="x")


def test_settings_that_changed_are_found(repo: Repo, bench: Bench) -> None:
    """Made, written, deleted, ignored or not; what an agent installs or checks out there is none of them."""
    bench.put(".gitignore", ".claude\n")
    bench.put(".claude/hooks/a.sh", "old")
    bench.put(".claude/settings.json", "old")
    bench.put(".claude/kept.json", "old")
    before = workbench_settings.look(bench.top)
    bench.put(".claude/hooks/a.sh", "new")
    bench.put(".claude/kept.json", "old")
    (bench.top / ".claude/settings.json").unlink()
    bench.put(".mcp.json", "new")
    bench.put(".opencode/node_modules/x/index.js", "new")
    subprocess.run(["git", "init", "-q", str(repo.path / ".claude/worktrees/a")], check=True)
    bench.put(".claude/worktrees/a/x.py", "new")
    after = workbench_settings.look(bench.top)
    found = workbench_settings.changed(before, after, ["src/.codex/config.toml", "src/a.py"])
    assert found == [".claude/hooks/a.sh", ".claude/settings.json", ".mcp.json", "src/.codex/config.toml"]
    assert "hooks/a.sh, .claude/settings.json, .mcp.json and 1 more file" in workbench_settings.warning(
        found, "during the turn"
    )


def test_other_repositories_inside_are_off_limits(repo: Repo, bench: Bench, tmp_path: Path) -> None:
    """Submodules, filled or empty, worktrees and clones; git's own folder by whatever name it has."""
    subprocess.run(["git", "init", "-q", str(repo.path / "clone")], check=True)
    bench.put("clone/x", CANARY)
    repo.git("worktree", "add", "-q", "tree")
    bench.put("tree/x", CANARY)
    oid = repo.git("rev-parse", "HEAD")
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{oid},empty")
    (repo.path / "empty").mkdir()
    for folder in ("clone", "tree", "empty"):
        for name, more in ANY:
            if name not in ("list_files", "search"):
                assert "is refused: it lies in" in bench.no(name, path=f"{folder}/x", **more)
    assert CANARY not in bench.ok("search", pattern="canary")
    linked = Git(discover(os.environ, repo.path / "tree"), os.environ)
    box = Toolbox(repo.path / "tree", linked, lambda text: text, writes=True)
    tools = {tool.name: tool for tool in box.tools()}
    assert not tools["read_file"].run({"path": "x"}).is_error
    (repo.path / "tree/link").symlink_to(".git")
    for path in (".git", "link"):
        assert "git's own" in tools["write_file"].run({"path": path, "content": "x"}).text
        assert "git's own" in tools["read_file"].run({"path": path}).text
    place = tmp_path / "other"
    subprocess.run(["git", "init", "-q", "--separate-git-dir", str(place / "store"), str(place)], check=True)
    box = Toolbox(place, Git(discover(os.environ, place), os.environ), lambda text: text, writes=True)
    tools = {tool.name: tool for tool in box.tools()}
    for path in ("store/config", "store/hooks/pre-commit"):
        assert "git's own" in tools["write_file"].run({"path": path, "content": "x"}).text
        assert "git's own" in tools["read_file"].run({"path": path}).text


# --- what it is handed


def test_a_model_works_with_them(repo: Repo) -> None:
    """The service takes the definitions, a model's calls change the files, and it is told what was refused."""
    bench = Bench(repo)
    bench.put("a.py", "one = 1\n")
    answers = [
        Answer(
            tool_uses=(
                ToolUse(name="edit_file", input={"path": "a.py", "old": "1", "new": "2"}),
                ToolUse(name="write_file", input={"path": ".git/config", "content": ""}),
            )
        ),
        Answer(text="Done."),
    ]
    with StandIn(answer=lambda request: answers.pop(0)) as service:
        provider = AnthropicApi({"ANTHROPIC_BASE_URL": service.url, "ANTHROPIC_API_KEY": "any"})
        prompt = {"role": "user", "content": [{"type": "text", "text": "Make it two"}]}
        worked = provider.work(
            Request(model="claude-sonnet-4-5", max_tokens=1000, messages=(prompt,)),
            bench.toolbox.tools(),
            lambda text: None,
            on_call=lambda name, given: None,
            room=lambda replies, messages: 1000,
        )
        provider.close()
    assert worked.failure is None
    assert [r["content"] for r in worked.messages[1]["content"]] == [
        "edited 'a.py' in 1 place",
        "'.git/config' is refused: what is git's own is off limits",
    ]
    assert (repo.path / "a.py").read_text() == "one = 2\n"
    assert bench.toolbox.refusals == ["write_file '.git/config': what is git's own is off limits"]


def test_tools_are_those_that_are_wanted(repo: Repo) -> None:
    """Without writing there is none that writes, and tests run only where something runs them; the definitions are
    the same each time."""
    looking = ["list_files", "read_file", "search"]
    assert list(Bench(repo, writes=False).tools) == looking
    ran = Bench(repo, run_tests=lambda: ToolResult(text=f"1 failed: {TOKEN}", is_error=True))
    assert list(ran.tools) == [*looking, "write_file", "edit_file", "delete_file", "run_tests"]
    assert ran.no("run_tests") == "1 failed: [redacted:github-token]"
    assert [t.definition for t in ran.toolbox.tools()] == [t.definition for t in ran.toolbox.tools()]


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("read_file", {}, "path is missing"),
        ("read_file", {"path": None}, "path is missing"),
        ("read_file", {"path": 5}, "path must be of the type string"),
        ("read_file", {"path": ["a"]}, "path must be of the type string"),
        ("read_file", {"path": ""}, "the path names no file"),
        ("read_file", {"path": "a", "from_line": "1"}, "from_line must be of the type integer"),
        ("read_file", {"path": "a", "lines": True}, "lines must be of the type integer"),
        ("read_file", {"path": "a", "lines": 1.5}, "lines must be of the type integer"),
        ("read_file", {"path": "a", "mode": "w"}, "'mode' is not among its inputs, which are: path, from_line, lines"),
        ("read_file", {"path": "a", "x\n\x1b[2J" * 99: 1}, "is not among its inputs"),
        ("list_files", {"pattern": "x" * 2000}, "pattern is longer than 1,000 characters"),
        ("search", {"pattern": ""}, "the pattern is empty"),
        ("write_file", {"path": "a"}, "content is missing"),
        ("write_file", {"path": "a", "content": "x" * 2_000_000}, "content is longer than"),
        ("write_file", {"path": "a", "content": "é" * 600_000}, "larger than 1 MiB"),
        ("write_file", {"path": "a", "content": "a\0b"}, "no NUL character"),
        ("write_file", {"path": "a", "content": "a\ud800"}, "half a surrogate pair"),
        ("write_file", {"path": "a/", "content": "a"}, "names a folder"),
        ("write_file", {"path": "x" * 300, "content": "a"}, "File name too long"),
        ("write_file", {"path": "file/below", "content": "a"}, "is no folder"),
        ("edit_file", {"path": "a", "old": "x", "new": "y", "all": 1}, "all must be of the type boolean"),
        ("run_tests", {"path": "a"}, "is not among its inputs, which are: nothing"),
    ],
)
def test_bad_input_is_a_result(repo: Repo, name: str, given: dict[str, Any], said: str) -> None:
    """Whatever a model gives a tool, it reads in one line what is wrong with it, and nothing has changed."""
    bench = Bench(repo, run_tests=lambda: ToolResult(text="ran"))
    bench.put("file", "x")
    before = everything(repo.path)
    assert said in bench.no(name, **given)
    assert everything(repo.path) == before


@pytest.mark.parametrize("given", [None, [], "path", 5])
def test_input_that_is_no_object_is_a_result(bench: Bench, given: object) -> None:
    result = bench.tools["read_file"].run(given)
    assert (result.text, result.is_error) == ("the input must be an object", True)


# --- no path whatsoever


NAMES = [
    *("..", ".", "", "~", "src", "a.txt", "new", "in", "out", "abs", "gitlink", "loop", "clone", "tree", "hooks"),
    *(".git", ".GIT", ".git.", "git~1", "config", "HEAD", "x", "secret.txt", ".env", ".gitignore", "pipe", "C:", "\\"),
]
PATHS = st.one_of(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=5).map("/".join),
    st.tuples(st.lists(st.sampled_from(NAMES), max_size=3), st.text(max_size=6)).map(lambda t: "/".join([*t[0], t[1]])),
    st.text(),
)


@pytest.fixture
def minefield(repo: Repo, tmp_path: Path) -> tuple[Bench, Callable[[], object]]:
    """A worktree of traps, and what must never change."""
    bench = Bench(repo)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_text(CANARY)
    (outside / "secret.txt").write_text(CANARY)
    (tmp_path / "x").write_text(CANARY)
    bench.put("src/a.txt", "a\n")
    bench.put(".gitignore", ".env\n")
    bench.put(".env", CANARY)
    repo.git("config", "core.hooksPath", "hooks")
    repo.git("config", "canary.x", CANARY)
    bench.put("hooks/x", "#!/bin/sh\n")
    subprocess.run(["git", "init", "-q", str(repo.path / "clone")], check=True)
    bench.put("clone/x", CANARY)
    os.mkfifo(repo.path / "pipe")
    for name, target in {
        "in": "src",
        "out": "../outside",
        "abs": str(outside),
        "gitlink": ".git",
        "loop": "loop",
    }.items():
        (repo.path / name).symlink_to(target)
        (repo.path / "src" / name).symlink_to(f"../{target}")

    def kept() -> object:
        inside = [repo.path / name for name in (".git", "clone", "hooks")]
        alone = [(tmp_path / "x").read_text(), (repo.path / ".env").read_text(), sorted(os.listdir(tmp_path))]
        return everything(outside, *inside), alone

    return bench, kept


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=PATHS, data=st.data())
def test_no_path_leads_out(minefield: tuple[Bench, Callable[[], object]], path: str, data: st.DataObject) -> None:
    """Whatever the path, nothing outside the worktree, inside .git, in another repository or ignored is read or
    changed."""
    bench, kept = minefield
    before = kept()
    for name, more in ANY:
        text = "" if name != "write_file" else data.draw(st.sampled_from(["a\n", "!.env\n", ""]))
        done = bench.call(name, path=path, **({"content": text} if name == "write_file" else more))
        assert CANARY not in done.text
    assert kept() == before


@given(path=PATHS)
def test_paths_have_parts_or_are_refused(path: str) -> None:
    """The parts of a path go down only, and none of them is git's own."""
    try:
        parts = parts_of(path)
    except Refused:
        return
    assert all(name.strip(". ") and "/" not in name and not is_git_name(name) for name in parts)
