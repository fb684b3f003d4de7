"""Hooks in a settings file of JSON, as Claude Code and Gemini CLI have them.

Order, indentation and ends of lines are kept. A hook of ours is known by the end of its command.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gitsess import strictjson
from gitsess.errors import FormatError, StoreError
from gitsess.model import JSON
from gitsess.values import Value

_OURS = re.compile(r"# gitsess$")


class Style(Value):
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


class Settings(Value):
    value: Mapping[str, Any]
    style: Style


class Hooks(Value):
    """The hooks of an agent: the events that it is asked about, and what its entries have besides."""

    events: tuple[str, ...]
    group: Mapping[str, JSON]
    entry: Mapping[str, JSON]

    def parsed(self, path: Path, data: bytes | None) -> Settings:
        """The settings in ``data``; raises StoreError where the agent would not read them."""
        return _parsed(path, data)

    def has(self, settings: Settings, words: str) -> bool:
        """Whether the hooks are there just so."""
        return _commands(settings.value) == {event: [words] for event in self.events}

    def stripped(self, settings: Settings) -> bytes | None:
        """The file without our hooks; None where it has none."""
        value, had = _without(settings.value)
        return settings.style.text(value) if had else None

    def added(self, path: Path, settings: Settings, words: str) -> bytes:
        """The file with our hooks; raises StoreError where there is no place for them."""
        value, _ = _without(settings.value)
        hooks = value.get("hooks", {})
        if not isinstance(hooks, dict):
            raise StoreError(f"the hooks in {path} are no JSON object: nothing was changed")
        new = dict(hooks)
        for event in self.events:
            groups = new.get(event, [])
            if not isinstance(groups, list):
                raise StoreError(f"the hooks of {event} in {path} are no list: nothing was changed")
            entry = {"type": "command", "command": words, **self.entry}
            new[event] = [*groups, {**self.group, "hooks": [entry]}]
        return settings.style.text({**value, "hooks": new})


def _parsed(path: Path, data: bytes | None) -> Settings:
    if data is None or not data.strip():
        return Settings(value={}, style=Style())
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
    style = Style(
        indent=found[1] if found is not None else "  " if not value else None,
        newline="\r\n" if "\r\n" in text else "\n",
        end=text[len(text.rstrip()) :],
        mark=mark,
        ascii="\\u" in text and text.isascii(),
    )
    return Settings(value=value, style=style)


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
            if isinstance(entries, list) and any(map(is_ours, entries)):
                here = True
                others = [entry for entry in entries if not is_ours(entry)]
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
                if is_ours(entry):
                    found.setdefault(event, []).append(entry["command"])
    return found


def is_ours(entry: JSON) -> bool:
    words = entry.get("command") if isinstance(entry, dict) else None
    return isinstance(words, str) and _OURS.search(words) is not None
