"""What a person is told while the workflow works: who is asked, what it does, what that took."""

from __future__ import annotations

import signal
import sys
from decimal import Decimal
from typing import Any

from gitsess.cli.handling import note, warn
from gitsess.cli.output import Style, style
from gitsess.cli.running import end_gently, not_to_be_interrupted, summary
from gitsess.model import JSONObject, SessionName
from gitsess.plan import Task
from gitsess.text import clip, one_line, printable, short_duration, short_usd
from gitsess.workbench.changes import Changes
from gitsess.workbench.testing import TestCommand, TestRun
from gitsess.workflow.asking import Said, Source
from gitsess.workspace import Surroundings, Workspace

_TELLING = ("path", "pattern", "command")
_COLUMNS = 78
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_FAILED_LINES = 12
"""Lines of failed tests that are shown; all of them are in the commit."""


class Teller:
    """Says it on standard error; answers go to standard output where they are ``streamed``."""

    def __init__(self, around: Surroundings, *, quiet: bool, streamed: bool) -> None:
        self._look: Style = style(around.environment, stderr=True)
        self._dumb = around.environment.get("TERM") == "dumb"
        self._quiet, self._streamed = quiet, streamed
        self.workspace: Workspace | None = None
        self._midline = False
        self._status: Any = None
        end_gently()
        self._handlers = {name: signal.getsignal(getattr(signal, name)) for name in _SIGNALS if hasattr(signal, name)}

    # --- a turn

    def note(self, text: str) -> None:
        self._pause()
        if not self._quiet:
            note(self._look.dim(printable(text).replace("\n", " ")))

    def asking(self, session: SessionName, source: Source, context: str, expected_usd: Decimal | None) -> None:
        parts = [session, ("via " if source.agent else "") + source.shown, context]
        parts += [] if expected_usd is None else [f"about {short_usd(expected_usd)}"]
        self.note("  ".join(part for part in parts if part))
        self._wait(f"asking {source.shown}")

    def text(self, text: str) -> None:
        self._pause(keep_line=True)
        if self._streamed and text:
            sys.stdout.write(printable(text))
            sys.stdout.flush()
            self._midline = not text.endswith("\n")

    def called(self, name: str, given: JSONObject) -> None:
        told = next((str(given[key]) for key in _TELLING if given.get(key)), "")
        self.note("  " + clip(one_line(f"{name} {told}"), _COLUMNS))

    def keeping(self) -> None:
        self._pause()
        not_to_be_interrupted()

    def kept(self, said: Said) -> None:
        self._pause()
        for name, handler in self._handlers.items():
            signal.signal(getattr(signal, name), handler)
        if self.workspace is None:
            return
        recorded = said.recorded
        if recorded is not None and recorded.spooled is not None:
            warn(f"{recorded.reason}; the turn is kept in {recorded.spooled}, and the next command appends it")
        cost = f"  {short_usd(said.cost_usd)}" if recorded is None and said.cost_usd is not None else ""
        self.note(summary(self.workspace, recorded) + cost)

    # --- a task

    def step(self, task: Task, name: str, attempt: int, attempts: int) -> None:
        again = f", try {attempt} of {attempts}" if attempt > 1 else ""
        self.note(f"{task.id} {name}{again}")

    def changed(self, changes: Changes) -> None:
        self._pause()
        if not self._quiet:
            for line in changes.summary(_COLUMNS):
                note(f"  {line.strip()}" if not changes.files else f" {line}")

    def testing(self, command: TestCommand) -> None:
        self.note(clip(f"  runs {command.shown}", _COLUMNS))
        self._wait("testing")

    def tested(self, name: str, run: TestRun, right: bool) -> None:
        self._pause()
        if self._quiet:
            return
        ended = "they pass" if run.passed else "there are none" if run.no_tests else "they fail"
        colour = self._look.green if right else self._look.red
        note(f"  {colour(ended)} {self._look.dim(f'({short_duration(run.duration_ms)})')}")
        if not right and not run.passed:
            lines = [line for line in run.output.splitlines() if line.strip()]
            for line in lines[-_FAILED_LINES:]:
                note(self._look.dim("    " + clip(printable(line), _COLUMNS)))

    # --- waiting

    def _wait(self, text: str) -> None:
        if self._quiet or not sys.stderr.isatty() or self._dumb:
            return
        from rich.console import Console
        from rich.status import Status

        self._status = Status(text, console=Console(stderr=True))
        self._status.start()

    def _pause(self, *, keep_line: bool = False) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
        if self._midline and not keep_line:
            print(flush=True)
            self._midline = False

    def end(self) -> None:
        """Nothing more is said."""
        self._pause()
