"""``implement``: a task test-first, from where the commits say that it stands.

    red       tests are written that fail          then the project's tests are run, and must fail
    green     code is written that makes them pass then they are run, and must pass; else once more, with what failed
    refactor  the code is tidied up, with --tdd    then they are run, and must still pass

Each step is a turn, and each run of the tests an event: whoever is stopped between the two goes on with the run, and
asks for nothing twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from gitsess import plan
from gitsess.content import RESPONSE
from gitsess.errors import Conflict, GitsessError, NotFound, StoreError, UsageError
from gitsess.model import Oid
from gitsess.names import join, shown
from gitsess.plan import Plan, Task, writing
from gitsess.text import clip, one_line, well_formed
from gitsess.turns import Turn
from gitsess.values import Value
from gitsess.workbench import changes, settings
from gitsess.workbench.changes import Changes
from gitsess.workbench.paths import named
from gitsess.workbench.testing import TestCommand, TestRun
from gitsess.workflow import features, plans, tasks
from gitsess.workflow.asking import Said
from gitsess.workflow.bench import Bench
from gitsess.workflow.tasks import COMPLETED, FAILED, IN_PROGRESS, PENDING, Step

RED, GREEN, REFACTOR = "red", "green", "refactor"
_COLUMNS = 74
ATTEMPTS = 3
"""How often a step is tried where nothing else is said."""
_TEMPLATES = {RED: "implement-tests", GREEN: "implement", REFACTOR: "implement-refactor"}


class Way(Value):
    """How tasks are worked on. ``tests_first``: with a step red; ``refactor``: with one after green."""

    tests_first: bool = True
    refactor: bool = False
    attempts: int = ATTEMPTS
    commit: bool = False
    command: TestCommand | None = None


class Next(Value):
    """What is to be done for a task: ``ask`` for a step, or only ``test`` what was done in it. ``failed`` is how the
    tests ended before, where that is to be mended."""

    name: str
    attempt: int
    ask: bool
    failed: Step | None = None


class Outcome(Value):
    """What became of a task. ``status`` is a task's, or None where it was left in the middle: ``said`` says why.
    ``step`` is the one that it was given up at; ``tested``: the tests passed at last, in this run or an earlier one."""

    task: Task
    status: str | None
    said: Said | None
    run: TestRun | None
    changes: Changes | None
    commit: Oid | None
    step: str | None = None
    tested: bool = False


class Witness(Protocol):
    """What is told while a task is worked on."""

    def step(self, task: Task, name: str, attempt: int, attempts: int) -> None: ...
    def changed(self, changes: Changes) -> None: ...
    def testing(self, command: TestCommand) -> None: ...
    def tested(self, name: str, run: TestRun, right: bool) -> None: ...
    def note(self, text: str) -> None: ...


def next_of(steps: Sequence[Step], way: Way) -> Next | None:
    """Where a task stands: the next thing to be done, or None where its steps are done. Tests that failed once need not
    fail again; that they pass counts as long as nothing later says otherwise."""
    names = [*([RED] if way.tests_first else []), GREEN, *([REFACTOR] if way.refactor else [])]
    for name in names:
        mine = [step for step in steps if step.name == name]
        if any(step.passed is False for step in mine) if name == RED else mine and mine[-1].passed:
            continue
        if not mine:
            return Next(name=name, attempt=1, ask=True)
        last = mine[-1]
        if last.passed is not None:
            return Next(name=name, attempt=last.attempt + 1, ask=True, failed=last)
        before = next((step for step in reversed(mine) if step.passed is not None), None)
        return Next(name=name, attempt=last.attempt, ask=last.status != "ok", failed=before)
    return None


def chosen(found: Plan, statuses: dict[str, str], wanted: str | None, *, everything: bool, force: bool) -> list[Task]:
    """The tasks to work on, in order: the one ``wanted``, all that are left, or the first of these.

    Raises NotFound for a task that is none, UsageError for one that others have to come before.
    """
    done = {task for task, status in statuses.items() if status == COMPLETED}
    left = plan.order(found, done)
    if wanted is None:
        return left if everything else left[:1]
    task = found.task(wanted)
    if task is None:
        ids = [one.id for one in found.tasks]
        listed = ", ".join(ids[:8]) + (", …" if len(ids) > 8 else "")
        raise NotFound(f"the plan of {found.feature} has no task {shown(wanted)}; its tasks are {listed}")
    missing = plan.missing(found, task, done)
    if missing and not force:
        verb = "is" if len(missing) == 1 else "are"
        raise UsageError(
            f"{task.id} depends on {', '.join(missing)}, which {verb} not completed: do {missing[0]} first, or --force"
        )
    return [task]


class Worker:
    """Works on the tasks of one feature."""

    def __init__(self, bench: Bench, witness: Witness, feature: str, found: Plan, way: Way) -> None:
        self._bench, self._witness = bench, witness
        self._feature, self._plan, self._way = feature, found, way
        self._session = join("implement", feature)
        self._recorded = bench.workspace.settings.enabled
        self._unrecorded: dict[str, list[Step]] = {}
        """The steps where nothing is to be recorded: as long as the command runs, and no longer."""
        self._printed = ""
        self._warned: set[str] = set()
        self._branch = bench.workspace.branch()
        self._green = False
        """Whether the tests are known to pass as things are."""

    def work(self, task: Task) -> Outcome:
        """Takes a task to its end, or as far as it gets; what is paid for is recorded at every point."""
        limit = self._way.attempts
        said: Said | None = None
        touched: Changes | None = None
        if self._way.commit:
            self._warn_of_unsaved(task)
        run = self._taken_up(task)
        began: dict[str, int] = {}
        while True:
            self._check_plan(task)
            following = next_of(self._steps(task), self._way)
            if following is None:
                return self._completed(task, said, run, touched)
            first = began.setdefault(following.name, following.attempt)
            if following.attempt - first >= limit:
                return self._failed(task, following, said, run, touched)
            if following.ask:
                self._look(task, following)
                self._witness.step(task, following.name, following.attempt - first + 1, limit)
                said, touched = self._asked(task, following)
                self._witness.changed(touched)
                if said.interrupted or said.failure is not None or (said.recorded is None and self._recorded):
                    return Outcome(task=task, status=None, said=said, run=run, changes=touched, commit=None)
                if said.recorded is None:
                    self._remember(task, following, status="ok", touched=touched)
                elif said.recorded.oid is None:
                    # It waits in the spool: what comes next would not find it.
                    raise StoreError(f"the turn is kept in the spool ({said.recorded.reason}): run again to go on")
                self._check_plan(task)
            if self._way.command is None:
                self._put(task, following, passed=following.name != RED, text="No tests were run", status=IN_PROGRESS)
                continue
            run = self._tested(task, following, self._way.command)

    def _check_plan(self, task: Task) -> None:
        """Raises Conflict where the plan has another task in its place by now, or none."""
        if not self._recorded:
            return
        found = plans.current(self._bench.workspace, features.sessions(self._bench.workspace, self._feature))
        if found is None or found.plan.task(task.id) != task:
            raise Conflict(
                f"the plan was changed while {task.id} was worked on; what was done is kept: run again to go on by the"
                " new one"
            )

    def _taken_up(self, task: Task) -> TestRun | None:
        """Before anything is asked for a task, or it is said to be done: how the tests that came out wrong, or were the
        last, come out now. By hand, or by whoever it was handed on to, they may have been mended, or broken."""
        steps, command = self._steps(task), self._way.command
        following = next_of(steps, self._way)
        if command is None:
            return None
        if following is None:
            attempt = max((step.attempt for step in steps if step.name == GREEN), default=1)
            return self._tested(task, Next(name=GREEN, attempt=attempt, ask=False), command)
        if not following.ask:
            return None
        if following.name == RED:
            known = following.failed
            return (
                None
                if known is None
                else self._tested(task, following.replace(attempt=known.attempt), command, tried=False)
            )
        # Tests that never failed say nothing by passing, and a step after green begins with such.
        if following.failed is None and (following.name != GREEN or all(step.passed is not False for step in steps)):
            return None
        if following.failed is None:
            return self._tested(task, following, command, tried=False)
        return self._tested(task, following.replace(attempt=following.failed.attempt), command)

    def _look(self, task: Task, following: Next) -> None:
        """Before anything is written for a task: whether a test that fails will say anything."""
        command = self._way.command
        begins = following == Next(name=RED, attempt=1, ask=True) and not self._steps(task)
        if command is None or self._green or not begins:
            return
        self._witness.testing(command)
        run = self._bench.test(command)
        if not (run.passed or run.no_tests):
            self._witness.note("the tests fail already, before the task is begun: that new ones fail will not be seen")
            self._witness.note(f"    {_last_line(run)}")

    def _steps(self, task: Task) -> list[Step]:
        if not self._recorded:
            return self._unrecorded.setdefault(task.id, [])
        found = features.session_of(features.sessions(self._bench.workspace, self._feature), "implement")
        return tasks.steps(self._bench.workspace, found, task.id)

    def _asked(self, task: Task, following: Next) -> tuple[Said, Changes]:
        def shape(turn: Turn, changed: Changes) -> Turn:
            step: dict[str, object] = {"name": following.name, "attempt": following.attempt}
            step["files"] = [well_formed(path) for path in changed.paths]
            if self._bench.refusals:
                step["refused"] = list(self._bench.refusals)
            return replace(turn, task=task.id, task_status=IN_PROGRESS, step=step)

        question = self._bench.question(
            self._session,
            self._prompt(task, following),
            writes=True,
            task=task.id,
            tests=self._way.command,
            feature=self._feature,
        )
        return self._bench.work(question, shape)

    def _prompt(self, task: Task, following: Next) -> str:
        name = _TEMPLATES[following.name]
        if following.name == GREEN and not self._way.tests_first:
            name = "implement-alone"
        output = ""
        if following.failed is not None and following.ask:
            # Tests that pass too early are mended otherwise than code that fails them.
            name = "implement-tests-again" if following.name == RED else "implement-again"
            output = self._output_of(following.failed)
        return self._bench.templates.fill(name, self._values(task, following, output))

    def _output_of(self, step: Step) -> str:
        """What the tests printed in a step."""
        if step.item is None:
            return self._printed
        data = next(self._bench.workspace.history.files([step.item.oid], RESPONSE))
        return "" if data is None else data.decode("utf-8", "replace")

    def _values(self, task: Task, following: Next, output: str) -> dict[str, str]:
        command = self._way.command
        found = features.sessions(self._bench.workspace, self._feature)
        known = features.session_of(found, "implement")
        # What was said of the plan in the session is still there.
        told = known is not None and any(item.facts.kind == "turn" for item in known.commits)
        return {
            "feature": self._feature,
            "description": features.description(self._bench.workspace, found),
            "task": task.id,
            "title": task.title,
            "details": task.description,
            "tests": _listed(task.tests),
            "acceptance": _listed(task.acceptance),
            "files": _listed(task.files),
            "plan": "" if told else writing.dump(self._plan),
            "command": "" if command is None else command.shown,
            "output": output,
            "step": following.name,
            "attempt": str(following.attempt),
            "attempts": str(self._way.attempts),
        }

    def _tested(self, task: Task, following: Next, command: TestCommand, *, tried: bool = True) -> TestRun:
        """How the tests end after a step, which is an event; before it was ``tried`` only where they come out right."""
        self._witness.testing(command)
        run = self._bench.test(command)
        # Where there are none yet, none of them fails.
        passed = run.passed or (run.no_tests and following.name == RED)
        right = passed == (following.name != RED)
        self._green = right and following.name != RED
        self._witness.tested(following.name, run, right)
        words = {
            (RED, True): "The tests fail, as they should",
            (RED, False): "The tests pass, though nothing was written yet that makes them",
            (GREEN, True): "The tests pass",
            (GREEN, False): "The tests fail",
            (REFACTOR, True): "The tests still pass",
            (REFACTOR, False): "The tests fail after the code was tidied up",
        }
        text = "No test was found" if run.no_tests and not right else words[following.name, right]
        if tried or right:
            self._put(task, following, passed=passed, text=text, status=IN_PROGRESS, run=run)
        return run

    def _put(
        self, task: Task, following: Next, *, passed: bool, text: str, status: str, run: TestRun | None = None
    ) -> None:
        self._printed = "" if run is None else run.output
        if not self._recorded:
            self._remember(task, following, passed=passed, ran=run is not None)
            return
        step: dict[str, object] = {"name": following.name, "attempt": following.attempt, "passed": passed}
        if run is not None and self._way.command is not None:
            step |= {"command": self._way.command.shown, "code": run.code, "duration_ms": run.duration_ms}
        tasks.put(
            self._bench.workspace,
            self._feature,
            task.id,
            status,
            text=text,
            step=step,
            output=self._printed,
        )

    def _remember(
        self,
        task: Task,
        following: Next,
        *,
        status: str | None = None,
        passed: bool | None = None,
        ran: bool = False,
        touched: Changes | None = None,
    ) -> None:
        """Keeps a step that is not to be recorded."""
        self._steps(task).append(
            Step(
                item=None,
                name=following.name,
                attempt=following.attempt,
                passed=passed,
                ran=ran,
                status=status,
                task_status=None,
                files=() if touched is None else touched.paths,
                unsaved={} if touched is None else touched.unsaved,
            )
        )

    def _say(self, task: Task, status: str, text: str) -> None:
        if self._recorded:
            tasks.put(self._bench.workspace, self._feature, task.id, status, text=text)

    def _completed(self, task: Task, said: Said | None, run: TestRun | None, touched: Changes | None) -> Outcome:
        made = self._committed(task) if self._way.commit else None
        ended = [step for step in self._steps(task) if step.passed is not None]
        tested = bool(ended) and ended[-1].ran
        self._say(task, COMPLETED, "Done, and the tests pass" if tested else "Done; no tests were run")
        return Outcome(task=task, status=COMPLETED, said=said, run=run, changes=touched, commit=made, tested=tested)

    def _failed(
        self, task: Task, following: Next, said: Said | None, run: TestRun | None, touched: Changes | None
    ) -> Outcome:
        tries = following.attempt - 1
        self._say(
            task, FAILED, f"Given up after {tries} {'try' if tries == 1 else 'tries'} at the step {following.name}"
        )
        return Outcome(task=task, status=FAILED, said=said, run=run, changes=touched, commit=None, step=following.name)

    def _warn_of_unsaved(self, task: Task) -> None:
        """Before a task is worked on: that what is in these files already keeps it from being committed."""
        files, _ = tasks.files_of(self._steps(task))
        found = [path for path in self._bench.unsaved() if path not in files and path not in self._warned]
        if found:
            self._warned.update(found)
            self._bench.warn(
                f"not committed before {task.id} is begun: {named(found)}; a task that changes one of them is left"
                " uncommitted"
            )

    def _committed(self, task: Task) -> Oid | None:
        """Commits what differs from HEAD in the files that the task's turns changed.

        Raises StoreError where some of that was there before the task.
        """
        now = self._bench.workspace.branch()
        if now != self._branch:
            was, now = (f"the branch {one_line(name)}" if name else "no branch" for name in (self._branch, now))
            raise StoreError(
                f"{task.id} is not committed: {was} was checked out when the work began, and now it is {now}: go back"
                " and run again, or run again to commit it here"
            )
        files, before = tasks.files_of(self._steps(task))
        left = sorted(path for path in files if settings.is_settings(tuple(path.split("/"))))
        if left:
            self._bench.warn(
                f"not committed with {task.id}: {named(left)}, by which models or agents are told what to do"
            )
        files = {path for path in files if path not in left}
        if not files:
            return None
        unsaved = self._bench.unsaved() if before else {}
        mixed = sorted(path for path, was in before.items() if path in unsaved and unsaved[path].head != was)
        if mixed:
            raise StoreError(
                f"{task.id} is not committed: {named(mixed)} had something uncommitted before it began, which cannot"
                " be told from what the task changed: commit that first and run again, or run without --commit"
            )
        message = f"{one_line(task.title)} ({task.id})\n"
        return changes.commit(self._bench.workspace.git, self._bench.top, sorted(files), message)


def again(bench: Bench, feature: str, task: str) -> None:
    """Has a task begin anew, whatever was done for it."""
    tasks.put(bench.workspace, feature, task, PENDING, text="Taken up again from the start")


def plan_of(bench: Bench, feature: str) -> tuple[Plan, dict[str, str]]:
    """The plan and how far its tasks are."""
    found = features.sessions(bench.workspace, feature)
    return plans.needed(bench.workspace, feature, found), tasks.statuses(found)


def why(outcome: Outcome) -> GitsessError:
    """The error of a task that failed."""
    run = outcome.run
    if outcome.step != RED:
        ended = "the tests fail" + ("" if run is None else f" (exit code {run.code})")
    elif run is not None and run.no_tests:
        ended = "no test was found"
    else:
        ended = "the new tests pass before any code is written"
    there = ", with --no-tests where the code is there already" if outcome.step == RED else ""
    return GitsessError(
        f"{outcome.task.id} is not done: {ended}; what was tried is kept: run again to go on{there}, 'git ai-session"
        " escalate opus' asks a stronger model"
    )


def _last_line(run: TestRun) -> str:
    """What a run of tests printed last, with its exit code."""
    lines = [line for line in run.output.splitlines() if line.strip()]
    return clip(f"exit code {run.code}" + (f": {one_line(lines[-1])}" if lines else ""), _COLUMNS)


def _listed(texts: Sequence[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)
