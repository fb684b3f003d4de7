"""git as a process: the one place that starts it.

Discovery honours the caller's environment, as git does. What runs after that names the repository and
runs without the ``GIT_DIR`` family, so that a hook's environment cannot lead it elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from gitsess.errors import NotFound, StoreError
from gitsess.model import Oid
from gitsess.text import one_line

_LOCATION = frozenset(
    [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_COMMON_DIR",
        "GIT_OBJECT_DIRECTORY",
        "GIT_NAMESPACE",
        "GIT_PREFIX",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_QUARANTINE_PATH",
        "GIT_CEILING_DIRECTORIES",
        "GIT_SHALLOW_FILE",
        "GIT_REFLOG_ACTION",
        "GIT_AUTHOR_DATE",
        "GIT_COMMITTER_DATE",
        "GIT_TRACE",
        "GIT_REPLACE_REF_BASE",
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """Where a repository is. ``common_dir`` is shared by its worktrees; ``worktree`` is ``.``, a linked
    worktree's name, or None in a bare repository; ``object_format`` is ``sha1`` or ``sha256``."""

    git_dir: Path
    common_dir: Path
    worktree: str | None
    object_format: str

    @property
    def oid_length(self) -> int:
        return 64 if self.object_format == "sha256" else 40

    @property
    def state_dir(self) -> Path:
        """``ai-sessions`` in the common directory: lock, spool, and what can be derived again."""
        return self.common_dir / "ai-sessions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    code: int
    out: bytes
    err: str


def discover(environment: Mapping[str, str], cwd: Path | None = None) -> Repository:
    """The repository of ``cwd`` (or of ``GIT_DIR``); raises NotFound where there is none.

    A repository that belongs to somebody else, or cannot be read, is git's to refuse: StoreError.
    """
    words = ["--git-dir", "--git-common-dir", "--is-bare-repository", "--show-object-format"]
    result = _run(["git", "rev-parse", "--path-format=absolute", *words], {**environment, "LC_ALL": "C"}, cwd=cwd)
    if result.code:
        if "not a git repository" in result.err:
            raise NotFound("not in a git repository: change to one, or make one with 'git init'")
        if "dubious ownership" in result.err:
            raise StoreError(
                "the repository belongs to another user, and git refuses it; 'git status' there tells how to trust it"
            )
        raise StoreError(f"git refuses the repository: {_last_line(result.err)}")
    git_dir, common_dir, bare, object_format = result.out.decode("utf-8", "surrogateescape").split("\n")[:4]
    worktree = None if bare == "true" else "." if git_dir == common_dir else os.path.basename(git_dir)
    return Repository(
        git_dir=Path(git_dir), common_dir=Path(common_dir), worktree=worktree, object_format=object_format
    )


class Git:
    """git on one repository. ``environment`` is the caller's; the variables that locate are dropped."""

    def __init__(self, repository: Repository, environment: Mapping[str, str]) -> None:
        self.repository = repository
        self.environment = {k: v for k, v in environment.items() if k not in _LOCATION}
        # A missing object of a partial clone is an answer here, not a reason to go to the network.
        self.environment.update(GIT_NO_LAZY_FETCH="1", GIT_NO_REPLACE_OBJECTS="1", LC_ALL="C")

    def command(self, *args: str) -> list[str]:
        return ["git", f"--git-dir={self.repository.git_dir}", *args]

    def run(self, *args: str, stdin: bytes | None = None) -> Result:
        """Runs git to its end; a failure is in the result, for the caller to read."""
        return _run(self.command(*args), self.environment, stdin=stdin)

    def output(self, *args: str, stdin: bytes | None = None) -> bytes:
        """What git printed; raises StoreError with the last line it complained of."""
        result = self.run(*args, stdin=stdin)
        if result.code:
            verb = next((a for a in args if a != "-c" and "=" not in a), "")
            raise StoreError(f"git {verb} failed: {_last_line(result.err)}")
        return result.out

    def config(self) -> dict[str, list[str]]:
        """Every setting git sees here, values in order: the last one counts for a single-valued key.

        Keys are as git prints them: section and name in lower case.
        """
        found: dict[str, list[str]] = {}
        result = self.run("config", "--list", "-z")
        for entry in result.out.split(b"\0"):
            if entry:
                key, _, value = entry.decode("utf-8", "surrogateescape").partition("\n")
                found.setdefault(key, []).append(value)
        return found

    def committer(self) -> tuple[str, str] | None:
        """(name, email) by git's identity rules, or None where git has none to give."""
        result = self.run("var", "GIT_COMMITTER_IDENT")
        if result.code:
            return None
        name, _, rest = result.out.decode("utf-8", "replace").rpartition(" <")
        return name, rest.partition(">")[0]

    def empty_tree(self) -> Oid:
        return Oid(self.output("hash-object", "-t", "tree", "--stdin", stdin=b"").decode().strip())

    @contextmanager
    def objects_of_walk(self, tips: Sequence[Oid], *, excluded: Sequence[Oid] = ()) -> Iterator[IO[bytes]]:
        """``cat-file --batch`` over every commit reachable from ``tips``: two processes, no round trips."""
        asked = [*tips, *(f"^{oid}" for oid in excluded)]
        with (
            self._process("rev-list", "--stdin", stdin=subprocess.PIPE) as walk,
            self._process("cat-file", "--batch", "--buffer", stdin=walk.stdout) as read,
        ):
            assert walk.stdin is not None
            assert walk.stdout is not None
            assert read.stdout is not None
            walk.stdout.close()
            try:
                walk.stdin.write("".join(f"{word}\n" for word in asked).encode())
                walk.stdin.close()
            except BrokenPipeError:
                pass
            yield read.stdout

    def objects_of(self, oids: Sequence[Oid], *, limit: int) -> dict[Oid, bytes]:
        """The data of these objects; those that are missing or larger than ``limit`` are left out."""
        with self._process("cat-file", "--batch", "--buffer", stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            # Names are few bytes and answers many: written from a thread of their own, neither side waits.
            writer = threading.Thread(target=_feed, args=(process.stdin, oids), daemon=True)
            writer.start()
            found = {oid: data for oid, data in batch_entries(process.stdout, limit=limit) if data is not None}
            writer.join()
        return found

    def start_objects(self) -> Objects:
        """A ``cat-file --batch`` that stays open, for reading objects one by one, until it is closed."""
        return Objects(self._process("cat-file", "--batch", stdin=subprocess.PIPE))

    def _process(self, *args: str, stdin: int | IO[bytes] | None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(*args),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self.environment,
        )

    def handover(self, *args: str) -> int:
        """git with this process's own terminal: its pager, its colours, its exit code."""
        return subprocess.run(self.command(*args), env=self.environment, check=False).returncode


class Objects:
    """Reads objects through one ``git cat-file --batch``."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def read(self, name: str, *, limit: int) -> tuple[str, bytes] | None:
        """(type, data) of an object, or None where it is missing.

        Raises StoreError for one larger than ``limit`` bytes, without holding it.
        """
        into, out = self._process.stdin, self._process.stdout
        assert into is not None
        assert out is not None
        into.write(name.encode() + b"\n")
        into.flush()
        header = out.readline()
        if not header:
            raise StoreError("git cat-file ended early; 'git fsck' tells more")
        words = header.decode("ascii", "replace").split()
        if len(words) != 3 or not words[2].isdigit():
            return None
        data = _data(out, int(words[2]), limit)
        if data is None:
            raise StoreError(f"object {words[0]} is larger than {limit} bytes")
        return words[1], data

    def close(self) -> None:
        with self._process as process:
            if process.stdin is not None:
                process.stdin.close()


def _feed(stdin: IO[bytes], oids: Sequence[Oid]) -> None:
    with contextlib.suppress(BrokenPipeError):
        stdin.write("".join(f"{oid}\n" for oid in oids).encode())
        stdin.close()


def batch_entries(out: IO[bytes], *, limit: int) -> Iterator[tuple[Oid, bytes | None]]:
    """The answers of ``cat-file --batch`` until its end: (oid, data), data None where it is missing or
    larger than ``limit`` bytes, which are then read past without being held."""
    while header := out.readline():
        words = header.split()
        oid = Oid(words[0].decode("ascii", "replace"))
        if len(words) != 3 or not words[2].isdigit():
            yield oid, None
            continue
        yield oid, _data(out, int(words[2]), limit)


def _data(out: IO[bytes], size: int, limit: int) -> bytes | None:
    if size <= limit:
        data = out.read(size)
        out.read(1)
        return data
    left = size + 1
    while left > 0:
        left -= len(out.read(min(left, 1 << 20))) or left
    return None


def _run(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    cwd: Path | None = None,
    stdin: bytes | None = None,
) -> Result:
    try:
        done = subprocess.run(
            command,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            env=environment,
            cwd=cwd,
            check=False,
        )
    except FileNotFoundError:
        raise StoreError("git is not installed, or not on PATH: install git 2.34 or newer") from None
    except ValueError:
        raise StoreError("a NUL byte cannot be handed to git") from None
    return Result(code=done.returncode, out=done.stdout, err=done.stderr.decode("utf-8", "replace"))


def _last_line(err: str) -> str:
    lines = [one_line(line) for line in err.splitlines() if line.strip()]
    return lines[-1].removeprefix("fatal: ").removeprefix("error: ") if lines else "no message"


def make_repository(folder: Path, environment: Mapping[str, str], *, message: str) -> None:
    """Makes a repository of what is in ``folder``, with one commit; raises StoreError.

    Neither templates, hooks nor signing of the person's own configuration take part, and where git knows no
    identity the commit is by ``gitsess``.
    """
    base = {k: v for k, v in environment.items() if k not in _LOCATION}
    own = ["-c", "commit.gpgsign=false", "-c", f"core.hooksPath={os.devnull}"]
    commands = [
        ["git", "-c", "init.defaultBranch=main", "init", "--quiet", "--template="],
        ["git", "add", "--all"],
        ["git", *own, "commit", "--quiet", "--message", message],
    ]
    for command in commands:
        result = _run(command, base, cwd=folder)
        if result.code and "commit" in command:
            fallback = {f"GIT_{who}_{what}": "gitsess" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
            result = _run(command, {**base, **fallback}, cwd=folder)
        if result.code:
            raise StoreError(f"the repository cannot be made: {_last_line(result.err)}")
