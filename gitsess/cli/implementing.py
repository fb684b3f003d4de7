"""``implement``: tasks worked on, one or all that are left."""

from __future__ import annotations

from typing import Any

from gitsess.cli.benching import At, at_work, said_json, unanswered
from gitsess.cli.handling import note
from gitsess.cli.output import print_json
from gitsess.errors import GitsessError, UsageError
from gitsess.plan import Plan
from gitsess.text import one_line, plural
from gitsess.workflow import implementing
from gitsess.workflow.implementing import ATTEMPTS, Outcome, Way
from gitsess.workflow.tasks import COMPLETED
from gitsess.workspace import Surroundings


def implement(around: Surroundings, values: dict[str, Any]) -> int:
    if values["task"] is not None and values["all"]:
        raise UsageError("give either --task or --all")
    for option in ("again", "force"):
        if values[option] and values["task"] is None:
            raise UsageError(f"--{option} is for one task: name it with --task")
    if values["tdd"] and values["no_tests"]:
        raise UsageError("--tdd works test-first: leave --no-tests out")
    with at_work(around, values, streamed=True) as at, at.bench.alone():
        found, statuses = implementing.plan_of(at.bench, at.feature)
        way = _way(at, values)
        if values["again"] and found.task(values["task"]) is not None:
            implementing.again(at.bench, at.feature, values["task"])
            statuses.pop(values["task"], None)
        chosen = implementing.chosen(
            found, statuses, values["task"], everything=bool(values["all"]), force=bool(values["force"])
        )
        done = values["task"] is not None and statuses.get(values["task"]) == COMPLETED
        if done or not chosen:
            what = f"{values['task']} is completed already" if done else "every task is completed"
            hint = "; --again takes it up anew" if done else f"; 'git ai-session verify {at.feature}' looks it over"
            if values["json"]:
                print_json(_json(at, found, []))
            note(f"{what}{hint}")
            return 0
        outcomes: list[Outcome] = []
        worker = implementing.Worker(at.bench, at.teller, at.feature, found, way)
        code = 0
        for number, task in enumerate(chosen, 1):
            if len(chosen) > 1:
                at.teller.note(f"[{number}/{len(chosen)}] {task.id} {one_line(task.title)}")
            try:
                outcomes.append(worker.work(task))
            except GitsessError:
                if values["json"] and outcomes:
                    print_json(_json(at, found, outcomes))
                raise
            if outcomes[-1].status != COMPLETED:
                code = 1
                break
            _say_done(at, outcomes[-1])
        last = outcomes[-1]
        if values["json"]:
            print_json(_json(at, found, outcomes))
        if code and last.said is not None and last.status is None:
            return unanswered(last.said) or code
        if code:
            raise implementing.why(last)
        if len(chosen) > 1:
            at.teller.note(f"{plural(len(outcomes), 'task')} done")
        return 0


def _way(at: At, values: dict[str, Any]) -> Way:
    command = at.bench.test_command()
    if command is None and not values["no_tests"]:
        raise GitsessError(
            "there is no test command to be seen: 'git config ai-session.testCommand \"…\"' names it, --no-tests does"
            " without"
        )
    return Way(
        tests_first=not values["no_tests"],
        refactor=bool(values["tdd"]),
        attempts=values["attempts"] or ATTEMPTS,
        commit=bool(values["commit"]),
        command=command,
    )


def _say_done(at: At, outcome: Outcome) -> None:
    made = "" if outcome.commit is None else f", committed as {outcome.commit[:12]}"
    how = "no tests were run"
    if outcome.tested:
        how = "the tests pass" if outcome.run is not None else "the tests passed before"
    at.teller.note(f"{outcome.task.id} is done: {how}{made}")


def _json(at: At, found: Plan, outcomes: list[Outcome]) -> dict[str, Any]:
    return {
        "feature": found.feature,
        "tasks": [
            {
                "task": outcome.task.id,
                "title": outcome.task.title,
                "status": outcome.status or "in_progress",
                "tests_passed": outcome.run.passed if outcome.run is not None else outcome.tested or None,
                "files": [] if outcome.changes is None else list(outcome.changes.paths),
                "commit": outcome.commit,
            }
            for outcome in outcomes
        ],
        **said_json(at, outcomes[-1].said if outcomes else None),
    }
