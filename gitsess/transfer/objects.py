"""Sessions from everywhere as the objects that scripts read, each as compact JSON (``gitsess.metadata``).

Those of a repository are read there; of the shell tool's folders, and of copies whose repository is out of reach, what
they hold. Commits are not among it: ``transfer.writing`` has those.
"""

from __future__ import annotations

from collections.abc import Iterator

from gitsess import metadata
from gitsess.agents import sessiondir
from gitsess.errors import NotFound
from gitsess.everywhere import Located
from gitsess.mirroring import lines_of
from gitsess.model import JSON
from gitsess.tally import outline_of


def session_id_of(session: Located, directory: str) -> str | None:
    """The session's id; of the shell tool's, the one that the tool gave it. Raises as ``object_of``."""
    if session.workspace is not None:
        return session.outline.session_id
    given = _written(session, directory).get("session_id")
    return given if isinstance(given, str) else None


def object_of(session: Located, directory: str) -> Iterator[str]:
    """The object, in pieces of text; ``directory`` is the mirror's.

    Raises NotFound, StoreError or FormatError, before the first piece, where it cannot be read.
    """
    if session.workspace is None or session.tip is None:
        yield metadata.dumps(_written(session, directory))
        return
    history = session.workspace.history
    strands, warnings = history.strands({session.name: session.tip}, set())
    if not strands or any(entry.newer for entry in strands[0].entries):
        raise NotFound(
            warnings[0] if warnings else f"{session.name} was written by a newer gitsess: upgrade to read it"
        )
    outline = outline_of(strands[0].entries)
    head = metadata.head_of(session.name, session.tip, outline, session.repository or "")
    yield metadata.dumps(head).removesuffix("]}")
    comma = "\n"
    for line in lines_of(history, strands[0]):
        yield comma + line
        comma = ",\n"
    yield "]}"


def _written(session: Located, directory: str) -> dict[str, JSON]:
    assert session.folder is not None, "what is in no repository is in a folder"
    value = sessiondir.as_written(directory, session.folder)
    if session.repository is not None:
        # The mirror's own, of no use without the lines that it is of.
        value.pop("check", None)
    return value
