"""The settings of agents and of git ai-session itself in a worktree: what a model is asked, and what agents run.

They are read as any file is. The tools write none of them, for who writes there says what the next one may do. An agent
that works by itself, and the tests that a model wrote, are held to nothing: what they changed there is found out by
looking before and after. So it is with instructions for agents, which the tools may write: they are a part of many a
project, and to write them may be the task.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from gitsess.templating import FOLDER
from gitsess.workbench.paths import Parts, named, plain

NAMES = (FOLDER, ".claude", ".codex", ".gemini", ".mcp.json", ".opencode", "opencode.json", "opencode.jsonc")
"""Folders and files. Agents look for theirs in every folder from the one that they are started in upwards."""

INSTRUCTIONS = (
    *("AGENTS.md", "AGENTS.override.md", "CLAUDE.md", "CLAUDE.local.md", "GEMINI.md", "copilot-instructions.md"),
    *(".cursor", ".cursorrules", ".clinerules", ".windsurf", ".windsurfrules"),
)
"""Files and folders that agents read as what they are to do."""

_MOST_FILES = 5_000
_WHOLE_BYTES = 1 << 20
_TELLING = frozenset(name.casefold() for name in INSTRUCTIONS)
# As FAT and NTFS have it: six letters, without the dot that it begins with.
_SHORT = re.compile(
    "(?:" + "|".join(sorted({name.strip(".").partition(".")[0][:6] for name in NAMES})) + ")~[0-9]+(?:[.][a-z]*)?"
)


def is_settings(parts: Parts) -> bool:
    """Whether a path of the worktree is one of theirs, in a spelling that some file system takes for it."""
    return any(name in NAMES or _SHORT.fullmatch(name) for name in map(plain, parts))


def tells(parts: Parts) -> bool:
    """Whether a path of the worktree says what models are asked or agents do: settings, and instructions."""
    return is_settings(parts) or any(plain(name) in _TELLING for name in parts)


def look(top: Path) -> Mapping[str, str]:
    """What is there at ``top``, ignored or not: paths, and what would differ if they were changed."""
    found: dict[str, str] = {}
    for name in (*NAMES, *INSTRUCTIONS):
        for path in islice(_files(os.path.join(top, name)), _MOST_FILES):
            found[os.path.relpath(path, top)] = _mark(path)
    return found


def changed(before: Mapping[str, str], after: Mapping[str, str], paths: Sequence[str]) -> list[str]:
    """The settings and instructions that differ between two looks, or are among ``paths``, which are known to have
    changed."""
    differing = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    return sorted(differing | {path for path in paths if tells(tuple(path.split("/")))})


def warning(paths: Sequence[str], when: str) -> str:
    """A line that names them; ``when`` they were changed: during the turn."""
    says = "says" if len(paths) == 1 else "say"
    text = f"changed {when}: {named(paths)}, which {says} what models are asked or agents run"
    return f"{text}: look before you go on"


def _files(path: str) -> Iterator[str]:
    if not os.path.isdir(path):
        yield from [path] if os.path.lexists(path) else []
        return
    for folder, names, files in os.walk(path):
        # What an agent installs, or checks out for itself, is no setting.
        names[:] = [n for n in names if n != "node_modules" and not os.path.lexists(os.path.join(folder, n, ".git"))]
        yield from (os.path.join(folder, name) for name in files)
        yield from (link for name in names if os.path.islink(link := os.path.join(folder, name)))


def _mark(path: str) -> str:
    """What a file is; empty where it is not there, or cannot be read."""
    try:
        seen = os.lstat(path)
        if stat.S_ISLNK(seen.st_mode):
            return f"link to {os.readlink(path)}"
        if not stat.S_ISREG(seen.st_mode) or seen.st_size > _WHOLE_BYTES:
            return f"{seen.st_mode} {seen.st_size} {seen.st_mtime_ns}"
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            return hashlib.sha256(file.read(_WHOLE_BYTES)).hexdigest()
    except OSError:
        return ""
