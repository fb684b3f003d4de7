"""``init`` and ``use``: a repository made ready, and the session that is worked on."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from gitsess import setup
from gitsess.cli.handling import note, opened, warn
from gitsess.cli.output import print_json, print_lines
from gitsess.cli.shipped import hooks_dir
from gitsess.errors import StoreError, UsageError
from gitsess.model import SessionName
from gitsess.names import join, session_name
from gitsess.text import one_line
from gitsess.workspace import Surroundings

_NOTHING_IN_USE = (
    "no session is in use here; 'git ai-session use COMMAND FEATURE' chooses the one\n"
    "  that captured turns go to ('run' and 'record' name theirs)"
)


def init(around: Surroundings, values: dict[str, Any]) -> int:
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
    warnings = [] if values["undo"] else setup.carriers(workspace.config)
    in_use = workspace.in_use()
    if values["json"]:
        hook = None
        if change is not None:
            hook = {"path": str(change.path), "action": change.action, "chained": change.chained}
        print_json({"hook": hook, "in_use": None if in_use is None else in_use.session, "warnings": warnings})
        return 0
    if found is None or change is None:
        print("a bare repository: no commits are made here, so there are none to watch")
    else:
        print_lines(_said(change, found))
        if not values["undo"]:
            print("'git log --notes=ai-sessions' shows what led to a commit, and what it cost")
    if not values["undo"] and found is not None:
        print(_NOTHING_IN_USE if in_use is None else f"captured turns go to {in_use.session} {_on(in_use.branch)}")
    for line in warnings:
        warn(line)
    return 0


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
