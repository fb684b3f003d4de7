"""Agents' settings, with the hooks that tell us of their turns; and as they were before.

    <git common dir>/ai-sessions/agent                   hooks/agent, with the spool and the program written in, 0700
    <git common dir>/ai-sessions/agents/before/<16>      a settings file as it was, base64 in JSON, 0600
    <git common dir>/ai-sessions/agents/excluded/<16>    info/exclude as it was, the same

    hooks     in a settings file of JSON                 Claude Code, Gemini CLI
    jsontext  such a file's text, changed in places
    notify    the program that is told, in TOML          Codex
    plugin    a file of our own                          opencode
    excluded  what git is not to commit                  info/exclude
    files     reading, writing, what was there before

A settings file is somebody else's: what the agent would not read is left alone, and of what is there everything but
ours is kept. Undoing puts the bytes back that were there before, or takes out what is ours where they were changed
since.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from gitsess.capture.wiring import excluded, files
from gitsess.capture.wiring.hooks import Hooks
from gitsess.capture.wiring.notify import Notify
from gitsess.capture.wiring.plugin import Plugin
from gitsess.errors import StoreError, UsageError
from gitsess.gitcli import Git
from gitsess.locks import write_private
from gitsess.model import JSON
from gitsess.names import shown
from gitsess.setup import missing_program
from gitsess.values import Value

TITLES = {"claude": "Claude Code", "codex": "Codex", "gemini": "Gemini CLI", "opencode": "opencode"}
AGENTS = tuple(TITLES)
"""The agents that can be wired, by the command of their sessions."""
SCRIPT = "agent"
PLUGIN = "opencode.js"
"""The scripts, below hooks/."""
_VERSION = re.compile(r"^# gitsess agent ([0-9]{1,6}):", re.MULTILINE)


class Change(Value):
    """``action``: ``wired``, ``unchanged``, ``restored`` (as it was, to the byte), ``taken out`` or ``absent``;
    ``scope``: ``local`` (a person's own file in the repository), ``shared`` (for committing) or ``user``; ``ignored``:
    git ignores the file, which is not for committing."""

    agent: str
    path: Path
    action: str
    scope: str
    ignored: bool = False


class Around(Value):
    """What says where settings are: ``top`` is that of the working tree, None in a bare repository; ``state_home``
    where our own of the person is kept."""

    state_dir: str
    state_home: str | None
    top: Path | None
    home: Path
    environment: Mapping[str, str]


class Spot(Value):
    """A settings file that is for something of ours: ``keep`` is the folder for what was there before, ``inside`` the
    one that it must not lead out of; ``recorded``: something of ours was put there, and ``keep`` knows of it."""

    agent: str
    scope: str
    path: Path
    keep: str
    inside: Path | None
    recorded: bool = False


class Form(Protocol):
    """How an agent is told whom to tell; ``words`` is a command, a script or a program, as the agent wants it."""

    def parsed(self, path: Path, data: bytes | None) -> Any: ...
    def has(self, found: Any, words: str) -> bool: ...
    def stripped(self, found: Any) -> bytes | None: ...
    def added(self, path: Path, found: Any, words: str) -> bytes: ...


# Claude Code takes the time in seconds, Gemini CLI in milliseconds.
_FORMS: dict[str, Form] = {
    "claude": Hooks(events=("UserPromptSubmit", "Stop", "SessionEnd"), group={}, entry={"timeout": 10}),
    "codex": Notify(),
    "gemini": Hooks(
        events=("BeforeAgent", "AfterAgent", "SessionEnd"),
        group={"matcher": "*"},
        entry={"name": "gitsess", "timeout": 10_000},
        comments=True,
    ),
    "opencode": Plugin(),
    "git": excluded.Lines(),
}
SCOPES = {
    "claude": ("local", "shared", "user"),
    "codex": ("user",),
    "gemini": ("shared", "user"),
    "opencode": ("local", "user"),
}
"""Where each agent can be told, the one that is taken where nobody says first."""


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


def has_script(state_dir: str) -> bool:
    """Whether turns of agents are captured in this repository: without the script what they are told does nothing."""
    return Path(state_dir, SCRIPT).is_file()


def script_faults(state_dir: str, template: str, *, told: bool) -> list[str]:
    """What keeps the script from its work, a line each; ``told``: an agent is told to run it."""
    path = Path(state_dir, SCRIPT)
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return [f"{path} is not there: what agents are to tell it is lost"] if told else []
    except OSError as error:
        return [f"{path} cannot be read: {error.strerror}"]
    found = []
    if not os.access(path, os.X_OK):
        found.append(f"{path} may not be executed: what agents are to tell it is lost")
    if _version(text) < _version(template):
        found.append(f"{path} is of an older gitsess")
    if (program := missing_program(text)) is not None:
        found.append(f"{path} starts {shown(program, 120)}, which is not there")
    return found


def _version(text: str) -> int:
    found = _VERSION.search(text)
    return 0 if found is None else int(found[1])


def remove_script(state_dir: str) -> None:
    """Takes the script away; the hooks that call it then do nothing. Raises StoreError."""
    path = Path(state_dir, SCRIPT)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{path} cannot be removed: {error.strerror}") from None


# The settings


def scope_of(agent: str, wanted: str) -> str:
    """Where an agent's hooks go that are to go to ``wanted``; raises UsageError where the agent has no such place.

    Codex asks one program for all folders; Gemini CLI has one settings file a repository, which is for committing.
    """
    if agent == "codex" and wanted == "shared":
        raise UsageError(
            "Codex tells one program of all its turns, which a person's own config.toml names: no --shared"
        )
    if agent == "opencode" and wanted == "shared":
        raise UsageError("opencode's plugin names a path of this machine, which is not for committing: no --shared")
    return wanted if wanted in SCOPES[agent] else SCOPES[agent][0]


def _settings_path(agent: str, scope: str, around: Around) -> Path:
    home, environment = around.home, around.environment
    if agent == "codex":
        return Path(environment.get("CODEX_HOME") or home / ".codex") / "config.toml"
    if scope == "user":
        if agent == "opencode":
            return Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "opencode/plugins/gitsess.js"
        if agent == "gemini":
            return Path(environment.get("GEMINI_CLI_HOME") or home) / ".gemini/settings.json"
        return Path(environment.get("CLAUDE_CONFIG_DIR") or home / ".claude") / "settings.json"
    if around.top is None:
        raise StoreError("a bare repository has no worktree whose agents could be told")
    if agent == "opencode":
        return around.top / ".opencode/plugins/gitsess.js"
    if agent == "gemini":
        return around.top / ".gemini/settings.json"
    return around.top / ".claude" / ("settings.json" if scope == "shared" else "settings.local.json")


def words_of(agent: str, scope: str, state_dir: str, *, plugin: str) -> str:
    """What the agent is to run: it ends well also where gitsess is gone, or never was. ``plugin`` is hooks/opencode.js
    as it is shipped."""
    local = os.path.join(state_dir, SCRIPT)
    if agent == "opencode":
        return plugin.replace('"@SCRIPT@"', _js(local if scope == "local" else ""))
    if agent == "codex":
        # It is started anywhere: the folder stands in the event, which is the last argument. What is escaped in it is
        # where Codex was started, more likely than not.
        return (
            "for e; do :; done; c=${e#*'\"cwd\":\"'}; c=${c%%'\"'*}; case $c in *\\\\*) c=. ;; esac; "
            f'a={_found("$c")}; [ ! -x "$a" ] || "$a" codex "$e"; '
            '[ $# -lt 2 ] || exec "$@"; : # gitsess'
        )
    if scope == "local":
        find = f"a={shlex.quote(local)}"
    else:
        # One text for every clone and every folder: it finds the repository that the agent works in.
        folder = {"claude": "CLAUDE_PROJECT_DIR", "gemini": "GEMINI_PROJECT_DIR"}[agent]
        find = f"a={_found(f'${{{folder}:-.}}')}"
    return f'{find}; if [ -x "$a" ]; then "$a" {agent}; else cat >/dev/null; fi || : # gitsess'


def _found(folder: str) -> str:
    """The script of the repository of a folder, in words of sh."""
    # A checkout may hold a folder that looks like a bare repository, whose script anybody may have written.
    look = f'git -c safe.bareRepository=explicit -C "{folder}" rev-parse --path-format=absolute --git-common-dir'
    return f"$({look} 2>/dev/null)/ai-sessions/{SCRIPT}"


def _js(text: str) -> str:
    import json

    return json.dumps(text)


class _Looked(Value):
    """A settings file as it is; ``data``: as it is to be, None where it is so already."""

    real: Path
    old: bytes | None
    found: Any
    data: bytes | None


def look(spot: Spot, words: str) -> None:
    """Raises what ``wire`` would raise, and changes nothing: of several files all are looked at before the first is
    written."""
    looked = _look(spot, words)
    folder = next((above for above in looked.real.parents if os.path.lexists(above)), looked.real.parent)
    if looked.data is not None and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise StoreError(f"{spot.path} cannot be written: see {folder}; nothing was changed")


def _look(spot: Spot, words: str) -> _Looked:
    form = _FORMS[spot.agent]
    real = files.real_path(spot.path, spot.inside)
    old = files.read(real)
    found = form.parsed(spot.path, old)
    data = None if form.has(found, words) else form.added(spot.path, found, words)
    return _Looked(real=real, old=old, found=found, data=data)


def wire(spot: Spot, words: str) -> Change:
    """Puts ``words`` into a settings file; raises StoreError, with the file as it was, where it is not what the agent
    would read."""
    agent, scope, path, keep = spot.agent, spot.scope, spot.path, spot.keep
    looked = _look(spot, words)
    real, old, data = looked.real, looked.old, looked.data
    if data is None:
        return Change(agent=agent, path=path, action="unchanged", scope=scope)
    record = files.record_of(keep, real)
    if record is not None and old is not None and record["after"] == files.digest(old):
        before, made = record["before"], record["made"]
    else:
        # What came with the repository is not ours to take out again, also where it was brought up to date.
        came = scope == "shared" and not files.is_kept(keep, real)
        stripped = None if came else _FORMS[agent].stripped(looked.found)
        was = old if stripped is None else stripped or None
        before = None if was is None else base64.b64encode(was).decode("ascii")
        made = sum(not folder.exists() for folder in [real.parent, real.parent.parent])
    entry: dict[str, JSON] = {
        "v": 1,
        "agent": agent,
        "scope": scope,
        "path": os.fsencode(path).decode("utf-8", "surrogateescape"),
        "before": before,
        "after": files.digest(data),
        "made": made,
    }
    try:
        # First what was there: whoever is stopped in between leaves a file that was not changed yet.
        files.keep(keep, real, entry)
        real.parent.mkdir(parents=True, exist_ok=True)
        files.write(real, data)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}; it is as it was") from None
    return Change(agent=agent, path=path, action="wired", scope=scope)


def unwire(spot: Spot) -> Change:
    """Takes what is ours out of a settings file again; raises StoreError."""
    agent, path, keep = spot.agent, spot.path, spot.keep
    form = _FORMS[agent]
    absent = Change(agent=agent, path=path, action="absent", scope=spot.scope)
    try:
        real = files.real_path(path, spot.inside)
        old = files.read(real)
        found = form.parsed(path, old)
    except StoreError:
        # Nothing of ours was ever put there.
        return absent
    record = files.record_of(keep, real)
    action = "absent"
    try:
        if old is not None and record is not None and record["after"] == files.digest(old):
            before = None if record["before"] is None else base64.b64decode(record["before"])
            if before is None:
                files.remove(real, record["made"])
            else:
                files.write(real, before)
            action = "restored"
        elif (stripped := form.stripped(found)) is not None:
            if agent == "opencode":
                files.remove(real, 0 if record is None else record["made"])
            else:
                files.write(real, stripped)
            action = "taken out"
        files.forget(keep, real)
    except OSError as error:
        raise StoreError(f"{path} cannot be put back: {error.strerror}") from None
    return absent.replace(action=action)


def exclude(spot: Spot, git: Git) -> bool:
    """Has git ignore a settings file that names a path of this machine, unless it does so already or tracks it;
    whether it ignores it then."""
    assert spot.inside is not None
    top = spot.inside.resolve()
    real = files.real_path(spot.path, spot.inside)
    # In the way that whoever commits it would: through links nothing is committed.
    there = git.working(top)
    code = there.run("check-ignore", "--quiet", "--", str(real)).code
    if code != 1:
        return code == 0
    line = excluded.pattern(real, top)
    if line is None or there.run("ls-files", "--error-unmatch", "--", str(real)).code == 0:
        return False
    try:
        wire(_exclude_spot(git), line)
    except StoreError:
        # It is said that git does not ignore it, and the agent is told all the same.
        return False
    return there.run("check-ignore", "--quiet", "--", str(real)).code == 0


def exclude_nothing(git: Git) -> None:
    """Takes out of ``info/exclude`` what ``exclude`` put there; raises StoreError."""
    unwire(_exclude_spot(git))


def _exclude_spot(git: Git) -> Spot:
    # One for all worktrees: git reads no other.
    words = git.output("rev-parse", "--path-format=absolute", "--git-path", "info/exclude")
    path = Path(os.fsdecode(words.removesuffix(b"\n")))
    keep = os.path.join(git.repository.state_dir, "agents", "excluded")
    return Spot(agent="git", scope="local", path=path, keep=keep, inside=None)


def spot_of(agent: str, scope: str, around: Around) -> Spot:
    """Where an agent of this worktree or, with the scope ``user``, of the person is told."""
    inside = None if scope == "user" else around.top
    path, keep = _settings_path(agent, scope, around), kept_for(scope, around)
    try:
        recorded = files.is_kept(keep, files.real_path(path, inside))
    except StoreError:
        recorded = False
    return Spot(agent=agent, scope=scope, path=path, keep=keep, inside=inside, recorded=recorded)


def spots(around: Around) -> list[Spot]:
    """Every settings file that something of ours may be in: of this worktree, if it is one, and of others, and the
    person's own."""
    keep = kept_for("local", around)
    found = {}
    for agent, scope, path in wired(keep):
        inside = path.parents[2 if agent == "opencode" else 1]
        found[path] = Spot(agent=agent, scope=scope, path=path, keep=keep, inside=inside, recorded=True)
    for agent in AGENTS:
        for scope in SCOPES[agent]:
            if scope != "user" and around.top is None:
                continue
            spot = spot_of(agent, scope, around)
            found.setdefault(spot.path, spot)
    return list(found.values())


def is_wired(spot: Spot, words: str) -> bool | None:
    """Whether a settings file has just these words; None where nothing of ours is in it, or it cannot be read."""
    form = _FORMS[spot.agent]
    try:
        found = form.parsed(spot.path, files.read(files.real_path(spot.path, spot.inside)))
        return None if form.stripped(found) is None else form.has(found, words)
    except StoreError:
        return None


def kept_for(scope: str, around: Around) -> str:
    """The folder for settings as they were before."""
    own = scope == "user" and around.state_home is not None
    folder = os.path.join(around.state_home or "", "gitsess") if own else around.state_dir
    return os.path.join(folder, "agents", "before")


def own(around: Around) -> list[str]:
    """The agents that a person's own settings have tell of their turns, in every repository with the script."""
    keep = kept_for("user", around)
    found = [spot_of(agent, "user", around) for agent in AGENTS]
    found += [
        Spot(agent=agent, scope=scope, path=path, keep=keep, inside=None)
        for agent, scope, path in wired(keep)
        if scope == "user"
    ]
    return list(dict.fromkeys(spot.agent for spot in found if is_wired(spot, "") is not None))


def wired(keep: str) -> list[tuple[str, str, Path]]:
    """(agent, scope, settings file) of all that ``keep`` knows of."""
    return [
        (record["agent"], record["scope"], Path(record["path"]))
        for record in files.records(keep)
        if record["agent"] in AGENTS
    ]
