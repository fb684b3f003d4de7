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
_MARKED = Arg("sessions", "SESSION", many=True, completes="session")
_SINCE = Opt(("--since",), "Only turns that ended at or after this: a date, 'yesterday', '2 weeks ago'.", "WHEN")
_UNTIL = Opt(("--until",), "Only turns that ended before this; a date includes its whole day.", "WHEN")
_EVERYWHERE = Opt(
    ("--everywhere",), "In all of your repositories, and in the folders of ~/.ai-sessions that belong to none."
)
_REDACTIONS = Opt(("--show-redactions",), "Show what would be redacted, and stop: nothing is sent or recorded.")

_WAY = (
    Opt(("-m", "--model"), "The model: opus, sonnet (the default), haiku, or a full id.", "MODEL", completes="model"),
    Opt(
        ("--via",),
        "Have this agent's own program do it, with its tools and its login.",
        "AGENT",
        choices=("claude", "codex", "gemini"),
    ),
    Opt(("--timeout",), "Stop a turn after so many seconds; what had arrived is kept.", "SECONDS", kind="count"),
    Opt(("--agent-args",), "With --via: more options for the agent, in one word.", "OPTIONS"),
    Opt(("--budget",), "Stop before a request that would pass this many US dollars.", "USD"),
    Opt(("--over-budget",), "Go on where a budget of the feature, the day or the month is spent."),
    Opt(("--max-tokens",), "The longest answer to one request, in tokens.", "N", kind="count"),
    Opt(("-q", "--quiet"), "Print the result alone."),
    JSON,
)
_WITH = Opt(
    ("--with",),
    "Read another session into this one. May be given several times.",
    "SESSION",
    many=True,
    completes="session",
)
_FILE = Opt(("-f", "--file"), "Add a file to the context. May be given several times.", "FILE", many=True, kind="path")
_THE_FEATURE = Arg("feature", "FEATURE", required=False, completes="feature")

WORK, LOOK, RECORD, BEGIN = "Work with a model", "Look at what was recorded", "Record", "Begin"
KEEP, WORKFLOW = "Keep and carry", "Take a feature from idea to verified code"
TOPICS = (BEGIN, WORK, WORKFLOW, LOOK, RECORD, KEEP)
"""The headings, in the order in which they are shown."""

VERBS = (
    Verb(
        "init",
        "Make the repository ready: capture agents' turns, and link commits to them",
        "preparing:init",
        BEGIN,
        opts=(
            Opt(
                ("--agent",),
                "Capture the turns of this agent, without asking. May be given several times.",
                "NAME",
                choices=("claude", "codex", "gemini", "opencode"),
                many=True,
            ),
            Opt(("--shared",), "Put the agent's hooks into the settings that are committed."),
            Opt(("--user",), "Put the agent's hooks into your own settings, for all your repositories."),
            Opt(
                ("--yes",),
                "Do not ask: capture every agent that is installed, also where hooks are in a folder outside of the"
                " repository.",
            ),
            Opt(("--undo",), "Take all hooks out again; what was there before is as it was."),
            JSON,
        ),
        about=(
            "Puts a post-commit hook where git looks for it, also under core.hooksPath. A hook that is there already"
            " becomes post-commit.chained and is run first. After a commit the hook looks whether turns were recorded"
            " in this worktree since the last one. If so, it has a commit event appended to their sessions, and the"
            " note of the commit written; it never fails or delays the commit.",
            "For each agent that is installed it asks whether its turns are to be captured. Its hooks then leave a note"
            " in the spool when it is given a prompt, when it has answered and when it ends; what it said is read from"
            " its own transcript, in the background. Turns go to AI_SESSION, else to the session in use, else to one"
            " named after the agent and the branch; with USE_SESSIONS=false nothing is captured.",
            "Claude Code's hooks are put into .claude/settings.local.json, which git then ignores here, by a line in"
            " .git/info/exclude; with --shared into .claude/settings.json, whose hooks do nothing for who has no"
            " gitsess; with --user into ~/.claude/settings.json, whose hooks do nothing in repositories where no agent"
            " was chosen. Gemini CLI has one file for the first two, .gemini/settings.json; opencode has a plugin,"
            " .opencode/plugins/gitsess.js, which git ignores as well;"
            " Codex is told by notify in ~/.codex/config.toml, which is always your own: --undo has it do nothing here,"
            " and --undo --user takes it out. An agent may ask you to trust what was put there.",
            "'git log --notes=ai-sessions' shows the notes: which turns led to a commit, their tokens and their cost.",
            "It warns of remotes that carry sessions unasked. All but the hook and the notes works without init.",
        ),
        examples=(
            ("git ai-session init", ""),
            ("git ai-session init --agent claude", ""),
            ("git ai-session init --undo", ""),
        ),
    ),
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
            Opt(
                ("--via",),
                "Have this agent's own program do it, with its tools and its login: it may change files.",
                "AGENT",
                choices=("claude", "codex", "gemini"),
            ),
            Opt(("--timeout",), "With --via: stop the agent after so many seconds.", "SECONDS", kind="count"),
            Opt(
                ("--agent-args",),
                "With --via: more options for the agent, in one word, such as '--permission-mode acceptEdits'.",
                "OPTIONS",
            ),
            Opt(("--budget",), "Stop before a request that would pass this many US dollars.", "USD"),
            Opt(("--over-budget",), "Go on where a budget of the feature, the day or the month is spent."),
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
            "With --via the agent is started in the working tree, without a terminal, and goes on with the conversation"
            " that the session holds of it, never with whatever it had last; what the session holds besides since then"
            " is handed over behind the prompt. MODEL is the agent's own word then. Tokens and cost are those of its"
            " transcript. What it may do is the agent's to decide: its settings, and --agent-args.",
            "Secrets are redacted before anything is sent or stored. The key is ANTHROPIC_API_KEY;"
            " ANTHROPIC_BASE_URL points elsewhere. ^C keeps what had arrived as an interrupted turn.",
        ),
        examples=(
            ("git ai-session run plan auth-service 'Plan token refresh' -f src/auth.py", ""),
            ("git ai-session run implement auth-service 'Do step 1' --with plan-auth-service", ""),
            ("git diff | git ai-session run review auth-service -", ""),
            ("git ai-session run --via claude implement auth-service 'Do step 2'", ""),
        ),
    ),
    Verb(
        "use",
        "Choose the session that captured turns go to",
        "preparing:use",
        WORK,
        args=(
            Arg("session", "SESSION | COMMAND", required=False, completes="session"),
            Arg("feature", "FEATURE", required=False, completes="feature"),
        ),
        opts=(Opt(("--none",), "No session is in use any more."), JSON),
        about=(
            "The choice is this worktree's, and holds while the branch is checked out on which it was made. 'list'"
            " marks the session with a *. It need not exist yet. Without an argument: says what is in use.",
        ),
        examples=(
            ("git ai-session use implement auth-service", ""),
            ("git ai-session use --none", ""),
        ),
    ),
    Verb(
        "start",
        "Begin a feature, and put it in use in this worktree",
        "planning:start",
        WORKFLOW,
        args=(Arg("feature", "FEATURE"), Arg("description", "DESCRIPTION", required=False)),
        opts=(JSON,),
        about=(
            "The feature begins with an event in plan-FEATURE, which holds the description. implement-FEATURE is put in"
            " use: what an agent does here from now on counts for the feature, and plan, implement, review, verify,"
            " escalate, status and history take it where no FEATURE is named. Both hold while the branch is checked out"
            " on which it was put in use.",
        ),
        examples=(("git ai-session start login 'Tokens that expire, and a way to renew them'", ""),),
    ),
    Verb(
        "switch",
        "Put a feature in use in this worktree",
        "planning:switch",
        WORKFLOW,
        args=(_FEATURE,),
        opts=(JSON,),
        about=("As 'start' does, for a feature that has begun. 'git ai-session use --none' has none in use.",),
        examples=(("git ai-session switch login", ""),),
    ),
    Verb(
        "plan",
        "Have a feature planned in tasks, or look at its plan and change it",
        "planning:plan_feature",
        WORKFLOW,
        args=(_THE_FEATURE, Arg("what", "WHAT", required=False)),
        opts=(
            Opt(("--full-context",), "Add the files that git tracks, as many as fit; says what is left out."),
            _FILE,
            _WITH,
            Opt(("--show",), "Print the plan as YAML, with the status of each task."),
            Opt(("--edit",), "Open the plan in git's editor, and record what you make of it."),
            Opt(("--import",), "Record the plan in this file; '-' reads standard input.", "FILE", kind="path"),
            *_WAY,
        ),
        about=(
            "The model can look at the files of the worktree, and gives a plan: phases, tasks with acceptance criteria,"
            " tests to write, and what depends on what. It is checked; one that does not fit is asked for once more,"
            " with everything that is wrong with it. It is kept as plan.yaml in the turn's tree.",
            "Without FEATURE: the one in use in this worktree. A single argument is FEATURE, unless it is '-' or has a"
            " space in it, as no feature's name has: then it is WHAT.",
            "WHAT says what is wanted; '-', or nothing where standard input is no terminal, reads it from there. A"
            " feature that was started with a description needs none. Planning again starts from the plan that is"
            " there: a task that keeps its id and its title keeps its status.",
        ),
        examples=(
            ("git ai-session plan login 'Token refresh' --full-context", ""),
            ("git ai-session plan login --show", ""),
            ("git ai-session plan login --edit", ""),
        ),
    ),
    Verb(
        "implement",
        "Work on tasks of the plan, test-first",
        "implementing:implement",
        WORKFLOW,
        args=(_THE_FEATURE,),
        opts=(
            Opt(("--task",), "This task. Without it: the next one in the order of dependencies.", "TASK"),
            Opt(("--all",), "All tasks that are left, one after the other, until one fails."),
            Opt(("--tdd",), "After the tests pass, a turn that tidies up; they must still pass."),
            Opt(("--no-tests",), "Write no tests first. Tests that there are must pass all the same."),
            Opt(("--attempts",), "How often a step is tried before the task is given up: 3.", "N", kind="count"),
            Opt(("--commit",), "Commit what was changed for a task once its tests pass."),
            Opt(("--again",), "With --task: begin it anew, whatever was done for it."),
            Opt(("--force",), "With --task: also where tasks that it depends on are not completed."),
            *_WAY,
        ),
        about=(
            "A turn writes tests, which are run and must fail; then one writes the code that makes them pass, which is"
            " tried up to N times with what failed; with --tdd a third one tidies up. The tests are the project's own:"
            " ai-session.testCommand, or what pytest, npm, go, cargo or make projects make obvious.",
            "Through the API the model has tools to list, read, search, write, edit and delete files of the worktree"
            " and to run the tests; nothing outside of it, nothing of git's own, nothing that git ignores. With --via"
            " the agent has its own. What was changed is shown, and left uncommitted unless --commit is given.",
            "Each step is a turn of implement-FEATURE, each run of the tests an event with the task's status. So a task"
            " that was stopped goes on where it stood, and nothing is asked for twice. A source that fails is followed"
            " by those of ai-session.fallback. The exit code is 1 where a task is not done.",
        ),
        examples=(
            ("git ai-session implement login --task T1.1", ""),
            ("git ai-session implement login --all --commit", ""),
            ("git ai-session implement --task T1.2 --via claude", ""),
        ),
    ),
    Verb(
        "review",
        "Have files or a diff reviewed: file:line: severity: text",
        "reviewing:review_feature",
        WORKFLOW,
        args=(_THE_FEATURE, Arg("files", "FILE", required=False, many=True, completes="path")),
        opts=(
            Opt(("--diff",), "Review the changes of these commits, such as main..HEAD.", "RANGE"),
            Opt(("--security",), "Look at security above all."),
            Opt(("--performance",), "Look at performance above all."),
            Opt(("--architecture",), "Look at the architecture above all."),
            Opt(
                ("--fail-on",),
                "Exit with 1 where a finding is this severe, or more: critical, high, medium, low, info.",
                "SEVERITY",
                choices=("critical", "high", "medium", "low", "info"),
            ),
            _WITH,
            *_WAY,
        ),
        about=(
            "Without FEATURE: the one in use in this worktree; before a FILE it has to be named. Without FILE and"
            " --diff: what has changed since the feature was begun, committed or not. The model can look at the other"
            " files of the worktree and changes none. Findings are printed in the form that editors jump to, and kept"
            " as review.json in the turn's tree.",
        ),
        examples=(
            ("git ai-session review login", ""),
            ("git ai-session review login --diff main..HEAD --security --fail-on high", ""),
        ),
    ),
    Verb(
        "verify",
        "Check with fresh eyes: the tests, and each acceptance criterion",
        "reviewing:verify",
        WORKFLOW,
        args=(_THE_FEATURE,),
        opts=(
            Opt(("--unit",), "Run the project's tests."),
            Opt(("--integration",), "Run the integration tests: ai-session.integrationTestCommand, or obvious ones."),
            Opt(("--acceptance",), "Have each criterion of the plan judged by a model."),
            Opt(("--all",), "All of these, as far as there are any. So it is without an option."),
            *_WAY,
        ),
        about=(
            "The model is sent nothing that was said before, not even by an earlier verification: the criteria, how the"
            " tests ended, and tools to look at the files. The verdict is a turn of verify-FEATURE with a verify.json.",
            "The exit code is 0 where every test passed and every criterion is met, else 1.",
        ),
        examples=(("git ai-session verify login", ""), ("git ai-session verify --unit --integration", "")),
    ),
    Verb(
        "escalate",
        "Hand the session at hand on to another model or agent",
        "escalating:escalate",
        WORKFLOW,
        args=(Arg("to", "MODEL", completes="model"), Arg("prompt", "PROMPT", required=False)),
        opts=(
            Opt(("--feature",), "Of this feature, instead of the one in use.", "FEATURE", completes="feature"),
            Opt(("--session",), "This session, and not the one with the newest turn.", "SESSION", completes="session"),
            Opt(("-m", "--model"), "Where MODEL is an agent: the agent's own word for the model.", "NAME"),
            Opt(("--agent-args",), "Where MODEL is an agent: more options for it, in one word.", "OPTIONS"),
            *(opt for opt in _WAY if opt.name not in ("model", "via", "agent_args")),
        ),
        about=(
            "MODEL is opus, sonnet, haiku, a full id, or an agent: claude, codex, gemini. It goes on with the feature's"
            " newest conversation, in its session, and is told that the one before could not finish; in"
            " implement-FEATURE it can change files. 'implement' then goes on from what it did.",
        ),
        examples=(
            ("git ai-session escalate opus", ""),
            ("git ai-session escalate codex 'The lock is taken twice' --feature login", ""),
        ),
    ),
    Verb(
        "template",
        "Look at the prompts of the workflow, and check your own",
        "templating:template",
        WORKFLOW,
        args=(
            Arg("action", "list | show | check", choices=("list", "show", "check")),
            Arg("name", "NAME", required=False),
        ),
        opts=(
            Opt(("--variables",), "With show: the variables that it has, and what each stands for."),
            JSON,
        ),
        about=(
            "A template is the prompt of one step of the workflow, with variables in it. 'list' says which there are"
            " and where each comes from; 'show' prints one; 'check' looks at the files that are yours.",
            "NAME.md in .ai-session/templates of the repository takes the place of a built-in one, else NAME.md in"
            " ~/.config/gitsess/templates (below $XDG_CONFIG_HOME, where that is set). An empty file is passed over.",
            "{{name}} stands for a value. What is between {{#name}} and {{/name}} is kept where the value is not empty."
            " 'check' names every variable that there is not, every part that does not end and every file that is no"
            " template's, with file and line, and exits with 1; a note is no fault.",
        ),
        examples=(
            ("git ai-session template list", ""),
            ("git ai-session template show review >.ai-session/templates/review.md", ""),
            ("git ai-session template check", ""),
        ),
    ),
    Verb(
        "status",
        "Show how far a feature is, what it took, and what came of it",
        "featuring:status",
        WORKFLOW,
        args=(_THE_FEATURE,),
        opts=(Opt(("--all",), "A line for every feature."), JSON),
        about=(
            "Without FEATURE: the one in use in this worktree. All of it is read from the commits: the tasks of the"
            " plan with what they were expected to cost and did, the same by phase (plan, implement, review, verify,"
            " and the sessions of agents), the models, the last failure, the newest review and verdict, and budgets.",
            "A task is blocked where one that it depends on failed, or is not done and it was tried all the same."
            " A feature is active when it was used within a day, idle within 30, and else stale.",
        ),
        examples=(("git ai-session status auth-service", ""), ("git ai-session status --all", "")),
    ),
    Verb(
        "history",
        "List the turns of a feature, in all of its sessions, the newest first",
        "featuring:history",
        WORKFLOW,
        args=(_THE_FEATURE,),
        opts=(
            Opt(("--limit",), "Only the newest so many.", "N", kind="count"),
            Opt(
                ("-m", "--model"),
                "Only those of this model: an id, a short name, or a family such as sonnet.",
                "MODEL",
                completes="model",
            ),
            Opt(
                ("--command",),
                "Only those of the session COMMAND-FEATURE.",
                "COMMAND",
                completes="command",
            ),
            Opt(("--task",), "Only those that worked on this task, such as T1.2.", "TASK"),
            JSON,
        ),
        about=(
            "Without FEATURE: the one in use in this worktree. With the task and what the turn was for in it: red wrote"
            " tests that fail, green the code that makes them pass. 'show SESSION' shows the turns of one session,"
            " 'log' hands them to git log.",
        ),
        examples=(("git ai-session history auth-service --task T1.2", ""),),
    ),
    Verb(
        "features",
        "List the features",
        "featuring:list_features",
        WORKFLOW,
        opts=(JSON,),
        about=(
            "Every feature that has a session of plan, implement, review or verify; the one in use in this worktree is"
            " marked with a *. The sums are over all of its sessions, those of agents too.",
        ),
    ),
    Verb(
        "todo",
        "Show what is to be done, write it down, and see what it cost",
        "todoing:todo",
        WORKFLOW,
        args=(
            Arg("action", "list | add | done | report", required=False, choices=("list", "add", "done", "report")),
            Arg("text", "TEXT | ID", required=False),
        ),
        opts=(
            Opt(
                ("--feature",),
                "Only of this feature; for add, the feature that it is of.",
                "FEATURE",
                completes="feature",
            ),
            Opt(("--all",), "With list: what is done as well, and every turn with what it was expected to cost."),
            Opt(
                ("--since",),
                "Only what changed at or after this: a date, 'yesterday', '2 weeks ago'.",
                "WHEN",
            ),
            Opt(("--estimate",), "With add: what it is expected to cost, in US dollars.", "USD"),
            JSON,
        ),
        about=(
            "One view of the tasks of plans, of what you wrote down with add, of the lists that agents kept in captured"
            " turns, and of the turns of run, plan, implement, review and verify: each of those is a todo with what it"
            " was expected to cost, which its own commit closes with what it did. Without a word: list.",
            "list shows what is open. Lists of agents count for 30 days; what is in a session that was closed with"
            " 'close' is not open any more.",
            "add writes TEXT down in the session todo-FEATURE: that of the feature in use, else todo-general. Turns"
            " that are run with --task ID count for it. done ends it, by the beginning of its id; or a task of a"
            " plan, such as T1.2.",
            "report sums up what was done, what it was expected to cost and did, and which turns passed that by most.",
        ),
        examples=(
            ("git ai-session todo", ""),
            ("git ai-session todo add 'Ask Bea about the scopes' --estimate 0.50", ""),
            ("git ai-session todo done 3f9a", ""),
            ("git ai-session todo report --since '2 weeks ago'", ""),
        ),
    ),
    Verb(
        "close",
        "Mark sessions as completed",
        "featuring:close",
        WORKFLOW,
        args=(_MARKED,),
        opts=(JSON,),
        about=(
            "SESSION is a name or a pattern such as '*-auth-service'. Nothing is lost and nothing is locked: it says"
            " that the work is done, in an event of the session. 'reopen' takes it back.",
        ),
        examples=(("git ai-session close '*-auth-service'", ""),),
    ),
    Verb(
        "reopen",
        "Take 'close' back",
        "featuring:reopen",
        WORKFLOW,
        args=(_MARKED,),
        opts=(JSON,),
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
            " turn_id and commits. Only prompt (or messages) is required. input_tokens means uncached input. A turn"
            " without ended_at has just ended: HEAD, branch and worktree are recorded with it.",
            "A missing cost is computed from public prices; an unknown price stays unknown. The commit of every"
            " turn is printed on a line, in order; a turn_id that is there already prints its commit again.",
            "A bad line is refused with its number and exit code 1; the good ones before and after it are kept.",
        ),
        examples=(('echo \'{"prompt":"Why?","response":"So."}\' | git ai-session record ask login', ""),),
    ),
    Verb(
        "resume",
        "Hand a captured conversation back to its agent, or on to another one",
        "returning:resume",
        WORK,
        args=(Arg("session", "SESSION", completes="session"),),
        opts=(
            Opt(("--conversation",), "This one, by the beginning of its id, and not that of the newest turn.", "ID"),
            Opt(
                ("--for",),
                "The agent that is to go on; one that did not have the conversation is given what was said.",
                "AGENT",
                choices=("claude", "codex", "gemini", "opencode"),
            ),
            Opt(("--as-prompt",), "Print what was said, as a prompt to go on from."),
            Opt(
                ("--max-tokens",),
                "How long that prompt may be: 8000 where nothing is said. The newest turns are told first.",
                "N",
                kind="count",
            ),
            Opt(("--exec",), "Start the agent, instead of printing how."),
            JSON,
        ),
        about=(
            "Puts the transcript of the conversation where its agent looks for it, made of the entries that the turns"
            " hold, and prints the command that goes on with it: also on a machine, or in a clone, where the agent has"
            " never heard of it. A transcript that the agent has already stays as it is, unless it only lacks turns;"
            " one that has turns of its own and lacks some is left alone, with exit code 3.",
            "What was redacted when the turns were recorded stays redacted. Turns that follow go to the session again:"
            " where they would go elsewhere by themselves, the command says so with AI_SESSION.",
            "'run' goes on with every session through the API, whatever agent wrote it.",
        ),
        examples=(
            ("git ai-session resume claude-main", ""),
            ("git ai-session resume claude-main --exec", ""),
            ('codex "$(git ai-session resume claude-main --as-prompt)"', ""),
        ),
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
            Opt(
                ("--by",),
                "A line for each conversation of an agent, instead of each session.",
                "WHAT",
                choices=("conversation",),
            ),
            _EVERYWHERE,
            JSON,
        ),
        about=(
            "One line a session: turns, when it was last used, its newest model, tokens (uncached and cached"
            " input and output together) and cost. A cost with a + is of the turns whose price is known.",
            "SESSION is a name or a pattern such as 'implement-*'.",
            "--by conversation is of captured turns: a conversation can be in several sessions, as where its branch"
            " was switched, and a session can hold several. 'show --conversation ID' shows one.",
            "--everywhere works outside of a repository too. Each repository is read itself; ~/.ai-sessions (or"
            " SESSION_DIR) says where they are, and has copies of the sessions of those that are out of reach.",
        ),
        examples=(
            ("git ai-session list --active --sort cost", ""),
            ("git ai-session list --everywhere", ""),
            ("git ai-session list 'plan-*' --json", ""),
        ),
        quick=True,
    ),
    Verb(
        "show",
        "Show the turns of a session: prompts, answers, tool calls, cost",
        "looking:show",
        LOOK,
        args=(_SESSIONS,),
        opts=(
            Opt(("--turn",), "Only the turn with this number, in full.", "N", kind="count"),
            Opt(("--last",), "Only the last N turns.", "N", kind="count"),
            Opt(
                ("--conversation",),
                "The turns of an agent's conversation, in whichever session they are; the beginning of ID will do.",
                "ID",
            ),
            Opt(("--full",), "Prompts, answers and tool calls in full, instead of a line a turn."),
            JSON,
        ),
        about=(
            "Without an option: the session's totals and one line a turn, in reading order. --full, --turn and"
            " --last print what was asked and answered. Long output goes to git's pager.",
            "--conversation needs no SESSION; with some, only turns in those are shown.",
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
                "Sums by model, command, feature, session, day, person, agent, task, or repository (of --everywhere).",
                "KEY",
                choices=("model", "command", "feature", "session", "day", "person", "agent", "task", "repository"),
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
            _EVERYWHERE,
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
            ("git ai-session stats --everywhere --by repository --since '30d'", ""),
        ),
        quick=True,
    ),
    Verb(
        "export",
        "Write sessions out: as JSON, JSON lines, Markdown or a git bundle",
        "transferring:export_sessions",
        KEEP,
        args=(_SESSIONS,),
        opts=(
            Opt(("-o", "--output"), "Write to this file, which only you may read, instead.", "FILE", kind="path"),
            Opt(
                ("--format",),
                "json (a list of sessions), jsonl (a line a commit), md (to read) or bundle. Default: json.",
                "FORMAT",
                choices=("json", "jsonl", "md", "bundle"),
            ),
            Opt(("--active",), "Only sessions used in the last 30 days."),
        ),
        about=(
            "SESSION is a name or a pattern such as 'implement-*'; without one, all of them. The JSON has dates,"
            " tokens, cost and the beginning of each prompt under interactions, and under commits every commit to the"
            " byte, so that an import gives the same commits again. A session that cannot be carried is left out,"
            " with a warning and exit code 1.",
            "A bundle is what 'git fetch FILE' takes as well.",
        ),
        examples=(
            ("git ai-session export --output sessions.json", ""),
            ("git ai-session export | jq '[.[].interactions[].cost] | add'", ""),
            ("git ai-session export 'plan-*' --format md", ""),
        ),
    ),
    Verb(
        "import",
        "Bring sessions in: exported ones, agents' history, the shell tool's",
        "transferring:import_sessions",
        KEEP,
        args=(Arg("file", "FILE", required=False),),
        opts=(
            Opt(
                ("--from",),
                "claude, codex, gemini, opencode or all: the history that these agents keep on disk. session-dir: FILE"
                " is a folder with a folder for each session, as the shell tool keeps them; default: $SESSION_DIR, else"
                " ~/.ai-sessions.",
                "SOURCE",
                choices=("claude", "codex", "gemini", "opencode", "all", "session-dir"),
            ),
            Opt(("--since",), "Of agents: only turns that ended at or after this; as for stats.", "WHEN"),
            Opt(("--project",), "Of agents: only turns of the repository of this folder.", "DIR", kind="path"),
            Opt(("-n", "--dry-run"), "Check everything and say what would be done; change nothing."),
            JSON,
        ),
        about=(
            "FILE is an export as JSON, JSON lines or a bundle; '-', or nothing where standard input is no terminal,"
            " reads it from there. Every commit is held to its name and to the format first: a file that was changed"
            " is refused with the first commit that does not match, and nothing is imported.",
            "What is there already stays, so importing twice is importing once. A session that went on in the file"
            " goes on here; one that went on in both is merged; another session of the same name comes in as"
            " NAME-XXXXXX. Where text was taken out of one of two histories the import is refused with exit code 3.",
            "--from claude, codex, gemini, opencode or all reads what these agents keep on disk, wherever they worked:"
            " each turn becomes a commit of its repository, in the session of its agent and branch, with every request"
            " counted and priced once, and is linked to the code commits that it led to, as far as HEAD's reflog"
            " knows them. Importing again adds what was said since. With --dry-run: what each month came to, by"
            " repository.",
            "--from session-dir makes a session of every folder with a metadata.json, and a turn of every interaction"
            " in it, with the beginning of the prompt, the dates, tokens and estimated cost that stand there. The"
            " folders are left as they are; what is no session's folder is counted.",
        ),
        examples=(
            ("git ai-session import sessions.json", ""),
            ("ssh host git -C project ai-session export | git ai-session import -", ""),
            ("git ai-session import --from all --dry-run", ""),
            ("git ai-session import --from session-dir --dry-run", ""),
        ),
    ),
    Verb(
        "clean",
        "Remove sessions that have not been used for long",
        "cleaning:clean",
        KEEP,
        args=(_SESSIONS,),
        opts=(
            Opt(("--older-than",), "Those last used this many days ago, or earlier. Required.", "DAYS"),
            Opt(
                ("--keep",),
                "Not this session, or those a pattern matches. May be given several times.",
                "SESSION",
                many=True,
                completes="session",
            ),
            _EVERYWHERE,
            Opt(("-n", "--dry-run"), "Say what would be removed; change nothing."),
            Opt(("--force",), "Do not ask. Needed where there is no terminal to ask on."),
            JSON,
        ),
        about=(
            "SESSION is a name or a pattern such as 'plan-*'; without one, all of them. What counts is when the last"
            " turn ended, or when a session without turns began. The sessions are listed before it asks.",
            "A session's ref is deleted, and its copy in ~/.ai-sessions. The command that brings the session back is"
            " printed; it works until 'git gc' prunes the commits, which it does two weeks after they were made at"
            " the earliest. To keep them for longer, export them first.",
            "A session that is used meanwhile stays, and the exit code is 3. Sessions of which a part cannot be read"
            " stay too. With --everywhere, folders that no repository backs are deleted as files, for good;"
            " repositories that cannot be reached are passed over.",
        ),
        examples=(
            ("git ai-session clean --older-than 90 --dry-run", ""),
            ("git ai-session clean --older-than 30 'plan-*' --keep plan-auth-service", ""),
            ("git ai-session clean --everywhere --older-than 365", ""),
        ),
    ),
    Verb(
        "scripts",
        "Write scripts that answer the calls of older tools",
        "scripting:scripts",
        KEEP,
        args=(
            Arg("action", "install | run", choices=("install", "run")),
            Arg("words", "WORD", required=False, many=True),
        ),
        opts=(
            Opt(("--force",), "With install: replace files that are not of gitsess, or were changed."),
            Opt(("--json",), "With install: print what was written as JSON."),
        ),
        about=(
            "'scripts install [DIR]' writes them into DIR (scripts, where none is named): a few lines of sh each,"
            " that call this program. What was written before is brought up to date; a file of somebody else, or one"
            " that was changed, is left alone, and the exit code is 1.",
            "ai-session.sh has the calls of the shell tool: list [--active] [--sort KEY], show NAME, stats"
            " [--session NAME], clean --older-than DAYS [--dry-run] [--force], export [--output FILE] [--active] and"
            " help. It speaks of all sessions of ~/.ai-sessions (or SESSION_DIR), also outside of a repository.",
            "init-session.sh, switch-feature.sh, plan.sh, implement.sh, review.sh, review-code.sh,"
            " review-architecture.sh, verify.sh, escalate.sh, status.sh, history.sh, list-sessions.sh and"
            " cleanup-sessions.sh call the verbs, with the verbs' options. Those that ask a model use sessions only"
            " where USE_SESSIONS is true. Each says with -h how it is called.",
            "track-session-todo.sh has the calls start SESSION TASK [COST], end ID [COST [TOKENS]], error ID"
            " MESSAGE and report [--since WHEN]. It keeps lines of JSON in TODO_FILE; where that is not set, in"
            " todos.jsonl in ~/.ai-sessions (or SESSION_DIR).",
            "'scripts run NAME -- ARGUMENT...' is what the first and the last call: 'scripts run ai-session -- list'.",
        ),
        examples=(
            ("git ai-session scripts install ~/bin", ""),
            ("scripts/ai-session.sh show implement-auth-service", ""),
            ("USE_SESSIONS=true scripts/implement.sh auth-service --task T1.1", ""),
        ),
    ),
    Verb(
        "doctor",
        "Check everything, and mend what can be mended",
        "checking:examine",
        KEEP,
        opts=(
            Opt(("--fix",), "Mend what can be mended without a doubt; nothing that was recorded is lost by it."),
            Opt(
                ("--accounting",),
                "Compare each conversation with what its agent counted itself, and name every difference.",
            ),
            JSON,
        ),
        about=(
            "Looks at the sessions: their refs, the format and the order of their commits, sums, turn ids and the files"
            " of every turn; at what is derived from them: the copies in ~/.ai-sessions (or SESSION_DIR), the index,"
            " the notes on commits; and at what lies around them: locks that were left behind, turns in the spool,"
            " the hook, permissions, remotes that carry sessions unasked.",
            "--accounting does this instead: it reads the agents' transcripts that are on this machine, and says how"
            " the recorded tokens and cost of a conversation differ from the agent's own total, and why: an agent"
            " counts requests that it writes down nowhere, and a fork goes on counting from its parent's. The exit"
            " code is 1 where turns are missing, or where no reason is known.",
            "A finding is one line: what is wrong, and what to do. The exit code is 1 where something is wrong, or is"
            " still wrong after --fix. Without --fix nothing is changed.",
        ),
        examples=(
            ("git ai-session doctor", ""),
            ("git ai-session doctor --fix", ""),
            ("git ai-session doctor --accounting", ""),
        ),
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
