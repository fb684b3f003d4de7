"""Regular expressions that are compiled when they are first used: compiling all of them takes tens of milliseconds."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable


def lazy(source: str, flags: int = 0) -> Callable[[], re.Pattern[str]]:
    """A function that returns the compiled expression."""
    return functools.cache(lambda: re.compile(source, flags))
