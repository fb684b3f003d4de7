"""Conversations back to their agents: the transcript that an agent looks for, made of the entries that turns hold.

    claude   projects/<folder>/<id>.jsonl, and <id>/subagents/ beside it; a fork's begins with a copy of its parent's
    codex    sessions/YYYY/MM/DD/rollout-<when>-<id>.jsonl; a fork's names its parent's
    gemini   tmp/<name>/chats/session-<minute>-<8 digits of the id>.jsonl, <name> as .project_root has it
    opencode  a file for ``opencode import``, which puts it into the database; a fork without what it goes on from

Each was tried with the agent itself: it goes on with what it finds there, and knows nothing of what was left out.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from gitsess import strictjson
from gitsess.agents import opencode
from gitsess.agents.captured import lines, moment, text_at
from gitsess.errors import FormatError, GitsessError
from gitsess.model import JSON, JSONObject

Native = Mapping[str, Sequence[JSONObject]]
"""A turn's entries by path below native/."""
Others = Callable[[], Iterator[tuple[str, Sequence[Native]]]]
"""The agent's other conversations: (id, the entries of their turns in order)."""

MAIN = "main.jsonl"
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OPENCODE = re.compile(r"ses_[A-Za-z0-9]{1,80}")
_SUBAGENT = re.compile(r"subagents/(agent-[A-Za-z0-9_-]{1,80})\.jsonl")
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
_LONGEST_NAME = 200
_MOST_PARENTS = 50


class Home(Protocol):
    """Where an agent keeps its conversations."""

    def find(self, conversation: str) -> Path | None:
        """The transcript that the agent has of a conversation."""

    def lay_out(self, conversation: str, turns: Sequence[Native], folder: str, others: Others) -> dict[Path, bytes]:
        """The files of a conversation that the agent does not have, to be written in this order; the last one is the
        transcript. ``folder`` is the one in which it will go on. Raises FormatError."""

    def commands(self, conversation: str, made: Path | None) -> list[list[str]]:
        """What has the agent go on with it, one after the other; ``made`` is the transcript that was laid out."""


def home_of(agent: str, home: Path, environment: Mapping[str, str]) -> Home | None:
    """The home of an agent, by the command of its sessions; None for one that conversations cannot go back to."""
    if agent == "claude":
        return _Claude(Path(environment.get("CLAUDE_CONFIG_DIR") or home / ".claude"))
    if agent == "codex":
        return Codex(Path(environment.get("CODEX_HOME") or home / ".codex"))
    if agent == "gemini":
        return _Gemini(Path(environment.get("GEMINI_CLI_HOME") or home, ".gemini"))
    return _Opencode(opencode.database_of(home, environment)) if agent == "opencode" else None


def is_conversation(text: str) -> bool:
    """Whether it can be the id of a conversation of these agents: it becomes part of paths and commands."""
    return _UUID.fullmatch(text) is not None or _OPENCODE.fullmatch(text) is not None


class _Claude:
    def __init__(self, top: Path) -> None:
        self._projects = top / "projects"

    def find(self, conversation: str) -> Path | None:
        return _newest(folder / f"{conversation}.jsonl" for folder in _folders(self._projects))

    def lay_out(self, conversation: str, turns: Sequence[Native], folder: str, others: Others) -> dict[Path, bytes]:
        # A folder with a long name would get digits behind it, by a rule that is the agent's own.
        slug = re.sub(r"[^A-Za-z0-9]", "-", folder)
        place = self._projects / slug[:_LONGEST_NAME]
        entries = [entry for turn in turns for entry in turn.get(MAIN, ())]
        entries = [*_copied(entries, conversation, others), *entries]
        files: dict[Path, bytes] = {}
        for name, below in _below(turns).items():
            files[place / conversation / "subagents" / f"{name}.jsonl"] = _jsonl(below)
        files[place / f"{conversation}.jsonl"] = _jsonl(entries)
        return files

    def commands(self, conversation: str, made: Path | None) -> list[list[str]]:
        return [["claude", "--resume", conversation]]


def _copied(entries: Sequence[JSONObject], conversation: str, others: Others) -> list[JSONObject]:
    """What a fork's own entries go on from, as a fork has it: with the fork's id."""
    copied: list[JSONObject] = []
    first = entries
    for _ in range(_MOST_PARENTS):
        above = text_at(first[0], "parentUuid") if first else None
        if above is None:
            break
        found = _up_to(above, others)
        if not found:
            break
        copied = [*(_copy(entry, conversation) for entry in found), *copied]
        first = found
    return copied


def _copy(entry: JSONObject, conversation: str) -> JSONObject:
    """An entry in a fork, which says where it is from: whoever reads it knows it for another conversation's."""
    origin = {"sessionId": text_at(entry, "sessionId"), "messageUuid": text_at(entry, "uuid")}
    return {**entry, "sessionId": conversation, "forkedFrom": origin}


def _up_to(uuid: str, others: Others) -> list[JSONObject]:
    """The entries of the conversation that has the one with this id, up to it."""
    for _, turns in others():
        entries = [entry for turn in turns for entry in turn.get(MAIN, ())]
        for number, entry in enumerate(entries):
            if entry.get("uuid") == uuid:
                return entries[: number + 1]
    return []


class Codex:
    """``top`` is CODEX_HOME."""

    def __init__(self, top: Path) -> None:
        self._home = top

    def find(self, conversation: str) -> Path | None:
        end = f"-{conversation}.jsonl"
        # Its id tells when it began, and so the folder of the day, up to the time zone: there may be years of them.
        for day in _days(conversation):
            found = _newest(path for path in _files(self._home / "sessions" / day) if path.name.endswith(end))
            if found is not None:
                return found
        tops = (self._home / "sessions", self._home / "archived_sessions")
        names = (Path(place, name) for top in tops for place, _, names in os.walk(top) for name in names)
        return _newest(path for path in names if path.name.endswith(end))

    def lay_out(self, conversation: str, turns: Sequence[Native], folder: str, others: Others) -> dict[Path, bytes]:
        files: dict[Path, bytes] = {}
        self._lay_out(conversation, turns, folder, others, files, _MOST_PARENTS)
        return files

    def _lay_out(
        self,
        conversation: str,
        turns: Sequence[Native],
        folder: str,
        others: Others,
        files: dict[Path, bytes],
        parents: int,
    ) -> None:
        entries = [entry for turn in turns for entry in turn.get(MAIN, ())]
        if not entries or entries[0].get("type") != "session_meta":
            raise FormatError("its first turn is not here, without which codex knows no conversation")
        payload = entries[0].get("payload")
        meta: JSONObject = payload if isinstance(payload, dict) else {}
        parent = text_at(meta, "forked_from_id")
        if parent is not None and parents and is_conversation(parent) and self.find(parent) is None:
            for name, found in others():
                if name == parent:
                    self._lay_out(parent, found, folder, others, files, parents - 1)
                    break
        # The folder in which it began need not be on this machine.
        entries[0] = {**entries[0], "payload": {**meta, "cwd": folder}}
        when = text_at(meta, "timestamp") or text_at(entries[0], "timestamp") or ""
        if _DATE.match(when) is None:
            raise FormatError("its first turn does not say when it began, without which codex knows no conversation")
        day = Path(*when[:10].split("-"))
        name = f"rollout-{when[:19].replace(':', '-')}-{conversation}.jsonl"
        files[self._home / "sessions" / day / name] = _jsonl(entries)

    def commands(self, conversation: str, made: Path | None) -> list[list[str]]:
        return [["codex", "resume", conversation]]


def _days(conversation: str) -> list[str]:
    """The days on which a conversation may have begun, by its id (RFC 9562, version 7)."""
    try:
        milliseconds = int(conversation.replace("-", "")[:12], 16)
        began = datetime.fromtimestamp(milliseconds / 1000, UTC)
        return [f"{began + timedelta(days=apart):%Y/%m/%d}" for apart in (0, 1, -1)]
    except (ValueError, OverflowError, OSError):
        return []


class _Gemini:
    def __init__(self, top: Path) -> None:
        self._home = top

    def find(self, conversation: str) -> Path | None:
        found = (
            path
            for project in _folders(self._home / "tmp")
            for path in _files(project / "chats")
            if path.name.endswith(f"-{conversation[:8]}.jsonl") and _session_of(path) == conversation
        )
        return _newest(found)

    def lay_out(self, conversation: str, turns: Sequence[Native], folder: str, others: Others) -> dict[Path, bytes]:
        entries = [entry for turn in turns for entry in turn.get(MAIN, ())]
        if not entries:
            raise FormatError("its turns have no entries of gemini's own")
        header: dict[str, JSON] = dict(entries.pop(0)) if "sessionId" in entries[0] else {"kind": "main"}
        began = text_at(header, "startTime") or next((when for e in entries if (when := text_at(e, "timestamp"))), "")
        if moment(began) is None or _DATE.match(began) is None:
            raise FormatError("its turns do not say when it began, without which gemini knows no conversation")
        header |= {
            "sessionId": conversation,
            "projectHash": hashlib.sha256(os.fsencode(folder)).hexdigest(),
            "startTime": began,
        }
        header.setdefault("lastUpdated", began)
        project = self._project(folder)
        chats = project / "chats"
        files: dict[Path, bytes] = {}
        if not (project / _ROOT).exists():
            files[project / _ROOT] = os.fsencode(folder)
        for name, below in _below(turns).items():
            files[chats / conversation / f"{name.removeprefix('agent-')}.jsonl"] = _jsonl(below)
        name = f"session-{began[:16].replace(':', '-')}-{conversation[:8]}.jsonl"
        files[chats / name] = _jsonl([header, *entries])
        return files

    def _project(self, folder: str) -> Path:
        """The place of a folder's chats: the one that names it, else a free one, named as the agent would."""
        top = self._home / "tmp"
        named = _registered(self._home / "projects.json", folder)
        if named is not None:
            return top / named
        taken = {}
        for project in _folders(top):
            taken[project.name] = root = _root_of(project)
            if root == folder:
                return project
        name = re.sub(r"[^a-z0-9]+", "-", os.path.basename(folder).lower()).strip("-") or "project"
        number = 0
        while (found := f"{name}-{number}" if number else name) in taken:
            number += 1
        return top / found

    def commands(self, conversation: str, made: Path | None) -> list[list[str]]:
        return [["gemini", "--resume", conversation]]


class _Opencode:
    def __init__(self, database: Path) -> None:
        self._database = database

    def find(self, conversation: str) -> Path | None:
        path = self._database / conversation
        return path if opencode.exists(path) else None

    def lay_out(self, conversation: str, turns: Sequence[Native], folder: str, others: Others) -> dict[Path, bytes]:
        entries = [entry for turn in turns for entry in turn.get(MAIN, ())]
        if not entries or "parts" in entries[0] or not isinstance(entries[0].get("info"), dict):
            raise FormatError("its first turn is not here, without which opencode knows no session")
        said = [entry for entry in entries if "parts" in entry]
        # Its totals are those of its messages: they are not counted again.
        info = {**entries[0]["info"], **opencode.totals(said), "id": conversation, "directory": folder}
        value = {"info": info, "messages": said}
        return {
            self._database.parent / "gitsess" / f"{conversation}.json": strictjson.dumps(value).encode(
                "utf-8", "replace"
            )
        }

    def commands(self, conversation: str, made: Path | None) -> list[list[str]]:
        imported = [] if made is None else [["opencode", "import", str(made)]]
        return [*imported, ["opencode", "--session", conversation]]


_ROOT = ".project_root"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,100}")


def _root_of(project: Path) -> str | None:
    try:
        with open(os.open(project / _ROOT, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
            return os.fsdecode(stream.read(4097)).strip()
    except OSError:
        return None


def _registered(registry: Path, folder: str) -> str | None:
    """The name that gemini's own list gives a folder."""
    try:
        found = strictjson.loads(registry.read_bytes(), what="it")
    except (OSError, FormatError):
        return None
    projects = found.get("projects") if isinstance(found, dict) else None
    name = projects.get(folder) if isinstance(projects, dict) else None
    return name if isinstance(name, str) and _NAME.fullmatch(name) else None


def _session_of(path: Path) -> str | None:
    try:
        return next((found for line in lines(path, 0) if (found := text_at(line.value, "sessionId"))), None)
    except GitsessError:
        return None


# What they have in common


def _below(turns: Sequence[Native]) -> dict[str, list[JSONObject]]:
    """The entries of each subagent, over all turns. What is named otherwise is not an agent's."""
    found: dict[str, list[JSONObject]] = {}
    for turn in turns:
        for path, entries in turn.items():
            named = _SUBAGENT.fullmatch(path)
            if named is not None:
                found.setdefault(named[1], []).extend(entries)
    return found


def _jsonl(entries: Sequence[JSONObject]) -> bytes:
    return "".join(f"{strictjson.dumps(entry)}\n" for entry in entries).encode("utf-8", "replace")


def _folders(place: Path) -> list[Path]:
    try:
        with os.scandir(place) as found:
            return [Path(entry.path) for entry in found if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _files(place: Path) -> list[Path]:
    try:
        with os.scandir(place) as found:
            return [Path(entry.path) for entry in found if entry.is_file(follow_symlinks=False)]
    except OSError:
        return []


def _newest(paths: Iterator[Path]) -> Path | None:
    """The one that was written to last, of those that are regular files."""
    found = [(path.lstat().st_mtime_ns, str(path)) for path in paths if path.is_file() and not path.is_symlink()]
    return Path(max(found)[1]) if found else None
