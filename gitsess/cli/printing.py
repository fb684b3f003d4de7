"""``completion``: what a shell reads."""

from __future__ import annotations

from typing import Any

from gitsess.cli.completions import script
from gitsess.workspace import Surroundings


def completion(around: Surroundings, values: dict[str, Any]) -> int:
    print(script(values["shell"]), end="")
    return 0
