"""What the verbs of the workflow work with: the asker, the templates, the tools and the tests of one worktree."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from gitsess.errors import Locked, StoreError
from gitsess.locks import flock
from gitsess.model import SessionName
from gitsess.providers.tools import Tool, ToolResult
from gitsess.setup import top
from gitsess.templating import Templates
from gitsess.text import one_line, well_formed
from gitsess.turns import Turn
from gitsess.workbench import changes, settings, testing
from gitsess.workbench.changes import Changes, Unsaved
from gitsess.workbench.testing import TestCommand, TestRun
from gitsess.workbench.toolbox import Toolbox
from gitsess.workflow.asking import Asker, Question, Said
from gitsess.workspace import Workspace


class Bench:
    """The worktree at hand. ``templates_home`` is where a person's own templates are; ``warn`` is told what a person
    should know however little they want to hear.

    A turn that is asked for through ``work`` has what it changed in ``changed``, and is refused nothing without a word:
    ``refusals`` are the paths that a model asked for and did not get.
    """

    def __init__(
        self, workspace: Workspace, asker: Asker, templates_home: Path | None, warn: Callable[[str], None]
    ) -> None:
        if workspace.repository.worktree is None:
            raise StoreError("a bare repository has no files to work on: do it in a worktree")
        self.workspace, self.asker, self.warn = workspace, asker, warn
        self.top = top(workspace)
        self.templates = Templates(self.top, templates_home)
        self.refusals: list[str] = []

    def tools(self, *, writes: bool, tests: Callable[[], ToolResult] | None = None) -> tuple[Tool, ...]:
        """Tools for one turn, by the API."""
        box = Toolbox(self.top, self.workspace.git, self.workspace.redactor.text, writes=writes, run_tests=tests)
        self.refusals = box.refusals
        return box.tools()

    def question(
        self,
        session: SessionName,
        prompt: str,
        *,
        writes: bool = False,
        fresh: bool = False,
        task: str | None = None,
        tests: TestCommand | None = None,
        files: tuple[tuple[str, Path], ...] = (),
        sessions: tuple[SessionName, ...] = (),
        feature: str = "",
    ) -> Question:
        """A question about this worktree, with tools to look at its files and, with ``writes``, to change them."""
        run = None if tests is None else lambda: self._tested(tests)
        return Question(
            session=session,
            prompt=prompt,
            system=self.templates.fill("system" if writes else "system-answer", {"feature": feature}),
            tools=self.tools(writes=writes, tests=run),
            edits=writes,
            fresh=fresh,
            task=task,
            files=files,
            sessions=sessions,
        )

    def work(self, question: Question, shape: Callable[[Turn, Changes], Turn]) -> tuple[Said, Changes]:
        """Asks, and says what was changed in the worktree meanwhile, by whatever means; ``shape`` is told so too."""
        before = self._settings()
        said, found = self._changed(question, shape)
        for line in self.asker.purse.warnings():
            self.warn(line)
        if touched := settings.changed(before, self._settings(), found.paths):
            self.warn(settings.warning(touched, "during the turn"))
        return said, found

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else works on tasks in this worktree while the block runs; raises Locked where somebody does.

        Two would take the same task, and write the same files.
        """
        path = os.path.join(self.workspace.repository.git_dir, "ai-sessions", "implement.lock")
        with ExitStack() as held:
            try:
                held.enter_context(flock(path, shared=False, wait_s=0))
            except Locked:
                raise Locked(
                    "another 'git ai-session implement' is at work in this worktree: try again when it has ended,"
                    " or work in another worktree ('git worktree add')"
                ) from None
            yield

    def _settings(self) -> Mapping[str, str]:
        home = self.workspace.around.home
        # There it is not only settings that agents keep, and they write at every turn.
        return (
            {} if home is not None and os.path.realpath(home) == os.path.realpath(self.top) else settings.look(self.top)
        )

    def _changed(self, question: Question, shape: Callable[[Turn, Changes], Turn]) -> tuple[Said, Changes]:
        git = self.workspace.git
        found: list[Changes] = []
        with ExitStack() as held:
            before = held.enter_context(changes.snapshot(git, self.top))

            def look() -> Changes:
                with changes.snapshot(git, self.top) as after:
                    found.append(changes.between(git, before, after))
                return found[-1]

            def shaped(turn: Turn) -> Turn:
                changed = look()
                turn = shape(turn, changed)
                if turn.step is None or not changed.unsaved:
                    return turn
                unsaved = {well_formed(path): mark for path, mark in changed.unsaved.items()}
                return replace(turn, step={**turn.step, "unsaved": unsaved})

            said = self.asker.ask(question, shaped)
            # A try that was recorded has looked; nothing is changed after it.
            return said, found[-1] if found and said.recorded is not None else look()

    def unsaved(self) -> Mapping[str, Unsaved]:
        """The files that differ from HEAD as things are."""
        with changes.snapshot(self.workspace.git, self.top) as now:
            return changes.unsaved(self.workspace.git, now)

    def test_command(self) -> TestCommand | None:
        return testing.find(self.top, self.workspace.config, self.workspace.around.environment)

    def integration_command(self) -> TestCommand | None:
        return testing.find_integration(self.top, self.workspace.config, self.workspace.around.environment)

    def test(self, command: TestCommand) -> TestRun:
        """Runs the tests, which a model may have written; raises TestsCannotRun or TestsTimedOut."""
        before = self._settings()
        run = self._run(command)
        if touched := settings.changed(before, self._settings(), ()):
            self.warn(settings.warning(touched, "by the tests"))
        return run

    def _run(self, command: TestCommand) -> TestRun:
        workspace = self.workspace
        return testing.run(
            command,
            self.top,
            workspace.around.environment,
            timeout_s=workspace.settings.test_timeout_s,
            redact=workspace.redactor.text,
        )

    def _tested(self, command: TestCommand) -> ToolResult:
        run = self._run(command)
        ended = "they passed" if run.passed else f"they failed (exit code {run.code})"
        return ToolResult(text=f"{one_line(command.shown)}: {ended}\n\n{run.output}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.asker.close()
