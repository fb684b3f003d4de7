"""What a turn is expected to cost: the median of what turns of its kind have cost so far."""

from __future__ import annotations

from decimal import Decimal
from statistics import median

from gitsess.money import rounded
from gitsess.workspace import Workspace

TYPICAL_ANSWER_TOKENS = 1_000
"""What an answer is taken to have while there is none to go by."""


def expected_usd(
    workspace: Workspace, command: str, *, model: str | None = None, agent: str | None = None
) -> Decimal | None:
    """The median cost of the turns of ``command`` in all features, by ``model`` and through ``agent`` where they are
    given; None where there are none.

    Only turns that were answered and have a price tell anything.
    """
    tips, _ = workspace.history.tips()
    if not any(name.startswith(f"{command}-") for name in tips):
        return None
    costs = [
        Decimal(entry.cost_usd)
        for account in workspace.accounts([f"{command}-*"], turns=True).sessions
        for entry in account.turns()
        if entry.kind == "turn" and entry.status == "ok" and entry.cost_usd is not None
        if model is None or entry.model == model
        if agent is None or (entry.agent or "").partition("/")[0] == agent
    ]
    return rounded(median(costs)) if costs else None
