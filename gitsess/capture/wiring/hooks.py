"""Hooks in a settings file of JSON, as Claude Code and Gemini CLI have them.

Ours are put into the text as it is, and taken out of it: of the rest not a byte is changed. A hook of ours is known by
the end of its command.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gitsess import strictjson
from gitsess.capture.wiring import jsontext
from gitsess.capture.wiring.files import BOM
from gitsess.errors import FormatError, StoreError
from gitsess.model import JSON
from gitsess.values import Value

_OURS = re.compile(r"# gitsess$")


class Settings(Value):
    """``mark`` stands before the text; ``blank`` is the text without its comments."""

    path: Path
    mark: bytes
    text: str
    blank: str
    value: Mapping[str, Any]


class Hooks(Value):
    """The hooks of an agent: the events that it is asked about, and what its entries have besides; ``comments``: it
    reads settings that have some."""

    events: tuple[str, ...]
    group: Mapping[str, JSON]
    entry: Mapping[str, JSON]
    comments: bool = False

    def parsed(self, path: Path, data: bytes | None) -> Settings:
        """The settings in ``data``; raises StoreError where the agent would not read them."""
        if data is None or not data.strip():
            return Settings(path=path, mark=b"", text="{}\n", blank="{}\n", value={})
        mark = BOM if data.startswith(BOM) else b""
        try:
            text = data.removeprefix(mark).decode()
            blank = jsontext.blanked(text) if self.comments else text
            value = strictjson.loads(blank, what="it")
        except (FormatError, UnicodeDecodeError) as error:
            reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            raise StoreError(f"{path} is not to be read as settings ({reason}): nothing was changed") from None
        if not isinstance(value, dict):
            raise StoreError(f"{path} is no JSON object: nothing was changed")
        return Settings(path=path, mark=mark, text=text, blank=blank, value=value)

    def has(self, settings: Settings, words: str) -> bool:
        """Whether the hooks are there just so."""
        return _commands(settings.value) == {event: [words] for event in self.events}

    def stripped(self, settings: Settings) -> bytes | None:
        """The file without our hooks; None where it has none. Raises StoreError where more would be changed."""
        if not _commands(settings.value):
            return None
        items = jsontext.scan(settings.blank, "hooks")
        text = jsontext.edited(settings.text, _cuts(settings, items))
        # What is empty without ours is left where there are comments in it.
        return self._checked(settings, text, _full(_without(settings.value)), _full)

    def added(self, path: Path, settings: Settings, words: str) -> bytes:
        """The file with our hooks; raises StoreError where there is no place for them, or more would be changed."""
        data = self.stripped(settings)
        if data is not None:
            settings = self.parsed(path, data)
        hooks = settings.value.get("hooks", {})
        if not isinstance(hooks, dict):
            raise StoreError(f"the hooks in {path} are no JSON object: nothing was changed")
        ours: dict[str, JSON] = {
            event: {**self.group, "hooks": [{"type": "command", "command": words, **self.entry}]}
            for event in self.events
        }
        for event in ours:
            if not isinstance(hooks.get(event, []), list):
                raise StoreError(f"the hooks of {event} in {path} are no list: nothing was changed")
        items = jsontext.scan(settings.blank, "hooks")
        how = jsontext.layout(settings.text, items)
        new: list[tuple[str | None, JSON]] = [(event, [ours[event]]) for event in ours if event not in hooks]
        there = items.inner("hooks")
        if there is None:
            edits = jsontext.append(settings.text, items, [("hooks", {event: [ours[event]] for event in ours})], how)
        else:
            edits = jsontext.append(settings.text, there, new, how) if new else []
            for event in ours:
                if (groups := there.inner(event)) is not None:
                    edits += jsontext.append(settings.text, groups, [(None, ours[event])], how)
        expected = {**hooks, **{event: [*hooks.get(event, []), ours[event]] for event in ours}}
        text = jsontext.edited(settings.text, edits)
        return self._checked(settings, text, {**settings.value, "hooks": expected}, lambda value: value)

    def _checked(
        self, settings: Settings, text: str, expected: Mapping[str, Any], seen: Callable[[Mapping[str, Any]], object]
    ) -> bytes:
        """The file with this text, if the agent reads in it what it should."""
        made = settings.mark + text.encode("utf-8", "surrogatepass")
        if seen(self.parsed(settings.path, made).value) != expected:
            raise StoreError(f"the hooks in {settings.path} are not to be told from the rest: nothing was changed")
        return made


def _cuts(settings: Settings, items: jsontext.Items) -> list[jsontext.Edit]:
    """What takes our hooks out of the text, with the groups, events and hooks that are empty then."""

    def cut(of: jsontext.Items, gone: set[int]) -> list[jsontext.Edit]:
        return jsontext.cut(settings.text, settings.blank, of, gone)

    def goes(of: jsontext.Items, gone: set[int]) -> bool:
        return len(gone) == len(of.items) and not jsontext.has_comments(settings.text, of)

    hooks = items.inner("hooks")
    assert hooks is not None
    edits = []
    empty = set()
    for number, event in enumerate(hooks.items):
        groups = settings.value["hooks"][event.key]
        if not isinstance(groups, list):
            continue
        assert event.inner is not None
        gone, inside = set(), []
        for place, (group, item) in enumerate(zip(groups, event.inner.items, strict=True)):
            entries = group.get("hooks") if isinstance(group, dict) else None
            ours = {at for at, entry in enumerate(entries) if is_ours(entry)} if isinstance(entries, list) else set()
            within = item.inner.inner("hooks") if ours and item.inner is not None else None
            if within is not None and goes(within, ours):
                gone.add(place)
            elif within is not None:
                inside += cut(within, ours)
        if gone and goes(event.inner, gone):
            empty.add(number)
        else:
            edits += [*inside, *(cut(event.inner, gone) if gone else ())]
    if empty and goes(hooks, empty):
        return cut(items, {number for number, item in enumerate(items.items) if item.key == "hooks"})
    return [*edits, *(cut(hooks, empty) if empty else ())]


def _full(value: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without hooks that hold nothing."""
    hooks = value.get("hooks")
    if not isinstance(hooks, dict):
        return dict(value)
    full: dict[str, Any] = {}
    for event, groups in hooks.items():
        if isinstance(groups, list):
            groups = [group for group in groups if not isinstance(group, dict) or group.get("hooks") != []]
        if groups != []:
            full[event] = groups
    return {key: full if key == "hooks" else item for key, item in value.items() if key != "hooks" or full}


def _without(value: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without our hooks."""
    hooks = value.get("hooks")
    if not isinstance(hooks, dict):
        return dict(value)
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
        if kept or not here:
            left[event] = kept
    return {**value, "hooks": left}


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
