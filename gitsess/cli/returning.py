"""``resume``: a conversation back to its agent, or what was said to another one."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gitsess import handoff, setup
from gitsess.capture import returning
from gitsess.capture.place import Places
from gitsess.capture.returning import Chosen
from gitsess.cli.handling import note, opened
from gitsess.cli.output import print_json
from gitsess.errors import NotFound, StoreError, UsageError
from gitsess.handoff import Handoff
from gitsess.model import SessionName
from gitsess.names import session_name
from gitsess.text import one_line, plural, printable, short_count
from gitsess.workspace import Surroundings, Workspace

_GIVEN = {
    "claude": ("claude",),
    "codex": ("codex",),
    "gemini": ("gemini", "--prompt-interactive"),
    "opencode": ("opencode", "--prompt"),
}
"""The words before a prompt with which an agent begins."""


def resume(around: Surroundings, values: dict[str, Any]) -> int:
    if values["as_prompt"] and values["exec"] and values["for"] is None:
        raise UsageError("--as-prompt prints what was said: say with --for which agent is to be started")
    if values["json"] and values["exec"]:
        raise UsageError("--exec starts the agent instead of printing how: leave --json out")
    limit = values["max_tokens"] or handoff.TOKENS
    if limit < handoff.SMALLEST:
        raise UsageError(f"--max-tokens: at least {handoff.SMALLEST}")
    workspace = opened(around)
    session = session_name(values["session"])
    chosen: Chosen | None = None
    if not values["as_prompt"]:
        try:
            chosen = returning.choose(workspace, session, values["conversation"])
        except NotFound:
            # Another agent needs none.
            if values["for"] is None:
                raise
    if chosen is None or values["for"] not in (None, chosen.command):
        return _hand_on(workspace, session, values, limit)
    return _give_back(workspace, session, chosen, values)


def _give_back(workspace: Workspace, session: SessionName, chosen: Chosen, values: dict[str, Any]) -> int:
    done = returning.give_back(workspace, chosen)
    named = _named(workspace, session, chosen.command)
    turns = chosen.conversation.sums.turns
    if values["json"]:
        print_json(
            {
                "session": session,
                "agent": chosen.command,
                "conversation": chosen.conversation.id,
                "action": done.action,
                "path": str(done.path),
                "turns": turns,
                "later_turns": chosen.later,
                "commands": [list(words) for words in done.commands],
                "folder": str(done.folder),
                "environment": {"AI_SESSION": session} if named else {},
                "prompt": None,
                "tokens": None,
                "turns_left_out": 0,
            }
        )
    else:
        what = {"restored": "restored", "replaced": "restored, over an older state,", "present": "there already:"}
        note(f"{what[done.action]} {one_line(str(done.path))} ({plural(turns, 'turn')})")
        if chosen.later:
            are = "is" if chosen.later == 1 else "are"
            note(f"{plural(chosen.later, 'turn')} of {session} after it {are} not of this conversation")
    if values["exec"]:
        return _start(workspace, done.commands, {"AI_SESSION": session} if named else {})
    if not values["json"]:
        print(_line(done.commands, done.folder, session if named else None, workspace.around.cwd))
    return 0


def _hand_on(workspace: Workspace, session: SessionName, values: dict[str, Any], limit: int) -> int:
    agent = values["for"]
    made = _handoff(workspace, session, values["conversation"], limit)
    words = (*_GIVEN[agent], made.text) if agent is not None else ()
    if values["json"]:
        print_json(
            {
                "session": session,
                "agent": agent,
                "conversation": None,
                "action": "handoff",
                "path": None,
                "turns": made.turns,
                "later_turns": 0,
                "commands": [list(words)] if words else [],
                "folder": _folder(workspace),
                "environment": {},
                "prompt": made.text,
                "tokens": made.tokens,
                "turns_left_out": made.left_out,
            }
        )
    elif not values["exec"]:
        sys.stdout.write(printable(made.text))
        left = f", {plural(made.left_out, 'turn')} left out" if made.left_out else ""
        note(f"{plural(made.turns, 'turn')}, about {short_count(made.tokens)} tokens{left}")
        if agent is not None:
            own = shlex.join(["git", "ai-session", "resume", session, "--as-prompt"])
            note(f'{shlex.join(_GIVEN[agent])} "$({own})" begins with it; --exec does so')
    return _start(workspace, [words], {"AI_SESSION": session}) if values["exec"] else 0


def _handoff(workspace: Workspace, session: SessionName, conversation: str | None, limit: int) -> Handoff:
    if conversation is not None:
        found = returning.choose(workspace, session, conversation).conversation
        title = f"the conversation {found.id} of {found.agent}"
        return handoff.hand_off(workspace.history, found.items, title=title, limit=limit)
    whole = workspace.history.one(session)
    items = [(whole, item) for item in whole.counted()]
    return handoff.hand_off(workspace.history, items, title=f"the session {session}", limit=limit)


def _folder(workspace: Workspace) -> str | None:
    """Where an agent would begin; None where there is no working tree."""
    try:
        return str(setup.top(workspace))
    except StoreError:
        return None


def _named(workspace: Workspace, session: SessionName, command: str) -> bool:
    """Whether the agent has to be told which session its turns go to: they would go elsewhere by themselves."""
    in_use = workspace.in_use()
    if in_use is not None and in_use.branch == workspace.branch():
        return in_use.session != session
    history = workspace.history
    return Places(history, history.tips()[0]).session(command, workspace.branch()) != session


def _line(commands: Sequence[Sequence[str]], folder: Path, session: SessionName | None, here: Path | None) -> str:
    """What to type, from here."""
    *before, last = map(shlex.join, commands)
    text = " && ".join([*before, last if session is None else f"AI_SESSION={session} {last}"])
    there = os.path.realpath(here or os.curdir) == os.path.realpath(folder)
    return text if there else f"cd {shlex.quote(str(folder))} && {text}"


def _start(workspace: Workspace, commands: Sequence[Sequence[str]], more: Mapping[str, str]) -> int:
    """Becomes the agent, at the top of the working tree; raises NotFound where it is not installed."""
    *before, words = commands
    program = shutil.which(words[0])
    if program is None:
        raise NotFound(f"{words[0]} is not on PATH: install it, or leave out --exec")
    if before:
        program, words = "/bin/sh", ["sh", "-c", " && ".join([*map(shlex.join, before), f"exec {shlex.join(words)}"])]
    sys.stdout.flush()
    sys.stderr.flush()
    os.chdir(setup.top(workspace))
    os.execve(program, list(words), {**workspace.around.environment, **more})
