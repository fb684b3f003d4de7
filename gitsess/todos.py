"""The lists of what is to be done that agents kept, as their turns left them.

A turn holds the calls with which its agent wrote the list, not the list: what stands in one follows from the turns of
its conversation up to there. Each conversation has a list of its own, and its own numbers in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gitsess import agents
from gitsess.commit import Commit
from gitsess.content import Content
from gitsess.model import JSONObject
from gitsess.values import Value


class TodoList(Value):
    """``todos``: ``{"content", "status"}`` each, in the agent's order, the status in the agent's words (``pending``,
    ``in_progress``, ``completed``; opencode has ``cancelled``); ``turn`` is the last one that changed something.
    """

    conversation: str | None
    agent: str
    todos: tuple[JSONObject, ...]
    turn: Commit


def lists(turns: Iterable[tuple[Commit, Content]]) -> list[TodoList]:
    """The lists of the conversations that these turns are of, as the last turn left them: the one that was changed
    last comes last. ``turns`` are in order, as ``History.contents`` gives them; an emptied list is none."""
    found: dict[tuple[str, str | None], tuple[Sequence[JSONObject], Commit]] = {}
    for item, content in turns:
        agent = (item.facts.agent or "").partition("/")[0]
        key = (agent, item.facts.conversation)
        before = found[key][0] if key in found else ()
        after = agents.todos_after(content, item.facts.agent, before)
        if list(before) != after:
            found.pop(key, None)
            found[key] = (after, item)
    return [
        TodoList(conversation=conversation, agent=agent, todos=told, turn=item)
        for (agent, conversation), (todos, item) in found.items()
        # One that was made before a fork, or before what is here, is known by its number alone.
        if (told := tuple(todo for todo in todos if todo.get("content")))
    ]
