"""What happens to a feature outside of turns, as events of its sessions."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from gitsess.content import Content
from gitsess.draft import event_of
from gitsess.model import JSONObject, Oid, SessionName
from gitsess.text import iso, well_formed
from gitsess.workspace import Workspace


def put(
    workspace: Workspace,
    session: SessionName,
    event: str,
    text: str,
    *,
    task: str | None = None,
    status: str | None = None,
    estimated_usd: Decimal | None = None,
    subject: str | None = None,
    output: str = "",
    step: JSONObject | None = None,
    documents: Mapping[str, str] | None = None,
) -> Oid:
    """Appends an event to a session, redacted; raises StoreError, Locked where trying later may work.

    ``text`` says what happened, ``subject`` in a few words where it is long; ``output`` is what came of it.
    ``documents`` are redacted already.
    """
    now = workspace.around.now()
    branch = workspace.branch()

    def clean(given: str) -> str:
        return workspace.redactor.text(well_formed(given))

    draft = event_of(
        event,
        text=clean(subject or text),
        task=task,
        task_status=status,
        estimated_cost_usd=estimated_usd,
        at=now,
        committer=workspace.committer,
        branch=None if branch is None else clean(branch),
        worktree=workspace.repository.worktree,
        body=Content(
            prompt=clean(text),
            response=clean(output),
            started_at=iso(now),
            ended_at=iso(now),
            step=step,
            documents=documents or {},
        ),
    )
    return workspace.happened(session, draft)
