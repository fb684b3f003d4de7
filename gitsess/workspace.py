"""One repository as the verbs use it: opened once, its parts made when first needed.

    record → redact → draft → append → (locked) spool        writing
    history                                                  reading, without libgit2
    drain                                                    what was spooled, appended

A turn handed to ``record`` is never lost: it becomes a commit, else a file in the spool, else the error
says that neither worked and the caller still holds it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
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
from gitsess.model import Oid, SessionName, TokenUsage
from gitsess.names import session_name
from gitsess.spool import Spool
from gitsess.values import Value

# Looking needs none of what writing does, and starts in half the time without it.
if TYPE_CHECKING:
    from pathlib import Path

    from gitsess.append import Appender
    from gitsess.config import Settings
    from gitsess.redact import Redactor
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
    """What a drain did. ``waiting``: (file, why) left for later; ``failed``: set aside for good."""

    def __init__(self) -> None:
        self.appended = 0
        self.waiting: list[tuple[Path, str]] = []
        self.failed: list[tuple[Path, str]] = []
        self.busy = False


class Workspace:
    """A repository, its settings and its sessions."""

    def __init__(self, repository: Repository, around: Surroundings) -> None:
        self.repository = repository
        self.around = around
        self.git = Git(repository, around.environment)
        self._kept = 0

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
        cost = pricing.price(model, usage, at=at, cache_dir=folder) if model else None
        return cost, "standard" if cost is None else pricing.tier_of(model, usage, at=at, cache_dir=folder)

    def situated(self, turn: Turn) -> Turn:
        """``turn`` with HEAD, branch and worktree as they are now."""
        from dataclasses import replace

        head, branch = self.store.head()
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
        return Recorded(turn=turn, oid=done.oid, existed=done.existed)

    def keep(self, session: SessionName, turn: Turn, why: GitsessError) -> Recorded:
        """Spools a redacted turn that could not be appended, or raises ``why`` where nothing takes it."""
        from gitsess import turns

        # Within this process the order in which turns came is kept, also of those that ended together.
        self._kept += 1
        name = f"{int(turn.ended_at.timestamp() * 1000):014d}-{self._kept:06d}-{turn.turn_id}.json"
        try:
            path = self.spool.put(session, turns.dump(turn), name=name)
        except OSError as error:
            raise StoreError(f"{why}; and the spool cannot be written: {error.strerror}") from None
        return Recorded(turn=turn, spooled=path, reason=str(why))

    def drain(self, *, wait_s: float = 0.0, patience: float = 0.0) -> Drained:
        """Appends what waits in the spool, one drain at a time.

        Another drain at work is ``busy``: it looks again after it has let go of the lock, so nothing is
        left behind. A turn behind a lock stays; one that can never be appended is set aside and blocks none.
        """
        done = Drained()
        while True:
            left = {path for path, _ in done.waiting}
            if not set(self.spool.waiting()) - left:
                return done
            try:
                with flock(self.repository.state_dir / "drain.lock", shared=False, wait_s=wait_s):
                    for path in self.spool.waiting():
                        if path not in left:
                            self._drain_one(path, done, patience)
            except Locked:
                done.busy = True
                return done
            except StoreError as error:
                # A repository that may only be read: what waits for it stops nobody from reading.
                done.waiting += [(path, str(error)) for path in self.spool.waiting() if path not in left]
                return done

    def _drain_one(self, path: Path, done: Drained, patience: float) -> None:
        from gitsess import turns

        try:
            spooled = self.spool.read(path)
            session = session_name(spooled.session)
            turn = turns.parse(spooled.turn, now=self.around.now(), spooled=True)
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
            self._set_aside(path, str(error), done)
            return
        except (StoreError, OSError) as error:
            # Locked, a full disk, a store that is read-only: each may pass.
            done.waiting.append((path, str(error)))
            return
        try:
            self.spool.discard(path)
        except OSError as error:
            done.waiting.append((path, f"it was appended, and its file cannot be removed: {error.strerror}"))
            return
        done.appended += 1

    def _set_aside(self, path: Path, why: str, done: Drained) -> None:
        try:
            done.failed.append((self.spool.set_aside(path), why))
        except OSError:
            done.waiting.append((path, why))
