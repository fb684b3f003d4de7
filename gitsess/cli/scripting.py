"""``scripts``: those that answer the calls of older tools, put into place; and what they call."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from gitsess import shellscripts
from gitsess.cli.output import print_json
from gitsess.cli.shipped import scripts_dir
from gitsess.errors import UsageError
from gitsess.names import shown
from gitsess.text import one_line
from gitsess.workspace import Surroundings


class Script(NamedTuple):
    """A script: the name of its file, and ``module:function`` inside ``gitsess.cli`` of what answers its calls."""

    file: str
    handler: str


SCRIPTS = {"ai-session": Script("ai-session.sh", "shelltool:call")}
DEFAULT = "scripts"
"""The folder that they are written into where none is named."""


def scripts(around: Surroundings, values: dict[str, Any]) -> int:
    words: tuple[str, ...] = values["words"]
    if values["action"] == "install":
        return _install(values, words)
    if values["force"] or values["json"]:
        raise UsageError("--force and --json are for install; what is for the script follows after '--'")
    known = f"the scripts are {', '.join(SCRIPTS)}"
    if not words:
        raise UsageError(f"name the script: {known}")
    if words[0] not in SCRIPTS:
        raise UsageError(f"there is no script {shown(words[0])}; {known}")
    module, _, name = SCRIPTS[words[0]].handler.partition(":")
    code: int = getattr(import_module(f"gitsess.cli.{module}"), name)(around, words[1:])
    return code


def _install(values: dict[str, Any], words: tuple[str, ...]) -> int:
    if len(words) > 1:
        raise UsageError("name one folder: 'git ai-session scripts install [DIR]'")
    folder = Path(words[0] if words else DEFAULT)
    done = {
        name: shellscripts.install(
            folder, script.file, (scripts_dir() / script.file).read_bytes(), force=bool(values["force"])
        )
        for name, script in SCRIPTS.items()
    }
    if values["json"]:
        print_json([{"name": name, "path": str(one.path), "action": one.action} for name, one in done.items()])
    else:
        for one in done.values():
            print(f"{one.action}: {one_line(str(one.path))}")
    return 0
