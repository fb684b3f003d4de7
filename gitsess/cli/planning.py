"""``start``, ``switch`` and ``plan``: a feature begun, put in use, and planned."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gitsess.cli.benching import at_work, files_of, said_json, sessions_of, unanswered
from gitsess.cli.handling import note, opened
from gitsess.cli.output import print_json, print_lines, style
from gitsess.cli.running import prompt_of
from gitsess.errors import FormatError, GitsessError, NotFound, UsageError
from gitsess.names import join
from gitsess.plan import Changed, Plan, PlanError, writing
from gitsess.text import clip, one_line
from gitsess.workflow import features, planning, plans, tasks
from gitsess.workspace import Surroundings, Workspace

_COLUMNS = 80
_MARKS = {"completed": "x", "in_progress": ">", "failed": "!", "blocked": "-"}


def start(around: Surroundings, values: dict[str, Any]) -> int:
    workspace = opened(around)
    session = features.start(workspace, values["feature"], values["description"] or "")
    return _in_use(workspace, values, session, "begun")


def switch(around: Surroundings, values: dict[str, Any]) -> int:
    workspace = opened(around)
    return _in_use(workspace, values, features.switch(workspace, values["feature"]), "in use here")


def _in_use(workspace: Workspace, values: Mapping[str, Any], session: str, what: str) -> int:
    feature = values["feature"]
    branch = workspace.branch()
    if values["json"]:
        print_json({"feature": feature, "session": session, "branch": branch})
        return 0
    print(f"{feature} is {what}")
    if workspace.worktree is not None:
        on = "HEAD is detached" if branch is None else f"{one_line(branch)} is checked out"
        print(f"captured turns go to {session} while {on}")
    if what == "begun":
        print(f"'git ai-session plan {feature}' plans it")
    return 0


def plan_feature(around: Surroundings, values: dict[str, Any]) -> int:
    ways = [way for way in ("show", "edit", "import") if values[way]]
    if len(ways) > 1:
        raise UsageError(f"give one of --{ways[0]} and --{ways[1]}")
    if ways and values["what"] is not None:
        raise UsageError(f"--{ways[0]} asks no model: leave the prompt out")
    if not ways and values["what"] is None and _is_wish(values["feature"]):
        values = {**values, "feature": None, "what": values["feature"]}
    if values["feature"] is not None:
        join("plan", values["feature"])
    if values["show"]:
        return _show(around, values)
    if values["edit"]:
        return _edit(around, values)
    if values["import"]:
        return _import(around, values)
    return _ask(around, values)


def _is_wish(word: str | None) -> bool:
    """Whether the only argument says what is wanted, of the feature in use: what no feature could be called."""
    return word == "-" or (word is not None and len(word.split()) > 1)


def _ask(around: Surroundings, values: dict[str, Any]) -> int:
    with at_work(around, values, begun=False) as at:
        feature = at.feature
        what = _what(at.workspace, feature, values["what"])
        files = files_of(values)
        if values["full_context"]:
            whole = planning.whole_repository(at.workspace, at.bench.top)
            at.teller.note(whole.left_out)
            given = {path for _, path in files}
            files += tuple(item for item in whole.chosen if item[1] not in given)
        planned = planning.make(at.bench, feature, what, files=files, sessions=sessions_of(values))
        if planned.plan is None:
            code = unanswered(planned.said)
            if code is None:
                raise planning.refusal(feature, planned)
            return code
        extra = said_json(at, planned.said)
        _print(at.workspace, feature, planned.plan, planned.changed, extra=extra, as_json=bool(values["json"]))
        return 0


def _what(workspace: Workspace, feature: str, given: str | None) -> str:
    """What the person asks for; a feature that was begun with a description says it itself."""
    if given is not None:
        return prompt_of(given)
    if not sys.stdin.isatty():
        text = prompt_of(None)
        if text.strip():
            return text
    return _described(workspace, feature)


def _described(workspace: Workspace, feature: str) -> str:
    if not features.description(workspace, features.sessions(workspace, feature)):
        raise UsageError(f"say what {feature} is to be: 'git ai-session plan {feature} \"…\"', or '-' to read it")
    return ""


def _show(around: Surroundings, values: dict[str, Any]) -> int:
    workspace = opened(around)
    feature = features.named(workspace, values["feature"])
    found = features.sessions(workspace, feature)
    current = plans.current(workspace, found)
    if current is None:
        raise NotFound(f"{feature} has no plan yet: 'git ai-session plan {feature} \"…\"' makes one")
    statuses = tasks.statuses(found)
    if values["json"]:
        print_json(_json(current.plan, statuses))
    else:
        print(planning.shown(current.plan, statuses), end="")
    return 0


def _edit(around: Surroundings, values: dict[str, Any]) -> int:
    workspace = opened(around)
    feature = features.chosen(workspace, values["feature"])
    text = planning.editable(workspace, feature)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"plan-{feature}.yaml")
        path.write_text(text, encoding="utf-8")
        while True:
            if workspace.git.edit(str(path)):
                raise GitsessError("the editor failed: nothing was changed; GIT_EDITOR or core.editor names another")
            changed = path.read_text(encoding="utf-8", errors="replace")
            if changed == text:
                note("nothing was changed")
                return 0
            try:
                taken = planning.take(workspace, feature, changed, how="Edit")
                break
            except PlanError as error:
                _list(error)
                if not _again():
                    kept = planning.keep(workspace, feature, changed)
                    raise GitsessError(f"{one_line(str(error))}; what you wrote is in {kept}") from None
    return _taken(workspace, feature, taken, as_json=bool(values["json"]))


def _list(error: PlanError) -> None:
    """A line for each fault, as many as it holds: who wrote the plan mends them all at once."""
    for problem in error.problems:
        note(f"  {one_line(problem)}")


def _again() -> bool:
    if not sys.stdin.isatty():
        return False
    print("edit it again? [Y/n] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("", "y", "yes")


def _import(around: Surroundings, values: dict[str, Any]) -> int:
    workspace = opened(around)
    feature = features.chosen(workspace, values["feature"])
    name = values["import"]
    text = prompt_of("-") if name == "-" else planning.readable_plan(Path(name))
    try:
        taken = planning.take(workspace, feature, text, how="Import")
    except PlanError as error:
        if error.count == 1:
            raise
        _list(error)
        raise FormatError(f"the plan does not fit ({error.count} faults): nothing was recorded") from None
    return _taken(workspace, feature, taken, as_json=bool(values["json"]))


def _taken(workspace: Workspace, feature: str, taken: tuple[Plan, Changed] | None, *, as_json: bool) -> int:
    if taken is None:
        note("the plan is the same: nothing was changed")
        return 0
    _print(workspace, feature, *taken, extra={}, as_json=as_json)
    return 0


def _print(
    workspace: Workspace,
    feature: str,
    found: Plan,
    changed: Changed | None,
    *,
    extra: Mapping[str, Any],
    as_json: bool,
) -> None:
    statuses = tasks.statuses(features.sessions(workspace, feature))
    if as_json:
        print_json({**_json(found, statuses), **extra})
        return
    print_lines(_lines(found, statuses))
    if changed is not None:
        look = style(workspace.around.environment)
        print(look.dim(f"{plans.said(changed)}; 'git ai-session implement {found.feature}' does the first"))


def _lines(found: Plan, statuses: Mapping[str, str]) -> Iterator[str]:
    for phase in found.phases:
        yield clip(one_line(phase.name), _COLUMNS)
        for task in phase.tasks:
            mark = _MARKS.get(statuses.get(task.id, ""), " ")
            after = f"  (after {', '.join(task.depends_on)})" if task.depends_on else ""
            title = clip(one_line(task.title), _COLUMNS - 10 - len(task.id) - len(after))
            yield f"  [{mark}] {task.id}  {title}{after}"


def _json(found: Plan, statuses: Mapping[str, str]) -> dict[str, Any]:
    value = writing.to_json(found)
    for phase in value["phases"]:
        for task in phase["tasks"]:
            task["status"] = statuses.get(task["id"], tasks.PENDING)
    return value
