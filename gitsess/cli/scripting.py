"""``scripts``: those that answer the calls of older tools, put into place; and what they call."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from gitsess import shellscripts
from gitsess.cli.output import print_json
from gitsess.cli.shipped import scripts_dir
from gitsess.errors import StoreError, UsageError
from gitsess.names import shown
from gitsess.text import one_line
from gitsess.workspace import Surroundings


class Script(NamedTuple):
    """A script. ``verb``: the verb that it calls itself; else ``handler`` is ``module:function`` inside ``gitsess.cli``
    of what answers its calls. ``sessions``: it turns sessions off unless USE_SESSIONS is ``true``."""

    file: str
    verb: str = ""
    handler: str = ""
    sessions: bool = False


SCRIPTS = {
    "ai-session": Script("ai-session.sh", handler="shelltool:call"),
    "init-session": Script("init-session.sh", verb="start", sessions=True),
    "switch-feature": Script("switch-feature.sh", verb="switch", sessions=True),
    "plan": Script("plan.sh", verb="plan", sessions=True),
    "implement": Script("implement.sh", verb="implement", sessions=True),
    "review": Script("review.sh", verb="review", sessions=True),
    "review-code": Script("review-code.sh", verb="review", sessions=True),
    "review-architecture": Script("review-architecture.sh", verb="review", sessions=True),
    "verify": Script("verify.sh", verb="verify", sessions=True),
    "escalate": Script("escalate.sh", verb="escalate", sessions=True),
    "status": Script("status.sh", verb="status"),
    "history": Script("history.sh", verb="history"),
    "list-sessions": Script("list-sessions.sh", verb="list"),
    "cleanup-sessions": Script("cleanup-sessions.sh", verb="clean"),
    "track-session-todo": Script("track-session-todo.sh", handler="tracking:call"),
}
LEFT = "left"
"""What is said of a file that stands in a script's place, beside the words of ``shellscripts.Written``."""
DEFAULT = "scripts"
"""The folder that they are written into where none is named."""


def scripts(around: Surroundings, values: dict[str, Any]) -> int:
    words: tuple[str, ...] = values["words"]
    if values["action"] == "install":
        return _install(values, words)
    if values["force"] or values["json"]:
        raise UsageError("--force and --json are for install; what is for the script follows after '--'")
    run = [name for name, script in SCRIPTS.items() if script.handler]
    known = f"the scripts are {', '.join(run)}"
    if not words:
        raise UsageError(f"name the script: {known}")
    script = SCRIPTS.get(words[0])
    if script is None:
        raise UsageError(f"there is no script {shown(words[0])}; {known}")
    if not script.handler:
        raise UsageError(f"{script.file} calls a verb itself: 'git ai-session {script.verb}'; {known}")
    module, _, name = script.handler.partition(":")
    code: int = getattr(import_module(f"gitsess.cli.{module}"), name)(around, words[1:])
    return code


def _install(values: dict[str, Any], words: tuple[str, ...]) -> int:
    if len(words) > 1:
        raise UsageError("name one folder: 'git ai-session scripts install [DIR]'")
    folder = Path(words[0] if words else DEFAULT)
    force = bool(values["force"])
    done: list[dict[str, str]] = []
    refused: list[StoreError] = []
    for name, script in SCRIPTS.items():
        try:
            written = shellscripts.install(folder, script.file, (scripts_dir() / script.file).read_bytes(), force=force)
            done.append({"name": name, "path": str(written.path), "action": written.action})
        except StoreError as error:
            # The others are written all the same: a project has a script of one of these names sooner or later.
            done.append({"name": name, "path": str(folder / script.file), "action": LEFT})
            refused.append(error)
    if values["json"]:
        print_json(done)
    elif len(refused) < len(SCRIPTS):
        for one in done:
            print(f"{one['action']}: {one_line(one['path'])}")
    if refused:
        more = f" ({len(refused)} of {len(SCRIPTS)} scripts were left; the first)" if len(refused) > 1 else ""
        raise StoreError(f"{refused[0]}{more}")
    return 0
