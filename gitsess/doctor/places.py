"""What lies around the commits: locks, the spool, hooks, permissions, and remotes that carry sessions unasked."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gitsess import setup
from gitsess.capture import wiring
from gitsess.config import settings
from gitsess.doctor.findings import Finding
from gitsess.errors import GitsessError, StoreError
from gitsess.spool import noun
from gitsess.text import ago, plural
from gitsess.workspace import Workspace

STALE = timedelta(minutes=10)
"""After so long a lock or a temporary file is nobody's: git holds a ref's lock for milliseconds."""


def check(workspace: Workspace, shipped: setup.Shipped) -> Iterator[Finding]:
    """``shipped`` is what hooks are made of."""
    yield from _settings(workspace)
    yield from _locks(workspace)
    yield from _spool(workspace)
    yield from _hooks(workspace, shipped.hook)
    yield from _agents(workspace, shipped)
    yield from _permissions(workspace)
    for line in setup.carriers(workspace.config):
        message, _, advice = line.partition("; ")
        yield Finding(
            check="remote", subject="", message=message, advice=advice or "narrow that refspec to refs/heads/*"
        )


def _settings(workspace: Workspace) -> Iterator[Finding]:
    try:
        settings(workspace.config, workspace.around.environment)
    except GitsessError as error:
        yield Finding(check="settings", subject="", message=str(error), advice="see 'git config --list'")


def _locks(workspace: Workspace) -> Iterator[Finding]:
    common = workspace.repository.common_dir
    found = [os.path.join(common, "packed-refs.lock"), os.path.join(common, "refs/notes/ai-sessions.lock")]
    for folder, _, files in os.walk(os.path.join(common, "refs/ai-sessions")):
        found += [os.path.join(folder, name) for name in sorted(files) if name.endswith(".lock")]
    for path in found:
        try:
            since = os.lstat(path).st_mtime
        except OSError:
            continue
        if since < _long_ago(workspace).timestamp():
            yield Finding(
                check="lock",
                subject=path,
                message=f"{path} was left behind {_ago(workspace, since)}: nothing can be appended past it",
                advice="see that no git is at work, then remove it, which --fix does",
                mend=_unlinking(path),
            )


def _unlinking(path: str) -> Callable[[], object]:
    return lambda: os.unlink(path)


def _long_ago(workspace: Workspace) -> datetime:
    return workspace.around.now() - STALE


def _ago(workspace: Workspace, seconds: float) -> str:
    return ago(datetime.fromtimestamp(seconds, UTC), workspace.around.now())


def _spool(workspace: Workspace) -> Iterator[Finding]:
    waiting = workspace.spool.waiting()
    for kind in ("turn", "event", "commit"):
        found = [path for path in waiting if noun(path) == kind]
        if found:
            yield Finding(
                check="spool",
                subject=str(found[0].parent),
                message=f"{plural(len(found), kind)} in the spool {found[0].parent}",
                advice="'git ai-session drain --wait' appends them and says what is in the way; so does --fix",
                mend=lambda: _drained(workspace),
            )
    for path in workspace.spool.failed():
        yield Finding(
            check="spool",
            subject=str(path),
            message=f"{path} could not be appended and was set aside",
            advice="mend it and move it one folder up, or remove it",
        )
    for path in workspace.spool.unfinished(before=_long_ago(workspace)):
        yield Finding(
            check="spool",
            subject=str(path),
            message=f"{path} was left behind by a writer that was killed",
            advice="see whether it holds a turn: whole, and named .json, it will be appended; else remove it",
        )


def _drained(workspace: Workspace) -> None:
    done = workspace.drain(wait_s=5.0, patience=1.0)
    if done.busy:
        raise StoreError("another drain is at work")
    if done.waiting:
        raise StoreError(done.waiting[0][1])


def _hooks(workspace: Workspace, hook: str) -> Iterator[Finding]:
    try:
        place = setup.place(workspace)
    except StoreError as error:
        # Inside of the git directory itself there is no working tree to ask about.
        if workspace.repository.worktree is not None and "working tree" not in str(error):
            yield Finding(check="hook", subject="", message=str(error), advice="see 'git config core.hooksPath'")
        return
    if place is None:
        return
    default = os.path.join(workspace.repository.common_dir, "hooks")
    for fault in setup.faults(place.folder, hook):
        yield Finding(
            check="hook",
            subject=str(place.folder),
            message=fault,
            advice="'git ai-session init' puts it right",
        )
    if os.path.realpath(default) != os.path.realpath(place.folder) and setup.is_installed(default):
        yield Finding(
            check="hook",
            subject=default,
            message=f"the hook is in {default}, and git looks for hooks in {place.folder}",
            advice="'git ai-session init' puts it there too; or unset core.hooksPath",
        )


def _agents(workspace: Workspace, shipped: setup.Shipped) -> Iterator[Finding]:
    """The settings of agents, where init has put something into them, and the script that they run."""
    try:
        top = setup.top(workspace) if workspace.repository.worktree is not None else None
    except StoreError:
        # Inside of the git directory itself.
        top = None
    if top is None or workspace.around.home is None:
        return
    state_dir = workspace.repository.state_dir
    needed = False
    around = wiring.Around(
        state_dir=state_dir,
        state_home=workspace.around.state_home,
        top=top,
        home=Path(workspace.around.home),
        environment=workspace.around.environment,
    )
    for spot in wiring.spots(around):
        if spot.scope == "shared" and not spot.recorded:
            # It came with the repository, and whoever did not run init is not to be disturbed by it.
            continue
        words = wiring.words_of(spot.agent, spot.scope, state_dir, plugin=shipped.plugin)
        told = wiring.is_wired(spot, words)
        if spot.scope != "user" and told is not None:
            needed = True
        if told is False:
            yield Finding(
                check="agent",
                subject=str(spot.path),
                message=f"{wiring.TITLES[spot.agent]} is told in {spot.path} to run what is not there, or is older",
                advice=f"'git ai-session init --agent {spot.agent}' puts it right, and so does --fix",
                mend=_rewiring(spot, words),
            )
    for fault in wiring.script_faults(state_dir, shipped.agent, told=needed):
        yield Finding(
            check="agent",
            subject=state_dir,
            message=fault,
            advice="'git ai-session init --agent NAME' puts it right, and so does --fix",
            mend=lambda: wiring.install_script(state_dir, shipped.agent, shipped.program),
        )


def _rewiring(spot: wiring.Spot, words: str) -> Callable[[], object]:
    return lambda: wiring.wire(spot, words)


def _permissions(workspace: Workspace) -> Iterator[Finding]:
    """What is kept private must be: the spool may hold what is not redacted yet."""
    shared = workspace.config.get("core.sharedrepository", ["umask"])[-1].lower()
    if shared not in ("umask", "false", "0"):
        return
    folders = [workspace.repository.state_dir]
    if workspace.worktree is not None and workspace.worktree.folder not in folders:
        folders.append(workspace.worktree.folder)
    for folder in folders:
        for path in _below(folder):
            found = os.lstat(path)
            mode = stat.S_IMODE(found.st_mode)
            if not stat.S_ISLNK(found.st_mode) and mode & 0o077:
                yield Finding(
                    check="permissions",
                    subject=path,
                    message=f"others may reach {path}",
                    advice=f"'chmod go= {path}', which --fix does",
                    mend=_closing(path, mode),
                )


def _closing(path: str, mode: int) -> Callable[[], object]:
    return lambda: os.chmod(path, mode & 0o700)


def _below(folder: str) -> Iterator[str]:
    if not os.path.isdir(folder):
        return
    yield folder
    for top, folders, files in os.walk(folder):
        yield from (os.path.join(top, name) for name in sorted([*folders, *files]))
