"""Commits in bulk: files and trees into packs, commits on what stands at a session, refs all together."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime

from gitsess.append import Parent, commit_on
from gitsess.draft import Draft
from gitsess.errors import Locked, NotASession
from gitsess.history import Session
from gitsess.locks import flock
from gitsess.model import Oid, SessionName
from gitsess.store.pack import Names, Packs
from gitsess.transfer.importing import LOCK_WAIT_S, MESSAGE
from gitsess.values import Value
from gitsess.workspace import Workspace


class Standing(Value):
    """A session as it is here, and what a commit on its tip must know; ``last_used`` is the newest end of a turn."""

    session: Session
    parent: Parent
    last_used: datetime


class Builder:
    """Builds sessions of one repository; nothing of it is seen before ``move``."""

    def __init__(self, workspace: Workspace, packs: Packs) -> None:
        self._workspace = workspace
        self._packs = packs
        self._names = Names(workspace.repository.object_format)
        self.tips, _ = workspace.history.tips()

    def standing(self, name: SessionName) -> Standing | None:
        """The session of this name, or None; raises NotASession where it cannot be added to."""
        tip = self.tips.get(name)
        if tip is None:
            return None
        ledger = self._workspace.history.read({name: tip}, [])
        if not ledger.sessions or ledger.sessions[0].newer or not ledger.sessions[0].commits:
            why = ledger.warnings[0] if ledger.warnings else "it cannot be read"
            raise NotASession(f"{name} cannot be added to: {why}; nothing was imported")
        session = ledger.sessions[0]
        last = next((item for item in session.commits if item.oid == tip), None)
        if last is None:
            raise NotASession(f"{name} cannot be added to: its tip {tip[:12]} is not a turn; nothing was imported")
        used = [item.committed_at for item in session.commits if item.facts.kind == "turn"]
        facts = last.facts
        parent = Parent(oid=tip, seq=facts.seq, epoch=facts.epoch, committed_at=last.committed_at)
        return Standing(session=session, parent=parent, last_used=max(used, default=session.commits[0].committed_at))

    def tree(self, files: Mapping[str, bytes]) -> Oid:
        """Writes the files of a turn, by path."""
        blobs = {path: self._names.of("blob", data) for path, data in files.items()}
        for path, data in files.items():
            self._packs.add("blob", blobs[path], data)
        tree = Oid("")
        for tree, data in self._names.trees(blobs):
            self._packs.add("tree", tree, data)
        return tree

    def commit(self, parent: Parent | None, draft: Draft, tree: Oid) -> Parent:
        """Writes the draft's commit on ``parent``, or as a session's first."""
        facts, committed_at, raw = commit_on(parent, draft, tree)
        oid = self._names.of("commit", raw)
        self._packs.add("commit", oid, raw)
        return Parent(oid=oid, seq=facts.seq, epoch=facts.epoch, committed_at=committed_at)

    def move(self, moves: Sequence[tuple[str, Oid, Oid | None]]) -> None:
        """Hands what was written to git and moves (ref, new, old), all or none; raises Locked where one stood
        elsewhere, StoreError where git refuses."""
        lock = os.path.join(self._workspace.repository.state_dir, "lock")
        with flock(lock, shared=True, wait_s=LOCK_WAIT_S):
            self._packs.install()
            complaint = self._workspace.git.move_refs(moves, message=MESSAGE)
        if complaint is not None:
            raise Locked(f"a session moved meanwhile; nothing was imported, try again ({complaint})")
