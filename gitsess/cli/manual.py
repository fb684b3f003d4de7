"""What the manual says besides the verbs: settings, environment, files, exit codes. Said once, as data.

From here the man page and docs/cli.md are made.
"""

from __future__ import annotations

from typing import NamedTuple

from gitsess.catalog import ALIASES, DEFAULT_MODEL
from gitsess.config import MAX_CONTEXT_TOKENS, MAX_OUTPUT_TOKENS, TEST_TIMEOUT_S


class Entry(NamedTuple):
    """``term`` is typed or met as it stands; ``value`` is what to put for it, if anything."""

    term: str
    about: str
    value: str = ""


DATE = "2026-11-28"
"""When the manual was last revised: the man page bears it."""

TITLE = "the record of AI work in a repository"
DESCRIPTION = (
    "git ai-session keeps the work that you do with AI models where the work's result is: in the git repository."
    " A session is a ref, refs/ai-sessions/COMMAND-FEATURE. Every turn of it (a prompt, what the model did with it,"
    " and its answer) is one commit, its author the model, its tokens and its cost trailers of the message. Plain git"
    " shows it: 'git log refs/ai-sessions/implement-auth-service'.",
    "'git ai-session run' asks a model. The context is rebuilt from the commits, laid out so that the provider's"
    " prompt cache can be used, and the answer is recorded as the next turn. Turns of other programs come in"
    " through 'git ai-session record'.",
    "Nothing is pushed or fetched unless you ask git to: the refs stand outside of refs/heads/ and refs/tags/."
    " Secrets are redacted before anything is stored or sent.",
)

_ALIASES = ", ".join(f"{alias} ({model})" for alias, model in ALIASES.items())

SETTINGS = (
    Entry(
        "ai-session.model",
        f"The model that 'run' asks: {_ALIASES}, or a full id. Default: {DEFAULT_MODEL}.",
        "MODEL",
    ),
    Entry(
        "ai-session.budget",
        "What one command may cost at most, in US dollars: it stops before a request that would pass it. With /feature,"
        " /day or /month behind it, such as 20/day: what all turns of that may cost together; from 80 % on there is a"
        " warning, at 100 % nothing more is asked for without --over-budget. May be set several times. No default.",
        "USD",
    ),
    Entry(
        "ai-session.fallback",
        "Who is asked where the first one fails, in order: models, and the agents claude, codex and gemini, such as"
        " 'gemini, opus'. For the verbs of the workflow; each try is a turn with its status.",
        "NAMES",
    ),
    Entry(
        "ai-session.testCommand",
        "The command that runs the project's tests, for the shell, in the top folder. Without it: what pytest, npm, go,"
        " cargo or make projects make obvious.",
        "COMMAND",
    ),
    Entry("ai-session.integrationTestCommand", "The same for 'verify --integration'.", "COMMAND"),
    Entry(
        "ai-session.testTimeout",
        f"How long the tests may take, in seconds. Default: {TEST_TIMEOUT_S}.",
        "SECONDS",
    ),
    Entry(
        "ai-session.maxContextTokens",
        "Past this many tokens of context the oldest turns are replaced, in the context alone, by a summary; their"
        f" commits stay. Default: {MAX_CONTEXT_TOKENS}. 150k is understood.",
        "N",
    ),
    Entry("ai-session.maxTokens", f"The longest answer, in tokens. Default: {MAX_OUTPUT_TOKENS}.", "N"),
    Entry(
        "ai-session.redact",
        "A regular expression (Python's) of something else to redact; NAME=PATTERN names the rule. May be set"
        " several times: every pattern counts.",
        "PATTERN",
    ),
)

ENVIRONMENT = (
    Entry(
        "ANTHROPIC_API_KEY", "The key for the Messages API, used for nothing else; the project's tests do not see it."
    ),
    Entry("ANTHROPIC_AUTH_TOKEN", "A bearer token in the key's place."),
    Entry("ANTHROPIC_BASE_URL", "Where the Messages API is, if not at api.anthropic.com."),
    Entry("AI_MODEL", "The model that 'run' asks; goes before ai-session.model, and --model before both."),
    Entry("USE_SESSIONS", "'false' turns sessions off: 'run' begins without context, and nothing is recorded."),
    Entry(
        "SESSION_DIR",
        "The folder of the copies of sessions, a folder for each, and of the shell tool's. Default: ~/.ai-sessions.",
    ),
    Entry("TODO_FILE", "The file that track-session-todo.sh writes. Default: todos.jsonl in SESSION_DIR."),
    Entry("AI_SESSION", "The session that captured turns go to, before the one in use; the agent's hook reads it."),
    Entry("CLAUDE_CONFIG_DIR", "Where Claude Code keeps its settings and transcripts. Default: ~/.claude."),
    Entry("CODEX_HOME", "Where Codex keeps its transcripts. Default: ~/.codex."),
    Entry("GEMINI_CLI_HOME", "The folder of Gemini CLI's .gemini, with its transcripts. Default: the home folder."),
    Entry("NO_COLOR", "Where it is set and not empty, no colour is used."),
    Entry("XDG_DATA_HOME", "opencode's database is in opencode below it. Default: ~/.local/share."),
    Entry(
        "XDG_CONFIG_HOME",
        "One's own templates are in gitsess/templates below it, one's own plugin"
        " for opencode in opencode/plugins. Default: ~/.config.",
    ),
    Entry("XDG_STATE_HOME", "The spool of last resort is in gitsess/spool below it. Default: ~/.local/state."),
    Entry("XDG_CACHE_HOME", "The table of prices is in gitsess below it. Default: ~/.cache."),
)

FILES = (
    Entry("refs/ai-sessions/SESSION", "A session: a ref of the repository, common to all of its worktrees."),
    Entry(
        ".git/ai-sessions/spool/",
        "Turns that could not be appended yet, a file each (0600); the next command appends them; and one that is"
        " being worked on (.open), as far as it is. failed/ in it"
        " holds what can never be appended.",
    ),
    Entry("$XDG_STATE_HOME/gitsess/spool/", "The same, where the repository cannot be written."),
    Entry(
        "refs/notes/ai-sessions",
        "Notes on code commits: which turns led to them, and their cost. Derived, always safe to delete.",
    ),
    Entry(
        ".git/ai-sessions/active, .git/ai-sessions/pending",
        "The session in use in this worktree, and those with turns since its last commit; in a linked worktree's own"
        " git directory.",
    ),
    Entry(
        "~/.ai-sessions/SESSION/metadata.json",
        "A copy of each session of all repositories, for scripts (0600). Derived, always safe to delete.",
    ),
    Entry(
        ".ai-session/templates/NAME.md",
        "A template of the repository, in the place of the one that is built in: see 'template'.",
    ),
    Entry("$XDG_CONFIG_HOME/gitsess/templates/NAME.md", "One's own template, where the repository has none."),
    Entry(".git/ai-sessions/index.sqlite", "Sums of sessions, so that they need not be read again; safe to delete."),
    Entry("$XDG_CACHE_HOME/gitsess/prices-*.json", "Prices, for a quick start. Always safe to delete."),
)

EXIT_CODES = (
    Entry("0", "Done."),
    Entry("1", "Failed: the line that begins with 'error:' says why, and what to do."),
    Entry("2", "The command line, or something given on it, is not well formed."),
    Entry("3", "A conflict: two sides cannot be brought together."),
    Entry("4", "A bug of git ai-session; a line says where the traceback was written."),
    Entry("130", "Interrupted by ^C. What had arrived of an answer is kept."),
)

EXAMPLES = (
    ("Begin with a plan, then implement with the plan in the context:", (
        "git ai-session run plan auth-service 'Plan token refresh' -f src/auth.py",
        "git ai-session run implement auth-service 'Do step 1' --with plan-auth-service",
        "git ai-session run implement auth-service 'Now step 2'",
    )),
    ("See what it took:", (
        "git ai-session show implement-auth-service",
        "git ai-session stats --by model --since '1 week ago'",
    )),
    ("The same with git alone:", (
        "git log refs/ai-sessions/implement-auth-service",
        "git shortlog -sn --glob='refs/ai-sessions/*'",
        "git log --format='%h %an %(trailers:key=AI-Cost-USD,valueonly,separator=)' \\\n"
        "    refs/ai-sessions/implement-auth-service",
    )),
    ("Look at the project's history without the sessions:", (
        "git log --exclude='refs/ai-sessions/*' --all",
    )),
    ("Take the sessions to another clone, and bring them from there:", (
        "git push origin 'refs/ai-sessions/*:refs/ai-sessions/*'",
        "git fetch origin 'refs/ai-sessions/*:refs/ai-remotes/origin/*'",
    )),
)  # fmt: skip

SEE_ALSO = ("git-log(1)", "git-shortlog(1)", "git-interpret-trailers(1)", "git-config(1)")
