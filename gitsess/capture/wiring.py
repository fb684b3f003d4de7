"""Agents' settings, with the hooks that tell us of their turns; and as they were before.

    <git common dir>/ai-sessions/agent                   hooks/agent, with the spool and the program written in, 0700
    <git common dir>/ai-sessions/agents/before/<16>      a settings file as it was, base64 in JSON, 0600

A settings file is somebody else's: what is no JSON is left alone, and of what is, order, indentation and ends of lines
are kept. Undoing puts the bytes back that were there before, or takes out what is ours where they were changed since.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shlex
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gitsess import strictjson
from gitsess.errors import FormatError, StoreError
from gitsess.locks import write_private
from gitsess.model import JSON
from gitsess.values import Value

AGENTS = ("claude",)
"""The agents that can be wired, by the command of their sessions."""
TITLES = {"claude": "Claude Code"}
SCRIPT = "agent"

_EVENTS = {"claude": ("UserPromptSubmit", "Stop", "SessionEnd")}
_TIMEOUT_S = 10
_MARK = b"# gitsess"
_OURS = re.compile(r"# gitsess$")
_MAX_BYTES = 1 << 22


class Change(Value):
    """``action``: ``wired``, ``unchanged``, ``restored`` (as it was, to the byte), ``taken out`` or ``absent``."""

    agent: str
    path: Path
    action: str


# The script


def install_script(state_dir: str, template: str, program: Sequence[str]) -> Path:
    """Writes the script that the agents' hooks call, or brings it up to date; raises StoreError."""
    path = Path(state_dir, SCRIPT)
    spool = shlex.quote(os.path.join(state_dir, "spool"))
    text = template.replace("@SPOOL@", spool).replace("@PROGRAM@", shlex.join(program))
    data = text.encode("utf-8", "surrogateescape")
    try:
        if not path.is_symlink() and path.is_file() and path.read_bytes() == data and os.access(path, os.X_OK):
            return path
        write_private(path, data)
        path.chmod(0o700)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from None
    return path


def remove_script(state_dir: str) -> None:
    """Takes the script away; the hooks that call it then do nothing. Raises StoreError."""
    path = Path(state_dir, SCRIPT)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{path} cannot be removed: {error.strerror}") from None


# The settings


def settings_path(agent: str, scope: str, *, top: Path, home: Path, environment: Mapping[str, str]) -> Path:
    """The settings file of an agent; ``top`` is that of the working tree."""
    assert agent in AGENTS
    if scope == "user":
        given = environment.get("CLAUDE_CONFIG_DIR", "")
        return Path(given or home / ".claude") / "settings.json"
    return top / ".claude" / ("settings.json" if scope == "shared" else "settings.local.json")


def command(agent: str, scope: str, state_dir: str) -> str:
    """The command of a hook: it ends well also where gitsess is gone, or never was."""
    if scope == "local":
        find = f"a={shlex.quote(os.path.join(state_dir, SCRIPT))}"
    else:
        # One text for every clone and every folder: it finds the repository that the agent works in.
        find = (
            'a=$(git -C "${CLAUDE_PROJECT_DIR:-.}" rev-parse --path-format=absolute --git-common-dir 2>/dev/null)'
            f"/ai-sessions/{SCRIPT}"
        )
    return f'{find}; if [ -x "$a" ]; then "$a" {agent}; else cat >/dev/null; fi || : # gitsess'


def wire(agent: str, path: Path, words: str, *, keep: str, inside: Path | None) -> Change:
    """Puts hooks that run ``words`` into the settings file at ``path``; ``keep`` is the folder for what was there.

    ``inside``: the folder that the file must not lead out of. Raises StoreError, with nothing changed, where the file
    is not what the agent would read.
    """
    real = _real(path, inside)
    old = _read(real)
    value, style = _parsed(path, old)
    stripped, had = _without(value)
    new = _with(path, agent, stripped, words)
    if _commands(value) == {event: [words] for event in _EVENTS[agent]}:
        return Change(agent=agent, path=path, action="unchanged")
    record = _record(keep, real)
    as_we_left_it = record is not None and old is not None and record["after"] == _digest(old)
    if as_we_left_it and record is not None:
        before = record["before"]
        made = record["made"]
    else:
        bytes_before = style.text(stripped) if had and old is not None else old
        before = None if bytes_before is None else base64.b64encode(bytes_before).decode("ascii")
        made = sum(not folder.exists() for folder in [real.parent, real.parent.parent])
    data = style.text(new)
    entry: dict[str, JSON] = {
        "v": 1,
        "agent": agent,
        "path": os.fsencode(path).decode("utf-8", "surrogateescape"),
        "before": before,
        "after": _digest(data),
        "made": made,
    }
    try:
        # First what was there: whoever is stopped in between leaves a file that was not changed yet.
        write_private(_place(keep, real), strictjson.dumps(entry).encode("utf-8", "surrogateescape"))
        real.parent.mkdir(parents=True, exist_ok=True)
        _write(real, data)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}; nothing was changed") from None
    return Change(agent=agent, path=path, action="wired")


def unwire(agent: str, path: Path, *, keep: str, inside: Path | None) -> Change:
    """Takes our hooks out of a settings file again; raises StoreError."""
    try:
        real = _real(path, inside)
        old = _read(real)
    except StoreError:
        # Nothing of ours was ever put there.
        return Change(agent=agent, path=path, action="absent")
    record = _record(keep, real)
    action = "absent"
    try:
        if old is not None and record is not None and record["after"] == _digest(old):
            before = None if record["before"] is None else base64.b64decode(record["before"])
            if before is None:
                _unlink(real, record["made"])
            else:
                _write(real, before)
            action = "restored"
        elif old is not None and _MARK in old:
            value, style = _parsed(path, old)
            stripped, had = _without(value)
            if had:
                _write(real, style.text(stripped))
                action = "taken out"
        with suppress(FileNotFoundError):
            os.unlink(_place(keep, real))
    except OSError as error:
        raise StoreError(f"{path} cannot be put back: {error.strerror}") from None
    return Change(agent=agent, path=path, action=action)


def wired(keep: str) -> list[tuple[str, Path]]:
    """(agent, settings file) of all that ``keep`` knows of."""
    found = []
    with suppress(OSError):
        for name in sorted(os.listdir(keep)):
            record = _load(os.path.join(keep, name))
            if record is not None:
                found.append((record["agent"], Path(record["path"])))
    return found


# A file


def _real(path: Path, inside: Path | None) -> Path:
    """Where a file is, through links: putting a file in a link's place would undo what somebody set up."""
    try:
        real = path.resolve()
    except (OSError, RuntimeError):
        raise StoreError(f"{path} is a link that leads nowhere: nothing was changed") from None
    if path.is_symlink() and not real.exists():
        raise StoreError(f"{path} is a link to {real}, which is not there: nothing was changed")
    if inside is not None and not real.is_relative_to(inside.resolve()):
        raise StoreError(f"{path} leads out of the repository, to {real}: nothing was changed")
    return real


def _read(real: Path) -> bytes | None:
    try:
        handle = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{real} cannot be read: {error.strerror}; nothing was changed") from None
    with open(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise StoreError(f"{real} is no regular file: nothing was changed")
        data = stream.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise StoreError(f"{real} is larger than {_MAX_BYTES >> 20} MiB: nothing was changed")
    return data


class _Style(Value):
    """How a file is laid out: ``indent`` None is one line; ``end`` stands behind the last brace; ``ascii``: other
    characters are written as escapes."""

    indent: str | None = "  "
    newline: str = "\n"
    end: str = "\n"
    mark: bytes = b""
    ascii: bool = False

    def text(self, value: JSON) -> bytes:
        import json

        text = json.dumps(value, indent=self.indent, ensure_ascii=self.ascii)
        text = text.replace("\n", self.newline) + self.end
        return self.mark + text.encode("utf-8", "surrogatepass")


def _parsed(path: Path, data: bytes | None) -> tuple[dict[str, Any], _Style]:
    if data is None or not data.strip():
        return {}, _Style()
    mark = b"\xef\xbb\xbf" if data.startswith(b"\xef\xbb\xbf") else b""
    try:
        text = data.removeprefix(mark).decode()
        value = strictjson.loads(text, what="it")
    except (FormatError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise StoreError(f"{path} is not to be read as settings ({reason}): nothing was changed") from None
    if not isinstance(value, dict):
        raise StoreError(f"{path} is no JSON object: nothing was changed")
    found = re.search(r"\{\r?\n([ \t]*)", text)
    return value, _Style(
        indent=found[1] if found is not None else "  " if not value else None,
        newline="\r\n" if "\r\n" in text else "\n",
        end=text[len(text.rstrip()) :],
        mark=mark,
        ascii="\\u" in text and text.isascii(),
    )


def _without(value: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """(the settings without our hooks, whether there were some)."""
    hooks = value.get("hooks")
    if not isinstance(hooks, dict):
        return dict(value), False
    had = False
    left: dict[str, Any] = {}
    for event, groups in hooks.items():
        if not isinstance(groups, list):
            left[event] = groups
            continue
        kept, here = [], False
        for group in groups:
            entries = group.get("hooks") if isinstance(group, dict) else None
            if isinstance(entries, list) and any(map(_is_ours, entries)):
                here = True
                others = [entry for entry in entries if not _is_ours(entry)]
                if others:
                    kept.append({**group, "hooks": others})
            else:
                kept.append(group)
        had = had or here
        if kept or not here:
            left[event] = kept
    if not had:
        return dict(value), False
    if left:
        return {**value, "hooks": left}, True
    return {key: item for key, item in value.items() if key != "hooks"}, True


def _commands(value: Mapping[str, Any]) -> dict[str, list[str]]:
    """The commands of ours by event."""
    hooks = value.get("hooks")
    found: dict[str, list[str]] = {}
    for event, groups in hooks.items() if isinstance(hooks, dict) else ():
        for group in groups if isinstance(groups, list) else ():
            entries = group.get("hooks") if isinstance(group, dict) else None
            for entry in entries if isinstance(entries, list) else ():
                if _is_ours(entry):
                    found.setdefault(event, []).append(entry["command"])
    return found


def _is_ours(entry: JSON) -> bool:
    words = entry.get("command") if isinstance(entry, dict) else None
    return isinstance(words, str) and _OURS.search(words) is not None


def _with(path: Path, agent: str, value: Mapping[str, Any], words: str) -> dict[str, Any]:
    hooks = value.get("hooks", {})
    if not isinstance(hooks, dict):
        raise StoreError(f"the hooks in {path} are no JSON object: nothing was changed")
    new = dict(hooks)
    for event in _EVENTS[agent]:
        groups = new.get(event, [])
        if not isinstance(groups, list):
            raise StoreError(f"the hooks of {event} in {path} are no list: nothing was changed")
        new[event] = [*groups, {"hooks": [{"type": "command", "command": words, "timeout": _TIMEOUT_S}]}]
    return {**value, "hooks": new}


def _write(real: Path, data: bytes) -> None:
    """Writes a file whole or not at all, with the mode that it has."""
    temporary = real.with_name(f".{real.name}.{os.getpid()}.{os.urandom(4).hex()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        with open(handle, "wb") as out:
            with suppress(FileNotFoundError):
                os.fchmod(handle, stat.S_IMODE(real.stat().st_mode))
            out.write(data)
            out.flush()
            os.fsync(handle)
        temporary.replace(real)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _unlink(real: Path, made: int) -> None:
    real.unlink()
    with suppress(OSError):
        for folder in (real.parent, real.parent.parent)[:made]:
            folder.rmdir()


# What was there before


def _place(keep: str, real: Path) -> str:
    return os.path.join(keep, hashlib.sha256(os.fsencode(real)).hexdigest()[:16])


def _record(keep: str, real: Path) -> dict[str, Any] | None:
    return _load(_place(keep, real))


def _load(place: str) -> dict[str, Any] | None:
    try:
        handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as stream:
            value = strictjson.loads(stream.read(4 * _MAX_BYTES).decode("utf-8", "surrogateescape"), what="it")
    except (OSError, FormatError):
        return None
    if not isinstance(value, dict) or value.get("agent") not in AGENTS or not isinstance(value.get("path"), str):
        return None
    before, made = value.get("before"), value.get("made")
    if not isinstance(value.get("after"), str) or type(made) is not int:
        return None
    return value if before is None or isinstance(before, str) else None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
