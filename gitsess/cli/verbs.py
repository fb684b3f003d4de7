"""The command line as data: every verb, its arguments and options, said once.

From this table come the click commands, the quick parser of the verbs that must start at once, ``-h``, the
man page, docs/cli.md and the completion of three shells.
"""

# Without ``from __future__ import annotations``: NamedTuple would compile each of its annotations, for a
# millisecond of every start.
from typing import NamedTuple


class Arg(NamedTuple):
    """A positional argument. ``completes`` says what a shell offers: ``session``, ``command``, ``feature``."""

    name: str
    metavar: str
    required: bool = True
    many: bool = False
    choices: tuple[str, ...] = ()
    completes: str = ""

    @property
    def shown(self) -> str:
        """As a synopsis has it: ``SESSION``, ``[PROMPT]``, ``[SESSION]...``."""
        text = self.metavar if self.required else f"[{self.metavar}]"
        return f"{text}..." if self.many else text


class Opt(NamedTuple):
    """An option; a flag where ``metavar`` is empty. ``kind`` is ``text``, ``count`` or ``path``;
    ``completes`` is as for an argument, or ``model``."""

    flags: tuple[str, ...]
    help: str
    metavar: str = ""
    choices: tuple[str, ...] = ()
    many: bool = False
    kind: str = "text"
    completes: str = ""

    @property
    def name(self) -> str:
        """The key under which its value is handed to the verb: ``--max-tokens`` → ``max_tokens``."""
        return self.flags[-1].lstrip("-").replace("-", "_")

    @property
    def shown(self) -> str:
        """As help has it: ``-m, --model MODEL``."""
        return ", ".join(self.flags) + (f" {self.metavar}" if self.metavar else "")


class Verb(NamedTuple):
    """A verb. ``handler`` is ``module:function`` inside ``gitsess.cli``; ``about`` is paragraphs of help;
    ``topic`` is the heading it stands under in the list of verbs.

    ``passes`` lets unknown options through to the program behind the verb; ``quick`` verbs are parsed without
    click where nothing is unusual.
    """

    name: str
    summary: str
    handler: str
    topic: str
    args: tuple[Arg, ...] = ()
    opts: tuple[Opt, ...] = ()
    about: tuple[str, ...] = ()
    examples: tuple[tuple[str, str], ...] = ()
    passes: bool = False
    quick: bool = False

    @property
    def synopsis(self) -> str:
        """What is typed after ``git ai-session``: ``run [OPTIONS] COMMAND FEATURE [PROMPT]``."""
        return " ".join([self.name, *(["[OPTIONS]"] if self.opts else []), *(arg.shown for arg in self.args)])


JSON = Opt(("--json",), "Print the same values as JSON.")
_SESSIONS = Arg("sessions", "SESSION", required=False, many=True, completes="session")
_COMMAND = Arg("command", "COMMAND", completes="command")
_FEATURE = Arg("feature", "FEATURE", completes="feature")
_SINCE = Opt(("--since",), "Only turns that ended at or after this: a date, 'yesterday', '2 weeks ago'.", "WHEN")
_UNTIL = Opt(("--until",), "Only turns that ended before this; a date includes its whole day.", "WHEN")
_REDACTIONS = Opt(("--show-redactions",), "Show what would be redacted, and stop: nothing is sent or recorded.")

WORK, LOOK, RECORD, BEGIN = "Work with a model", "Look at what was recorded", "Record", "Begin"
TOPICS = (BEGIN, WORK, LOOK, RECORD)
"""The headings, in the order in which they are shown."""

VERBS = (
    Verb(
        "run",
        "Ask a model with the session's context, and record the turn",
        "running:run",
        WORK,
        args=(_COMMAND, _FEATURE, Arg("prompt", "PROMPT", required=False)),
        opts=(
            Opt(
                ("-m", "--model"),
                "The model: opus, sonnet (the default), haiku, or a full id.",
                "MODEL",
                completes="model",
            ),
            Opt(("--system",), "The system prompt; @FILE reads it from a file.", "TEXT"),
            Opt(
                ("-f", "--file"),
                "Add a file to the context. May be given several times.",
                "FILE",
                many=True,
                kind="path",
            ),
            Opt(
                ("--with",),
                "Read another session into this one. May be given several times.",
                "SESSION",
                many=True,
                completes="session",
            ),
            Opt(("--budget",), "Stop before a request that would pass this many US dollars.", "USD"),
            Opt(("--max-tokens",), "The longest answer, in tokens.", "N", kind="count"),
            Opt(("--task",), "The task this turn works on, such as T1.2.", "TASK"),
            Opt(
                ("-n", "--dry-run"),
                "Print the request, with its tokens and estimated cost; no answer is asked for.",
            ),
            _REDACTIONS,
            Opt(("-q", "--quiet"), "Print the answer alone: nothing about model, context or cost."),
            Opt(
                ("--json",),
                "Print the recorded turn as JSON when it is done, instead of streaming the answer.",
            ),
        ),
        about=(
            "Continues the conversation of the session COMMAND-FEATURE where its last turn left it: the"
            " context is rebuilt from the commits, PROMPT is added, the answer is streamed to the terminal and"
            " the exchange becomes one commit at refs/ai-sessions/COMMAND-FEATURE. COMMAND is any single word,"
            " such as plan, implement, review or verify. The first run begins the session.",
            "PROMPT is one argument; '-', or nothing where standard input is no terminal, reads it from there.",
            "It writes text, not files: the answer is printed and recorded, and your working tree stays as it is.",
            "Secrets are redacted before anything is sent or stored. The key is ANTHROPIC_API_KEY;"
            " ANTHROPIC_BASE_URL points elsewhere. ^C keeps what had arrived as an interrupted turn.",
        ),
        examples=(
            ("git ai-session run plan auth-service 'Plan token refresh' -f src/auth.py", ""),
            ("git ai-session run implement auth-service 'Do step 1' --with plan-auth-service", ""),
            ("git diff | git ai-session run review auth-service -", ""),
        ),
    ),
    Verb(
        "record",
        "Append turns given as JSON objects, one a line, on standard input",
        "recording:record",
        RECORD,
        args=(_COMMAND, _FEATURE),
        opts=(
            Opt(("--json",), "Print an object for every turn instead of its commit."),
            _REDACTIONS,
        ),
        about=(
            "Each line is an object with prompt, response, model, agent, usage {input_tokens, output_tokens,"
            " cache_read_input_tokens, cache_creation_input_tokens}, and where they are known cost_usd,"
            " duration_ms, started_at, ended_at, status, task, task_status, conversation, messages, requests,"
            " turn_id and commits. Only prompt (or messages) is required. input_tokens means uncached input.",
            "A missing cost is computed from public prices; an unknown price stays unknown. The commit of every"
            " turn is printed on a line, in order; a turn_id that is there already prints its commit again.",
            "A bad line is refused with its number and exit code 1; the good ones before and after it are kept.",
        ),
        examples=(('echo \'{"prompt":"Why?","response":"So."}\' | git ai-session record ask login', ""),),
    ),
    Verb(
        "list",
        "List the sessions",
        "looking:list_sessions",
        LOOK,
        args=(_SESSIONS,),
        opts=(
            Opt(("--active",), "Only sessions used in the last 30 days."),
            Opt(
                ("--sort",),
                "Order: name, date (newest first), tokens or cost (most first). Default: date.",
                "KEY",
                choices=("name", "date", "tokens", "cost"),
            ),
            JSON,
        ),
        about=(
            "One line a session: turns, when it was last used, its newest model, tokens (uncached and cached"
            " input and output together) and cost. A cost with a + is of the turns whose price is known.",
            "SESSION is a name or a pattern such as 'implement-*'.",
        ),
        examples=(
            ("git ai-session list --active --sort cost", ""),
            ("git ai-session list 'plan-*' --json", ""),
        ),
        quick=True,
    ),
    Verb(
        "show",
        "Show the turns of a session: prompts, answers, tool calls, cost",
        "looking:show",
        LOOK,
        args=(Arg("sessions", "SESSION", many=True, completes="session"),),
        opts=(
            Opt(("--turn",), "Only the turn with this number, in full.", "N", kind="count"),
            Opt(("--last",), "Only the last N turns.", "N", kind="count"),
            Opt(("--full",), "Prompts, answers and tool calls in full, instead of a line a turn."),
            JSON,
        ),
        about=(
            "Without an option: the session's totals and one line a turn, in reading order. --full, --turn and"
            " --last print what was asked and answered. Long output goes to git's pager.",
        ),
        examples=(
            ("git ai-session show implement-auth-service", ""),
            ("git ai-session show implement-auth-service --last 1", ""),
        ),
    ),
    Verb(
        "log",
        "git log of a session, with git log's own options",
        "looking:log",
        LOOK,
        args=(_SESSIONS, Arg("options", "OPTION", required=False, many=True)),
        about=(
            "The same as 'git log refs/ai-sessions/SESSION': every turn is a commit, its model the author, its"
            " tokens and cost trailers. Without SESSION: all of them. Options go to git log as they are.",
        ),
        examples=(
            ("git ai-session log implement-auth-service --oneline", ""),
            (
                "git ai-session log 'plan-*' --format='%h %(trailers:key=AI-Cost-USD)'",
                "",
            ),
        ),
        passes=True,
    ),
    Verb(
        "stats",
        "Sum turns, tokens, cost and time",
        "looking:stats",
        LOOK,
        opts=(
            Opt(
                ("--by",),
                "Sums by model, command, feature, session, day, person, agent or task.",
                "KEY",
                choices=("model", "command", "feature", "session", "day", "person", "agent", "task"),
            ),
            _SINCE,
            _UNTIL,
            Opt(
                ("--session",),
                "Only this session, or those a pattern matches. May be given several times.",
                "SESSION",
                many=True,
                completes="session",
            ),
            Opt(("--savings",), "What resuming and caching saved, and how that is computed."),
            JSON,
        ),
        about=(
            "Sums count every turn once, also where sessions share it. CACHED is the part of all input that was"
            " read from the provider's cache. A cost with a + is of the turns whose price is known.",
            "--savings compares what the requests that gitsess composed did cost with the same context sent"
            " fresh and uncached, from the recorded usage alone.",
        ),
        examples=(
            ("git ai-session stats --by command --since '2 weeks ago'", ""),
            ("git ai-session stats --session 'implement-*' --by model", ""),
        ),
        quick=True,
    ),
    Verb(
        "drain",
        "Append the turns that wait in the spool",
        "recording:drain",
        RECORD,
        opts=(Opt(("--wait",), "Wait for another drain and for locks, up to half a minute."), JSON),
        about=(
            "A turn that could not be appended, because a lock stood in the way or the disk was full, is kept as"
            " a file in .git/ai-sessions/spool (else in $XDG_STATE_HOME/gitsess/spool). Every command appends"
            " what waits there; this one does nothing else. What can never be appended moves to failed/ beside it.",
        ),
    ),
    Verb(
        "demo",
        "The tour: plan, implement and audit, without a key or a network",
        "touring:demo",
        BEGIN,
        opts=(
            Opt(
                ("--into",),
                "Make the repository here instead of in a temporary folder.",
                "FOLDER",
                kind="path",
            ),
        ),
        about=(
            "Starts a stand-in for the Messages API on this machine, plans a feature and implements three tasks"
            " through the real SDK in a new repository, then lists, shows and sums what was recorded. The"
            " repository stays, with three commands to try in it. Nothing leaves this machine, and no money is spent.",
        ),
    ),
    Verb(
        "completion",
        "Print the completion script of a shell",
        "printing:completion",
        BEGIN,
        args=(Arg("shell", "SHELL", choices=("bash", "zsh", "fish")),),
        about=(
            "SHELL is bash, zsh or fish. The scripts complete 'git ai-session' as well as 'git-ai-session'."
            " bash: put it at ~/.local/share/bash-completion/completions/git-ai-session. zsh: at _git-ai-session"
            " in a folder of $fpath. fish: at ~/.config/fish/completions/git-ai-session.fish.",
        ),
        examples=(("source <(git ai-session completion bash)", ""),),
    ),
)

BY_NAME = {verb.name: verb for verb in VERBS}
