"""Sessions going out: as JSON, as JSON lines, or as a bundle of git's.

    json    [{…metadata, "interactions":[…], "commits":[{"oid", "commit", "files"}, …]}, …]
    jsonl   {…metadata}            a line a session, then one a commit:
            {"session", "oid", "timestamp", …, "commit", "files"}

``commit`` is the object's bytes as text, ``files`` the files of its tree by path. What is no UTF-8 is
``{"base64": …}``, and a longer file that stood in the session before is ``{"oid": …}``.
"""

from __future__ import annotations

import base64
import signal
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import IO

from gitsess import metadata, strictjson
from gitsess.errors import FormatError, GitsessError, NotFound, StoreError
from gitsess.gitcli import Git
from gitsess.history import History, matching
from gitsess.model import JSON, Oid, SessionName
from gitsess.names import ref_of
from gitsess.report import ACTIVE_DAYS
from gitsess.transfer.markdown import write_markdown
from gitsess.transfer.reading import Exact, Reader
from gitsess.transfer.rules import REPEATED
from gitsess.transfer.scanning import Scanned, scan

FORMATS = ("json", "jsonl", "md", "bundle")


class Exported:
    """What an export did: sessions that went out, and a line for each that could not."""

    def __init__(self) -> None:
        self.sessions = 0
        self.turns = 0
        self.left_out: list[str] = []
        self.failed = False


def scanned(
    git: Git, tips: dict[SessionName, Oid], done: Exported, *, active_at: datetime | None
) -> Iterator[tuple[Reader, Scanned]]:
    """The sessions that can be carried, one at a time; ``active_at``: only those used in the 30 days before."""
    reader = Reader(git)
    try:
        for name, tip in sorted(tips.items()):
            try:
                found = scan(reader, name, tip)
            except GitsessError as error:
                done.left_out.append(f"{name} is left out: {error}")
                done.failed = True
                # An answer of the session that failed may still be under way.
                reader.close()
                continue
            try:
                if active_at is None or _active(found, active_at):
                    done.sessions += 1
                    done.turns += found.turns
                    yield reader, found
            finally:
                found.close()
    finally:
        reader.close()


def _active(found: Scanned, now: datetime) -> bool:
    return found.last_used is not None and found.last_used >= now - timedelta(days=ACTIVE_DAYS)


def write_json(git: Git, sessions: Iterator[tuple[Reader, Scanned]], out: IO[bytes]) -> None:
    """One list of objects, each commit on a line of its own."""
    opening = b"["
    for reader, found in sessions:
        head = metadata.dumps(_head(git, found))
        out.write(opening + b"\n" + head.encode().removesuffix(b"[]}") + b"[")
        _separated((line for line in found.entries() if line), out)
        out.write(b'],"commits":[')
        _separated((_line(exact.oid, _exact_json(exact, files)) for exact, files in _filled(reader, found.order)), out)
        out.write(b"]}")
        opening = b","
    out.write(b"[]\n" if opening == b"[" else b"\n]\n")


def write_jsonl(git: Git, sessions: Iterator[tuple[Reader, Scanned]], out: IO[bytes]) -> None:
    """A line for the session, then one for every commit of it."""
    for reader, found in sessions:
        head = _head(git, found)
        del head["interactions"]
        out.write(metadata.dumps(head).encode() + b"\n")
        filled = _filled(reader, found.order)
        for entry, (exact, files) in zip(found.entries(), filled, strict=True):
            given: dict[str, JSON] = {"session": found.name, "oid": exact.oid}
            rest = _exact_json(exact, files)
            del rest["oid"]
            middle = [entry[1:-1]] if entry else []
            parts = [metadata.dumps(given).encode()[1:-1], *middle, metadata.dumps(rest).encode()[1:-1]]
            out.write(_checked(exact.oid, b"{" + b",".join(parts) + b"}") + b"\n")


def write_bundle(git: Git, tips: dict[SessionName, Oid], out: IO[bytes]) -> None:
    """A bundle of the sessions' refs, which plain git can fetch from. Raises BrokenPipeError where nobody reads it."""
    refs = "".join(f"{ref_of(name)}\n" for name in sorted(tips)).encode()
    out.flush()
    done = git.run("bundle", "create", "--quiet", "-", "--stdin", stdin=refs, stdout=out)
    if done.code == -signal.SIGPIPE:
        raise BrokenPipeError
    if done.code:
        raise StoreError(f"the bundle cannot be made: {done.complaint}")


def _head(git: Git, found: Scanned) -> dict[str, JSON]:
    return metadata.metadata_of(
        name=found.name,
        session_id=found.session_id,
        tip=found.tip,
        repository=git.repository.common_dir,
        created_at=found.created_at,
        last_used=found.last_used,
    )


def _separated(items: Iterator[bytes], out: IO[bytes]) -> None:
    comma = b"\n"
    for item in items:
        out.write(comma + item)
        comma = b",\n"


def _filled(reader: Reader, order: Sequence[Oid]) -> Iterator[tuple[Exact, dict[str, JSON]]]:
    """Each commit with its files as JSON has them."""
    seen: set[bytes] = set()
    for exact in reader.commits(order):
        files: dict[str, JSON] = dict.fromkeys(exact.files)
        asked = [(path, oid) for path, oid in exact.files.items() if bytes.fromhex(oid) not in seen]
        files.update((path, {"oid": oid}) for path, oid in exact.files.items() if bytes.fromhex(oid) in seen)
        size = 0
        for (path, _), (oid, data) in zip(asked, reader.blobs([oid for _, oid in asked]), strict=True):
            size += len(data)
            if size <= strictjson.MAX_BYTES:
                files[path] = _text(data)
            if len(data) >= REPEATED:
                seen.add(bytes.fromhex(oid))
        if size > strictjson.MAX_BYTES:
            raise _too_large(exact.oid)
        yield exact, files


def _exact_json(exact: Exact, files: dict[str, JSON]) -> dict[str, JSON]:
    return {"oid": exact.oid, "commit": _text(exact.raw), "files": files}


def _text(data: bytes) -> JSON:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _line(oid: Oid, value: JSON) -> bytes:
    return _checked(oid, metadata.dumps(value).encode())


def _checked(oid: Oid, line: bytes) -> bytes:
    if len(line) > strictjson.MAX_BYTES:
        raise _too_large(oid)
    return line


def _too_large(oid: Oid) -> FormatError:
    return FormatError(f"commit {oid[:12]} is too large for JSON; --format bundle carries it")


def export(
    history: History,
    git: Git,
    patterns: Sequence[str],
    out: IO[bytes],
    *,
    form: str,
    active_at: datetime | None = None,
) -> Exported:
    """Writes the sessions that match (all, where nothing is given) to ``out``, in one of ``FORMATS``.

    ``active_at``: only those used in the 30 days before. Raises NotFound for a name that is none, StoreError or
    FormatError where writing has begun and cannot go on.
    """
    tips, warnings = history.tips()
    done = Exported()
    if patterns:
        tips = matching(tips, patterns)
    else:
        done.left_out += warnings
    sessions = scanned(git, tips, done, active_at=active_at)
    if form == "json":
        write_json(git, sessions, out)
    elif form == "jsonl":
        write_jsonl(git, sessions, out)
    elif form == "md":
        write_markdown(sessions, out)
    else:
        whole = {found.name: found.tip for _, found in sessions}
        if not whole:
            raise NotFound("there is no session to put into a bundle")
        write_bundle(git, whole, out)
    return done
