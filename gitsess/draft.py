"""A commit that is yet to be appended: all of it but what depends on the commit before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from gitsess.commit import Facts, Person


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A commit to append. ``facts`` without seq, epoch and session id, which depend on the parent;
    ``files`` by path in the tree; ``checked``: the turn id may be there already and is looked for in the
    whole session."""

    subject: str
    facts: Facts
    files: Mapping[str, bytes]
    author: Person
    authored_at: datetime
    committer: Person
    committed_at: datetime
    checked: bool
