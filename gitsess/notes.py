"""Notes on code commits, at ``refs/notes/ai-sessions``: read by ``git log --notes=ai-sessions``.

They are derived from the sessions and may be deleted at any time. ``git notes add`` reads, changes and writes
the notes without comparing, and loses what was written in between. Here a change begins at a tip that the
caller read before it looked at the sessions, and fast-import, which knows how notes fan out, moves the ref only
while the new tip descends from where it stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gitsess.commit import MERGER
from gitsess.errors import StoreError
from gitsess.gitcli import Git
from gitsess.model import Oid

REF = "refs/notes/ai-sessions"
MAX_BYTES = 1 << 22
"""Bytes of a note past which it is not read."""
_MESSAGE = b"What led to which commit\n"
_FANOUTS = ((), (2,), (2, 4), (2, 4, 6))
"""Where git parts a commit's name into folders, as the notes grow in number."""


def tip(git: Git) -> Oid | None:
    """The commit that the notes are at, or None where there are none."""
    found = git.run("rev-parse", "--quiet", "--verify", f"{REF}^{{commit}}").out.decode().strip()
    return Oid(found) if found else None


def commits(git: Git, oids: Sequence[Oid]) -> list[Oid]:
    """Those of ``oids`` that are commits here: no other may have a note."""
    lines = "".join(f"{oid}\n" for oid in oids).encode()
    listed = git.output("cat-file", "--batch-check=%(objecttype)", stdin=lines).decode().splitlines()
    return [oid for oid, kind in zip(oids, listed, strict=True) if kind == "commit"]


def in_line(git: Git, one: str, other: str) -> bool:
    """Whether one of two commits is an ancestor of the other; not where either is gone."""
    return git.run("merge-base", one, other).out.decode().strip() in (one, other)


def noted(git: Git) -> list[Oid]:
    """Every commit that has a note, here or not."""
    listed = git.run("notes", f"--ref={REF}", "list").out.decode("ascii", "replace")
    return [Oid(line.partition(" ")[2]) for line in listed.splitlines()]


def read(git: Git, at: Oid | None, oids: Iterable[Oid]) -> dict[Oid, str]:
    """The notes that these commits have at the tip ``at``."""
    if at is None:
        return {}
    asked = [(oid, f"{at}:{_path(oid, cuts)}") for oid in oids for cuts in _FANOUTS]
    objects = git.start_objects()
    try:
        answers = objects.read_all([name for _, name in asked], limit=MAX_BYTES)
        found = {}
        for (oid, _), (_, answer) in zip(asked, answers, strict=True):
            if answer is not None and answer[0] == "blob" and answer[1] is not None:
                found[oid] = answer[1].decode("utf-8", "replace")
    finally:
        objects.close()
    return found


def _path(oid: Oid, cuts: Sequence[int]) -> str:
    ends = [*cuts, len(oid)]
    return "/".join(oid[start:end] for start, end in zip([0, *cuts], ends, strict=True))


def write(git: Git, notes: Mapping[Oid, str], *, since: Oid | None, at: int) -> bool:
    """Sets the notes of these commits (empty: none), or returns False where the notes are no longer at ``since``.

    ``at`` is the date, in seconds. Raises StoreError where git refuses.
    """
    # Otherwise every note might become a pack of its own, as the person's settings have it for what is fetched.
    loose = ("-c", "fastimport.unpackLimit=100")
    done = git.run(*loose, "fast-import", "--quiet", "--done", "--date-format=raw", stdin=_stream(notes, since, at))
    if done.code == 0:
        return True
    if tip(git) != since or ".lock" in done.err:
        return False
    raise StoreError(f"{REF} cannot be moved: {done.complaint}")


def _stream(notes: Mapping[Oid, str], since: Oid | None, at: int) -> bytes:
    by = f"{MERGER.name} <{MERGER.email}> {at} +0000"
    parts = [f"commit {REF}\ncommitter {by}\ndata {len(_MESSAGE)}\n".encode(), _MESSAGE, b"\n"]
    if since is not None:
        parts.append(f"from {since}\n".encode())
    for oid, text in notes.items():
        if text:
            data = text.encode()
            parts.append(b"N inline %s\ndata %d\n%s\n" % (oid.encode(), len(data), data))
        else:
            parts.append(b"N %s %s\n" % (b"0" * len(oid), oid.encode()))
    return b"".join([*parts, b"done\n"])
