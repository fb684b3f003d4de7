"""From a code commit to the sessions that led to it.

A commit made in a worktree becomes a commit event in every session that had turns there since the last one. From the
events, and from the commits that turns name themselves, follows what each commit cost (``attribution``), and that is
said in its note (``costnotes``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from gitsess import strictjson
from gitsess.append import Appender
from gitsess.commit import MERGER, Facts, Person
from gitsess.draft import Draft
from gitsess.errors import NewerFormat, NotASession, StoreError
from gitsess.gitcli import Git
from gitsess.history import History
from gitsess.model import Oid, SessionName, TurnId
from gitsess.spool import Made
from gitsess.text import iso
from gitsess.trails import Trail
from gitsess.worktree import Version, Worktree


def event_id(commit: str) -> TurnId:
    """The turn id of a commit event: the same wherever it is made, so that it is there once in a session."""
    return TurnId(hashlib.sha256(b"commit\0" + commit.encode()).hexdigest()[:32])


def event_of(commit: Oid, *, at: datetime, worktree: str, branch: str | None, committer: Person) -> Draft:
    """The event to append for a commit that was made ``at`` a time; ``branch`` is redacted already."""
    return Draft(
        subject=f"Commit {commit[:12]}",
        facts=Facts(
            kind="event",
            turn_id=event_id(commit),
            event="commit",
            branch=branch,
            worktree=worktree,
            commits=(commit,),
        ),
        # A commit's own date knows only seconds, in which a turn and a commit may both fall.
        files={"turn.json": strictjson.dumps({"v": 1, "ended_at": iso(at)}).encode()},
        author=MERGER,
        authored_at=at,
        committer=committer,
        committed_at=at,
        checked=True,
    )


class Linked:
    """What ``link`` did: ``events`` appended; ``waiting``: (file, why) left for later; ``touched``: commits whose
    notes are to be written, and the sessions that led to them."""

    def __init__(self) -> None:
        self.events = 0
        self.waiting: list[tuple[Path, str]] = []
        self.touched: dict[Oid, set[SessionName]] = {}
        self._markers: list[tuple[Worktree, Version, list[SessionName]]] = []

    def leave(self, place: Worktree, version: Version, keep: list[SessionName]) -> None:
        """Remembers what is to stay of a worktree's marker."""
        self._markers.append((place, version, keep))

    def clear(self) -> None:
        """Clears the markers. Once the notes are written: until then they say which sessions to look at again."""
        for place, version, keep in self._markers:
            place.clear(version, keep=keep)


def link(
    git: Git,
    history: History,
    appender: Appender,
    made: Sequence[Made],
    *,
    committer: Person,
    redact: Callable[[str], str],
    patience: float,
) -> Linked:
    """Appends the events of these commits. Their notes are then to be written, and the markers to be cleared; what
    is not ``waiting`` is done with."""
    done = Linked()
    for name in dict.fromkeys(one.worktree for one in made):
        here = sorted((one for one in made if one.worktree == name), key=lambda one: one.at)
        place = Worktree.named(git.repository, name)
        marked, version = place.pending() if place is not None else ([], None)
        asked = [*marked, *(session for one in here for session in one.sessions)]
        left = []
        for session in history.present(asked):
            # A clone's own commit may have come in with a session from elsewhere.
            known = {item.facts.turn_id for item in session.commits}
            once = {one.commit: one for one in reversed(here)}
            coming = [one for one in reversed(once.values()) if event_id(one.commit) not in known]
            trail = Trail.of(git, session, name, coming, around={one.commit for one in coming})
            failed = False

            def touch(commit: Oid, trail: Trail = trail, name: SessionName = session.name) -> None:
                # A commit that is reported late takes turns from the one after it.
                for each in (commit, trail.after(commit)):
                    if each is not None:
                        done.touched.setdefault(each, set()).add(name)

            for one in here:
                # Its note may be missing: whoever appended the event may have been killed.
                if event_id(one.commit) in known:
                    touch(one.commit)
            for one in coming:
                if trail.led_to(one.commit):
                    branch = None if one.branch is None else redact(one.branch)
                    draft = event_of(one.commit, at=one.at, worktree=one.worktree, branch=branch, committer=committer)
                    try:
                        appended = appender.append(session.name, draft, patience=patience)
                    except (NotASession, NewerFormat):
                        break
                    except StoreError as error:
                        failed = True
                        done.waiting.append((one.path, str(error)))
                        continue
                    done.events += not appended.existed
                    touch(one.commit)
            if failed or trail.left:
                left.append(session.name)
        if place is not None:
            done.leave(place, version, [session for session in left if session in marked])
    return done
