"""Ways to break a repository that work for every user, root too."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.conftest import Repo


def loose(repo: Repo, oid: str) -> Path:
    """The file of a loose object."""
    return repo.path / ".git/objects" / oid[:2] / oid[2:]


def close_objects(repo: Repo) -> None:
    """Makes the object store take no new object: files stand where its folders would be."""
    repo.git("repack", "-adq")
    for number in range(256):
        folder = repo.path / f".git/objects/{number:02x}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.touch()


def open_objects(repo: Repo) -> None:
    """Undoes ``close_objects``."""
    for number in range(256):
        (repo.path / f".git/objects/{number:02x}").unlink()
