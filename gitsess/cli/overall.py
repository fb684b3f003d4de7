"""``list`` and ``stats`` over all of a person's repositories."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from gitsess import everywhere, report
from gitsess.cli.looking import chosen_rows, list_lines, nothing, print_stats, warn_all
from gitsess.cli.output import print_json, print_lines, style
from gitsess.everywhere import Located, Repositories
from gitsess.model import JSON
from gitsess.report import Row
from gitsess.workspace import Surroundings


def list_everywhere(around: Surroundings, values: dict[str, Any]) -> int:
    found = everywhere.find(around, values["sessions"])
    now = around.now()
    rows = chosen_rows(found.sessions, values, now)
    if values["json"]:
        print_json([_json(row) for row in rows])
    elif rows:
        places = labels([row.session for row in rows])
        print_lines(line for line, _ in list_lines(rows, now, style(around.environment), places))
    else:
        print(nothing(bool(found.sessions)), file=sys.stderr)
    return warned(found)


def stats_everywhere(
    around: Surroundings, values: dict[str, Any], since: datetime | None, until: datetime | None
) -> int:
    found = everywhere.find(around, values["session"], turns=bool(values["by"] or since or until))
    sums = report.stats_of(found.sessions, now=around.now(), by=values["by"], since=since, until=until)
    print_stats(sums, values, around)
    return warned(found)


def _json(row: Row) -> dict[str, JSON]:
    place = row.session
    assert isinstance(place, Located)
    return {**row.json(), "repository": place.repository, "folder": place.folder}


def labels(sessions: Sequence[report.Counted]) -> list[str]:
    """What each one's repository is called: by its folder's name, and by the one above where two have that name."""
    found = [item.repository if isinstance(item, Located) else None for item in sessions]
    short = {place: label(place) for place in found if place is not None}
    names = list(short.values())
    long = {place: label(place, parts=2) for place, name in short.items() if names.count(name) > 1}
    return ["(a folder)" if place is None else long.get(place, short[place]) for place in found]


def label(repository: str, *, parts: int = 1) -> str:
    """A repository's name for people: ``/home/ann/app/.git`` is ``app``."""
    folder = repository.rstrip(os.sep)
    top = os.path.dirname(folder) if os.path.basename(folder) == ".git" else folder.removesuffix(".git")
    return os.sep.join(top.split(os.sep)[-parts:]) or top


def warned(found: Repositories) -> int:
    lines = [f"{place} cannot be reached ({why}): its sessions are as last copied" for place, why in found.unreached]
    warn_all([*lines, *found.warnings])
    return 0
