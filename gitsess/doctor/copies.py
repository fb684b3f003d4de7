"""What is derived from the commits: the mirror, the index and the notes, held against them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from gitsess import costnotes
from gitsess.doctor.findings import Finding
from gitsess.index import Index
from gitsess.mirror import FILE
from gitsess.mirroring import Mirroring
from gitsess.model import Oid, SessionName
from gitsess.tally import outline_of
from gitsess.text import plural
from gitsess.workspace import Workspace

_ANEW = "'git ai-session doctor --fix' writes it anew"


def check(workspace: Workspace, progress: Callable[[str], None]) -> Iterator[Finding]:
    """The mirror's copies of this repository's sessions, then the index, then the notes."""
    if workspace.mirroring is not None:
        progress("mirror")
        yield from _mirror(workspace, workspace.mirroring)
    progress("index")
    yield from _index(workspace)
    progress("notes")
    yield from _notes(workspace)


def _mirror(workspace: Workspace, mirroring: Mirroring) -> Iterator[Finding]:
    directory = mirroring.mirror.directory
    own = {copy.session: copy for copy in mirroring.copies()}
    left = mirroring.left()
    tips, _ = workspace.history.tips()
    missing: dict[SessionName, Oid] = {}
    for name, tip in tips.items():
        copy = own.get(name)
        # What is behind by less than a second's turns comes with the next command.
        if name in left or mirroring.matches(name, tip, copy) is not False:
            continue
        if copy is None:
            missing[name] = tip
        else:
            yield Finding(
                check="mirror",
                subject=name,
                message=f"{copy.folder} in {directory} is not what the commits say",
                advice=_ANEW,
                mend=partial(mirroring.write, name, tip, copy, anew=True),
            )
    if missing:
        names = list(missing)
        what = f"{names[0]} has" if len(names) == 1 else f"{plural(len(names), 'session')} have"
        yield Finding(
            check="mirror",
            subject=names[0] if len(names) == 1 else "",
            message=f"{what} no copy in {directory}",
            advice=_ANEW,
            mend=partial(_write_all, mirroring, missing),
        )
    for copy in own.values():
        if copy.session not in tips:
            yield Finding(
                check="mirror",
                subject=copy.session,
                message=f"{copy.folder} in {directory} is a copy of a session that is not here any more",
                advice="'git ai-session doctor --fix' removes it",
                mend=partial(mirroring.mirror.remove, copy.folder),
            )
    if own:
        yield from _open_to_others(directory)
    for copy in own.values():
        yield from _open_to_others(os.path.join(directory, copy.folder))
        yield from _open_to_others(os.path.join(directory, copy.folder, FILE))


def _write_all(mirroring: Mirroring, tips: Mapping[SessionName, Oid]) -> None:
    for name, tip in tips.items():
        mirroring.write(name, tip, None)


def _open_to_others(path: str) -> Iterator[Finding]:
    try:
        mode = stat.S_IMODE(os.lstat(path).st_mode)
    except OSError:
        return
    if mode & 0o077:
        yield Finding(
            check="permissions",
            subject=path,
            message=f"others may reach {path}",
            advice=f"'chmod go= {path}', which --fix does",
            mend=lambda: os.chmod(path, mode & 0o700),
        )


def _index(workspace: Workspace) -> Iterator[Finding]:
    index = Index(workspace.repository.state_dir)
    advice = "'git ai-session doctor --fix' deletes it, and the next look makes it anew"
    fault = index.fault()
    if fault is not None:
        yield Finding(
            check="index", subject=str(index.path), message=f"the index {fault}", advice=advice, mend=index.discard
        )
        return
    known = index.tips()
    tips, _ = workspace.history.tips()
    for name, tip in tips.items():
        if tip not in known:
            continue
        strands, _ = workspace.history.strands({name: tip}, set())
        for strand in strands:
            right = index.entries({tip}).get(tip) == strand.entries
            if not right or index.outlines({tip}).get(tip) != outline_of(strand.entries):
                message = f"the index says of {name} what its commits do not"
                yield Finding(check="index", subject=name, message=message, advice=advice, mend=index.discard)
                return


def _notes(workspace: Workspace) -> Iterator[Finding]:
    wrong = costnotes.wrong(workspace.git, workspace.history)
    if wrong:
        what = f"the note of commit {wrong[0][:12]} is" if len(wrong) == 1 else f"the notes of {len(wrong)} commits are"
        yield Finding(
            check="notes",
            subject=wrong[0] if len(wrong) == 1 else "",
            message=f"{what} not what the sessions say",
            advice="'git ai-session doctor --fix' writes them anew",
            mend=lambda: costnotes.rebuild(workspace.git, workspace.history, at=workspace.around.now()),
        )
