"""``init`` and ``use``: a repository made ready, and the session that is worked on."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gitsess import setup
from gitsess.capture import wiring
from gitsess.capture.place import Places
from gitsess.cli.handling import note, opened, warn
from gitsess.cli.output import print_json, print_lines
from gitsess.cli.shipped import hooks_dir
from gitsess.errors import StoreError, UsageError
from gitsess.model import SessionName
from gitsess.names import join, session_name
from gitsess.text import one_line
from gitsess.workspace import Surroundings, Workspace

_NOTHING_IN_USE = (
    "no session is in use here; 'git ai-session use COMMAND FEATURE' chooses the one\n"
    "  that captured turns go to ('run' and 'record' name theirs)"
)


def init(around: Surroundings, values: dict[str, Any]) -> int:
    if sum((values["shared"], values["user"])) > 1:
        raise UsageError("give either --shared or --user")
    workspace = opened(around)
    template = (hooks_dir() / setup.NAME).read_text(encoding="utf-8")
    found = setup.place(workspace)
    change: setup.Change | None = None
    if found is not None and values["undo"]:
        change = setup.remove(found.folder, template)
    elif found is not None:
        if found.shared and not values["yes"]:
            _ask(found)
        change = setup.install(found.folder, template, _program())
    agents = [] if found is None else _unwired(workspace, values) if values["undo"] else _wired(workspace, values)
    warnings = [] if values["undo"] else setup.carriers(workspace.config)
    in_use = workspace.in_use()
    if values["json"]:
        hook = None
        if change is not None:
            hook = {"path": str(change.path), "action": change.action, "chained": change.chained}
        listed = [{"agent": item.agent, "path": str(item.path), "action": item.action} for item in agents]
        print_json(
            {"hook": hook, "agents": listed, "in_use": None if in_use is None else in_use.session, "warnings": warnings}
        )
        return 0
    if found is None or change is None:
        print("a bare repository: no commits are made here, so there are none to watch")
    else:
        print_lines(_said(change, found))
        if not values["undo"]:
            print("'git log --notes=ai-sessions' shows what led to a commit, and what it cost")
    print_lines(_agents_said(agents, values))
    if not values["undo"] and found is not None:
        if in_use is not None:
            print(f"captured turns go to {in_use.session} {_on(in_use.branch)}")
        elif agents:
            print_lines(_next(workspace, agents))
        else:
            print(_NOTHING_IN_USE)
    for line in warnings:
        warn(line)
    return 0


def _tops(workspace: Workspace) -> tuple[Path, Path]:
    """(the top of the working tree, the home folder)."""
    if workspace.around.home is None:
        raise StoreError("there is no home folder: set HOME")
    return setup.top(workspace), Path(workspace.around.home)


def _keep(workspace: Workspace, scope: str) -> str:
    """The folder for settings as they were before."""
    state = workspace.around.state_home
    folder = workspace.repository.state_dir if scope != "user" or state is None else os.path.join(state, "gitsess")
    return os.path.join(folder, "agents", "before")


def _wired(workspace: Workspace, values: dict[str, Any]) -> list[wiring.Change]:
    """Puts hooks into the settings of the agents that are asked for, or that a person agrees to."""
    environment = workspace.around.environment
    installed = [name for name in wiring.AGENTS if shutil.which(name)]
    chosen = list(dict.fromkeys(values["agent"] or (installed if values["yes"] else filter(_agreed, installed))))
    if not chosen:
        return []
    scope = "user" if values["user"] else "shared" if values["shared"] else "local"
    top, home = _tops(workspace)
    state_dir = workspace.repository.state_dir
    template = (hooks_dir() / wiring.SCRIPT).read_text(encoding="utf-8")
    changes = []
    for name in chosen:
        path = wiring.settings_path(name, scope, top=top, home=home, environment=environment)
        words = wiring.command(name, scope, state_dir)
        inside = None if scope == "user" else top
        changes.append(wiring.wire(name, path, words, keep=_keep(workspace, scope), inside=inside))
    wiring.install_script(state_dir, template, _program())
    return changes


def _agreed(name: str) -> bool:
    title = wiring.TITLES[name]
    if not sys.stdin.isatty():
        note(f"{title} is here: 'git ai-session init --agent {name}' captures its turns")
        return False
    print(f"capture the turns of {title} in this repository? [Y/n] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("", "y", "yes")


def _unwired(workspace: Workspace, values: dict[str, Any]) -> list[wiring.Change]:
    """Takes the hooks out of all settings of this repository, also of its other worktrees; with --user, one's own."""
    top, home = _tops(workspace)
    environment = workspace.around.environment
    keep = _keep(workspace, "local")
    places = {path: (name, keep, path.parent.parent) for name, path in wiring.wired(keep)}
    for name in wiring.AGENTS:
        for scope in ("local", "shared"):
            path = wiring.settings_path(name, scope, top=top, home=home, environment=environment)
            places.setdefault(path, (name, keep, top))
    changes = [wiring.unwire(name, path, keep=folder, inside=inside) for path, (name, folder, inside) in places.items()]
    if values["user"]:
        for name in wiring.AGENTS:
            path = wiring.settings_path(name, "user", top=top, home=home, environment=environment)
            changes.append(wiring.unwire(name, path, keep=_keep(workspace, "user"), inside=None))
    wiring.remove_script(workspace.repository.state_dir)
    return [change for change in changes if change.action != "absent"]


def _agents_said(changes: Sequence[wiring.Change], values: dict[str, Any]) -> list[str]:
    words = {
        "wired": "tells of its turns, by hooks in",
        "unchanged": "tells of its turns already, by hooks in",
        "restored": "has its settings back as they were:",
        "taken out": "tells nothing any more; other changes were kept in",
    }
    lines = []
    for change in changes:
        lines.append(f"{wiring.TITLES[change.agent]} {words[change.action]} {one_line(str(change.path))}")
        if change.action == "wired":
            lines.append("  it runs hooks once you trust the folder, which it asks for itself when it starts there")
            if not (values["shared"] or values["user"]):
                lines.append("  do not commit that file: it names a path of this machine")
            if values["shared"]:
                lines.append("  who has no gitsess, or did not run init, is not disturbed by them")
            if values["user"]:
                lines.append("  they do nothing in repositories where init --agent was not run")
    return lines


def _next(workspace: Workspace, changes: Sequence[wiring.Change]) -> list[str]:
    places = Places(workspace.history, workspace.history.tips()[0])
    branch = workspace.branch()
    return [
        f"its turns go to {places.session(name, branch)} {_on(branch)}; 'git ai-session use' chooses another session"
        for name in dict.fromkeys(change.agent for change in changes)
    ]


def _program() -> list[str]:
    """What starts this program again from anywhere, with any PATH."""
    path = os.path.abspath(sys.argv[0])
    if os.path.basename(path).startswith("git-ai-session") and os.access(path, os.X_OK):
        return [path]
    return [sys.executable, "-P", "-c", "from gitsess.cli.entry import script; script()"]


def _ask(found: setup.Place) -> None:
    """Lets a person agree to a hook that other repositories meet too; raises UsageError where nobody does."""
    what = f"git looks for hooks in {one_line(str(found.folder))}, outside of this repository"
    if sys.stdin.isatty():
        note(f"{what}; in every other one that uses it the hook does nothing until turns are recorded there")
        print("put it there? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return
    raise UsageError(f"nothing was changed: {what}; 'git ai-session init --yes' puts it there all the same")


def _said(change: setup.Change, found: setup.Place) -> list[str]:
    path = one_line(str(change.path))
    if change.action == "absent":
        return [f"no hook of gitsess is in {one_line(str(found.folder))}: nothing was changed"]
    if change.action == "removed":
        return [f"removed {path}{'; the hook that was there before is back' if change.chained else ''}"]
    words = {"installed": "put in place", "upgraded": "brought up to date", "unchanged": "in place already"}
    lines = [f"{words[change.action]}: {path}"]
    if change.chained:
        lines.append(f"  it first runs the hook that was there, now {setup.CHAINED} beside it")
    if found.shared:
        lines.append("  other repositories may use that folder; it rests until turns are recorded there")
    if found.tracked:
        lines.append("  do not commit it: it is in the working tree, and names a path of this machine")
    return lines


def _on(branch: str | None) -> str:
    return "while HEAD is detached" if branch is None else f"while {one_line(branch)} is checked out"


def use(around: Surroundings, values: dict[str, Any]) -> int:
    words = [word for word in (values["session"], values["feature"]) if word is not None]
    if words and values["none"]:
        raise UsageError("give either a session or --none")
    workspace = opened(around)
    place = workspace.worktree
    if place is None:
        raise StoreError("a bare repository has no worktree in which a session could be in use")
    if words:
        workspace.use(_named(words))
    elif values["none"]:
        workspace.use(None)
    found = place.in_use()
    branch = workspace.branch()
    effective = found is not None and found.branch == branch
    if values["json"]:
        print_json(
            {
                "session": None if found is None else found.session,
                "branch": None if found is None else found.branch,
                "in_use": effective,
                "worktree": workspace.repository.worktree,
            }
        )
    elif found is None:
        print("no session is in use here")
    elif effective:
        begun = found.session in workspace.history.tips()[0]
        print(f"{found.session} is in use here {_on(branch)}{'' if begun else '; it begins with its first turn'}")
    else:
        print(f"no session is in use here: {found.session} is only {_on(found.branch)}")
    return 0


def _named(words: Sequence[str]) -> SessionName:
    return session_name(words[0]) if len(words) == 1 else join(words[0], words[1])
