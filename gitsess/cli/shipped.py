"""Where the files are that are shipped beside the code."""

from __future__ import annotations

from pathlib import Path

from gitsess.errors import NotFound


def hooks_dir() -> Path:
    """The folder of the hooks: inside the package where it was installed, beside it in a checkout.

    Raises NotFound where neither is there.
    """
    package = Path(__file__).parent.parent
    for folder in (package / "hooks", package.parent / "hooks"):
        if (folder / "spool").is_file():
            return folder
    raise NotFound(f"the hooks are missing beside {package}: install gitsess again")
