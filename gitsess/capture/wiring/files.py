"""Settings files that are somebody else's: read whole, written whole or not at all, and remembered as they were."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from gitsess import strictjson
from gitsess.errors import FormatError, StoreError
from gitsess.locks import write_private
from gitsess.model import JSONObject

MAX_BYTES = 1 << 22
BOM = b"\xef\xbb\xbf"
"""What some editors put before UTF-8."""


def real_path(path: Path, inside: Path | None) -> Path:
    """Where a file is, through links: putting a file in a link's place would undo what somebody set up."""
    try:
        real = path.resolve()
    except (OSError, RuntimeError):
        raise StoreError(f"{path} is a link that leads nowhere: nothing was changed") from None
    if path.is_symlink() and not real.exists():
        raise StoreError(f"{path} is a link to {real}, which is not there: nothing was changed")
    if inside is not None and not real.is_relative_to(inside.resolve()):
        raise StoreError(f"{path} leads out of the repository, to {real}: nothing was changed")
    return real


def read(real: Path) -> bytes | None:
    """The bytes of a file, None where there is none; raises StoreError."""
    try:
        handle = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{real} cannot be read: {error.strerror}; nothing was changed") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise StoreError(f"{real} is no regular file: nothing was changed")
    with open(handle, "rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise StoreError(f"{real} is larger than {MAX_BYTES >> 20} MiB: nothing was changed")
    return data


def write(real: Path, data: bytes) -> None:
    """Writes a file whole or not at all, with the mode that it has."""
    temporary = real.with_name(f".{real.name}.{os.getpid()}.{os.urandom(4).hex()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        with open(handle, "wb") as out:
            with suppress(FileNotFoundError):
                os.fchmod(handle, stat.S_IMODE(real.stat().st_mode))
            out.write(data)
            out.flush()
            os.fsync(handle)
        temporary.replace(real)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def remove(real: Path, made: int) -> None:
    """Removes a file, and as many empty folders above it as were made for it."""
    real.unlink()
    with suppress(OSError):
        for folder in (real.parent, real.parent.parent)[:made]:
            folder.rmdir()


# What was there before


def keep(folder: str, real: Path, entry: JSONObject) -> None:
    """Remembers what was there; ``before`` is base64."""
    write_private(place_of(folder, real), strictjson.dumps(entry).encode("utf-8", "surrogateescape"))


def forget(folder: str, real: Path) -> None:
    with suppress(FileNotFoundError):
        os.unlink(place_of(folder, real))


def place_of(folder: str, real: Path) -> str:
    return os.path.join(folder, hashlib.sha256(os.fsencode(real)).hexdigest()[:16])


def is_kept(folder: str, real: Path) -> bool:
    """Whether something is remembered of a file, though it may be damaged."""
    return os.path.lexists(place_of(folder, real))


def record_of(folder: str, real: Path) -> dict[str, Any] | None:
    return load(place_of(folder, real))


def load(place: str) -> dict[str, Any] | None:
    try:
        handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as stream:
            value = strictjson.loads(stream.read(4 * MAX_BYTES).decode("utf-8", "surrogateescape"), what="it")
    except (OSError, FormatError):
        return None
    if not isinstance(value, dict):
        return None
    value.setdefault("scope", "local")
    if not all(isinstance(value.get(key), str) for key in ("agent", "path", "scope")):
        return None
    before, made = value.get("before"), value.get("made")
    if not isinstance(value.get("after"), str) or type(made) is not int:
        return None
    return value if before is None or isinstance(before, str) else None


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def records(folder: str) -> list[dict[str, Any]]:
    """All that is remembered, in the order of names."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [record for name in names if (record := load(os.path.join(folder, name))) is not None]
