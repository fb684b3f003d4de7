"""``doctor``: a repository looked over, and mended on request."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from gitsess import doctor, setup
from gitsess.cli.handling import note, opened
from gitsess.cli.output import print_json, print_lines, terminal_width
from gitsess.cli.shipped import hooks_dir
from gitsess.doctor import Examined, Finding
from gitsess.text import one_line, plural
from gitsess.workspace import Surroundings


def examine(around: Surroundings, values: dict[str, Any]) -> int:
    workspace = opened(around, drains=False)
    hook = (hooks_dir() / setup.NAME).read_text(encoding="utf-8")
    with_progress, clear = _progress()
    try:
        found = doctor.examine(workspace, hook, fix=bool(values["fix"]), progress=with_progress)
    finally:
        clear()
    left = [finding for finding in found.findings if not finding.fixed]
    if values["json"]:
        findings = [finding.json() for finding in found.findings]
        print_json({"sessions": found.sessions, "turns": found.turns, "findings": findings})
    else:
        print_lines(_line(finding) for finding in found.findings)
        _sum_up(found, left)
    return 1 if left else 0


def _line(finding: Finding) -> str:
    subject = f"{finding.subject}: " if finding.subject and finding.subject not in finding.message else ""
    after = "mended" if finding.fixed else finding.advice
    return one_line(f"{finding.check}: {subject}{finding.message}; {after}")


def _sum_up(found: Examined, left: list[Finding]) -> None:
    looked = f"{plural(found.sessions, 'session')} with {plural(found.turns, 'turn')} looked at"
    if not found.findings:
        print(f"{looked}: nothing is wrong")
        return
    mended = len(found.findings) - len(left)
    mendable = sum(finding.mend is not None for finding in left)
    words = [plural(len(found.findings), "finding")]
    if mended:
        words.append(f"{mended} mended")
    elif mendable:
        words.append(f"'git ai-session doctor --fix' mends {'it' if len(found.findings) == 1 else mendable}")
    note(f"{looked}: {', '.join(words)}")


def _progress() -> tuple[Callable[[str], None], Callable[[], None]]:
    """What is being looked at, on one line of a terminal that is wiped at the end."""
    if not sys.stderr.isatty():
        return (lambda what: None), (lambda: None)
    width = (terminal_width() or 80) - 1

    def say(what: str) -> None:
        print(f"\r\x1b[K{one_line(f'looking at {what}')[:width]}", end="", file=sys.stderr, flush=True)

    return say, lambda: print("\r\x1b[K", end="", file=sys.stderr, flush=True)
