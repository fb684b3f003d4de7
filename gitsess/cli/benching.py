"""What the asking verbs of the workflow have in common: who is asked, with what, and how it ends."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gitsess.asking import warm_up
from gitsess.cli import streams
from gitsess.cli.handling import note, opened, warn
from gitsess.cli.running import kept, purse_of, title_of
from gitsess.cli.templating import templates_home
from gitsess.cli.voice import Teller
from gitsess.errors import UsageError
from gitsess.model import JSON, SessionName
from gitsess.names import session_name
from gitsess.text import one_line
from gitsess.turns import metrics_of
from gitsess.workflow import asking, features
from gitsess.workflow.asking import Asker, Said
from gitsess.workflow.bench import Bench
from gitsess.workspace import Surroundings, Workspace

INTERRUPTED = 130


class At:
    """A verb at work: its repository, feature, bench and teller."""

    def __init__(self, workspace: Workspace, feature: str, bench: Bench, teller: Teller) -> None:
        self.workspace, self.feature, self.bench, self.teller = workspace, feature, bench, teller


@contextmanager
def at_work(
    around: Surroundings,
    values: Mapping[str, Any],
    *,
    begun: bool = True,
    streamed: bool = False,
    agent: str | None = None,
    model: str | None = None,
) -> Iterator[At]:
    """Opens the repository for a verb that asks. ``begun``: the feature must be there already; ``agent`` and ``model``
    instead of those of the options."""
    agent = agent or values["via"]
    model = model or values["model"]
    if agent is None and values["agent_args"] is not None:
        raise UsageError("--agent-args is for an agent: say with --via which one")
    if agent is None:
        warm_up(around.environment)
    workspace = opened(around)
    feature = (features.named if begun else features.chosen)(workspace, values["feature"])
    purse = purse_of(workspace, {**values, "feature": feature})
    teller = Teller(around, quiet=bool(values["quiet"]), streamed=streamed and not values["json"])
    teller.workspace = workspace
    asker = Asker(
        workspace,
        teller,
        purse,
        asking.sources(workspace, agent=agent, model=model),
        max_tokens=values["max_tokens"],
        arguments=tuple(_arguments(values["agent_args"])),
        timeout_s=values["timeout"],
    )
    with Bench(workspace, asker, templates_home(around), warn) as bench:
        try:
            if values["feature"] is None and not values["quiet"]:
                note(f"feature: {feature}")
            yield At(workspace, feature, bench, teller)
        except KeyboardInterrupt:
            teller.end()
            note("interrupted; what was done until then is kept: run again to go on")
            raise
        finally:
            teller.end()


def _arguments(text: str | None) -> list[str]:
    try:
        return shlex.split(text or "")
    except ValueError as error:
        raise UsageError(f"--agent-args cannot be read ({error}): quote it as for a shell") from None


def files_of(values: Mapping[str, Any]) -> tuple[tuple[str, Path], ...]:
    return tuple((title_of(name), Path(os.path.abspath(name))) for name in values["file"])


def sessions_of(values: Mapping[str, Any]) -> tuple[SessionName, ...]:
    return tuple(session_name(name) for name in values["with"])


def unanswered(said: Said) -> int | None:
    """The exit code of a turn that did not come to its end, which is said; None of one that did. Raises
    BrokenPipeError where that is because nobody takes the answer."""
    if said.interrupted:
        told = f"what had arrived is {kept(said.recorded)}: run again to go on"
        if streams.is_gone():
            note(told)
            raise BrokenPipeError
        note(f"interrupted; {told}")
        return INTERRUPTED
    if said.failure is not None:
        print(f"error: {one_line(said.failure)}", file=sys.stderr)
        return 1
    return None


def said_json(at: At, said: Said | None) -> dict[str, JSON]:
    """The last turn that was asked for, in JSON."""
    recorded = None if said is None else said.recorded
    metrics = None if recorded is None else metrics_of(recorded.turn, at.workspace.price)
    return {
        "turn": None if recorded is None else recorded.oid,
        "agent": None if recorded is None else recorded.turn.agent,
        "model": None if metrics is None else metrics.model,
        "cost_usd": at.bench.asker.purse.spent_usd,
        "error": None if said is None else said.failure,
    }
