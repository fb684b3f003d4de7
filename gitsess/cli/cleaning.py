"""``clean``: what has not been used for long is named, asked about, removed, and can be brought back."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from gitsess import report, retention
from gitsess.cli.handling import note, opened, warn
from gitsess.cli.looking import cost_text, warn_all
from gitsess.cli.output import Column, Style, print_json, print_lines, style, table
from gitsess.cli.overall import labels
from gitsess.errors import GitsessError, NotFound, UsageError
from gitsess.everywhere import Located
from gitsess.model import JSON
from gitsess.names import ref_of
from gitsess.report import Row
from gitsess.retention import Plan, Removal
from gitsess.text import ago, one_line, plural
from gitsess.workspace import Surroundings, Workspace

FAILED, REFUSED, CONFLICT = 1, 2, 3
MAX_DAYS = 36_500
_DAYS = re.compile(r"([0-9]{1,6})d?", re.ASCII)
_LASTING = "what was in a repository can be brought back until 'git gc' prunes it"


def clean(around: Surroundings, values: dict[str, Any]) -> int:
    days = _days(values["older_than"])
    here = _here(around, everywhere=values["everywhere"])
    plan = retention.plan(
        around,
        None if values["everywhere"] else here,
        values["sessions"],
        before=around.now() - timedelta(days=days),
        keep=values["keep"],
    )
    _warn(plan)
    dry_run, as_json = bool(values["dry_run"]), bool(values["json"])
    if plan.rows and (not as_json or not (dry_run or values["force"])):
        stream = sys.stderr if as_json else sys.stdout
        for line in _plan_lines(plan, around, style(around.environment), everywhere=values["everywhere"]):
            print(line, file=stream)
    if plan.rows and not (dry_run or values["force"]) and not _agreed(len(plan.rows)):
        return FAILED
    removals: list[Removal] = []
    if not dry_run:
        for item in retention.remove(around, plan):
            if isinstance(item, Removal):
                removals.append(item)
            _say(item, here, quiet=as_json)
    removed = [item for item in removals if item.outcome == "removed"]
    if as_json:
        print_json(_json(plan, removals, here, days=days, dry_run=dry_run))
    else:
        if any(item.session.tip and item.session.workspace for item in removed):
            note(_LASTING)
        print(f"Would remove: {len(plan.rows)}" if dry_run else f"Removed: {len(removed)}")
    outcomes = {item.outcome for item in removals}
    return CONFLICT if "changed" in outcomes else FAILED if "failed" in outcomes else 0


def _days(text: str | None) -> int:
    if text is None:
        raise UsageError("say how long a session must not have been used: --older-than DAYS, such as 30")
    found = _DAYS.fullmatch(text)
    if found is None or int(found[1]) > MAX_DAYS:
        raise UsageError(f"--older-than wants a number of days, 0 to {MAX_DAYS}, such as 30")
    return int(found[1])


def _here(around: Surroundings, *, everywhere: bool) -> Workspace | None:
    try:
        return opened(around)
    except NotFound as error:
        if everywhere:
            return None
        what = str(error).partition(":")[0]
        raise NotFound(f"{what}: change to one, or clean all of yours with --everywhere") from None
    except GitsessError:
        if everywhere:
            return None
        raise


def _warn(plan: Plan) -> None:
    lines = [f"{place} cannot be reached ({why}): its sessions are left alone" for place, why in plan.unreached]
    lines += [f"{one_line(session.name)} is kept: {why}" for session, why in plan.kept]
    warn_all([*lines, *plan.warnings])


def _plan_lines(plan: Plan, around: Surroundings, look: Style, *, everywhere: bool) -> Iterator[str]:
    now = around.now()
    columns = [
        Column("SESSION"),
        *([Column("REPOSITORY")] if everywhere else []),
        Column("TURNS", right=True),
        Column("LAST USED"),
        Column("COST", right=True),
    ]
    places = labels(plan.sessions)
    cells = [
        [
            one_line(row.session.name),
            *([one_line(place)] if everywhere else []),
            str(row.sums.turns),
            "" if row.last_used is None else ago(row.last_used, now),
            cost_text(row.sums),
        ]
        for row, place in zip(plan.rows, places, strict=True)
    ]
    total = report.total_of(row.session for row in plan.rows)
    footer = [plural(len(plan.rows), "session"), *([""] if everywhere else []), str(total.turns), "", cost_text(total)]
    yield from table(columns, cells, footer=footer if len(cells) > 1 else [], look=look)
    folders = sum(session.workspace is None for session in plan.sessions)
    if folders:
        which = f"{folders} of them" if len(cells) > 1 else "it"
        what = "is a folder" if folders == 1 else "are folders"
        yield f"  {which} {what} that no repository backs, and cannot be brought back"


def _agreed(count: int) -> bool:
    """Whether a person says yes; raises UsageError where there is none to ask."""
    if not sys.stdin.isatty():
        raise UsageError("nothing was removed: there is no terminal to ask on; --force removes without asking")
    sys.stdout.flush()
    print(f"Remove {plural(count, 'session')}? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    note("nothing was removed")
    return False


def _say(item: Removal | str, here: Workspace | None, *, quiet: bool) -> None:
    if isinstance(item, str):
        warn(item)
    elif item.outcome == "changed":
        warn(f"{one_line(item.session.name)} is left alone: {item.reason}")
    elif item.outcome == "failed":
        warn(f"{one_line(item.session.name)} cannot be removed: {item.reason}")
    elif not quiet:
        print_lines(_removed_lines(item.session, here))
        # What can be brought back is told before the next repository is touched.
        sys.stdout.flush()


def _removed_lines(session: Located, here: Workspace | None) -> Sequence[str]:
    name = one_line(session.name)
    command = restoring(session, here)
    if command is None or session.tip is None:
        return [f"removed the folder {one_line(session.folder or name)}"]
    return [f"removed {name}, which was at {session.tip[:12]}; to bring it back:", f"  {command}"]


def restoring(session: Located, here: Workspace | None) -> str | None:
    """The command that makes a removed session's ref again, unless one of its name has been begun; None for what was
    a folder alone."""
    if session.workspace is None or session.tip is None:
        return None
    words = ["update-ref", ref_of(session.name), session.tip, ""]
    place = session.workspace.repository.common_dir
    if here is not None and place == here.repository.common_dir:
        return shlex.join(["git", *words])
    above, name = os.path.split(place)
    folder = above if name == ".git" else place
    if one_line(folder) != folder:
        # What is no plain text is not to be copied from a terminal.
        return f"{shlex.join(['git', *words])}  # in the repository {one_line(folder)}"
    return shlex.join(["git", "-C", folder, *words])


def _json(
    plan: Plan, removals: Sequence[Removal], here: Workspace | None, *, days: int, dry_run: bool
) -> dict[str, JSON]:
    became = {item.session.key: item for item in removals}

    def entry(row: Row) -> dict[str, JSON]:
        session = row.session
        assert isinstance(session, Located)
        item = became.get(session.key)
        outcome = "planned" if item is None else item.outcome
        return {
            **row.json(),
            "repository": session.repository,
            "folder": session.folder,
            "outcome": outcome,
            "reason": item.reason if item is not None and item.reason else None,
            "restore": restoring(session, here) if outcome == "removed" else None,
        }

    return {
        "older_than_days": days,
        "dry_run": dry_run,
        "removed": sum(item.outcome == "removed" for item in removals),
        "sessions": [entry(row) for row in plan.rows],
        "kept": [
            {"session": session.name, "repository": session.repository, "reason": why} for session, why in plan.kept
        ],
        "unreached": [{"repository": place, "reason": why} for place, why in plan.unreached],
    }
