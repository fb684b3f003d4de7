"""Which session a captured turn belongs to, where nobody chose one: that of its agent and branch."""

from __future__ import annotations

from collections.abc import Mapping

from gitsess.history import History
from gitsess.model import Oid, SessionName
from gitsess.names import derived

DETACHED = "HEAD"
"""What stands for a branch where none was checked out, or none is on record."""


class Places:
    """The sessions of agents and branches in one repository, as far as they were asked for."""

    def __init__(self, history: History, tips: Mapping[SessionName, Oid]) -> None:
        self._history = history
        self._tips = tips
        self._branches: dict[SessionName, str | None] = {}

    def session(self, command: str, branch: str | None) -> SessionName:
        """The session for ``command``'s turns on a branch; one with another branch's turns is not it."""
        named = branch or DETACHED
        name = derived(command, named, taken=lambda name: self._branch_of(name) not in (None, named))
        if self._branches.get(name) is None:
            self._branches[name] = named
        return name

    def _branch_of(self, name: SessionName) -> str | None:
        """The branch that a session's first turn names, of those that name one; None where none does."""
        if name not in self._branches and name in self._tips:
            for session in self._history.read({name: self._tips[name]}, []).sessions:
                turns = (item.facts for item in session.commits if item.facts.kind == "turn")
                self._branches[name] = next((facts.branch for facts in turns if facts.branch is not None), None)
        return self._branches.get(name)
