"""git as a process: the one place that starts it.

Discovery honours the caller's environment, as git does. What runs after that names the repository and
runs without the ``GIT_DIR`` family, so that a hook's environment cannot lead it elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, NamedTuple

from gitsess.errors import NotFound, StoreError
from gitsess.model import Oid
from gitsess.text import one_line
from gitsess.values import Value

# Importing it takes longer than all modules of ours that looking needs: where nothing is opened, paths are texts.
if TYPE_CHECKING:
    from pathlib import Path

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


# What a name on git's command line means is ours to say.
_PATHSPECS = frozenset(f"GIT_{how}_PATHSPECS" for how in ("LITERAL", "GLOB", "NOGLOB", "ICASE"))
_ENDED = "git cat-file ended early; 'git fsck' tells more"
_IGNORED = re.compile(r"ignoring (?:broken ref|ref with broken name|dangling symref) (.*)")


class Repository(Value):
    """Where a repository is. ``common_dir`` is shared by its worktrees; ``worktree`` is ``.``, a linked
    worktree's name, or None in a bare repository; ``object_format`` is ``sha1`` or ``sha256``."""

    git_dir: str
    common_dir: str
    worktree: str | None
    object_format: str

    @property
    def oid_length(self) -> int:
        return 64 if self.object_format == "sha256" else 40

    @property
    def state_dir(self) -> str:
        """``ai-sessions`` in the common directory: lock, spool, and what can be derived again."""
        # Paths are text here: a listing starts sooner without pathlib.
        return os.path.join(self.common_dir, "ai-sessions")


class Ref(NamedTuple):
    """A ref; ``oid`` is what it comes to, through its target where it is ``symbolic``."""

    name: str
    oid: Oid
    symbolic: bool


class Result(Value):
    code: int
    out: bytes
    err: str

    @property
    def complaint(self) -> str:
        """Why git failed, in its own last words that are no warning."""
        if self.code < 0:
            return f"it was ended by signal {-self.code}"
        lines = [one_line(line) for line in self.err.splitlines()]
        said = [line for line in lines if line and not line.startswith(("warning: ", "hint: "))]
        return said[-1].removeprefix("fatal: ").removeprefix("error: ") if said else "no message"


class Part(Value):
    """What git printed within its limits; ``cut`` says which of them ended it: ``size``, ``time``, or None."""

    result: Result
    cut: str | None


def discover(environment: Mapping[str, str], cwd: str | Path | None = None) -> Repository:
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
        raise StoreError(f"git refuses the repository: {result.complaint}")
    answers = result.out.decode("utf-8", "surrogateescape").split("\n")
    if len(answers) != len(words) + 1:
        raise StoreError("a repository whose path holds a line break cannot be used")
    git_dir, common_dir, bare, object_format = answers[:-1]
    worktree = None if bare == "true" else "." if git_dir == common_dir else os.path.basename(git_dir)
    return Repository(git_dir=git_dir, common_dir=common_dir, worktree=worktree, object_format=object_format)


def repository_of(folder: str, environment: Mapping[str, str]) -> Repository:
    """The repository that a folder lies in, whatever ``GIT_DIR`` says; raises NotFound or StoreError."""
    if not os.path.isdir(folder):
        raise NotFound("it is not there")
    return discover({k: v for k, v in environment.items() if k not in _LOCATION}, folder)


def repository_at(common_dir: str, environment: Mapping[str, str]) -> Repository:
    """The repository whose common git directory this is, whatever ``GIT_DIR`` says; raises NotFound or StoreError."""
    found = repository_of(common_dir, environment)
    # Where it is no more, git finds the one around it.
    if os.path.realpath(found.common_dir) != os.path.realpath(common_dir):
        raise NotFound("it is no repository")
    return found


def hooks_folder(environment: Mapping[str, str], cwd: Path | None = None) -> tuple[Path, Path]:
    """(where git looks for hooks in the working tree of ``cwd``, the top of that tree); raises StoreError.

    Asked there and not by the repository's path, because a relative ``core.hooksPath`` counts from that top.
    """
    words = ["--show-toplevel", "--git-path", "hooks"]
    result = _run(["git", "rev-parse", "--path-format=absolute", *words], {**environment, "LC_ALL": "C"}, cwd=cwd)
    answers = result.out.decode("utf-8", "surrogateescape").split("\n")
    if result.code and "must be run in a work tree" in result.err:
        raise StoreError("this is inside of the repository's own folder: change to its working tree")
    if result.code or len(answers) != 3:
        raise StoreError(f"git does not say where its hooks are: {result.complaint}")
    from pathlib import Path

    return Path(answers[1]), Path(answers[0])


class Git:
    """git on one repository. ``environment`` is the caller's; the variables that locate are dropped."""

    def __init__(self, repository: Repository, environment: Mapping[str, str]) -> None:
        self.repository = repository
        self._given = environment
        self._where: tuple[str, ...] = (f"--git-dir={repository.git_dir}",)
        self._top: str | None = None
        self.environment = {k: v for k, v in environment.items() if k not in _LOCATION}
        # A missing object of a partial clone is an answer here, not a reason to go to the network.
        self.environment.update(GIT_NO_LAZY_FETCH="1", GIT_NO_REPLACE_OBJECTS="1", LC_ALL="C")

    def command(self, *args: str) -> list[str]:
        return ["git", *self._where, *args]

    def working(self, top: str | Path, variables: Mapping[str, str] | None = None, *, as_person: bool = False) -> Git:
        """The same git in the working tree at ``top``, with these variables besides.

        ``as_person``: as if it were typed there, for commands in which hooks, editors and signing take part: in the
        person's language, and found from there unless their environment names the repository.
        """
        made = Git(self.repository, self._given)
        made._top = os.fspath(top)
        if as_person:
            made.environment = {k: v for k, v in self._given.items() if k not in _LOCATION}
        made._where = () if as_person and "GIT_DIR" not in self._given else (*self._where, f"--work-tree={made._top}")
        made.environment = {k: v for k, v in made.environment.items() if k not in _PATHSPECS} | dict(variables or {})
        return made

    def run(self, *args: str, stdin: bytes | IO[bytes] | None = None, stdout: IO[bytes] | None = None) -> Result:
        """Runs git to its end; a failure is in the result, for the caller to read. An open file is read, or
        written, by git itself."""
        return _run(self.command(*args), self.environment, cwd=self._top, stdin=stdin, stdout=stdout)

    def output(self, *args: str, stdin: bytes | None = None) -> bytes:
        """What git printed; raises StoreError with the last line it complained of."""
        result = self.run(*args, stdin=stdin)
        if result.code:
            raise StoreError(f"git {_verb(args)} failed: {result.complaint}")
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

    def refs(self, prefix: str) -> tuple[list[Ref], list[str]]:
        """The refs under ``prefix``, and the names of those that git passed over because they are broken.

        No object is opened: a ref whose object is missing is listed, and its fault is found where it is read.
        """
        result = self.run("for-each-ref", "--format=%(refname)%00%(objectname)%00%(symref)", prefix)
        if result.code:
            raise StoreError(f"the refs cannot be listed: {result.complaint}")
        found = []
        for line in result.out.decode("utf-8", "replace").split("\n"):
            if line:
                name, oid, target = line.split("\0")
                found.append(Ref(name=name, oid=Oid(oid), symbolic=bool(target)))
        return found, _IGNORED.findall(result.err)

    def head_moves(self, *, limit: int) -> list[tuple[Oid, int, str]]:
        """(where to, seconds since 1970, what by) of the last moves of this worktree's HEAD, the newest first."""
        result = self.run("log", "-g", f"-n{limit}", "--date=unix", "--format=%H%x00%gd%x00%gs", "HEAD", "--")
        found = []
        for line in result.out.decode("utf-8", "replace").split("\n"):
            oid, _, rest = line.partition("\0")
            place, _, message = rest.partition("\0")
            seconds = place.rpartition("@{")[2].removesuffix("}")
            if seconds.isascii() and seconds.isdigit():
                found.append((Oid(oid), int(seconds), message))
        return found

    def ever_held(self, folder: str, path: str) -> bool:
        """Whether a commit of any branch touched this path below a folder of the working tree."""
        words = ["git", "--literal-pathspecs", "log", "--all", "-n1", "--format=%H", "--", path]
        return bool(_run(words, self.environment, cwd=folder).out)

    def empty_tree(self) -> Oid:
        """The empty tree, which merges have, written: git reads it without its object, and fsck misses it."""
        return Oid(self.output("hash-object", "-t", "tree", "-w", "--stdin", stdin=b"").decode().strip())

    def move_refs(self, moves: Sequence[tuple[str, Oid, Oid | None]], *, message: str) -> str | None:
        """Moves (ref, new, old; None: absent) all together, or none and says why: one of them stood elsewhere, or
        is locked."""
        absent = Oid("0" * self.repository.oid_length)
        words = "".join(f"update {ref}\0{new}\0{old or absent}\0" for ref, new, old in moves).encode()
        synced = ("-c", "core.fsync=committed,loose-object,reference")
        done = self.run(*synced, "update-ref", "--no-deref", "-m", message, "--stdin", "-z", stdin=words)
        return None if done.code == 0 else done.complaint

    def delete_refs(self, refs: Sequence[tuple[str, Oid]]) -> dict[str, str]:
        """Deletes the refs that still stand at their oid; why not, by name, of the others."""
        words = "".join(f"delete {ref}\0{oid}\0" for ref, oid in refs).encode()
        done = self.run("update-ref", "--no-deref", "--stdin", "-z", stdin=words)
        if done.code == 0:
            return {}
        if len(refs) == 1:
            return {refs[0][0]: done.complaint}
        # All or none: the one that is in the way is looked for by halves.
        half = len(refs) // 2
        return self.delete_refs(refs[:half]) | self.delete_refs(refs[half:])

    def is_whole(self, tips: Iterable[Oid]) -> bool:
        """Whether every commit that leads to ``tips`` is there."""
        words = "".join(f"{oid}\n" for oid in tips).encode()
        return self.run("rev-list", "--quiet", "--stdin", stdin=words).code == 0

    def start_objects(self) -> Objects:
        """A ``cat-file --batch`` that stays open until it is closed."""
        return Objects(self._process("cat-file", "--batch", stdin=subprocess.PIPE))

    def reachable(
        self, tips: Iterable[Oid], known: Iterable[Oid] = (), *, limit: int
    ) -> Iterator[tuple[Oid, bytes | None]]:
        """(oid, data) of the commits that lead to ``tips`` and not to ``known``, the newest first; data is None past
        ``limit`` bytes. What is missing, and what git finds behind it, is left out.

        Two processes for all of it, and no waiting between one commit and the next: that pays from some hundreds on.
        """
        listing = self._process("rev-list", "--ignore-missing", "--stdin", stdin=subprocess.PIPE)
        reading = self._process("cat-file", "--batch", "--buffer", stdin=listing.stdout)
        assert listing.stdin is not None
        assert listing.stdout is not None
        assert reading.stdout is not None
        with listing, reading:
            # Where the reader ends early, the one that it reads from is to notice.
            listing.stdout.close()
            # All of it is read before the first answer.
            words = [f"{oid}\n" for oid in tips] + [f"^{oid}\n" for oid in known]
            with contextlib.suppress(BrokenPipeError):
                listing.stdin.write("".join(words).encode())
                listing.stdin.close()
            out = reading.stdout
            try:
                while header := out.readline():
                    found = header.split()
                    if len(found) == 3 and found[2].isdigit():
                        data = _data(out, int(found[2]), limit)
                        if found[1] == b"commit":
                            yield Oid(found[0].decode("ascii", "replace")), data
            finally:
                out.close()

    @contextlib.contextmanager
    def reading(self, *args: str) -> Iterator[IO[bytes]]:
        """What git prints, as it comes, to be read to its end; raises StoreError where git failed then."""
        with self._process(*args, stdin=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            yield process.stdout
        if process.returncode:
            raise StoreError(f"git {_verb(args)} failed: 'git fsck' may tell more")

    def _process(self, *args: str, stdin: int | IO[bytes] | None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(*args),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self.environment,
            cwd=self._top,
            bufsize=_BUFFER,
        )

    def in_worktree(self, top: str, *args: str, stdin: bytes = b"", limit_bytes: int, timeout_s: float) -> Part:
        """Runs git in the working tree at ``top``, as far as the limits go: they are for questions that others ask."""
        import tempfile
        import threading

        words = ["git", "-C", top, f"--git-dir={self.repository.git_dir}", f"--work-tree={top}", *args]
        with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as complaints:
            asked.write(stdin)
            asked.seek(0)
            try:
                process = subprocess.Popen(
                    words,
                    stdin=asked,
                    stdout=subprocess.PIPE,
                    stderr=complaints,
                    env=self.environment,
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                raise StoreError(f"git cannot be started: {one_line(str(error))}") from None
            assert process.stdout is not None

            def kill() -> None:
                # With what it started: reading ends when nobody has its output open any more.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

            timer = threading.Timer(timeout_s, kill)
            with process:
                try:
                    timer.start()
                    out = process.stdout.read(limit_bytes + 1)
                    if full := len(out) > limit_bytes:
                        kill()
                    code = process.wait()
                except BaseException:
                    kill()
                    raise
                finally:
                    timer.cancel()
            complaints.seek(0)
            result = Result(code=code, out=out[:limit_bytes], err=complaints.read().decode("utf-8", "replace"))
        return Part(result=result, cut="size" if full else "time" if code == -signal.SIGKILL else None)

    def edit(self, path: str) -> int:
        """Opens a file in the editor that git would take; its exit code."""
        editor = self.output("var", "GIT_EDITOR").decode("utf-8", "replace").strip()
        # As git does: the setting is a command line, and the shell's.
        return subprocess.run(
            ["sh", "-c", f'{editor} "$@"', editor, path], env=self.environment, check=False
        ).returncode

    def handover(self, *args: str) -> int:
        """git with this process's own terminal: its pager, its colours, its exit code."""
        code = subprocess.run(self.command(*args), env=self.environment, check=False).returncode
        return code if code >= 0 else 128 - code


# So few names at a time that they fit in any pipe: git takes them all while its answers are still unread.
_PORTION = 60
_BUFFER = 1 << 16
_GRACE_S = 5.0


def _verb(args: Sequence[str]) -> str:
    return next((word for word in args if not word.startswith("-") and "=" not in word), "")


class Objects:
    """Reads objects through one ``git cat-file --batch``."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        # A store lives as long as whoever holds it, and nobody is bound to close it.
        self.close = weakref.finalize(self, _end, process)

    def read(self, name: str, *, limit: int) -> tuple[str, bytes | None] | None:
        """(type, data) of an object, or None where it is missing; data is None past ``limit`` bytes,
        which are not held. Raises StoreError where git ended."""
        self._ask([name])
        return self._answer(limit)

    def read_all(self, names: Sequence[str], *, limit: int) -> Iterator[tuple[str, tuple[str, bytes | None] | None]]:
        """(name, what ``read`` says of it) of many objects, in order, without waiting for each. To be read to its
        end: answers left over would be taken for those of the next call."""
        half = _PORTION // 2
        for start in range(0, len(names), half):
            # git has the next half before this one is taken from it, and works while we do.
            self._ask(names[start + half if start else 0 : start + _PORTION])
            for name in names[start : start + half]:
                yield name, self._answer(limit)

    def _ask(self, names: Sequence[str]) -> None:
        assert self._process.stdin is not None
        # A broken pipe would pass for the reader of our own output having left.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write("".join(f"{name}\n" for name in names).encode())
            self._process.stdin.flush()

    def _answer(self, limit: int) -> tuple[str, bytes | None] | None:
        out = self._process.stdout
        assert out is not None
        header = out.readline()
        if not header:
            raise StoreError(_ENDED)
        words = header.split()
        if len(words) != 3 or not words[2].isdigit():
            return None
        return words[1].decode("ascii", "replace"), _data(out, int(words[2]), limit)


def _end(process: subprocess.Popen[bytes]) -> None:
    with process, contextlib.suppress(BrokenPipeError):
        assert process.stdin is not None
        process.stdin.close()


def _data(out: IO[bytes], size: int, limit: int) -> bytes | None:
    if size <= limit:
        data = out.read(size + 1)
        if len(data) != size + 1:
            raise StoreError(_ENDED)
        return data[:-1]
    left = size + 1
    while left > 0:
        left -= len(out.read(min(left, 1 << 20))) or left
    return None


def _run(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    cwd: str | Path | None = None,
    stdin: bytes | IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
) -> Result:
    data = stdin if isinstance(stdin, bytes) else None
    given = subprocess.DEVNULL if stdin is None else subprocess.PIPE if isinstance(stdin, bytes) else stdin
    try:
        process = subprocess.Popen(
            command,
            stdin=given,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=cwd,
        )
        with process:
            try:
                out, err = process.communicate(data)
            except BaseException:
                # Killed outright it would leave its lock files, and whatever hook it runs.
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_GRACE_S)
                process.kill()
                raise
    except FileNotFoundError:
        if cwd is not None and not os.path.isdir(cwd):
            raise StoreError(f"{cwd} is not there") from None
        raise StoreError("git is not installed, or not on PATH: install git 2.34 or newer") from None
    except ValueError:
        raise StoreError("a NUL byte cannot be handed to git") from None
    except OSError as error:
        raise StoreError(f"git cannot be started: {error.strerror}") from None
    return Result(code=process.returncode, out=out or b"", err=err.decode("utf-8", "replace"))


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
            raise StoreError(f"the repository cannot be made: {result.complaint}")


def scratch_repository(folder: Path, like: Git) -> Git:
    """A bare repository in ``folder`` for what is yet to be looked at: no templates, no hooks, objects of its own."""
    place = str(folder)
    kept = Repository(git_dir=place, common_dir=place, worktree=None, object_format=like.repository.object_format)
    made = Git(kept, like.environment)
    command = ["git", "init", "--quiet", "--bare", "--template=", f"--object-format={kept.object_format}", place]
    result = _run(command, made.environment)
    if result.code:
        raise StoreError(f"the repository cannot be made: {result.complaint}")
    return made
