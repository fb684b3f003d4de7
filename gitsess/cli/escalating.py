"""``escalate``: the session at hand, handed on to another model or agent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gitsess import via
from gitsess.cli.benching import at_work, said_json, unanswered
from gitsess.cli.output import print_json
from gitsess.content import RESPONSE
from gitsess.errors import NotFound, UsageError
from gitsess.history import Session
from gitsess.names import session_name, shown, split
from gitsess.plan import writing
from gitsess.turns import Turn
from gitsess.workbench.changes import Changes
from gitsess.workflow import features, plans, tasks
from gitsess.workflow.asking import source_of
from gitsess.workflow.bench import Bench
from gitsess.workspace import Surroundings


def escalate(around: Surroundings, values: dict[str, Any]) -> int:
    to = source_of(values["to"])
    if to.agent is None:
        for option in ("model", "agent_args"):
            if values[option] is not None:
                raise UsageError(
                    f"--{option.replace('_', '-')} is for an agent ({', '.join(via.NAMES)}), and"
                    f" {shown(values['to'])} is a model: leave it out"
                )
    agent, model = to.agent, to.model or values["model"]
    values = {**values, "via": agent, "model": model}
    if values["session"] is not None:
        values["feature"] = values["feature"] or split(session_name(values["session"]))[1] or None
    with at_work(around, values, streamed=True, agent=agent, model=model) as at:
        found = features.sessions(at.workspace, at.feature)
        session = _session(found, values["session"], at.feature)
        last = [item for item in session.counted() if item.facts.kind == "turn"][-1]
        prompt = at.bench.templates.fill(
            "escalate",
            {
                "feature": at.feature,
                "description": features.description(at.workspace, found),
                "what": values["prompt"] or "",
                "task": last.facts.task or "",
                **_standing(at.bench, at.feature, found, last.facts.task),
            },
        )
        writes = split(session.name)[0] == "implement"

        def shape(turn: Turn, changed: Changes) -> Turn:
            step = {"name": "escalate", "files": list(changed.paths)}
            return replace(turn, task=last.facts.task, step=step)

        question = at.bench.question(
            session.name,
            prompt,
            writes=writes,
            task=last.facts.task,
            tests=at.bench.test_command() if writes else None,
            feature=at.feature,
        )
        said, touched = at.bench.work(question, shape)
        if touched.files:
            at.teller.changed(touched)
        if values["json"]:
            print_json(
                {
                    "session": session.name,
                    "response": said.text,
                    "files": list(touched.paths),
                    **said_json(at, said),
                }
            )
        return unanswered(said) or 0


def _standing(bench: Bench, feature: str, found: tuple[Session, ...], task: str | None) -> dict[str, str]:
    """How far the work is, for who takes it over."""
    current = plans.current(bench.workspace, found)
    command = bench.test_command()
    values = {"command": "" if command is None else command.shown}
    if current is None:
        return values
    known = tasks.statuses(found)
    about = None if task is None else current.plan.task(task)
    lines = [f"- {one.id} {one.title}: {known.get(one.id, tasks.PENDING)}" for one in current.plan.tasks]
    ended = tasks.steps(bench.workspace, features.session_of(found, "implement"), task or "")
    printed = [step.item.oid for step in ended if step.passed is not None and step.item is not None]
    data = next(bench.workspace.history.files(printed[-1:], RESPONSE), None)
    return {
        **values,
        "plan": writing.dump(current.plan),
        "statuses": "\n".join(lines),
        "title": "" if about is None else about.title,
        "output": "" if data is None else data.decode("utf-8", "replace"),
    }


def _session(found: tuple[Session, ...], named: str | None, feature: str) -> Session:
    """The session to hand on: the one that is named, else that of the newest turn."""
    if named is not None:
        chosen = [session for session in found if session.name == named]
    else:
        used = [
            (max(item.committed_at for item in turns), session)
            for session in found
            if split(session.name)[0] in features.COMMANDS
            if (turns := [item for item in session.counted() if item.facts.kind == "turn"])
        ]
        chosen = [max(used, key=lambda one: one[0])[1]] if used else []
    if not chosen or not any(item.facts.kind == "turn" for item in chosen[0].counted()):
        raise NotFound(f"{named or feature} has no turn yet that could be handed on")
    return chosen[0]
