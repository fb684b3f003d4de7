"""``init`` and ``use``: a repository made ready, and the session that is worked on."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gitsess import setup
from gitsess.capture import wiring
from gitsess.capture.place import Places
from gitsess.cli.handling import note, opened, warn
from gitsess.cli.output import print_json, print_lines
from gitsess.cli.shipped import shipped
from gitsess.errors import StoreError, UsageError
from gitsess.model import SessionName
from gitsess.names import is_valid, join, session_name
from gitsess.text import one_line
from gitsess.workspace import Surroundings, Workspace

_NOTHING_IN_USE = (
    "no session is in use here; 'git ai-session use COMMAND FEATURE' chooses the one\n"
    "  that captured turns go to ('run' and 'record' name theirs)"
)


def init(around: Surroundings, values: dict[str, Any]) -> int:
    if sum((values["shared"], values["user"])) > 1:
        raise UsageError("give either --shared or --user")
    if values["undo"] and values["agent"]:
        raise UsageError("--undo takes back all that init did here: leave --agent out")
    workspace = opened(around)
    ours = shipped()
    found = setup.place(workspace)
    change: setup.Change | None = None
    agents: list[wiring.Change] = []
    if found is None and not values["undo"] and (values["agent"] or values["shared"] or values["user"]):
        raise UsageError("a bare repository has no agents at work in it: run this in one of its worktrees")
    captured = wiring.has_script(workspace.repository.state_dir)
    if values["undo"]:
        found = found or setup.own_place(workspace)
        change = setup.remove(found.folder, ours.hook)
        agents = _unwired(workspace, values)
    elif found is not None:
        if found.shared and not values["yes"]:
            _ask(found, values)
        # Whatever refuses does so before anything is changed.
        chosen = _chosen(workspace, ours, values)
        for spot, text in chosen:
            wiring.look(spot, text)
        change = setup.install(found.folder, ours.hook, ours.program)
        agents = _wired(workspace, ours, chosen)
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
    print_lines(_agents_said(agents))
    if values["undo"]:
        print_lines(_left_said(workspace, values, captured=captured))
    if not values["undo"] and found is not None:
        named = around.environment.get("AI_SESSION", "")
        if not workspace.settings.enabled:
            print("USE_SESSIONS is false here: nothing is captured until it is not")
        elif agents and is_valid(named):
            print(f"captured turns go to {named}, which AI_SESSION names here")
        elif in_use is not None:
            print(f"captured turns go to {in_use.session} {_on(in_use.branch)}")
        elif agents:
            print_lines(_next(workspace, agents))
        else:
            print(_NOTHING_IN_USE)
    for line in warnings:
        warn(line)
    return 0


def _around(workspace: Workspace) -> wiring.Around:
    """What says where the settings of agents are."""
    around = workspace.around
    if around.home is None:
        raise StoreError("there is no home folder: set HOME")
    return wiring.Around(
        state_dir=workspace.repository.state_dir,
        state_home=around.state_home,
        top=None if workspace.repository.worktree is None else setup.top(workspace),
        home=Path(around.home),
        environment=around.environment,
    )


def _chosen(workspace: Workspace, ours: setup.Shipped, values: dict[str, Any]) -> list[tuple[wiring.Spot, str]]:
    """The settings of the agents that are asked for, or that a person agrees to, each with what it is to be told;
    those that are told already are among them, to be brought up to date."""
    state_dir, around = workspace.repository.state_dir, _around(workspace)
    standing = {name: scope for name in wiring.AGENTS if (scope := _standing(name, around, ours)) is not None}
    # Hooks that came with the repository, or are a person's for all of them, do nothing without it.
    told = [name for name in standing if wiring.has_script(state_dir)]
    installed = [name for name in wiring.AGENTS if shutil.which(name) and name not in told]
    chosen = list(
        dict.fromkeys(values["agent"] or [*told, *(installed if values["yes"] else filter(_agreed, installed))])
    )
    wanted = "user" if values["user"] else "shared" if values["shared"] else None
    scopes = {}
    for name in chosen:
        try:
            scopes[name] = wiring.scope_of(name, wanted or standing.get(name, "local"))
        except UsageError:
            # With --yes it is one of all that are installed, which nobody named.
            if name in values["agent"]:
                raise
    return [
        (wiring.spot_of(name, scope, around), wiring.words_of(name, scope, state_dir, plugin=ours.plugin))
        for name, scope in scopes.items()
    ]


def _wired(workspace: Workspace, ours: setup.Shipped, chosen: Sequence[tuple[wiring.Spot, str]]) -> list[wiring.Change]:
    """Puts hooks into settings, and the script that they call in its place."""
    if chosen:
        # First: whoever is stopped in between, or whose disk is full, leaves none without something to run.
        wiring.install_script(workspace.repository.state_dir, ours.agent, ours.program)
    changes = []
    for spot, words in chosen:
        change = wiring.wire(spot, words)
        # What came with the repository is its own to commit.
        if spot.scope == "local" and (change.action == "wired" or spot.recorded):
            change = change.replace(ignored=wiring.exclude(spot, workspace.git))
        changes.append(change)
    return changes


def _standing(name: str, around: wiring.Around, ours: setup.Shipped) -> str | None:
    """Where something of ours is in an agent's settings already: a second one would tell of each turn twice."""
    for scope in wiring.SCOPES[name]:
        words = wiring.words_of(name, scope, around.state_dir, plugin=ours.plugin)
        if wiring.is_wired(wiring.spot_of(name, scope, around), words) is not None:
            return scope
    return None


def _agreed(name: str) -> bool:
    title = wiring.TITLES[name]
    if not sys.stdin.isatty():
        note(f"{title} is here: 'git ai-session init --agent {name}' captures its turns")
        return False
    print(f"capture the turns of {title} in this repository? [Y/n] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("", "y", "yes")


def _unwired(workspace: Workspace, values: dict[str, Any]) -> list[wiring.Change]:
    """Takes the hooks out of all settings that they were put into from this repository, also in its other worktrees;
    with --user, out of one's own. What came with the repository stays: without the script it does nothing.

    Raises StoreError where a file refuses, once all others are done.
    """
    changes: list[wiring.Change] = []
    failed: list[StoreError] = []
    for spot in wiring.spots(_around(workspace)):
        if values["user"] if spot.scope == "user" else spot.recorded:
            try:
                changes.append(wiring.unwire(spot))
            except StoreError as error:
                failed.append(error)
    wiring.exclude_nothing(workspace.git)
    wiring.remove_script(workspace.repository.state_dir)
    if failed:
        raise failed[0]
    return [change for change in changes if change.action != "absent"]


def _agents_said(changes: Sequence[wiring.Change]) -> list[str]:
    words = {
        "wired": "tells of its turns, by",
        "unchanged": "tells of its turns already, by",
        "restored": "has its settings back as they were:",
        "taken out": "tells nothing any more; other changes were kept in",
    }
    lines = []
    for change in changes:
        said = words[change.action]
        if change.action == "taken out" and not change.path.exists():
            said = "tells nothing any more; removed"
        by = f"{_BY[change.agent]} " if change.action in ("wired", "unchanged") else ""
        lines.append(f"{wiring.TITLES[change.agent]} {said} {by}{one_line(str(change.path))}")
        if change.action == "wired":
            lines += [f"  {line}" for line in _wired_lines(change)]
    return lines


def _left_said(workspace: Workspace, values: dict[str, Any], *, captured: bool) -> Iterator[str]:
    """What of ours is in settings still, and why it is; ``captured``: turns were, until now."""
    around = _around(workspace)
    for spot in wiring.spots(around):
        if spot.scope == "user" or wiring.is_wired(spot, "") is None:
            continue
        why = "the script that it calls is gone" if spot.scope == "shared" else "init did not put it there"
        yield f"{one_line(str(spot.path))} came with the repository and stays; {why}"
    for name in wiring.own(around) if captured and not values["user"] else ():
        yield (
            f"{wiring.TITLES[name]} tells nothing of this repository any more; 'init --undo --user' has it tell"
            " nothing of others either"
        )


_BY = {"claude": "hooks in", "codex": "the notify of", "gemini": "hooks in", "opencode": "the plugin"}


def _wired_lines(change: wiring.Change) -> Iterator[str]:
    """What is to be known of settings that were just changed."""
    if change.agent == "claude":
        yield "it runs hooks once you trust the folder, which it asks for itself when it starts there"
    elif change.agent == "gemini":
        yield "it runs hooks in folders that you trust, and may ask you about them when it starts there"
    if change.scope == "user":
        yield "it does nothing in repositories where init --agent was not run"
    elif change.scope == "shared":
        yield "who has no gitsess, or did not run init, is not disturbed by them"
        if change.agent in ("claude", "gemini"):
            yield "it reads them where it is started at the top of the repository; with --user, anywhere"
    elif change.ignored:
        yield "git ignores that file here, for it names a path of this machine"
    else:
        yield "do not commit that file: it names a path of this machine"


def _next(workspace: Workspace, changes: Sequence[wiring.Change]) -> list[str]:
    places = Places(workspace.history, workspace.history.tips()[0])
    branch = workspace.branch()
    names = list(dict.fromkeys(change.agent for change in changes))
    where = "'git ai-session use' chooses another session"
    if len(names) == 1:
        return [f"its turns go to {places.session(names[0], branch)} {_on(branch)}; {where}"]
    sessions = ", ".join(places.session(name, branch) for name in names)
    return [f"their turns go to {sessions}", f"  {_on(branch)}; {where}"]


def _ask(found: setup.Place, values: dict[str, Any]) -> None:
    """Lets a person agree to a hook that other repositories meet too; raises UsageError where nobody does."""
    what = f"git looks for hooks in {one_line(str(found.folder))}, outside of this repository"
    if sys.stdin.isatty():
        note(f"{what}; in every other one that uses it the hook does nothing until turns are recorded there")
        print("put it there? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return
    # What was typed, and no more: alone, --yes would capture every agent that is installed.
    typed = [f" --agent {name}" for name in values["agent"]]
    typed += [f" --{name}" for name in ("shared", "user", "json") if values[name]]
    command = f"git ai-session init{''.join(typed)} --yes"
    raise UsageError(f"nothing was changed: {what}; '{command}' puts it there all the same")


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
