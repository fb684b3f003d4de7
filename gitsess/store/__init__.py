"""Where turns are kept: objects and refs of a git repository.

Two stores satisfy one Protocol: ``libgit`` writes in process, ``plumbing`` drives git for repositories
that libgit2 refuses (SHA-256, reftable, partial clones). Both write the same bytes. What is common to
them, the order of an append and its retries, is ``gitsess.append``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from gitsess.errors import FormatError, StoreError
from gitsess.gitcli import Git
from gitsess.model import Oid


class Store(Protocol):
    """Objects first, refs last, refs only by ``swap``."""

    name: str

    def tip(self, ref: str) -> Oid | None:
        """The commit that ``ref`` points at, or None where there is no such ref.

        Raises NotASession for a symbolic ref and for one that points at something else than a commit.
        """

    def read_commit(self, oid: Oid) -> bytes:
        """A commit's bytes; StoreError where it is missing, NotASession where it is
        no commit or larger than COMMIT_LIMIT bytes."""

    def write_tree(self, files: Mapping[str, bytes]) -> Oid:
        """Writes blobs and trees of ``files`` (path → bytes)."""

    def write_commit(self, data: bytes) -> Oid:
        """Writes a commit of exactly these bytes."""

    def swap(self, ref: str, new: Oid, old: Oid | None) -> bool:
        """Moves ``ref`` from ``old`` (None: absent) to ``new``, or returns False where it stood elsewhere.

        Raises Locked while another process holds it, StoreError where it can never work.
        """

    def head(self) -> tuple[Oid | None, str | None]:
        """(commit, branch) of HEAD; either is None where there is none."""

    def close(self) -> None:
        """Lets go of processes and files; they are taken again when they are needed."""


def nested(files: Mapping[str, object]) -> dict[str, Any]:
    """Paths as folders: ``{"a/b": x}`` is ``{"a": {"b": x}}``. Raises FormatError where a file is a folder too."""
    root: dict[str, Any] = {}
    for path, item in files.items():
        *folders, name = path.split("/")
        node = root
        for folder in folders:
            node = node.setdefault(folder, {})
            if not isinstance(node, dict):
                raise FormatError("a file of its tree is a folder too")
        if name in node:
            raise FormatError("a file of its tree is a folder too")
        node[name] = item
    return root


def no_commit(oid: Oid) -> str:
    return f"{oid[:12]} is no commit, which every turn is; nothing was changed"


def too_large(oid: Oid) -> str:
    return f"commit {oid[:12]} is larger than any turn's; nothing was changed"


def symbolic(ref: str) -> str:
    return f"{ref} is a symbolic ref, which no session is; nothing was changed"


# libgit2 reads repositories with these extensions; any other needs git itself.
_KNOWN_EXTENSIONS = frozenset(["noop", "worktreeconfig", "objectformat", "preciousobjects"])


def open_store(git: Git, config: Mapping[str, Sequence[str]]) -> Store:
    """The store for this repository, chosen by what its configuration says of its format."""
    extensions = {key.partition(".")[2] for key in config if key.startswith("extensions.")}
    promised = any(key.startswith("remote.") and key.endswith(".promisor") for key in config)
    if git.repository.object_format == "sha1" and extensions <= _KNOWN_EXTENSIONS and not promised:
        from gitsess.store.libgit import LibgitStore

        try:
            return LibgitStore(git.repository)
        except StoreError:
            # An older libgit2 refuses more; git itself is the judge of what can be opened.
            pass
    from gitsess.store.plumbing import PlumbingStore

    return PlumbingStore(git)
