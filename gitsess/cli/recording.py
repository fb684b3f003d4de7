"""``record`` and ``drain``: turns in, commits out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import IO, Any

from gitsess import records, strictjson
from gitsess.cli.handling import note, opened, report_drain, settle, warn
from gitsess.cli.output import json_text
from gitsess.errors import GitsessError, NewerFormat, NotASession
from gitsess.names import join
from gitsess.text import one_line
from gitsess.workspace import Recorded, Surroundings

DRAIN_WAIT_S = 30.0
DRAIN_PATIENCE = 0.1
"""Where nothing is to be waited for, others that are appending are given way to all the same."""


def record(around: Surroundings, values: dict[str, Any]) -> int:
    session = join(values["command"], values["feature"])
    if sys.stdin.isatty():
        note("reading turns, one JSON object a line; ^D ends")
    workspace = opened(around)
    if not workspace.settings.enabled:
        note("USE_SESSIONS is false: nothing is recorded")
        return 0
    failed = 0
    patience = 1.0
    printing = True
    for number, line in _lines(sys.stdin.buffer):
        try:
            value = strictjson.loads(line, what="it", exact=True)
            # A turn that has just ended was about what is checked out here. HEAD before the time: of commits made
            # meanwhile, none is then the turn's HEAD and after others that came after the turn.
            ending = isinstance(value, dict) and value.get("ended_at") is None
            here = workspace.store.head() if ending else None
            turn = records.parse(value, now=around.now())
            if ending:
                turn = workspace.situated(turn, here)
            if values["show_redactions"]:
                from gitsess.cli.redacting import preview

                preview(workspace.redactor, turn, where=f"line {number}")
                continue
            done = workspace.record(session, turn, patience=patience)
        except (NotASession, NewerFormat):
            # No line can ever be appended there: one error, not one a line.
            raise
        except GitsessError as error:
            failed += 1
            print(f"error: line {number}: {one_line(str(error))}", file=sys.stderr, flush=True)
            continue
        if done.spooled is not None:
            if patience:
                warn(f"{done.reason}; the turn is kept in the spool, and the next command appends it")
            # What blocked one turn blocks the next: no second wait.
            patience = 0.0
        if printing:
            printing = _print(done, session, as_json=values["json"])
    settle(workspace)
    return 1 if failed else 0


def _lines(stdin: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Numbered lines that hold something; of one past the limit, only so much that it is refused."""
    number = 0
    while line := stdin.readline(strictjson.MAX_BYTES + 2):
        number += 1
        if len(line) > strictjson.MAX_BYTES:
            while line and not line.endswith(b"\n"):
                line = stdin.readline(1 << 20)
            yield number, b" " * (strictjson.MAX_BYTES + 1)
        elif line.strip():
            yield number, line


def _print(done: Recorded, session: str, *, as_json: bool) -> bool:
    if as_json:
        text = json_text(
            {
                "session": session,
                "oid": done.oid,
                "turn_id": done.turn.turn_id,
                "existed": done.existed,
                "spooled": None if done.spooled is None else str(done.spooled),
            }
        )
    else:
        text = done.oid if done.oid is not None else f"spooled {done.turn.turn_id}"
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Whoever reads the oids is gone; the turns still on their way are recorded all the same.
        return False
    return True


def drain(around: Surroundings, values: dict[str, Any]) -> int:
    workspace = opened(around, drains=False)
    wait = bool(values["wait"])
    done = workspace.drain(wait_s=DRAIN_WAIT_S if wait else 0.0, patience=1.0 if wait else DRAIN_PATIENCE)
    if values["json"]:
        print(
            json_text(
                {
                    "appended": done.appended,
                    "events": done.events,
                    "waiting": [{"file": str(path), "reason": why} for path, why in done.waiting],
                    "failed": [{"file": str(path), "reason": why} for path, why in done.failed],
                    "problems": done.problems,
                    "busy": done.busy,
                },
                indent=2,
            )
        )
    elif done.busy:
        note("another drain is at work; it takes what is there")
    elif not (done.appended or done.events or done.waiting or done.failed or done.problems):
        note("nothing waits in the spool")
    else:
        report_drain(done)
    if done.failed or (wait and (done.waiting or done.busy)):
        return 1
    return 0
