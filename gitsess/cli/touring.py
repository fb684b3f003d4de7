"""``demo``: the tour, through the same command line that a person types."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

from gitsess import tour
from gitsess.cli.handling import surroundings
from gitsess.cli.output import Style, style
from gitsess.workspace import Surroundings, Workspace

_OWN = ("ANTHROPIC_AUTH_TOKEN", "AI_MODEL", "AI_SESSION", "USE_SESSIONS", "GIT_DIR", "GIT_WORK_TREE")


def demo(around: Surroundings, values: dict[str, Any]) -> int:
    from gitsess.cli.entry import main

    look = style(around.environment)
    given = values["into"]
    folder = Path(given).resolve() if given else Path(tempfile.mkdtemp(prefix="gitsess-demo-"))
    tour.make_project(folder, around.environment)
    print(look.dim("A tour of git ai-session. The answers come from a stand-in on this machine, not from a model:"))
    print(look.dim("no key is used, nothing is sent anywhere, and the dollars are what a model's list price would be."))
    with tour.stand_in() as url:
        _point_at(url, folder)
        for step in tour.STEPS:
            _say(step.why, step.words, look)
            code = main(step.words)
            if code:
                return code
    _git_log(look)
    _farewell(folder, look)
    return 0


def _point_at(url: str, folder: Path) -> None:
    """This process from here on: in the tour's repository, with the stand-in as the service."""
    for name in _OWN:
        os.environ.pop(name, None)
    os.environ.update(ANTHROPIC_BASE_URL=url, ANTHROPIC_API_KEY="none-is-needed-for-the-tour", NO_PROXY="127.0.0.1")
    os.chdir(folder)


def _say(why: str, words: tuple[str, ...], look: Style, *, program: str = "git ai-session") -> None:
    # The verbs speak on both streams; what came before must be out before what comes next.
    print(f"\n{look.dim('# ' + why)}\n{look.bold(f'$ {program} {shlex.join(words)}')}")
    sys.stdout.flush()


def _git_log(look: Style) -> None:
    ref = f"refs/ai-sessions/implement-{tour.FEATURE}"
    words = ("log", "-1", ref)
    _say("And to git, a turn is a commit like any other.", words, look, program="git")
    os.environ["GIT_PAGER"] = "cat"
    workspace = Workspace.open(surroundings())
    workspace.git.handover(*words)


def _farewell(folder: Path, look: Style) -> None:
    print(f"\n{look.dim('# The repository stays. Three commands to try in it:')}")
    print(look.bold(f"$ cd {shlex.quote(str(folder))}"))
    print(look.bold(f"$ git ai-session show implement-{tour.FEATURE} --last 1"))
    print(look.bold("$ git ai-session stats --savings"))
    print(look.bold("$ git shortlog -sn --glob='refs/ai-sessions/*'"))
