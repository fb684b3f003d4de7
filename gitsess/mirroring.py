"""Keeping the mirror in step with the commits.

A copy is stamped with the tip that it is of. What came after that tip is added to it; after a merge, a correction or
anything else that changes what stood before, it is made anew. Sessions whose copy was written less than a second ago
are left for the next command that ends here, by a list of their names beside the repository's locks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

from gitsess import metadata
from gitsess.errors import GitsessError, Locked, StoreError
from gitsess.gitcli import Repository
from gitsess.history import History, Strand
from gitsess.locks import append_private, flock
from gitsess.mirror import Copy, Mirror
from gitsess.model import Oid, SessionName
from gitsess.names import is_valid
from gitsess.tally import counted, outline_of
from gitsess.text import iso

AT_MOST_EVERY_S = 1.0
_LOCK_S = 0.5
_MAX_BYTES = 1 << 20


class Mirroring:
    """The mirror's part that is of one repository."""

    def __init__(self, repository: Repository, history: History, mirror: Mirror, now: Callable[[], datetime]) -> None:
        self._folder = repository.state_dir
        self._repository = metadata.repository_text(repository.common_dir)
        self._history = history
        self.mirror = mirror
        self._now = now

    def refresh(self, sessions: Iterable[SessionName], *, every_s: float = AT_MOST_EVERY_S) -> list[str]:
        """Brings the copies of these sessions up to date, and of those that were left for later.

        ``every_s``: copies younger than that are left. Never raises for what can be made good later: a line for
        every copy that cannot be written.
        """
        wanted = set(sessions)
        try:
            with flock(os.path.join(self._folder, "mirror.lock"), shared=False, wait_s=_LOCK_S):
                wanted |= self.left()
                with suppress(OSError):
                    os.unlink(self._list)
                tips, _ = self._history.tips()
                return self._all({name: tips[name] for name in sorted(wanted) if name in tips}, every_s)
        except Locked:
            self._leave(wanted)
            return []
        except StoreError as error:
            return [str(error)]

    def forget(self, sessions: Collection[SessionName]) -> list[str]:
        """Deletes the copies of those sessions that are no more; a line for every copy that cannot be deleted."""
        said = []
        try:
            with flock(os.path.join(self._folder, "mirror.lock"), shared=False, wait_s=_LOCK_S):
                tips, _ = self._history.tips()
                gone = {name for name in sessions if name not in tips}
                for copy in self.copies():
                    if copy.session in gone:
                        try:
                            self.mirror.remove(copy.folder)
                        except OSError as error:
                            said.append(f"the copy of {copy.session} was not removed: {error.strerror}")
        except StoreError as error:
            said.append(f"the copies of what was removed are left: {error}")
        return said

    def copies(self) -> Iterator[Copy]:
        """The copies that are of this repository's sessions."""
        return (copy for copy in self.mirror.copies() if copy.repository == self._repository)

    def _all(self, tips: dict[SessionName, Oid], every_s: float) -> list[str]:
        said = []
        later = []
        for name, tip in tips.items():
            try:
                copy = self.mirror.own(name, self._repository)
                if copy is not None and copy.tip == tip:
                    continue
                if copy is not None and abs(self._now().timestamp() - copy.written_at) < every_s:
                    later.append(name)
                else:
                    self.write(name, tip, copy)
            except (OSError, GitsessError) as error:
                why = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
                said.append(f"the copy of {name} in {self.mirror.directory} was not written: {why}")
        self._leave(later)
        return said

    def write(self, name: SessionName, tip: Oid, copy: Copy | None, *, anew: bool = False) -> None:
        """Writes the copy of a session, over ``copy`` where there is one: adds to that, or writes all of it ``anew``.

        Raises OSError, or what reading the session raises.
        """
        strand = self._read(name, tip, None if copy is None or anew else Oid(copy.tip))
        if strand is not None and strand.after is not None:
            if copy is not None and self._extend(copy, strand):
                return
            strand = self._read(name, tip, None)
        if strand is None:
            return
        outline = outline_of(strand.entries)
        folder = copy.folder if copy is not None else self._place(name, outline.session_id)
        if folder is None:
            raise StoreError("the folders of its name are other programs'")
        head = metadata.head_of(name, tip, outline, self._repository)
        self.mirror.write(folder, head, lines_of(self._history, strand), extensible=not outline.corrected)

    def matches(self, name: SessionName, tip: Oid, copy: Copy | None) -> bool | None:
        """Whether a copy is there and what the commits of its session say; None where the session cannot be read, and
        so has none."""
        strand = self._read(name, tip, None)
        if strand is None or copy is None:
            return None if strand is None else False
        head = metadata.head_of(name, tip, outline_of(strand.entries), self._repository)
        return self.mirror.matches(copy, head, lines_of(self._history, strand))

    def _read(self, name: SessionName, tip: Oid, known: Oid | None) -> Strand | None:
        """The session from a known tip on, if that leads to its tip, or all of it; None for what cannot be read."""
        strands, _ = self._history.strands({name: tip}, set() if known is None else {known})
        return next((strand for strand in strands if not any(entry.newer for entry in strand.entries)), None)

    def _extend(self, copy: Copy, strand: Strand) -> bool:
        if strand.missing or any(entry.kind == "correction" for entry in strand.entries):
            return False
        turns = counted(strand.entries)
        ends = [entry.committed_at for entry in turns if entry.kind == "turn"]
        new = metadata.head_of(strand.name, strand.tip, outline_of(strand.entries), self._repository)
        head = {
            **new,
            "session_id": copy.session_id,
            # A session may begin with events alone: its first turn is then among what came.
            "created_at": copy.created_at or new["created_at"],
            # ISO 8601 in UTC of whole seconds, as committer dates are: the later text is the later time.
            "last_used": max([*(iso(datetime.fromtimestamp(end, UTC)) for end in ends), copy.last_used or ""]) or None,
        }
        turn_ids = [entry.turn_id for entry in turns if entry.turn_id is not None]
        return self.mirror.extend(copy, head, turn_ids, lines_of(self._history, strand))

    def _place(self, name: SessionName, session_id: str | None) -> str | None:
        return self.mirror.place(name, session_id, self._repository, lambda path: not os.path.isdir(path))

    # What was left for later

    @property
    def _list(self) -> str:
        return os.path.join(self._folder, "mirror")

    def _leave(self, names: Iterable[SessionName]) -> None:
        text = "".join(f"{name}\n" for name in names)
        if text:
            with suppress(OSError):
                append_private(self._list, text.encode())

    def left(self) -> set[SessionName]:
        """The sessions whose copies were left for the next command that ends."""
        try:
            handle = os.open(self._list, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            with open(handle, "rb") as file:
                names = file.read(_MAX_BYTES).decode("utf-8", "replace").split("\n")
        except OSError:
            return set()
        return {SessionName(name) for name in names if is_valid(name)}


def lines_of(history: History, strand: Strand) -> Iterator[str]:
    """The JSON of each interaction: turns and compactions in reading order, each once and as corrected."""
    places: dict[str | None, Oid] = {}
    for oid, entry in zip(strand.order, strand.entries, strict=True):
        if entry.kind in ("turn", "compaction"):
            places.setdefault(entry.turn_id, oid)
    turns = counted(strand.entries)
    prompts = history.prompts([places[entry.turn_id] for entry in turns])
    for entry, prompt in zip(turns, prompts, strict=True):
        yield metadata.dumps(metadata.interaction_of(entry, prompt))
