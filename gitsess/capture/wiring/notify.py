"""The program that Codex tells of its turns: ``notify`` in its config.toml, the words before the event.

There is one for all folders, and the event says in which of them Codex works. One that was there before is run after
ours, with the same event; the words of ours stand before its own.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from gitsess.capture.wiring.files import BOM
from gitsess.errors import StoreError
from gitsess.values import Value

KEY = "notify"
WORDS = ("sh", "-c")
_OURS = re.compile(r"# gitsess$")
_NAME = "gitsess"


class Config(Value):
    """``mark`` stands before the text."""

    path: Path
    mark: bytes
    text: str
    value: Any
    chained: tuple[str, ...]
    ours: str | None


class Notify:
    """``words`` is a script for sh: the event is its last argument, what is to be run after it those before."""

    def parsed(self, path: Path, data: bytes | None) -> Config:
        """The configuration in ``data``; raises StoreError where Codex would not read it."""
        import tomllib

        mark = BOM if data is not None and data.startswith(BOM) else b""
        try:
            text = (data or b"").removeprefix(mark).decode()
            value = tomllib.loads(text.replace("\r\n", "\n"))
        except (ValueError, RecursionError) as error:
            reason = str(error).split("\n")[0]
            raise StoreError(f"{path} is not to be read as TOML ({reason}): nothing was changed") from None
        words = value.get(KEY, [])
        if not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
            raise StoreError(f"{KEY} in {path} is no list of words: nothing was changed")
        if tuple(words[:2]) == WORDS and words[3:4] == [_NAME] and _OURS.search(words[2]):
            return Config(path=path, mark=mark, text=text, value=value, chained=tuple(words[4:]), ours=words[2])
        return Config(path=path, mark=mark, text=text, value=value, chained=tuple(words), ours=None)

    def has(self, config: Config, words: str) -> bool:
        """Whether it is there just so."""
        return config.ours == words

    def stripped(self, config: Config) -> bytes | None:
        """The file without ours; None where it is not there."""
        return None if config.ours is None else _with(config, [])

    def added(self, path: Path, config: Config, words: str) -> bytes:
        """The file with ours before what was there; raises StoreError where that would change anything else."""
        made = _with(config, [*WORDS, words, _NAME])
        if self.parsed(path, made).value != {**config.value, KEY: [*WORDS, words, _NAME, *config.chained]}:
            raise StoreError(f"{KEY} cannot be put into {path} without changing more: nothing was changed")
        return made


def _with(config: Config, front: list[str]) -> bytes:
    """The file with ``front`` in the place of ours; comments and layout of the words behind it stay."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError
    from tomlkit.items import Array

    words = [*front, *config.chained]
    if KEY not in config.value:
        # Before all tables, or it would be a key of the last one.
        newline = "\r\n" if "\r\n" in config.text else "\n"
        line = f"{KEY} = {tomlkit.item(words).as_string()}{newline}"
        return config.mark + (line + config.text).encode()
    try:
        document = tomlkit.parse(config.text)
        found = document[KEY]
    except (TOMLKitError, ValueError):
        raise StoreError(f"{config.path} is laid out in a way that is not understood: nothing was changed") from None
    if not words:
        document.remove(KEY)
    elif isinstance(found, Array):
        for _ in range(len(found) - len(config.chained)):
            del found[0]
        for place, word in enumerate(front):
            found.insert(place, word)
    return config.mark + tomlkit.dumps(document).encode()
