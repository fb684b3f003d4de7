"""Where the files are that are shipped beside the code."""

from __future__ import annotations

from pathlib import Path

from gitsess.errors import NotFound


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
