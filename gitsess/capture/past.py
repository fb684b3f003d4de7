"""The history that agents keep on disk, into sessions of the repositories that it happened in.

A repository is taken at a time, with all conversations that began in it: its sessions then have their turns in the
order of time, and whoever stops the import finds every repository whole or as it was. A turn that is there already is
passed over before anything is made of it.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from gitsess import agents, metadata, turns
from gitsess.agents.captured import START, Captured, Reader, Transcript
from gitsess.capture import events
from gitsess.capture.bulk import Bulk, Landed, turn_ids
from gitsess.capture.declined import declined
from gitsess.capture.moves import Moves
from gitsess.commit import Metrics
from gitsess.errors import FormatError, GitsessError, NotFound, StoreError
from gitsess.gitcli import Git, Repository, repository_of
from gitsess.money import plus
from gitsess.transfer.importing import holding
from gitsess.turns import Turn
from gitsess.values import Value
from gitsess.workspace import Surroundings, Workspace

AGENTS = agents.READERS
"""The agents whose history can be imported, by the command of their sessions."""


_AT_WORK = timedelta(hours=24)
"""How long an agent may be at work on a turn without a word in its transcript."""
_WORKTREE = re.compile(r"/\.claude/worktrees/[^/]+")
"""Where Claude Code puts the worktrees that it makes, and takes away again."""


class Bill:
    """What a month came to in one repository; ``cost_usd`` is of the turns whose price is known."""

    def __init__(self) -> None:
        self.turns = 0
        self.tokens = 0
        self.cost_usd = Decimal(0)
        self.unpriced_turns = 0


class Past:
    """What an import did, or would do: what landed by repository, the months' bills by (repository, month), turns
    that were there already, those that an agent may still be at work on, those that ``USE_SESSIONS=false`` declined,
    and those of folders that are no repository (now), by folder. Compactions come in as well, and count as none."""

    def __init__(self) -> None:
        self.landed: list[tuple[str, Landed]] = []
        self.bills: dict[tuple[str, str], Bill] = {}
        self.turns = 0
        self.known = 0
        self.unfinished = 0
        self.declined = 0
        self.homeless: Counter[str] = Counter()
        self.problems: list[str] = []


class Progress(Value):
    """``done`` of ``total`` bytes of transcripts."""

    done: int
    total: int


def take_in(
    around: Surroundings,
    names: Sequence[str],
    *,
    since: datetime | None,
    project: str | None,
    dry_run: bool,
    progress: Callable[[Progress], None],
) -> Past:
    """Imports the turns that these agents have on disk.

    ``since``: only those that ended then or later; ``project``: only those of the repository of this folder, which
    must be one. Raises what its repository's writing raises; what was imported before stays.
    """
    done = Past()
    places = Folders(around)
    only = None if project is None else places.project(project)
    found = list(_transcripts(around, names, since))
    groups: dict[str, list[tuple[Reader, Transcript]]] = {}
    for reader, transcript in found:
        workspace = places.of(transcript.project)
        groups.setdefault("" if workspace is None else workspace.repository.common_dir, []).append((reader, transcript))
    sizes = {transcript.path: _size(transcript.path) for _, transcript in found}
    total, read = sum(sizes.values()), 0
    for _, group in sorted(groups.items()):
        with _Group(places, done, dry_run=dry_run) as taking:
            for reader, transcript in group:
                try:
                    for captured in turns_of(reader, transcript.path, transcript.modified, around.now()):
                        if since is None or captured.turn.ended_at >= since:
                            taking.take(reader.NAME, captured, only)
                except GitsessError as error:
                    done.problems.append(str(error))
                read += sizes[transcript.path]
                progress(Progress(done=read, total=total))
            taking.finish()
    return done


def _transcripts(
    around: Surroundings, names: Sequence[str], since: datetime | None
) -> Iterator[tuple[Reader, Transcript]]:
    if around.home is None:
        return
    for name in names:
        reader = agents.reader(name)
        for transcript in reader.transcripts(Path(around.home), around.environment):
            # What was last written to before then has no turn that ended since.
            if since is None or transcript.modified >= since.timestamp():
                yield reader, transcript


def turns_of(reader: Reader, path: Path, modified: float, now: datetime) -> Iterator[Captured]:
    """The turns of a transcript, last written to at ``modified``, in seconds since 1970. A last one without an answer
    is not complete where an agent may still be at work on it: half of it would have the turn id of the whole."""
    last: Captured | None = None
    for captured in reader.read(path, START, closed=True):
        if last is not None:
            yield last
        last = captured
    recent = now.timestamp() - modified < _AT_WORK.total_seconds()
    if last is not None:
        yield last.replace(complete=False) if recent and last.turn.status != "ok" else last


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _existing(folder: str) -> str:
    """The nearest folder at or above this one that is there."""
    while not os.path.isdir(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    return folder


class Folders:
    """The repositories of folders, as far as they were asked for."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._by_folder: dict[str, Workspace | None] = {}
        self._by_repository: dict[tuple[str, str | None], Workspace] = {}
        self._known: dict[str, set[str]] = {}
        self._declined: dict[str, set[str]] = {}
        self._moves: dict[str, Moves] = {}

    def of(self, folder: str | None) -> Workspace | None:
        """The repository that a folder lies in, or lay in when it was there: where its path is known to the history of
        the repository around it, or is that of an agent's own worktree. None where it lies in none now."""
        if folder is None:
            return None
        if folder not in self._by_folder:
            try:
                self._by_folder[folder] = self._find(folder)
            except (GitsessError, OSError, ValueError):
                # A path from a transcript may be any text.
                self._by_folder[folder] = None
        return self._by_folder[folder]

    def project(self, folder: str) -> Workspace:
        """The repository that a folder lies in; raises NotFound or StoreError."""
        try:
            return self._opened(repository_of(folder, self._around.environment))
        except NotFound:
            why = "it is in no repository" if os.path.isdir(folder) else "there is no such folder"
            raise NotFound(f"--project {folder}: {why}") from None

    def _find(self, folder: str) -> Workspace:
        try:
            return self._opened(repository_of(folder, self._around.environment))
        except NotFound:
            left = _existing(folder)
            if left == folder:
                raise
            found = repository_of(left, self._around.environment)
            gone = os.path.relpath(folder, left)
            if not (_WORKTREE.search(folder) or Git(found, self._around.environment).ever_held(left, gone)):
                raise
            # Where it was another worktree, what is known of this one's HEAD says nothing of it.
            return self._opened(found.replace(worktree=None) if _WORKTREE.search(folder) else found)

    def _opened(self, found: Repository) -> Workspace:
        key = (found.common_dir, found.worktree)
        return self._by_repository.setdefault(key, Workspace(found, self._around))

    def situated(self, workspace: Workspace, turn: Turn) -> tuple[Turn, Moves | None]:
        """``turn`` where it happened, and where HEAD was there, if that is known."""
        worktree = workspace.repository.worktree
        if worktree is None:
            return turn, None
        moves = self._moves_of(workspace)
        return moves.situated(turn, worktree if moves.reach(turn.ended_at) else None, None), moves

    def _moves_of(self, workspace: Workspace) -> Moves:
        place = workspace.repository.git_dir
        if place not in self._moves:
            self._moves[place] = Moves.ever(workspace)
        return self._moves[place]

    def declined(self, workspace: Workspace) -> set[str]:
        """The ids of turns that are not to be recorded."""
        place = workspace.repository.common_dir
        if place not in self._declined:
            self._declined[place] = declined(workspace.repository.state_dir)
        return self._declined[place]

    def known(self, workspace: Workspace) -> set[str]:
        """The ids of the turns that are there; of one repository always the same set."""
        place = workspace.repository.common_dir
        if place not in self._known:
            self._known[place] = turn_ids(workspace)
        return self._known[place]


class _Group(ExitStack):
    """The repositories that turns go to meanwhile, each with what comes into it."""

    def __init__(self, places: Folders, done: Past, *, dry_run: bool) -> None:
        super().__init__()
        self._places = places
        self._done = done
        self._dry_run = dry_run
        self._bulks: dict[str, Bulk] = {}

    def take(self, command: str, captured: Captured, only: Workspace | None) -> None:
        workspace = self._places.of(captured.cwd)
        if workspace is None:
            if only is None:
                self._done.homeless[captured.cwd or ""] += 1
            return
        place = workspace.repository.common_dir
        if only is not None and place != only.repository.common_dir:
            return
        known = self._places.known(workspace)
        counts = captured.turn.kind == "turn"
        if captured.turn.turn_id in known:
            self._done.known += counts
            return
        if captured.turn.turn_id in self._places.declined(workspace):
            self._done.declined += counts
            return
        if not captured.complete:
            self._done.unfinished += counts
            return
        known.add(captured.turn.turn_id)
        try:
            metrics = self._charge(workspace, captured)
        except FormatError as error:
            self._done.problems.append(f"a turn of {captured.turn.conversation} is left out: {error}")
            return
        self._done.turns += counts
        if self._dry_run:
            return
        if place not in self._bulks:
            self._bulks[place] = Bulk(workspace, self.enter_context(holding(workspace.git)))
            self.callback(self._bulks[place].close)
        turn, moves = self._places.situated(workspace, captured.turn)
        self._bulks[place].add(command, captured.replace(turn=turn), metrics, moves)

    def _charge(self, workspace: Workspace, captured: Captured) -> Metrics:
        metrics = turns.metrics_of(captured.turn, workspace.price)
        place = metadata.repository_text(workspace.repository.common_dir)
        bill = self._done.bills.setdefault((place, f"{captured.turn.ended_at:%Y-%m}"), Bill())
        bill.turns += captured.turn.kind == "turn"
        bill.tokens += metrics.usage.total_tokens
        if metrics.cost_usd is None:
            bill.unpriced_turns += 1
        else:
            bill.cost_usd = plus(bill.cost_usd, metrics.cost_usd)
        return metrics

    def finish(self) -> None:
        """Writes what came, a repository at a time."""
        for place, bulk in sorted(self._bulks.items()):
            landed = bulk.finish()
            # A turn that is still going on may be among them: its own hook is to find it there.
            events.forget(bulk.workspace.repository.state_dir)
            self._done.landed += [(metadata.repository_text(place), item) for item in landed]
            self._done.problems += bulk.problems
            try:
                bulk.workspace.settle()
            except StoreError as error:
                self._done.problems.append(f"the notes on their commits were not written: {error}")
            bulk.workspace.finish()
