"""Making a repository ready, and taking it back: the post-commit hook, and remotes that carry sessions unasked.

The hook is ``hooks/post-commit`` with the program's path written in. A hook that is there keeps its bytes and its mode
under the name ``post-commit.chained``; ours runs it first. Undoing moves it back.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from gitsess.errors import StoreError
from gitsess.gitcli import hooks_folder
from gitsess.names import REF_PREFIX, shown
from gitsess.values import Value
from gitsess.workspace import Workspace

NAME = "post-commit"
CHAINED = "post-commit.chained"

_VERSION = re.compile(r"^# gitsess post-commit ([0-9]{1,6}):", re.MULTILINE)
_PROGRAM = re.compile(r"^\t+set -- (['\"]?/.*)$", re.MULTILINE)
_FOLDERS = re.compile(r"^# Folders made for it: ([0-9]{1,3})$", re.MULTILINE)


class Place(Value):
    """Where git looks for hooks. ``shared``: outside of the repository, so that others may use it too; ``tracked``:
    in the working tree, where git sees what is put there."""

    folder: Path
    shared: bool
    tracked: bool


class Shipped(Value):
    """What is put into repositories: ``hook`` for git, ``agent`` for agents and ``plugin`` for opencode, each as it is
    shipped; ``program``: the words that start git-ai-session, the first an absolute path."""

    hook: str
    agent: str
    plugin: str
    program: tuple[str, ...]


class Change(Value):
    """``action``: ``installed``, ``upgraded``, ``unchanged``, ``removed`` or ``absent``; ``chained``: a hook that
    was there is run by ours, or is back in its place."""

    path: Path
    action: str
    chained: bool


def place(workspace: Workspace) -> Place | None:
    """Where the hooks of this worktree are, or None in a bare repository, where no commits are made."""
    if workspace.repository.worktree is None:
        return None
    folder, top = hooks_folder(workspace.around.environment, workspace.around.cwd)
    own = folder.is_relative_to(workspace.repository.common_dir)
    tracked = not own and folder.is_relative_to(top)
    return Place(folder=folder, shared=not own and not tracked, tracked=tracked)


def own_place(workspace: Workspace) -> Place:
    """The folder of hooks in the git directory, which the worktrees of a bare repository have as well."""
    return Place(folder=Path(workspace.repository.common_dir, "hooks"), shared=False, tracked=False)


def top(workspace: Workspace) -> Path:
    """The top of this working tree; raises StoreError inside of the git directory."""
    return hooks_folder(workspace.around.environment, workspace.around.cwd)[1]


def install(folder: Path, template: str, program: Sequence[str]) -> Change:
    """Puts the hook into ``folder``, or brings the one there up to date; raises StoreError.

    ``program``: the words that start git-ai-session, the first an absolute path.
    """
    hook, chained = folder / NAME, folder / CHAINED
    try:
        made = _make(folder)
        there = _text(hook)
        if there is not None and (version := _version(there)) is not None:
            if version > (_version(template) or 0):
                return Change(path=hook, action="unchanged", chained=os.path.lexists(chained))
            _refuse_changed(hook, there, template)
            text = _filled(template, program, made=_made(there))
            if text == there and os.access(hook, os.X_OK):
                return Change(path=hook, action="unchanged", chained=os.path.lexists(chained))
            _write(hook, text)
            return Change(path=hook, action="upgraded", chained=os.path.lexists(chained))
        if os.path.lexists(hook):
            _keep(hook, chained)
        elif os.path.lexists(chained):
            raise StoreError(f"{chained} is there without {NAME}: see whether it is of use, and rename or remove it")
        _write(hook, _filled(template, program, made=made))
    except OSError as error:
        raise StoreError(f"the hook cannot be put into {folder}: {error.strerror}") from None
    return Change(path=hook, action="installed", chained=os.path.lexists(chained))


def remove(folder: Path, template: str) -> Change:
    """Takes the hook out of ``folder`` again, if it is ours; raises StoreError."""
    hook, chained = folder / NAME, folder / CHAINED
    there = _text(hook)
    if there is None or _version(there) is None:
        return Change(path=hook, action="absent", chained=False)
    _refuse_changed(hook, there, template)
    try:
        if back := os.path.lexists(chained):
            chained.replace(hook)
        else:
            hook.unlink()
    except OSError as error:
        raise StoreError(f"{hook} cannot be taken away: {error.strerror}") from None
    with suppress(OSError):
        for _ in range(_made(there)):
            folder.rmdir()
            folder = folder.parent
    return Change(path=hook, action="removed", chained=back)


def is_installed(folder: str | Path) -> bool:
    """Whether the hook there is ours."""
    try:
        there = _text(Path(folder, NAME))
    except StoreError:
        return False
    return there is not None and _version(there) is not None


def faults(folder: Path, template: str) -> list[str]:
    """What keeps the hook in ``folder`` from its work, a line each; nothing where no hook of ours is there."""
    hook, chained = folder / NAME, folder / CHAINED
    if not is_installed(folder):
        return [f"{chained} is not run: {NAME} beside it, which did, is gone"] if os.path.lexists(chained) else []
    text = hook.read_text("utf-8", "surrogateescape")
    found = []
    if not os.access(hook, os.X_OK):
        found.append(f"{hook} may not be executed, so git passes over it")
    if (_version(text) or 0) < (_version(template) or 0):
        found.append(f"{hook} is of an older gitsess")
    if (program := missing_program(text)) is not None:
        found.append(f"{hook} starts {shown(program, 120)}, which is not there")
    return found


def missing_program(text: str) -> str | None:
    """The program that a script of ours starts, where it is not there."""
    found = _PROGRAM.search(text)
    try:
        words = shlex.split(found[1]) if found is not None else []
    except ValueError:
        words = []
    return None if words and os.access(words[0], os.X_OK) else words[0] if words else "nothing"


def _make(folder: Path) -> int:
    """Makes the folder; how many were missing, it and those above it."""
    if folder.is_dir():
        return 0
    if os.path.lexists(folder):
        raise StoreError(f"git looks for hooks in {folder}, which is no folder: see 'git config core.hooksPath'")
    made = 1 + sum(not os.path.lexists(above) for above in folder.parents)
    folder.mkdir(parents=True)
    return made


def _text(hook: Path) -> str | None:
    """The hook as text; None where it is missing, or no file."""
    try:
        return hook.read_bytes().decode("utf-8", "surrogateescape") if hook.is_file() else None
    except OSError as error:
        raise StoreError(f"{hook} cannot be read: {error.strerror}") from None


def _made(text: str) -> int:
    """How many folders the hook says were made for it."""
    found = _FOLDERS.search(text)
    return 0 if found is None else int(found[1])


def _version(text: str) -> int | None:
    found = _VERSION.search(text)
    return None if found is None else int(found[1])


def _refuse_changed(hook: Path, text: str, template: str) -> None:
    """Raises StoreError where a hook of this version is not as it was written: nobody's lines are thrown away."""
    if _version(text) == _version(template):
        parts = (re.escape(part) for part in re.split("@[A-Z]+@", template))
        if re.fullmatch(".*".join(parts), text) is None:
            raise StoreError(f"{hook} was changed by hand: move what was added to {CHAINED} beside it, and remove it")


def _filled(template: str, program: Sequence[str], *, made: int) -> str:
    return template.replace("@FOLDERS@", str(made)).replace("@PROGRAM@", shlex.join(program))


def _keep(hook: Path, chained: Path) -> None:
    """Gives the hook that is there its other name; both lead to it until ours takes the first."""
    if os.path.lexists(chained):
        # This was stopped half-way, or a manager of hooks put its own back over ours.
        if _look(hook) == _look(chained):
            return
        raise StoreError(f"{chained} is there already: see which of the two hooks is of use, and remove the other")
    try:
        os.link(hook, chained, follow_symlinks=False)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError):
        hook.rename(chained)


def _look(hook: Path) -> tuple[int, bytes]:
    """What a hook is: its type and mode, and its bytes or where it leads."""
    mode = hook.lstat().st_mode
    return mode, os.fsencode(os.readlink(hook)) if stat.S_ISLNK(mode) else hook.read_bytes()


def _write(hook: Path, text: str) -> None:
    temporary = hook.with_name(f"t.{NAME}.{os.getpid()}.{os.urandom(4).hex()}")
    # As executable as the umask lets anything be, as git's own are.
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o777)
    try:
        with open(handle, "wb") as out:
            out.write(text.encode("utf-8", "surrogateescape"))
        temporary.replace(hook)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def carriers(config: Mapping[str, Sequence[str]]) -> list[str]:
    """A line for every remote that a plain push or fetch carries sessions to or from, with what to do."""
    said = []
    for key, values in sorted(config.items()):
        section, _, rest = key.partition(".")
        remote, _, name = rest.rpartition(".")
        if section != "remote" or not remote:
            continue
        if name == "mirror" and values[-1].lower() in ("true", "yes", "on", "1", ""):
            said.append(
                f"'git push {remote}' carries every session: it is set to mirror;"
                f" 'git config --unset remote.{remote}.mirror' ends that"
            )
        for spec in values:
            source, _, target = spec.removeprefix("+").partition(":")
            if name == "push" and covers(source):
                said.append(f"'git push {remote}' carries sessions, because remote.{remote}.push has {spec}")
            if name == "fetch" and covers(target):
                said.append(
                    f"'git fetch {remote}' overwrites sessions, because remote.{remote}.fetch has {spec};"
                    " let it end in :refs/ai-remotes/… instead"
                )
    return said


def covers(pattern: str) -> bool:
    """Whether one side of a refspec takes in session refs."""
    if pattern.startswith("^"):
        return False
    start, star, _ = pattern.partition("*")
    return start.startswith(REF_PREFIX) or bool(star and REF_PREFIX.startswith(start))
