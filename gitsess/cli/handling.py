"""Calling a verb: the world is read here, once, and handed down."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from gitsess.cli.verbs import Verb
from gitsess.workspace import Surroundings, Workspace

_opened: list[Workspace] = []
"""What the verb at work has opened, to be finished when it ends, however it ends."""


def surroundings() -> Surroundings:
    """What this process knows of the world."""
    home = os.environ.get("HOME") or os.environ.get("USERPROFILE")
    return Surroundings(
        environment=dict(os.environ),
        now=lambda: datetime.now(UTC),
        home=home or None,
        user=_user(),
        host=os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "localhost"),
    )


def _user() -> str:
    for variable in ("LOGNAME", "USER", "USERNAME"):
        if os.environ.get(variable):
            return os.environ[variable]
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        return "unknown"


def call(verb: Verb, values: Mapping[str, Any]) -> int:
    """Runs the verb's handler; its exit code."""
    module, _, name = verb.handler.partition(":")
    handler = getattr(import_module(f"gitsess.cli.{module}"), name)
    try:
        code: int = handler(surroundings(), dict(values))
    finally:
        while _opened:
            _opened.pop().finish()
    return code


def opened(around: Surroundings, *, drains: bool = True) -> Workspace:
    """The repository here, with what waited in its spool appended; says what still waits."""
    workspace = Workspace.open(around)
    _opened.append(workspace)
    if drains and workspace.spool.waiting():
        report_drain(workspace.drain())
    return workspace


def report_drain(done: Any) -> None:
    """A line for turns appended late, for those that still wait, and for every one that was set aside."""
    from gitsess.text import plural

    if done.appended:
        note(f"{plural(done.appended, 'turn')} from the spool appended")
    nouns = {".json": "turn", ".event": "event", ".commit": "commit"}
    for suffix, kind in nouns.items():
        found = [(path, why) for path, why in done.waiting if path.suffix == suffix]
        if found:
            path, why = found[0]
            warn(f"{plural(len(found), kind)} still in the spool {path.parent}: {why}")
    for path, why in done.failed:
        warn(f"a spooled {nouns.get(path.suffix, 'turn')} cannot be appended and was set aside as {path}: {why}")
    for problem in done.problems:
        warn(problem)


def settle(workspace: Workspace) -> None:
    """Writes the notes of the commits that the turns just recorded name; what fails is said and fails nothing."""
    from gitsess.errors import StoreError

    try:
        workspace.settle()
    except StoreError as error:
        warn(f"the notes on their commits were not written: {error}")


def warn(text: str) -> None:
    from gitsess.text import one_line

    print(f"warning: {one_line(text)}", file=sys.stderr)


def note(text: str) -> None:
    print(text, file=sys.stderr)
