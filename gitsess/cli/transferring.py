"""``export`` and ``import``: sessions out to a file, and in again."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

from gitsess.cli.handling import note, opened, warn
from gitsess.cli.output import print_json
from gitsess.cli.streams import Output
from gitsess.errors import StoreError, UsageError
from gitsess.names import shown
from gitsess.text import one_line, plural
from gitsess.transfer.importing import Importer, Outcome
from gitsess.transfer.migrating import Migration, migrate
from gitsess.transfer.writing import export
from gitsess.workspace import Surroundings

MOST_WARNINGS = 20
_WORDS = {
    "created": "new",
    "updated": "brought forward",
    "merged": "merged with the turns recorded here",
    "unchanged": "there already",
}


def export_sessions(around: Surroundings, values: dict[str, Any]) -> int:
    form = values["format"] or "json"
    target = values["output"]
    if target in (None, "-") and form == "bundle" and sys.stdout.isatty():
        raise UsageError("a bundle is no text for a terminal: give --output FILE")
    workspace = opened(around)
    with output_to(target) as out:
        done = export(
            workspace.history,
            workspace.git,
            values["sessions"],
            out,
            form=form,
            active_at=around.now() if values["active"] else None,
        )
    for line in done.left_out:
        warn(line)
    if target not in (None, "-"):
        note(f"{plural(done.sessions, 'session')} with {plural(done.turns, 'turn')} written to {one_line(str(target))}")
    elif not done.sessions:
        note("there is no session to export")
    return 1 if done.failed else 0


@contextmanager
def output_to(target: str | None) -> Iterator[IO[bytes]]:
    """Standard output, or a file that appears whole, 0600, or not at all."""
    if target is None or target == "-":
        sys.stdout.flush()
        with sys.stdout.noticing() if isinstance(sys.stdout, Output) else nullcontext():
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        return
    path = Path(target)
    try:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            # A pipe or a device is written to, and never replaced.
            with open(path, "wb") as out:
                yield out
            return
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with open(handle, "wb") as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror}") from None


def import_sessions(around: Surroundings, values: dict[str, Any]) -> int:
    if values["from"] == "session-dir":
        return _migrate(around, values)
    if values["from"] is not None:
        from gitsess.cli.capturing import import_past

        return import_past(around, values)
    for option in ("since", "project"):
        if values[option] is not None:
            raise UsageError(f"--{option} is for the history of agents: give --from too")
    given = values["file"]
    if given is None and sys.stdin.isatty():
        raise UsageError("name the file to import, or '-' for standard input")
    workspace = opened(around)
    importer = Importer(workspace.git, workspace.store)
    dry_run = bool(values["dry_run"])
    if given not in (None, "-") and Path(given).is_dir():
        raise UsageError(f"{given} is a folder; '--from session-dir' imports the shell tool's")
    with _input(given) as stream:
        what = "standard input" if given in (None, "-") else Path(given).name
        outcomes = importer.take(stream, one_line(what), dry_run=dry_run)
    if not dry_run:
        workspace.changed.update(outcome.session for outcome in outcomes)
    if values["json"]:
        print_json([_json(outcome) for outcome in outcomes])
    else:
        _print(outcomes, dry_run=dry_run)
    return 0


@contextmanager
def _input(given: str | None) -> Iterator[IO[bytes]]:
    if given is None or given == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = open(given, "rb")  # noqa: SIM115 - only opening it is what may fail here
    except OSError as error:
        raise StoreError(f"{given} cannot be read: {error.strerror}") from None
    with stream:
        yield stream


def _json(outcome: Outcome) -> dict[str, Any]:
    return {
        "session": outcome.session,
        "given": outcome.given,
        "outcome": outcome.outcome,
        "turns": outcome.turns,
        "tip": outcome.tip,
    }


def _print(outcomes: Sequence[Outcome], *, dry_run: bool) -> None:
    for outcome in outcomes:
        if outcome.outcome == "unchanged":
            continue
        words = _WORDS.get(outcome.outcome, f"another session than the {outcome.given} that is here")
        print(f"{outcome.session}  {plural(outcome.turns, 'turn')}, {words}")
    changed = sum(outcome.outcome != "unchanged" for outcome in outcomes)
    kept = len(outcomes) - changed
    would = "would be " if dry_run else ""
    if not outcomes:
        note("it holds no session")
    elif not changed:
        note(f"nothing to do: {plural(kept, 'session')} with all their turns are there already")
    else:
        more = f", {kept} there already" if kept else ""
        note(f"{plural(changed, 'session')} {would}imported{more}")


def _migrate(around: Surroundings, values: dict[str, Any]) -> int:
    if values["since"] is not None or values["project"] is not None:
        raise UsageError("--since and --project are for the history of agents, not for session-dir")
    given = values["file"]
    named = around.session_dir if given is None else given
    if named is None:
        raise UsageError("name the folder to import: there is neither SESSION_DIR nor a home folder")
    dry_run = bool(values["dry_run"])
    workspace = opened(around)
    done = migrate(workspace, Path(named), dry_run=dry_run)
    if not dry_run:
        workspace.changed.update(outcome.session for outcome, _ in done.outcomes)
    broken = [item for item in done.passed if item.kind in ("broken", "link")]
    lines = [f"{shown(item.folder)} is left alone: {item.why}" for item in broken]
    lines += [f"{shown(folder)}: {line}; left out" for folder, line in done.problems]
    if values["json"]:
        passed = [{"folder": item.folder, "kind": item.kind, "reason": item.why} for item in done.passed]
        problems = [{"folder": folder, "reason": line} for folder, line in done.problems]
        outcomes = [{**_json(outcome), "folder": folder} for outcome, folder in done.outcomes]
        print_json({"sessions": outcomes, "passed": passed, "problems": problems})
    else:
        _print_migration(done, dry_run=dry_run)
    for line in lines[:MOST_WARNINGS]:
        warn(line)
    if len(lines) > MOST_WARNINGS:
        warn(f"and {len(lines) - MOST_WARNINGS} more of the kind; --json has them all")
    return 0


def _print_migration(done: Migration, *, dry_run: bool) -> None:
    for outcome, folder in done.outcomes:
        if outcome.outcome != "unchanged":
            origin = "" if outcome.session == folder else f", from the folder {shown(folder)}"
            print(f"{outcome.session}  {plural(outcome.turns, 'turn')}, {_WORDS[outcome.outcome]}{origin}")
    changed = [outcome for outcome, _ in done.outcomes if outcome.outcome != "unchanged"]
    turns = plural(sum(outcome.turns for outcome in changed), "turn")
    would = "would be " if dry_run else ""
    note(f"{plural(len(changed), 'session')} with {turns} {would}imported")
    kinds = Counter(item.kind for item in done.passed)
    said = {
        "unchanged, there already": len(done.outcomes) - len(changed),
        "left alone, without a metadata.json": kinds["other"],
        "left alone, made from a repository's sessions": kinds["mirror"],
        "left alone, which cannot be read or are links": kinds["broken"] + kinds["link"],
    }
    for words, count in said.items():
        if count:
            note(f"{plural(count, 'folder')} {words}")
