"""The first of two looks at a session: its dates, its sums' entries, and whether it can be carried exactly."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import IO

from gitsess import commit, metadata
from gitsess.commit import Commit, Metrics
from gitsess.content import PROMPT
from gitsess.errors import FormatError, NewerFormat
from gitsess.model import Oid, SessionName, TurnId
from gitsess.tally import entry_of
from gitsess.transfer.reading import Exact, Reader

_HELD_BYTES = 4 * 1024 * 1024
"""Entries that are held in memory before they go to a file."""
_PORTION = 50


class Scanned:
    """A session that can be carried: its commits in reading order, and for each its entry of ``interactions``.

    The entries wait in a temporary file, since what stands before them (``last_used``) is known after them.
    """

    def __init__(self, name: SessionName, tip: Oid, order: Sequence[Oid]) -> None:
        self.name = name
        self.tip = tip
        self.order = order
        self.session_id: str | None = None
        self.created_at: datetime | None = None
        self.last_used: datetime | None = None
        self.corrections: dict[TurnId, Metrics] = {}
        self.turns = 0
        self._lines: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_HELD_BYTES)  # noqa: SIM115 - see close

    def put(self, entry: str) -> None:
        self._lines.write(entry.encode() + b"\n")

    def restart(self) -> None:
        self._lines.seek(0)
        self._lines.truncate()
        self.turns = 0

    def entries(self) -> Iterator[bytes]:
        """The JSON of each commit's entry; empty for a commit that sums do not count."""
        self._lines.seek(0)
        for line in self._lines:
            yield line[:-1]

    def close(self) -> None:
        self._lines.close()


def scan(reader: Reader, name: SessionName, tip: Oid) -> Scanned:
    """Looks at all of a session; raises FormatError, NewerFormat or StoreError where it cannot be carried."""
    found = Scanned(name, tip, reader.order(tip))
    try:
        _pass(reader, found)
        if found.corrections:
            # A correction stands after what it corrects, whose entry is written by then: once more, knowing them.
            found.restart()
            _pass(reader, found)
    except BaseException:
        found.close()
        raise
    return found


def _pass(reader: Reader, found: Scanned) -> None:
    seen: set[bytes] = set()
    first_used: datetime | None = None
    portion: list[tuple[Exact, Commit | None]] = []
    known: set[Oid] = set()
    for exact in reader.commits(found.order):
        if any(parent not in known for parent in commit.parents_of(exact.raw)):
            raise FormatError(f"commit {exact.oid[:12]} has a parent that is not in the history git shows")
        known.add(exact.oid)
        item = _decoded(exact)
        if exact.oid == found.tip and item is None:
            raise FormatError(f"its tip {exact.oid[:12]} is not a turn")
        if item is not None:
            facts = item.facts
            if found.session_id is None:
                found.session_id = facts.session_id
            if first_used is None:
                found.created_at, first_used = item.authored_at, item.committed_at
            if facts.kind == "correction" and facts.corrects is not None and facts.metrics is not None:
                found.corrections[facts.corrects] = facts.metrics
            counted = facts.kind in ("turn", "compaction") and facts.turn_id is not None
            if not counted or bytes.fromhex(str(facts.turn_id)) in seen:
                item = None
            else:
                seen.add(bytes.fromhex(str(facts.turn_id)))
                if facts.kind == "turn":
                    found.turns += 1
                    if found.last_used is None or item.committed_at > found.last_used:
                        found.last_used = item.committed_at
        portion.append((exact, item))
        if len(portion) == _PORTION:
            _put(reader, found, portion)
            portion = []
    _put(reader, found, portion)
    if found.last_used is None:
        found.last_used = first_used


def _put(reader: Reader, found: Scanned, portion: Sequence[tuple[Exact, Commit | None]]) -> None:
    """Entries of a few commits, the prompts of all of them asked for at once."""
    asked = [exact.files[PROMPT] for exact, item in portion if item is not None and PROMPT in exact.files]
    prompts = reader.blobs(asked)
    for exact, item in portion:
        if item is None:
            found.put("")
            continue
        data = next(prompts)[1] if PROMPT in exact.files else b""
        facts = item.facts
        if facts.metrics is not None and facts.turn_id in found.corrections:
            item = item.replace(facts=facts.replace(metrics=found.corrections[facts.turn_id]))
        found.put(metadata.dumps(metadata.interaction_of(entry_of(item), data.decode("utf-8", "replace"))))
    # What is left of a generator would be taken for the answers of the next one.
    for _ in prompts:
        pass


def _decoded(exact: Exact) -> Commit | None:
    """The commit, or None where it breaks the format: readers pass over it, and it is carried all the same."""
    try:
        return commit.decode(exact.oid, exact.raw)
    except NewerFormat:
        raise NewerFormat("it was written by a newer gitsess: upgrade to carry it") from None
    except FormatError:
        return None
