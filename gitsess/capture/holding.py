"""Turns that their own caller records: while an agent is asked by us, what its hooks tell of the session waits.

    <git common dir>/ai-sessions/held/<session>.lock    held shared by who asks, 0600

The hooks see the same turn, and could record it first, without what only the caller knows: the task, the plan that was
made of the answer. A caller that is killed lets go of the lock, and the next drain records the turn from the events.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from gitsess.errors import Locked, StoreError
from gitsess.locks import flock
from gitsess.model import SessionName

_FOLDER = "held"


@contextmanager
def hold(state_dir: str, session: SessionName) -> Iterator[None]:
    """Has events of ``session`` wait while the block runs; where that cannot be had, it runs all the same."""
    with ExitStack() as held:
        with suppress(Locked, StoreError):
            held.enter_context(flock(_path(state_dir, session), shared=True, wait_s=0))
        yield


def is_held(state_dir: str, session: SessionName) -> bool:
    path = _path(state_dir, session)
    if not os.path.exists(path):
        return False
    try:
        with flock(path, shared=False, wait_s=0):
            return False
    except Locked:
        return True
    except StoreError:
        return False


def _path(state_dir: str, session: SessionName) -> str:
    return os.path.join(state_dir, _FOLDER, f"{session}.lock")
