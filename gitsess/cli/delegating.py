"""``run --via``: an agent's own program asked, and its turn recorded."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gitsess import via
from gitsess.asking import file_text
from gitsess.cli.handling import note, opened
from gitsess.cli.output import Style, print_json, style
from gitsess.cli.running import (
    end_gently,
    kept,
    not_to_be_interrupted,
    printer,
    prompt_of,
    purse_of,
    recorded_json,
    redactions,
    say_recorded,
    system_of,
    title_of,
)
from gitsess.config import usd
from gitsess.errors import UsageError
from gitsess.names import join, session_name
from gitsess.text import one_line, plural, printable
from gitsess.via import Answered, Prepared, Wish
from gitsess.workspace import Surroundings, Workspace

_FOR_THE_API = ("max_tokens", "show_redactions")


def run_via(around: Surroundings, values: dict[str, Any]) -> int:
    """``run`` with ``--via``."""
    for option in _FOR_THE_API:
        if values[option]:
            raise UsageError(f"--{option.replace('_', '-')} is for requests of our own: leave it out with --via")
    session = join(values["command"], values["feature"])
    workspace = opened(around)
    budget = usd(values["budget"], "--budget")
    if not values["dry_run"]:
        purse = purse_of(workspace, values)
        budget = purse.left_usd if via.keeps_budgets(values["via"]) else budget
    wish = Wish(
        agent=values["via"],
        prompt=prompt_of(values["prompt"]),
        model=values["model"],
        system=system_of(values["system"]),
        documents=tuple((title_of(name), file_text(title_of(name), Path(name))) for name in values["file"]),
        sessions=tuple(session_name(name) for name in values["with"]),
        task=values["task"],
        budget_usd=budget,
        arguments=_arguments(values["agent_args"]),
        timeout_s=values["timeout"],
    )
    prepared = via.prepare(workspace, session, wish, dry_run=bool(values["dry_run"]))
    if values["dry_run"]:
        return _dry_run(prepared)
    look = style(around.environment, stderr=True)
    say: Callable[[str], None] = (lambda text: None) if values["quiet"] else note
    for line in _announcement(prepared, workspace, look):
        say(line)
    end_gently()
    on_text = printer(lambda: None, as_json=bool(values["json"]))
    answered = via.ask(workspace, prepared, on_text, not_to_be_interrupted)
    return _finish(workspace, prepared, answered, values, look, say)


def _arguments(given: str | None) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(given or ""))
    except ValueError as error:
        raise UsageError(f"--agent-args: {error}") from None


def _announcement(prepared: Prepared, workspace: Workspace, look: Style) -> Iterator[str]:
    """Agent, what is resumed, what is handed over; then what is worth a line of its own."""
    if not workspace.settings.enabled:
        goes = "USE_SESSIONS is false: fresh, not recorded"
    elif prepared.call.conversation is not None:
        goes = f"goes on with {one_line(prepared.call.conversation)[:8]} ({plural(prepared.turns, 'turn')})"
    else:
        goes = "a new conversation"
    handed = ""
    if prepared.handed:
        left = f", {prepared.left_out} left out" if prepared.left_out else ""
        handed = f"  hands over {plural(prepared.handed, 'turn')}{left}"
    model = "" if prepared.wish.model is None else f"  {one_line(prepared.wish.model)}"
    yield look.dim(f"{prepared.session}  via {prepared.wish.agent}{model}  {goes}{handed}")
    for line in prepared.notes:
        yield look.dim(f"  {one_line(line)}")
    yield from redactions(workspace, look)


def _dry_run(prepared: Prepared) -> int:
    print(f"session: {prepared.session}")
    print(f"command: {printable(shlex.join(prepared.words))}")
    print(f"folder: {printable(str(prepared.folder))}")
    print("-- standard input")
    print(printable(prepared.call.prompt))
    print("--")
    print(f"resumes: {plural(prepared.turns, 'turn')}; hands over: {plural(prepared.handed, 'turn')}")
    for line in prepared.notes:
        print(f"note: {one_line(line)}")
    print("nothing was started")
    return 0


def _finish(
    workspace: Workspace,
    prepared: Prepared,
    answered: Answered,
    values: dict[str, Any],
    look: Style,
    say: Callable[[str], None],
) -> int:
    done = answered.done
    if values["json"]:
        print_json(_json(workspace, prepared, answered))
    elif done.text and not done.text.endswith("\n"):
        print()
    say_recorded(workspace, answered.recorded, look, say)
    if done.interrupted:
        note(look.yellow(f"interrupted; what the agent had written down is {kept(answered.recorded)}"))
        return 130
    if done.failure is not None:
        print(f"error: {one_line(done.failure)}", file=sys.stderr)
        return 1
    return 0


def _json(workspace: Workspace, prepared: Prepared, answered: Answered) -> dict[str, Any]:
    done = answered.done
    return {
        "session": prepared.session,
        "agent": prepared.wish.agent,
        "conversation": done.conversation,
        "response": done.text,
        "error": done.failure,
        **recorded_json(workspace, prepared.session, answered.recorded),
    }
