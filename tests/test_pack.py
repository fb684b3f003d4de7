"""Objects in bulk reach the repository whole, whoever deflates them, or not at all."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from gitsess.errors import StoreError
from gitsess.store import deflating, pack
from gitsess.store.pack import Names, Packs
from tests.conftest import Repo

BLOBS = [b"", b"x", *(random.Random(n).randbytes(50) * 40 * n for n in range(1, 60))]


def filled(repo: Repo, folder: Path) -> Packs:
    """Packs with all blobs in them, ready to be handed to git."""
    folder.mkdir()
    packs, names = Packs(repo.git_handle, folder), Names("sha1")
    for blob in BLOBS:
        packs.add("blob", names.of("blob", blob), blob)
    return packs


def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "helps", lambda: False)


def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "helps", lambda: True)
    monkeypatch.setattr(pack, "_WORTH", 20_000)


@pytest.mark.parametrize("most", [pack.PACK_OBJECTS, 7], ids=["one pack", "many packs"])
@pytest.mark.parametrize("how", [alone, beside])
def test_every_object_arrives(
    how: Callable[[pytest.MonkeyPatch], None], most: int, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were deflated before the process was started, and those that were given to it."""
    how(monkeypatch)
    monkeypatch.setattr(pack, "PACK_OBJECTS", most)
    packs = filled(repo, tmp_path / "packs")
    packs.install()
    packs.close()
    for blob in BLOBS:
        assert repo.git("cat-file", "-s", Names("sha1").of("blob", blob)) == str(len(blob))
    repo.git("fsck", "--strict")


def test_both_ways_write_the_same_bytes(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack is the same to the byte, whoever deflates what is in it."""
    found = []
    for how in (alone, beside):
        how(monkeypatch)
        packs = filled(repo, tmp_path / how.__name__)
        packs._finish()
        found.append((tmp_path / how.__name__ / "0.pack").read_bytes())
    assert found[0] == found[1]


@pytest.mark.parametrize("more", [True, False], ids=["while objects come", "at the end"])
def test_a_process_that_is_killed_fails_the_import(
    more: bool, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that says so, and none of the objects is in the repository."""
    beside(monkeypatch)
    packs = filled(repo, tmp_path / "packs")
    assert packs._deflater is not None
    os.kill(packs._deflater._process.pid, signal.SIGKILL)

    def go_on() -> None:
        for number in range(10_000 if more else 0):
            packs.add("blob", Names("sha1").of("blob", b"%d" % number), b"%d" % number)
        packs.install()

    with pytest.raises(StoreError, match="the process that deflates them ended with -9"):
        go_on()
    packs.close()
    assert repo.git("count-objects", "-v").split("\n")[3] == "packs: 0"


def test_the_process_outlives_an_interruption_of_ours(tmp_path: Path) -> None:
    """A ^C reaches both; the objects that were on their way are written all the same, and no traceback is printed."""
    with (tmp_path / "out").open("x+b") as out:
        deflater = deflating.Deflater(out)
        for _ in range(3):
            deflater.add(3, BLOBS[-1])
        deflater._process.stdin.flush()  # type: ignore[union-attr]
        while not (tmp_path / "out").stat().st_size and deflater._process.poll() is None:
            deflater.add(3, BLOBS[-1])
        os.kill(deflater._process.pid, signal.SIGINT)
        deflater.add(3, b"the last")
        deflater.finish()
    assert (tmp_path / "out").read_bytes().endswith(deflating.entry(3, b"the last"))


def test_closing_ends_the_process(tmp_path: Path) -> None:
    """Whatever it was at; nothing of it stays behind."""
    with (tmp_path / "out").open("x+b") as out:
        deflater = deflating.Deflater(out)
        deflater.add(3, b"x")
        deflater.close()
        assert deflater._process.returncode is not None
