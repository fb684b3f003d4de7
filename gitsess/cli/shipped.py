"""Where the files are that are shipped beside the code."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gitsess.errors import NotFound

if TYPE_CHECKING:
    from gitsess.setup import Shipped


def shipped() -> Shipped:
    """What is put into repositories, with this program; raises NotFound where the hooks are missing."""
    from gitsess import setup
    from gitsess.capture import wiring

    hook, agent, plugin = (
        (hooks_dir() / name).read_text(encoding="utf-8") for name in (setup.NAME, wiring.SCRIPT, wiring.PLUGIN)
    )
    return setup.Shipped(hook=hook, agent=agent, plugin=plugin, program=tuple(program()))


def program() -> list[str]:
    """What starts this program again from anywhere, with any PATH."""
    path = os.path.abspath(sys.argv[0])
    if os.path.basename(path).startswith("git-ai-session") and os.access(path, os.X_OK):
        return [path]
    return [sys.executable, "-P", "-c", "from gitsess.cli.entry import script; script()"]


def hooks_dir() -> Path:
    """The folder of the hooks; raises NotFound where it is missing."""
    return _folder("hooks", "spool")


def scripts_dir() -> Path:
    """The folder of the scripts that ``scripts install`` writes; raises NotFound where it is missing."""
    return _folder("scripts", "ai-session.sh")


def _folder(name: str, holding: str) -> Path:
    """A folder inside the package where that was installed, beside it in a checkout."""
    package = Path(__file__).parent.parent
    for folder in (package / name, package.parent / name):
        if (folder / holding).is_file():
            return folder
    raise NotFound(f"the {name} are missing beside {package}: install gitsess again")
