"""``template``: the prompts of the workflow, listed, shown and checked."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from gitsess import setup, templating
from gitsess.cli.handling import warn
from gitsess.cli.output import Column, print_json, print_lines, style, table
from gitsess.errors import NotFound, UsageError
from gitsess.templating import BUILT_IN, USES, VARIABLES, Standing, Templates
from gitsess.text import one_line, plural, printable
from gitsess.workspace import Surroundings, Workspace


def templates_home(around: Surroundings) -> Path | None:
    """Where a person's own templates are; None where no home is known."""
    given = around.environment.get("XDG_CONFIG_HOME", "")
    # The XDG rule: a relative path is no setting.
    if given.startswith("/"):
        return Path(given, "gitsess/templates")
    return None if around.home is None else Path(around.home, ".config/gitsess/templates")


def template(around: Surroundings, values: dict[str, Any]) -> int:
    action, name = values["action"], values["name"]
    if action != "show" and (name is not None or values["variables"]):
        raise UsageError("NAME and --variables are for show: 'git ai-session template show NAME'")
    templates = Templates(_top(around), templates_home(around))
    if action == "list":
        return _list(around, templates, values)
    if action == "check":
        return _check(templates, values)
    if name is None:
        raise UsageError(f"name the template: {', '.join(VARIABLES)}")
    return _show(around, templates, name, values)


def _top(around: Surroundings) -> Path | None:
    """The worktree's folder; None outside of a repository and in a bare one, where one's own templates are left."""
    try:
        workspace = Workspace.open(around)
    except NotFound:
        return None
    return None if workspace.repository.worktree is None else setup.top(workspace)


def _list(around: Surroundings, templates: Templates, values: dict[str, Any]) -> int:
    found = templates.standings()
    for one in found:
        if one.problem is not None:
            warn(f"{one.name}: {one.problem}")
    if values["json"]:
        print_json(
            [
                {
                    "name": one.name,
                    "source": one.source,
                    "use": USES[one.name],
                    "path": None if one.source == BUILT_IN else str(one.path),
                    "problem": one.problem,
                    "variables": list(VARIABLES[one.name]),
                }
                for one in found
            ]
        )
    else:
        columns = [Column("NAME"), Column("SOURCE"), Column("USED BY, OR PATH")]
        print_lines(table(columns, [_row(around, one) for one in found], look=style(around.environment)))
    return 1 if any(one.problem is not None for one in found) else 0


def _row(around: Surroundings, one: Standing) -> tuple[str, str, str]:
    source = one.source if one.problem is None else "broken"
    return one.name, source, USES[one.name] if one.source == BUILT_IN else _short(around, str(one.path))


def _short(around: Surroundings, path: str) -> str:
    """A path as a person would type it here."""
    folder = os.path.realpath(around.cwd or os.curdir)
    real = os.path.realpath(os.path.dirname(path))
    if real.startswith(os.path.join(folder, "")):
        path = os.path.join(os.path.relpath(real, folder), os.path.basename(path))
    elif around.home is not None and path.startswith(os.path.join(around.home, "")):
        path = f"~{path[len(str(around.home).rstrip(os.sep)) :]}"
    return one_line(path)


def _show(around: Surroundings, templates: Templates, name: str, values: dict[str, Any]) -> int:
    found = templates.find(name)
    variables = VARIABLES[name]
    if values["json"]:
        path = None if found.source == BUILT_IN else str(found.path)
        print_json(
            {
                "name": name,
                "source": found.source,
                "use": USES[name],
                "path": path,
                "variables": dict(variables),
                "text": found.text,
            }
        )
    elif values["variables"]:
        used = set(templating.uses(found.text))
        rows = [(variable, "yes" if variable in used else "", variables[variable]) for variable in variables]
        columns = [Column("VARIABLE"), Column("USED"), Column("STANDS FOR")]
        print_lines(table(columns, rows, look=style(around.environment)))
    else:
        sys.stdout.write(printable(found.text if found.text.endswith("\n") else f"{found.text}\n"))
    return 0


def _check(templates: Templates, values: dict[str, Any]) -> int:
    problems = templates.check()
    faults = sum(not problem.note for problem in problems)
    if values["json"]:
        print_json(
            [
                {"path": str(problem.path), "line": problem.line, "text": problem.text, "note": problem.note}
                for problem in problems
            ]
        )
    else:
        print_lines(map(str, problems))
        if not faults:
            count = templates.overriding()
            checked = f"{plural(count, 'template')} of your own, no fault" if count else "all templates are built in"
            print(checked, file=sys.stderr)
    return 1 if faults else 0
