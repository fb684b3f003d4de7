"""A bug of ours: a short apology, where the traceback was written, and the versions."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import traceback
from importlib.metadata import PackageNotFoundError, version

from gitsess import __version__

EXIT_CODE = 4


def apologise(error: Exception) -> int:
    """Writes the traceback to a private file and says where; returns the exit code of a bug."""
    report = "\n".join(
        [
            f"gitsess {__version__}, python {platform.python_version()}, {platform.platform()}",
            ", ".join(f"{name} {_version(name)}" for name in ("pygit2", "click", "anthropic", "genai-prices")),
            "".join(traceback.format_exception(error)),
        ]
    )
    try:
        handle, path = tempfile.mkstemp(prefix="gitsess-crash-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as out:
            out.write(report)
    except OSError:
        path = ""
        print(report, file=sys.stderr)
    print(f"error: this is a bug in gitsess {__version__}, sorry ({type(error).__name__})", file=sys.stderr)
    if path:
        print(f"       the traceback is in {path}; please report it", file=sys.stderr)
    return EXIT_CODE


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
