"""``plan``: from words to a plan that fits, asked again once where it does not; and a person's own changes to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from gitsess import plan
from gitsess.asking import file_text
from gitsess.content import PLAN
from gitsess.errors import FormatError, UsageError
from gitsess.history import Session
from gitsess.locks import write_private
from gitsess.model import SessionName
from gitsess.names import join
from gitsess.plan import Changed, Plan, PlanError, parsing, writing
from gitsess.text import clip, one_line, plural, short_count, well_formed
from gitsess.turns import Turn
from gitsess.values import Value
from gitsess.workflow import features, plans, tasks
from gitsess.workflow.asking import Said
from gitsess.workflow.bench import Bench
from gitsess.workspace import Workspace

CONTEXT_SHARE = 2
"""The part of the context that the repository's files may take, as a divisor."""
_BYTES_A_TOKEN = 4
_NAMED = 5
"""Files left out that are named before the rest is counted."""


class Planned(Value):
    """``plan`` is None where none came that fits; ``problems`` say why then. ``said`` is the last answer."""

    said: Said
    plan: Plan | None
    changed: Changed | None
    problems: tuple[str, ...]


class Files(Value):
    """Files of the repository that go along, as (title, path), and a line on those that do not."""

    chosen: tuple[tuple[str, Path], ...]
    left_out: str


def make(
    bench: Bench,
    feature: str,
    what: str,
    *,
    files: tuple[tuple[str, Path], ...] = (),
    sessions: tuple[SessionName, ...] = (),
) -> Planned:
    """Asks for a plan of ``feature``, and once more with what is wrong with it where it does not fit."""
    workspace = bench.workspace
    found = features.sessions(workspace, feature)
    old = plans.current(workspace, found)
    values = {
        "feature": feature,
        "description": features.description(workspace, found),
        "what": what,
        "plan": "" if old is None else writing.dump(old.plan),
        "statuses": _statuses(old.plan, found) if old is not None else "",
        "branch": workspace.branch() or "",
    }
    said, made, problems = _asked(bench, feature, bench.templates.fill("plan", values), what, files, sessions)
    if made is None and said.failure is None and not said.interrupted:
        bench.asker.voice.note(f"the plan does not fit ({_first(problems)}); it is asked for again")
        errors = "\n".join(f"- {problem}" for problem in problems)
        prompt = bench.templates.fill("plan-again", {**values, "errors": errors})
        said, made, problems = _asked(bench, feature, prompt, what, (), ())
    if made is None:
        return Planned(said=said, plan=None, changed=None, problems=problems)
    changed = _settled(workspace, feature, None if old is None else old.plan, made)
    return Planned(said=said, plan=made, changed=changed, problems=())


def _asked(
    bench: Bench,
    feature: str,
    prompt: str,
    what: str,
    files: tuple[tuple[str, Path], ...],
    sessions: tuple[SessionName, ...],
) -> tuple[Said, Plan | None, tuple[str, ...]]:
    redact = bench.workspace.redactor.text
    found: list[tuple[Plan | None, tuple[str, ...]]] = []

    def shape(turn: Turn) -> Turn:
        found.append(_plan_in(turn.response, feature, redact))
        made = found[-1][0]
        # The prompt is the template's: the person's own words are kept beside it.
        turn = replace(turn, step={"name": "plan", "what": what.strip()})
        return turn if made is None else replace(turn, documents={PLAN: redact(writing.dump(made))})

    question = bench.question(join("plan", feature), prompt, files=files, sessions=sessions, feature=feature)
    said = bench.asker.ask(question, shape)
    # Where nothing is recorded, the answer is all there is.
    made, problems = found[-1] if said.recorded is not None else _plan_in(said.text, feature, redact)
    return said, made, problems


def _plan_in(answer: str, feature: str, redact: Callable[[str], str]) -> tuple[Plan | None, tuple[str, ...]]:
    """The plan in an answer, else what is wrong with it."""
    text = parsing.find_in(redact(well_formed(answer)))
    if text is None:
        return None, ("there is no plan in the answer: one fenced yaml block with 'phases'",)
    try:
        return parsing.parse(text, feature=feature), ()
    except PlanError as error:
        return None, tuple(error.problems)


def _settled(workspace: Workspace, feature: str, old: Plan | None, new: Plan) -> Changed:
    if not workspace.settings.enabled:
        return plan.changed(old, new)
    return plans.settle(workspace, feature, old, new)


def _statuses(old: Plan, found: tuple[Session, ...]) -> str:
    known = tasks.statuses(found)
    return "\n".join(f"- {task.id} {task.title}: {known.get(task.id, tasks.PENDING)}" for task in old.tasks)


def take(workspace: Workspace, feature: str, text: str, *, how: str) -> tuple[Plan, Changed] | None:
    """Records a plan that a person wrote; None where it is the one that is there. Raises PlanError."""
    new = parsing.parse(workspace.redactor.text(well_formed(text)), feature=feature)
    old = plans.current(workspace, features.sessions(workspace, feature))
    if old is not None and old.plan == new:
        return None
    plans.put(workspace, feature, new, text=f"{how} the plan of {feature}")
    return new, plans.settle(workspace, feature, None if old is None else old.plan, new)


def keep(workspace: Workspace, feature: str, text: str) -> str:
    """Keeps a plan that a person wrote and that cannot be taken; where it is."""
    path = os.path.join(workspace.repository.state_dir, f"plan-{feature}.yaml.refused")
    write_private(path, text.encode("utf-8", "replace"))
    return path


def editable(workspace: Workspace, feature: str) -> str:
    """The plan as a text to be changed: the one that is there, else an example to begin with."""
    old = plans.current(workspace, features.sessions(workspace, feature))
    return writing.dump(old.plan) if old is not None else _EXAMPLE.format(feature=feature)


_EXAMPLE = """\
feature: {feature}
summary: what it is for
phases:
  - name: Begin
    tasks:
      - id: T1.1
        title: a few words
        description: what to do
        depends_on: []
        files: []
        tests:
          - what a test shows
        acceptance:
          - what holds when it is done
"""


def readable_plan(path: Path) -> str:
    """The text of a plan's file; raises UsageError."""
    return file_text(str(path), path)


def whole_repository(workspace: Workspace, top: Path, *, limit_tokens: int | None = None) -> Files:
    """The files that git tracks, as many as fit, the small ones first: what explains a project is short."""
    limit = limit_tokens or workspace.settings.max_context_tokens // CONTEXT_SHARE
    out = workspace.git.in_worktree(
        str(top), "ls-files", "-z", "--cached", "--deduplicate", limit_bytes=32 << 20, timeout_s=60
    )
    sized: list[tuple[int, str, Path]] = []
    skipped: list[str] = []
    for raw in out.result.out.split(b"\0"):
        name = raw.decode("utf-8", "replace")
        path = top / name
        if not raw or "\ufffd" in name or path.is_symlink() or not path.is_file():
            continue
        try:
            text = file_text(one_line(name), path)
        except UsageError:
            skipped.append(name)
            continue
        sized.append((len(text.encode()) // _BYTES_A_TOKEN + 1, name, path))
    chosen: list[tuple[str, Path]] = []
    left: list[tuple[int, str]] = []
    used = 0
    for tokens, name, path in sorted(sized, key=_importance):
        if used + tokens <= limit:
            used += tokens
            chosen.append((one_line(name), path))
        else:
            left.append((tokens, name))
    line = f"{plural(len(chosen), 'file')} of the repository, about {short_count(used)} tokens"
    if left:
        names = ", ".join(one_line(name) for _, name in sorted(left, key=lambda item: item[1])[:_NAMED])
        more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
        line += f"; left out, past {short_count(limit)} tokens: {names}{more} ({short_count(sum(t for t, _ in left))})"
    if skipped:
        line += f"; {plural(len(skipped), 'file')} without text"
    return Files(chosen=tuple(sorted(chosen)), left_out=line)


def _importance(item: tuple[int, str, Path]) -> tuple[bool, int, str]:
    tokens, name, _ = item
    return not name.lower().startswith("readme"), tokens, name


def _first(problems: tuple[str, ...]) -> str:
    more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
    return clip(one_line(problems[0]), 120) + more if problems else "no plan"


def refusal(feature: str, planned: Planned) -> FormatError:
    """The error of a plan that did not come."""
    return FormatError(
        f"the model gave no plan that fits: {_first(planned.problems)}; its answers are in plan-{feature}, and nothing"
        f" was planned: ask again, or 'git ai-session plan {feature} --import FILE'"
    )


def shown(found: Plan, statuses: Mapping[str, str]) -> str:
    """The plan with how far each task is."""
    return writing.dump(found, statuses={task.id: statuses.get(task.id, tasks.PENDING) for task in found.tasks})
