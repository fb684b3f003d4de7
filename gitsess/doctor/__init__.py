"""Looking a repository over, and mending what can be mended without a doubt.

    ledger    the commits: refs, format, chain, sums, turn ids, the files of each turn
    copies    what is derived from them: the mirror, the index, the notes
    places    what lies around them: locks, the spool, hooks, permissions, remotes

Each check yields findings. A finding is one line: what is wrong, and what to do. Nothing is changed by looking; what
``mend`` does loses nothing that was recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gitsess.doctor import copies, ledger, places
from gitsess.doctor.findings import Finding
from gitsess.errors import GitsessError
from gitsess.setup import Shipped
from gitsess.values import Value
from gitsess.workspace import Workspace

__all__ = ["Examined", "Finding", "examine"]


class Examined(Value):
    """``findings`` in the order of the checks; ``sessions`` and ``turns`` that were looked at."""

    findings: tuple[Finding, ...]
    sessions: int
    turns: int


def examine(workspace: Workspace, shipped: Shipped, *, fix: bool, progress: Callable[[str], None]) -> Examined:
    """Looks at everything; with ``fix`` mends each finding that can be, at once.

    ``shipped`` is what hooks are made of; ``progress`` hears what is being looked at.
    """
    found: list[Finding] = []
    seen = ledger.Seen()
    checks: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
        ("places", lambda: places.check(workspace, shipped)),
        ("sessions", lambda: ledger.check(workspace, seen, progress)),
        ("copies", lambda: copies.check(workspace, progress)),
    )
    for what, check in checks:
        progress(what)
        try:
            for finding in check():
                found.append(_mended(finding) if fix else finding)
        except GitsessError as error:
            found.append(Finding(check=what, subject="", message=str(error), advice="see what git says of it"))
    return Examined(findings=tuple(found), sessions=seen.sessions, turns=seen.turns)


def _mended(finding: Finding) -> Finding:
    if finding.mend is None:
        return finding
    try:
        finding.mend()
    except (GitsessError, OSError) as error:
        why = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        return finding.replace(advice=f"it could not be mended: {why}")
    return finding.replace(fixed=True)
