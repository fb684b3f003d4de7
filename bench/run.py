"""Benchmarks: each figure is a ratio against a named alternative that ran in the same minutes, with its bound.

    make bench                              all of them, some minutes, but what runs only where it is named
    make bench ARGS="--only startup"        one
    make bench ARGS="--into /mnt/disk"      on another disk

Times drift with the machine; ratios hold. What is compared runs in turns, the figure is the median of the ratios,
and the span is that of their middle half. Nothing is asserted about time: a bound that is missed is printed as such.
Every repository is made here from a seed, and removed at the end.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pygit2

import gitsess
from bench import appends, capture, commits, index, memory, mirror, reading, redaction, startup, storage, transfer
from bench.measuring import MISSED, World, compiled, file_system

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS: dict[str, Callable[[World], Iterator[str]]] = {
    "startup": startup.report,
    "append": appends.report,
    "record": appends.stream,
    "commits": commits.report,
    "storage": storage.report,
    "memory": memory.report,
    "reading": reading.report,
    "index": index.report,
    "mirror": mirror.report,
    "redaction": redaction.report,
    "transfer": transfer.report,
    "capture": capture.report,
    "capture-memory": capture.memory,
}
ON_REQUEST = ("capture-memory",)
"""What takes minutes and gigabytes, and runs only where it is named."""
_SCRIPT = """#!{python}
import re
import sys
from gitsess.cli.entry import script
if __name__ == "__main__":
    sys.argv[0] = re.sub(r"(-script\\.pyw|\\.exe)?$", "", sys.argv[0])
    sys.exit(script())
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description="Print the project's figures.")
    parser.add_argument("--only", choices=sorted(BENCHMARKS), action="append", help="only this benchmark")
    parser.add_argument("--into", type=Path, default=ROOT / "build", help="the folder to work in; default: build/")
    options = parser.parse_args()
    options.into.mkdir(parents=True, exist_ok=True)
    # As the console script does; also for what it is compared with.
    gc.set_threshold(100_000)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=options.into))
    missed: list[str] = []
    try:
        world = make_world(folder)
        print(_machine(folder))
        for name, benchmark in BENCHMARKS.items():
            if name not in (options.only or BENCHMARKS.keys() - set(ON_REQUEST)):
                continue
            print()
            started = time.monotonic()
            for line in benchmark(world):
                print(line, flush=True)
                if line.endswith(MISSED):
                    missed.append(f"{name}: {' '.join(line.split())}")
            print(f"  [{time.monotonic() - started:.0f} s]")
    finally:
        shutil.rmtree(folder)
    print("\nevery bound was reached" if not missed else "\nMISSED:\n  " + "\n  ".join(missed))
    return 0


def make_world(folder: Path) -> World:
    """A sealed environment in ``folder``, and the program in it as an installation has it."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_STATE_HOME": str(folder / "state"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Ann",
        "GIT_AUTHOR_EMAIL": "ann@example.com",
        "GIT_COMMITTER_NAME": "Ann",
        "GIT_COMMITTER_EMAIL": "ann@example.com",
        "PYTHONPATH": str(folder / "site"),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }
    compiled(Path(gitsess.__file__).parent, folder / "site" / "gitsess")
    shutil.copytree(ROOT / "hooks", folder / "site" / "gitsess" / "hooks")
    program = folder / "git-ai-session"
    program.write_text(_SCRIPT.format(python=sys.executable), encoding="utf-8")
    program.chmod(0o755)
    # libgit2 looks for a person's configuration on its own.
    for level in (pygit2.enums.ConfigLevel.GLOBAL, pygit2.enums.ConfigLevel.XDG, pygit2.enums.ConfigLevel.SYSTEM):
        pygit2.settings.search_path[level] = ""
    return World(folder=folder, environment=environment, program=(str(program),), python=sys.executable)


def _machine(folder: Path) -> str:
    git = subprocess.run(["git", "--version"], capture_output=True, check=True, text=True).stdout.strip()
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    disk = file_system(folder)
    free = "" if disk != "tmpfs" else "; syncing costs nothing on it: choose a disk with --into"
    return (
        f"gitsess {gitsess.__version__}, Python {platform.python_version()}, {git}, libgit2"
        f" {pygit2.LIBGIT2_VERSION}, {os.cpu_count()} CPUs, load {load}, {disk}{free}"
    )


if __name__ == "__main__":
    sys.exit(main())
