"""Measuring side by side: what is compared runs in turns, so that a busy machine slows both alike."""

from __future__ import annotations

import compileall
import gc
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pygit2

REACHED, MISSED = "reached", "MISSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How ``ours`` compares with ``other``, repetition by repetition; times in seconds."""

    ours: Sequence[float]
    other: Sequence[float]

    @property
    def _each(self) -> list[float]:
        return sorted(mine / theirs for mine, theirs in zip(self.ours, self.other, strict=True))

    @property
    def median(self) -> float:
        return statistics.median(self._each)

    @property
    def middle_half(self) -> tuple[float, float]:
        """The quarter points: half of the repetitions lie between."""
        each = self._each
        if len(each) < 2:
            return each[0], each[0]
        first, _, third = statistics.quantiles(each, n=4, method="inclusive")
        return first, third

    def line(self, what: str, *, at_most: float | None = None) -> str:
        low, high = self.middle_half
        text = (
            f"  {what:<44} {_ms(self.ours):>9} {_ms(self.other):>9}"
            f"   {self.median:5.2f} x  ({low:.2f} to {high:.2f}, {len(self.ours)} times)"
        )
        return text if at_most is None else f"{text}   {bound(self.median, at_most, unit='x')}"


def _ms(times: Sequence[float]) -> str:
    return f"{statistics.median(times) * 1000:,.1f} ms"


def bound(found: float, at_most: float, *, unit: str) -> str:
    return f"at most {at_most:g} {unit}: {REACHED if found <= at_most else MISSED}"


def heading(ours: str, other: str) -> str:
    return f"  {'':<44} {ours:>9} {other:>9}   RATIO (half of them lie between)"


def in_turns(ways: Mapping[str, Callable[[], object]], *, times: int, warm: int = 1) -> dict[str, list[float]]:
    """Seconds that each way took, ``times`` times in turns, every second round in reverse order."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    order = list(ways)
    for number in range(-warm, times):
        for name in order if number % 2 else reversed(order):
            seconds = timed(ways[name])
            if number >= 0:
                found[name].append(seconds)
    return found


def timed(work: Callable[[], object]) -> float:
    gc.collect()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Where a benchmark runs: a folder of its own on a real disk, and an environment that knows of nobody."""

    folder: Path
    environment: dict[str, str]
    program: tuple[str, ...]
    """``git-ai-session`` as a console script starts it, byte-compiled."""
    python: str

    def run(
        self, *command: str, cwd: Path, environment: Mapping[str, str] | None = None, stdin: bytes | None = None
    ) -> bytes:
        """A command's standard output."""
        return self._done(command, cwd, environment, stdin).stdout

    def errors(self, *command: str, cwd: Path) -> str:
        """What a command wrote to standard error."""
        return self._done(command, cwd, None).stderr.decode("utf-8", "replace")

    def _done(
        self, command: Sequence[str], cwd: Path, environment: Mapping[str, str] | None, stdin: bytes | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            command, cwd=cwd, env=environment or self.environment, input=stdin, capture_output=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.decode('utf-8', 'replace')}")
        return done

    def quietly(self, *command: str, cwd: Path) -> None:
        """Runs a command for its time alone."""
        subprocess.run(command, cwd=cwd, env=self.environment, stdout=subprocess.DEVNULL, check=True)


# A process starts with the peak of the one that forked it, so the measured one is started from a small one.
_PEAK = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def peak_rss_mb(world: World, *command: str, cwd: Path) -> float:
    """The largest resident set of any process of a command, in MB of 1,000,000 bytes."""
    peak = int(world.run(world.python, "-c", _PEAK, *command, cwd=cwd))
    # Linux counts in KiB, macOS in bytes.
    return peak * (1 if sys.platform == "darwin" else 1024) / 1_000_000


def compiled(package: Path, into: Path) -> None:
    """A copy of ``package``, byte-compiled as pip does."""
    shutil.copytree(package, into, ignore=shutil.ignore_patterns("__pycache__"))
    if not compileall.compile_dir(into, quiet=2):
        raise RuntimeError(f"{package} does not compile")


@contextmanager
def synced(on: bool) -> Iterator[None]:
    """Whether libgit2 syncs what it writes, which only matters to what is timed."""
    pygit2.settings.enable_fsync_gitdir(on)
    try:
        yield
    finally:
        pygit2.settings.enable_fsync_gitdir(True)


def file_system(path: Path) -> str:
    """The kind of file system that ``path`` is on, such as ``ext4``; ``unknown`` where the system does not say."""
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    found = [line.split()[1:3] for line in mounts]
    inside = [(len(where), kind) for where, kind in found if path.resolve().is_relative_to(where)]
    return max(inside, default=(0, "unknown"))[1]


def bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
