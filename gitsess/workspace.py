"""One repository as the verbs use it: opened once, its parts made when first needed.

    record → redact → draft → append → (locked) spool        writing
    history                                                  reading, without libgit2
    drain                                                    what was spooled, appended

A turn handed to ``record`` is never lost: it becomes a commit, else a file in the spool, else the error
says that neither worked and the caller still holds it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING

from gitsess.commit import Person
from gitsess.errors import (
    FormatError,
    GitsessError,
    Locked,
    NewerFormat,
    NotASession,
    StoreError,
    UsageError,
)
from gitsess.gitcli import Git, Repository, discover
from gitsess.history import History
from gitsess.locks import flock
from gitsess.model import Oid, SessionName, TokenUsage, TurnId
from gitsess.names import session_name
from gitsess.spool import Spool, noun
from gitsess.values import Value
from gitsess.worktree import InUse, Worktree

# Looking needs none of what writing does, and starts in half the time without it.
if TYPE_CHECKING:
    from pathlib import Path

    from gitsess.accounts import Accounts
    from gitsess.append import Appender
    from gitsess.capture.events import Taken
    from gitsess.config import Settings
    from gitsess.draft import Draft
    from gitsess.history import Ledger
    from gitsess.mirroring import Mirroring
    from gitsess.redact import Redactor
    from gitsess.report import Counted
    from gitsess.store import Store
    from gitsess.turns import Turn


class Surroundings(Value):
    """What the surface knows of the world, handed down: nothing below reads it for itself.

    ``now`` is the clock; ``user`` the login name, for where git knows no identity; ``host`` the machine's name.
    """

    environment: Mapping[str, str]
    now: Callable[[], datetime]
    cwd: Path | None = None
    home: str | Path | None = None
    user: str = "unknown"
    host: str = "localhost"

    @property
    def state_home(self) -> str | None:
        return self._base("XDG_STATE_HOME", ".local/state")

    @property
    def cache_home(self) -> str | None:
        return self._base("XDG_CACHE_HOME", ".cache")

    @property
    def session_dir(self) -> str | None:
        """``SESSION_DIR``, else ``~/.ai-sessions``: a folder for each session, of the shell tool's or the mirror's."""
        given = self.environment.get("SESSION_DIR", "")
        if given:
            return given
        return None if self.home is None else os.path.join(self.home, ".ai-sessions")

    def _base(self, variable: str, below_home: str) -> str | None:
        # The XDG rule: a relative path is no setting.
        given = self.environment.get(variable, "")
        if given.startswith("/"):
            return given
        return None if self.home is None else os.path.join(self.home, below_home)


class Recorded(Value):
    """Where a turn went: ``oid`` of its commit, else ``spooled``, the file that keeps it."""

    turn: Turn
    oid: Oid | None = None
    existed: bool = False
    spooled: Path | None = None
    reason: str = ""


class Drained:
    """What a drain did: ``appended`` turns, ``events`` of commits. ``waiting``: (file, why) left for later;
    ``failed``: set aside for good; ``held``: left to who asked the agent and will record what it did; ``problems``: a
    line for each turn of an agent that no commit can be made of."""

    def __init__(self) -> None:
        self.appended = 0
        self.events = 0
        self.waiting: list[tuple[Path, str]] = []
        self.failed: list[tuple[Path, str]] = []
        self.held: list[Path] = []
        self.problems: list[str] = []
        self.busy = False


class Workspace:
    """A repository, its settings and its sessions."""

    def __init__(self, repository: Repository, around: Surroundings) -> None:
        self.repository = repository
        self.around = around
        self.git = Git(repository, around.environment)
        self._kept = 0
        self.touched: dict[Oid, set[SessionName]] = {}
        """Commits whose notes ``settle`` is to write, and the sessions that led to them."""
        self.changed: set[SessionName] = set()
        """Sessions that have new commits, whose copies in the mirror are behind until ``finish``."""

    @classmethod
    def open(cls, around: Surroundings) -> Workspace:
        """The repository of the working directory; raises NotFound or StoreError."""
        return cls(discover(around.environment, around.cwd), around)

    @cached_property
    def config(self) -> dict[str, list[str]]:
        return self.git.config()

    @cached_property
    def settings(self) -> Settings:
        from gitsess.config import settings

        return settings(self.config, self.around.environment)

    @cached_property
    def history(self) -> History:
        return History(self.git)

    def accounts(self, patterns: Sequence[str] = (), *, turns: bool = False) -> Accounts:
        """Sessions as the sums see them, by names or patterns; ``turns``: with every turn, for sums over a part."""
        from gitsess import accounts
        from gitsess.index import Index

        return accounts.find(self.history, Index(self.repository.state_dir), patterns, turns=turns)

    def sessions(self, patterns: Sequence[str], *, last: int | None = None) -> tuple[Ledger, Sequence[Counted]]:
        """Sessions by names or patterns with their commits, the ``last`` of them at least, and what each comes to."""
        from gitsess import accounts
        from gitsess.index import Index

        return accounts.read(self.history, Index(self.repository.state_dir), patterns, last=last)

    @cached_property
    def store(self) -> Store:
        from gitsess.store import open_store

        return open_store(self.git, self.config)

    @cached_property
    def appender(self) -> Appender:
        from gitsess.append import Appender

        return Appender(self.store, self.git)

    @cached_property
    def spool(self) -> Spool:
        return Spool(self.repository.common_dir, self.around.state_home)

    @cached_property
    def worktree(self) -> Worktree | None:
        """What this worktree remembers; None in a bare repository."""
        return None if self.repository.worktree is None else Worktree(self.repository.git_dir)

    def branch(self) -> str | None:
        """The branch that is checked out here, born or not; None where HEAD is detached."""
        found = self.git.run("symbolic-ref", "--quiet", "HEAD").out.decode("utf-8", "replace").strip()
        return found.removeprefix("refs/heads/") or None

    def in_use(self) -> InUse | None:
        """The session in use in this worktree, on the branch that is checked out."""
        found = None if self.worktree is None else self.worktree.in_use()
        return found if found is not None and found.branch == self.branch() else None

    def use(self, session: SessionName | None) -> None:
        """Puts a session in use in this worktree while the branch here is checked out; raises StoreError."""
        if self.worktree is None:
            raise StoreError("a bare repository has no worktree in which a session could be in use")
        self.worktree.use(None if session is None else InUse(session=session, branch=self.branch()))

    @cached_property
    def redactor(self) -> Redactor:
        from gitsess.redact import Redactor

        return Redactor(patterns=self.settings.redact, environment=self.around.environment)

    @cached_property
    def committer(self) -> Person:
        """The human, by git's identity rules; without an identity, who is logged in. Never an error."""
        found = self.git.committer()
        if found is not None and found[0] and found[1]:
            return Person(name=found[0], email=found[1])
        user = self.around.user or "unknown"
        return Person(name=user, email=f"{user}@{self.around.host or 'localhost'}")

    def price(self, model: str, usage: TokenUsage, at: datetime) -> tuple[Decimal | None, str]:
        """(USD or None, price tier) of one request."""
        from pathlib import Path

        from gitsess import pricing

        cache = self.around.cache_home
        folder = None if cache is None else Path(cache, "gitsess")
        return pricing.quote(model, usage, at=at, cache_dir=folder) if model else (None, pricing.STANDARD_TIER)

    def situated(self, turn: Turn, at: tuple[Oid | None, str | None] | None = None) -> Turn:
        """``turn`` with HEAD, branch and worktree as they are now; with ``at``, (HEAD, branch) as read before."""
        from dataclasses import replace

        head, branch = self.store.head() if at is None else at
        return replace(turn, head=head, branch=branch, worktree=self.repository.worktree)

    def record(self, session: SessionName, turn: Turn, *, patience: float = 1.0, paid: bool = False) -> Recorded:
        """Appends ``turn`` to ``session``; spools it where that may work later or the disk refuses.

        Raises NotASession or NewerFormat where the session can never take it, unless it is ``paid`` for and
        must be kept all the same; StoreError where the disk and the spool both refuse.
        """
        from gitsess import turns

        turn = turns.redacted(turn, self.redactor)
        try:
            draft = turns.draft_of(turn, committer=self.committer, price=self.price)
            done = self.appender.append(session, draft, patience=patience)
        except (NotASession, NewerFormat) as error:
            if not paid:
                raise
            return self.keep(session, turn, error)
        except StoreError as error:
            return self.keep(session, turn, error)
        self.appended(session, turn)
        return Recorded(turn=turn, oid=done.oid, existed=done.existed)

    def appended(self, session: SessionName, turn: Turn) -> None:
        """Has the next commit of the turn's worktree look at the session, and ``settle`` at what the turn names."""
        self.changed.add(session)
        place = None if turn.worktree is None else Worktree.named(self.repository, turn.worktree)
        if place is not None:
            place.mark(session)
        for oid in turn.commits:
            self.touch(Oid(oid), session)

    def happened(self, session: SessionName, draft: Draft, *, patience: float = 1.0) -> Oid:
        """Appends an event to ``session``; raises StoreError, Locked where trying later may work."""
        done = self.appender.append(session, draft, patience=patience)
        self.changed.add(session)
        return done.oid

    def touch(self, commit: Oid, session: SessionName) -> None:
        """Has ``settle`` write the note of a commit that turns of ``session`` led to."""
        self.touched.setdefault(commit, set()).add(session)

    def correct(self, session: SessionName, turn: Turn, *, patience: float = 1.0) -> bool:
        """Appends a correction where more is known of a turn than its session says; whether there was more.

        It has the turn's metrics and files as they are now. Raises StoreError, Locked where trying later may work.
        """
        from gitsess import attribution, turns

        tips, _ = self.history.tips()
        if session not in tips:
            return False
        (found,) = self.history.read({session: tips[session]}, ()).sessions
        old = next((item for item in found.counted() if item.facts.turn_id == turn.turn_id), None)
        draft = turns.draft_of(turns.redacted(turn, self.redactor), committer=self.committer, price=self.price)
        draft = turns.correction_of(draft, seq=0 if old is None else old.facts.seq)
        before, after = None if old is None else found.metrics(old), draft.facts.metrics
        if old is None or before is None or after is None:
            return False
        if after.requests <= before.requests and after.usage.total_tokens <= before.usage.total_tokens:
            return False
        self.appender.append(session, draft, patience=patience)
        self.changed.add(session)
        for share in attribution.shares(self.git, [found]):
            if share.turn.oid == old.oid and share.commit is not None:
                self.touch(Oid(share.commit), session)
        return True

    def settle(self, *, patience: float = 1.0) -> None:
        """Writes the notes of the commits that turns recorded here name; raises Locked or StoreError."""
        if self.touched:
            from gitsess import costnotes

            costnotes.write(self.git, self.history, self.touched, at=self.around.now(), patience=patience)
            self.touched = {}

    def finish(self) -> None:
        """Brings the mirror up to date with what changed here: a copy, so it fails without a word."""
        if self.changed and self.mirroring is not None:
            self.mirroring.refresh(self.changed)
            self.changed = set()

    @cached_property
    def mirroring(self) -> Mirroring | None:
        """The copies of this repository's sessions; None where no folder for them is known."""
        from gitsess.mirror import Mirror
        from gitsess.mirroring import Mirroring

        directory = self.around.session_dir
        return (
            None if directory is None else Mirroring(self.repository, self.history, Mirror(directory), self.around.now)
        )

    def keep(self, session: SessionName, turn: Turn, why: GitsessError) -> Recorded:
        """Spools a redacted turn that could not be appended, or raises ``why`` where nothing takes it."""
        from gitsess import records

        # Within this process the order in which turns came is kept, also of those that ended together.
        self._kept += 1
        name = f"{int(turn.ended_at.timestamp() * 1000):014d}-{self._kept:06d}-{turn.turn_id}.json"
        try:
            path = self.spool.put(session, records.dump(turn), name=name)
        except OSError as error:
            raise StoreError(f"{why}; and the spool cannot be written: {error.strerror}") from None
        place = None if turn.worktree is None else Worktree.named(self.repository, turn.worktree)
        if place is not None:
            # A commit made now comes after this turn: its event follows once the turn is appended.
            place.mark(session)
        return Recorded(turn=turn, spooled=path, reason=str(why))

    @contextmanager
    def working(self, session: SessionName, turn_id: TurnId) -> Iterator[Callable[[Turn], None]]:
        """What keeps a turn as far as it is, while it is worked on in the block: if this process comes to its end
        before the block does, the next command appends it. The turn itself is to be recorded in the block."""
        from gitsess import records, turns

        opened = self.spool.open(session, name=f"{int(self.around.now().timestamp() * 1000):014d}-000000-{turn_id}")

        def keep(turn: Turn) -> None:
            # It is for the worst case only, and no reason to stop.
            with suppress(OSError):
                opened.put(records.dump(turns.redacted(turn, self.redactor)))

        recorded = False
        try:
            yield keep
            recorded = True
        finally:
            opened.close(recorded=recorded)

    def drain(self, *, wait_s: float = 0.0, patience: float = 0.0) -> Drained:
        """Appends what waits in the spool: turns, then those that agents' events tell of, then the events of commits;
        one drain at a time.

        Another drain at work is ``busy``: it looks again after it has let go of the lock, so nothing is
        left behind. A turn behind a lock stays; one that can never be appended is set aside and blocks none.
        """
        done = Drained()
        while True:
            left = {*done.held, *(path for path, _ in done.waiting)}
            if not set(self.spool.waiting()) - left:
                return done
            try:
                with flock(os.path.join(self.repository.state_dir, "drain.lock"), shared=False, wait_s=wait_s):
                    waiting = [path for path in self.spool.waiting() if path not in left]
                    named: list[Path] = []
                    for path in waiting:
                        if noun(path) == "turn":
                            self._drain_one(path, named, done, patience)
                    events = [path for path in waiting if noun(path) == "event"]
                    commits = [path for path in waiting if noun(path) == "commit"]
                    taken = self._take(events, done, patience) if events else None
                    self._drain_commits(commits, named, done, patience)
                    if taken is not None:
                        if self.touched:
                            taken.leave("the notes on its commits could not be written")
                        taken.finish(self.spool)
            except Locked:
                done.busy = True
                return done
            except StoreError as error:
                # A repository that may only be read: what waits for it stops nobody from reading.
                done.waiting += [(path, str(error)) for path in self.spool.waiting() if path not in left]
                return done

    def _take(self, paths: Sequence[Path], done: Drained, patience: float) -> Taken:
        from gitsess.capture import events

        return events.take(self, paths, done, patience=patience)

    def _drain_one(self, path: Path, named: list[Path], done: Drained, patience: float) -> None:
        from gitsess import records, turns

        try:
            spooled = self.spool.read(path)
            session = session_name(spooled.session)
            turn = records.parse(spooled.turn, now=self.around.now(), spooled=True)
            turn = turns.redacted(turn, self.redactor)
            draft = turns.draft_of(turn, committer=self.committer, price=self.price)
            self.appender.append(session, draft, patience=patience)
        except FileNotFoundError:
            return
        except NewerFormat as error:
            # An upgrade will append it.
            done.waiting.append((path, str(error)))
            return
        except (FormatError, UsageError, NotASession) as error:
            self.set_aside(path, str(error), done)
            return
        except (StoreError, OSError) as error:
            # Locked, a full disk, a store that is read-only: each may pass.
            done.waiting.append((path, str(error)))
            return
        self.appended(session, turn)
        # With its file a drain that is killed before it has written the notes leaves them to the next.
        if turn.commits:
            named.append(path)
            done.appended += 1
        else:
            done.appended += self._discard(path, done)

    def _drain_commits(self, paths: Sequence[Path], named: Sequence[Path], done: Drained, patience: float) -> None:
        """Appends the events of the commits in ``paths``, and writes their notes and those of the commits that the
        turns in ``named`` name: then the files of both go."""
        made = []
        for path in paths:
            try:
                made.append(self.spool.read_commit(path))
            except FileNotFoundError:
                continue
            except FormatError as error:
                self.set_aside(path, str(error), done)
            except OSError as error:
                done.waiting.append((path, str(error)))
        if not (made or self.touched):
            return
        from gitsess import links

        kept: dict[Path, str] = {}
        try:
            linked = links.link(
                self.git,
                self.history,
                self.appender,
                made,
                committer=self.committer,
                redact=self.redactor.text,
                patience=patience,
            )
            done.events += linked.events
            kept.update(linked.waiting)
            for oid, sessions in linked.touched.items():
                self.touched.setdefault(oid, set()).update(sessions)
                self.changed |= sessions
            self.settle(patience=patience)
            linked.clear()
        except StoreError as error:
            kept.update({path: str(error) for path in (*named, *(one.path for one in made))})
        for path in (*named, *(one.path for one in made)):
            if path not in kept:
                self._discard(path, done)
        done.waiting += kept.items()

    def _discard(self, path: Path, done: Drained) -> bool:
        """Removes the file of what is in its session, or has it wait."""
        try:
            self.spool.discard(path)
        except OSError as error:
            done.waiting.append((path, f"it was appended, and its file cannot be removed: {error.strerror}"))
            return False
        return True

    def set_aside(self, path: Path, why: str, done: Drained) -> None:
        try:
            done.failed.append((self.spool.set_aside(path), why))
        except OSError:
            done.waiting.append((path, why))
