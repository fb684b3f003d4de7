"""The layers hold: imports go down only, and each outside thing is met in its own room (docs/architecture.md)."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gitsess

PACKAGE = Path(gitsess.__file__).parent
DOCS = PACKAGE.parent / "docs" / "architecture.md"

# A module belongs to the layer that names it or its package.
CORE, STATE, SOURCE, USE, SURFACE = range(1, 6)
LAYERS = {
    CORE: (
        "errors values model names text money strictjson trailers commit content draft usage turns records catalog"
        " pricing redact config metadata tally answers plan review verdict handed"
    ),
    STATE: "gitcli trees locks spool worktree notes store append index mirror",
    SOURCE: "providers agents",
    USE: (
        "workspace history accounts resume asking toolloop exchanges estimates budgets templating report savings tour"
        " links trails attribution costnotes setup transfer mirroring everywhere retention shellscripts doctor capture"
        " conversations handoff via workbench workflow todos todofile"
    ),
    SURFACE: "cli",
}
LAYER_OF = {name: layer for layer, names in LAYERS.items() for name in names.split()}

# What each layer may import besides itself. The sources know nothing of the state, and the surface reaches both
# only through the use.
REACHES = {
    CORE: set(),
    STATE: {CORE},
    SOURCE: {CORE},
    USE: {CORE, STATE, SOURCE},
    SURFACE: {CORE, USE},
}

# Where a package that is slow to import, or a part of the world, is met; nowhere else.
ROOMS = {
    "pygit2": "store",
    "tomlkit": "capture.wiring",
    "anthropic": "providers",
    "click": "cli",
    "rich": "cli",
    "genai_prices": "pricing",
    "yaml": "plan.nodes",
    # The index is our own; the other one is what an agent keeps its history in.
    "sqlite3": "index agents.opencode",
    "subprocess": "gitcli cli.output providers.processes store.deflating",
}

# The environment, the home folder and the clock are read in the surface and handed down. The stand-in for the
# service has a clock of its own, as a service has.
WORLD = re.compile(
    r"os\.environ|os\.getenv|os\.getcwd|\.home\(\)|\.cwd\(\)|expanduser|getpass|datetime\.now|\.utcnow|\.today\(\)"
    r"|time\.time\b|time\.localtime|time\.gmtime"
)
WORLD_IN = "cli providers.standin"


def modules() -> Iterator[tuple[str, Path]]:
    """Every module's name below the package, ``store.libgit``, and its file."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        if name:
            yield name, path


MODULES = dict(modules())


def imported(path: Path) -> Iterator[str]:
    """The full name of every module that ``path`` imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def below(name: str, rooms: str) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms.split())


def layer(name: str) -> int:
    return LAYER_OF[name.partition(".")[0]]


def test_every_module_has_a_layer() -> None:
    """A new module is given a layer, and one that is gone is forgotten."""
    assert {name.partition(".")[0] for name in MODULES} == set(LAYER_OF)


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down_only(name: str) -> None:
    """No module imports from a layer that its own does not reach."""
    allowed = REACHES[layer(name)] | {layer(name)}
    for target in imported(MODULES[name]):
        inside = target.removeprefix("gitsess.")
        if inside != target and inside.partition(".")[0] in LAYER_OF:
            assert layer(inside) in allowed, f"{name} imports {target}"


@pytest.mark.parametrize("name", MODULES)
def test_outside_packages_are_met_in_their_rooms(name: str) -> None:
    """pygit2 only in the store, git processes only in gitcli, and so on; third parties are those we declare."""
    for target in imported(MODULES[name]):
        package = target.partition(".")[0]
        if package in ROOMS:
            assert below(name, ROOMS[package]), f"{name} imports {package}"
        elif package != "gitsess":
            assert package in sys.stdlib_module_names, f"{name} imports {package}, which has no room"


@pytest.mark.parametrize("name", MODULES)
def test_the_world_is_read_in_the_surface(name: str) -> None:
    """Environment, home and clock come down as arguments."""
    if not below(name, WORLD_IN):
        # Comments and texts may speak of the world: only code counts.
        nodes = ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8")))
        code = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute | ast.Call)}
        found = sorted(text for text in code if len(text) < 60 and WORLD.search(text))
        assert not found, f"{name}: {found}"


def test_the_drawing_shows_these_layers() -> None:
    """docs/architecture.md names every module in the layer that the test gives it."""
    drawn = re.search(r"```\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert drawn is not None
    for number, names in LAYERS.items():
        row = next(line for line in drawn[1].splitlines() if line.lstrip().startswith(f"{number} "))
        rest = drawn[1].split(row, 1)[1]
        text = row + re.split(r"\n ?\d ", rest, maxsplit=1)[0]
        for name in names.split():
            assert re.search(rf"\b{name}\b", text), f"{name} is not drawn in layer {number}"
