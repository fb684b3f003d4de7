# fish completion of git-ai-session, and of 'git ai-session'. fish's own completion of git finds this file by its
# name; fish 3.6.0, where that is broken, needs it sourced in config.fish.
# Made from the table of verbs by "make docs": changes are lost here.

function __git_ai_session_names
    git for-each-ref --format='%(refname:lstrip=2)' refs/ai-sessions/ 2>/dev/null | string match -r '^[a-z0-9][a-z0-9._-]*$'
end

function __git_ai_session_commands
    printf '%s\n' plan implement review verify (__git_ai_session_names | string replace -r -- '-.*' '')
end

function __git_ai_session_features
    __git_ai_session_names | string replace -rf -- '^[^-]*-' ''
end

# Whether no verb was given yet.
function __git_ai_session_needs_verb
    set -l words (commandline -opc)
    set -e words[1]
    not string match -qv -- '-*' $words
end

# __git_ai_session_verb VERB: whether this is the verb that was given.
function __git_ai_session_verb
    set -l words (commandline -opc)
    set -e words[1]
    set -l given (string match -v -- '-*' $words)
    test "$given[1]" = $argv[1]
end

# __git_ai_session_at VERB COUNT OPTION...: whether COUNT arguments stand behind the verb ('+': any number); the
# OPTIONs take a value, which is none.
function __git_ai_session_at
    __git_ai_session_verb $argv[1]
    or return 1
    test $argv[2] = +
    and return 0
    set -l words (commandline -opc)
    set -e words[1]
    set -l count -1
    set -l skip 0
    set -l only 0
    for word in $words
        if test $skip = 1
            set skip 0
        else if test $only = 0; and test "$word" = --
            set only 1
        else if test $only = 0; and string match -q -- '-*' $word
            contains -- $word $argv[3..-1]
            and set skip 1
        else
            set count (math $count + 1)
        end
    end
    test $skip = 0; and test $count = $argv[2]
end

# __git_ai_session_behind: what stands between 'git ai-session' and the cursor; fails for any other command of git.
function __git_ai_session_behind
    set -l words (commandline -opc)
    set -e words[1]
    while set -q words[1]
        switch $words[1]
            case ai-session
                set -e words[1]
                string escape -- $words
                return 0
            case -C -c --git-dir --work-tree --namespace --exec-path --config-env
                set -e words[1]
            case '-*'
            case '*'
                return 1
        end
        set -e words[1]
    end
    return 1
end

function __git_ai_session_delegate
    complete -C "git-ai-session "(string join -- ' ' (__git_ai_session_behind) '')(commandline -ct)
end

complete -c git -f -n '__git_ai_session_behind >/dev/null' -a '(__git_ai_session_delegate)'

complete -c git-ai-session -f
complete -c git-ai-session -n __git_ai_session_needs_verb -s V -l version -d 'Print the version'
complete -c git-ai-session -n __git_ai_session_needs_verb -s h -l help -d 'Show this help'

complete -c git-ai-session -n __git_ai_session_needs_verb -a init -d 'Make the repository ready: capture agents\' turns, and link commits to them'
complete -c git-ai-session -n '__git_ai_session_verb init' -l agent -x -a 'claude codex gemini opencode' -d 'Capture the turns of this agent, without asking'
complete -c git-ai-session -n '__git_ai_session_verb init' -l shared -d 'Put the agent\'s hooks into the settings that are committed'
complete -c git-ai-session -n '__git_ai_session_verb init' -l user -d 'Put the agent\'s hooks into your own settings, for all your repositories'
complete -c git-ai-session -n '__git_ai_session_verb init' -l yes -d 'Do not ask: capture every agent that is installed, also where hooks are in a folder outside of the repository'
complete -c git-ai-session -n '__git_ai_session_verb init' -l undo -d 'Take all hooks out again; what was there before is as it was'
complete -c git-ai-session -n '__git_ai_session_verb init' -l json -d 'Print the same values as JSON'
complete -c git-ai-session -n '__git_ai_session_verb init' -s h -l help -d 'Show this help'

complete -c git-ai-session -n __git_ai_session_needs_verb -a run -d 'Ask a model with the session\'s context, and record the turn'
complete -c git-ai-session -n '__git_ai_session_verb run' -s m -l model -x -a 'opus sonnet haiku' -d 'The model: opus, sonnet (the default), haiku, or a full id'
complete -c git-ai-session -n '__git_ai_session_verb run' -l system -x -d 'The system prompt; @FILE reads it from a file'
complete -c git-ai-session -n '__git_ai_session_verb run' -s f -l file -r -F -d 'Add a file to the context'
complete -c git-ai-session -n '__git_ai_session_verb run' -l with -x -a '(__git_ai_session_names)' -d 'Read another session into this one'
complete -c git-ai-session -n '__git_ai_session_verb run' -l via -x -a 'claude codex gemini' -d 'Have this agent\'s own program do it, with its tools and its login: it may change files'
complete -c git-ai-session -n '__git_ai_session_verb run' -l timeout -x -d 'With --via: stop the agent after so many seconds'
complete -c git-ai-session -n '__git_ai_session_verb run' -l agent-args -x -d 'With --via: more options for the agent, in one word, such as \'--permission-mode acceptEdits\''
complete -c git-ai-session -n '__git_ai_session_verb run' -l budget -x -d 'Stop before a request that would pass this many US dollars'
complete -c git-ai-session -n '__git_ai_session_verb run' -l over-budget -d 'Go on where a budget of the feature, the day or the month is spent'
complete -c git-ai-session -n '__git_ai_session_verb run' -l max-tokens -x -d 'The longest answer, in tokens'
complete -c git-ai-session -n '__git_ai_session_verb run' -l task -x -d 'The task this turn works on, such as T1.2'
complete -c git-ai-session -n '__git_ai_session_verb run' -s n -l dry-run -d 'Print the request, with its tokens and estimated cost; no answer is asked for'
complete -c git-ai-session -n '__git_ai_session_verb run' -l show-redactions -d 'Show what would be redacted, and stop: nothing is sent or recorded'
complete -c git-ai-session -n '__git_ai_session_verb run' -s q -l quiet -d 'Print the answer alone: nothing about model, context or cost'
complete -c git-ai-session -n '__git_ai_session_verb run' -l json -d 'Print the recorded turn as JSON when it is done, instead of streaming the answer'
complete -c git-ai-session -n '__git_ai_session_verb run' -s h -l help -d 'Show this help'
complete -c git-ai-session -n '__git_ai_session_at run 0 -m --model --system -f --file --with --via --timeout --agent-args --budget --max-tokens --task' -a '(__git_ai_session_commands)' -d 'command'
complete -c git-ai-session -n '__git_ai_session_at run 1 -m --model --system -f --file --with --via --timeout --agent-args --budget --max-tokens --task' -a '(__git_ai_session_features)' -d 'feature'

complete -c git-ai-session -n __git_ai_session_needs_verb -a use -d 'Choose the session that captured turns go to'
complete -c git-ai-session -n '__git_ai_session_verb use' -l none -d 'No session is in use any more'
complete -c git-ai-session -n '__git_ai_session_verb use' -l json -d 'Print the same values as JSON'
complete -c git-ai-session -n '__git_ai_session_verb use' -s h -l help -d 'Show this help'
complete -c git-ai-session -n '__git_ai_session_at use 0' -a '(__git_ai_session_names)' -d 'session | command'
complete -c git-ai-session -n '__git_ai_session_at use 1' -a '(__git_ai_session_features)' -d 'feature'

complete -c git-ai-session -n __git_ai_session_needs_verb -a start -d 'Begin a feature, and put it in use in this worktree'
complete -c git-ai-session -n '__git_ai_session_verb start' -l json -d 'Print the same values as JSON'
complete -c git-ai-session -n '__git_ai_session_verb start' -s h -l help -d 'Show this help'

complete -c git-ai-session -n __git_ai_session_needs_verb -a switch -d 'Put a feature in use in this worktree'
complete -c git-ai-session -n '__git_ai_session_verb switch' -l json -d 'Print the same values as JSON'
complete -c git-ai-session -n '__git_ai_session_verb switch' -s h -l help -d 'Show this help'
complete -c git-ai-session -n '__git_ai_session_at switch 0' -a '(__git_ai_session_features)' -d 'feature'

complete -c git-ai-session -n __git_ai_session_needs_verb -a plan -d 'Have a feature planned in tasks, or look at its plan and change it'
complete -c git-ai-session -n '__git_ai_session_verb plan' -l full-context -d 'Add the files that git tracks, as many as fit; says what is left out'
complete -c git-ai-session -n '__git_ai_session_verb plan' -s f -l file -r -F -d 'Add a file to the context'
complete -c git-ai-session -n '__git_ai_session_verb plan' -l with -x -a '(__git_ai_session_names)' -d 'Read another session into this one'
complete -c git-ai-session -n '__git_ai_session_verb plan' -l show -d 'Print the plan as YAML, with the status of each task'
complete -c git-ai-session -n '__git_ai_session_verb plan' -l edit -d 'Open the plan in git\'s editor, and record what you make of it'
complete -c git-ai-session -n '__git_ai_session_verb plan' -l import -r -F -d 'Record the plan in this file; \'-\' reads standard input'
complete -c git-ai-session -n '__git_ai_session_verb plan' -s m -l model -x -a 'opus sonnet haiku' -d 'The model: opus, sonnet (the default), haiku, or a full id'
complete -c git-ai-session -n '__git_ai_session_verb plan' -l via -x -a 'claude codex gemini' -d 'Have this agent\'s own program do it, with its tools and its login'
complete -c git-ai-session -n '__git_ai_session_verb plan' -l timeout -x -d 'Stop a turn after so many seconds; what had arrived is kept'
complete -c git-ai-session -n '__git_ai_session_verb plan' -l agent-args -x -d 'With --via: more options for the agent, in one word'
complete -c git-ai-session -n '__git_ai_session_verb plan' -l budget -x -d 'Stop before a request that would pass this many US dollars'
complete -c git-ai-session -n '__git_ai_session_verb plan' -l over-budget -d 'Go on where a budget of the feature, the day or the month is spent'
complete -c git-ai-session -n '__git_ai_session_verb plan' -l max-tokens -x -d 'The longest answer to one request, in tokens'
complete -c git-ai-session -n '__git_ai_session_verb plan' -s q -l quiet -d 'Print the result alone'
complete -c git-ai-session -n '__git_ai_session_verb plan' -l json -d 'Print the same values as JSON'
complete -c git-ai-session -n '__git_ai_session_verb plan' -s h -l help -d 'Show this help'
complete -c git-ai-session -n '__git_ai_session_at plan 0 -f --file --with --import -m --model --via --timeout --agent-args --budget --max-tokens' -a '(__git_ai_session_features)' -d 'feature'

complete -c git-ai-session -n __git_ai_session_needs_verb -a implement -d 'Work on tasks of the plan, test-first'
complete -c git-ai-session -n '__git_ai_session_verb implement' -l task -x -d 'This task'
complete -c git-ai-session -n '__git_ai_session_verb implement' -l all -d 'All tasks that are left, one after the other, until one fails'
complete -c git-ai-session -n '__git_ai_session_verb implement' -l tdd -d 'After the tests pass, a turn that tidies up; they must still pass'
complete -c git-ai-session -n '__git_ai_session_verb implement' -l no-tests -d 'Write no tests first'
complete -c git-ai-session -n '__git_ai_session_verb implement' -l attempts -x -d 'How often a step is tried before the task is given up: 3'
complete -c git-ai-session -n '__git_ai_session_verb implement' -l commit -d 'Commit what was changed for a task once its tests pass'
complete -c git-ai-session -n '__git_ai_session_verb implement' -l again -d 'With --task: begin it anew, whatever was done for it'
complete -c git-ai-session -n '__git_ai_session_verb implement' -l force -d 'With --task: also where tasks that it depends on are not completed'
complete -c git-ai-session -n '__git_ai_session_verb implement' -s m -l model -x -a 'opus sonnet haiku' -d 'The model: opus, sonnet (the default), haiku, or a full id'
complete -c git-ai-session -n '__git_ai_session_verb implement' -l via -x -a 'claude codex gemini' -d 'Have this agent\'s own program do it, with its tools and its login'
complete -c git-ai-session -n '__git_ai_session_verb implement' -l timeout -x -d 'Stop a turn after so many seconds; what had arrived is kept'
complete -c git-ai-session -n '__git_ai_session_verb implement' -l agent-args -x -d 'With --via: more options for the agent, in one word'
complete -c git-ai-session -n '__git_ai_session_verb implement' -l budget -x -d 'Stop before a request that would pass this many US dollars'
complete -c git-ai-session -n '__git_ai_session_verb implement' -l over-budget -d 'Go on where a budget of the feature, the day or the month is spent'
complete -c git-ai-session -n '__git_ai_session_verb implement' -l max-tokens -x -d 'The longest answer to one request, in tokens'
complete -c git-ai-session -n '__git_ai_session_verb implement' -s q -l quiet -d 'Print the result alone'
complete -c git-ai-session -n '__git_ai_session_verb implement' -l json -d 'Print the same values as JSON'
complete -c git-ai-session -n '__git_ai_session_verb implement' -s h -l help -d 'Show this help'
complete -c git-ai-session -n '__git_ai_session_at implement 0 --task --attempts -m --model --via --timeout --agent-args --budget --max-tokens' -a '(__git_ai_session_features)' -d 'feature'

complete -c git-ai-session -n __git_ai_session_needs_verb -a review -d 'Have files or a diff reviewed: file:line: severity: text'
complete -c git-ai-session -n '__git_ai_session_verb review' -l diff -x -d 'Review the changes of these commits, such as main..HEAD'
complete -c git-ai-session -n '__git_ai_session_verb review' -l security -d 'Look at security above all'
complete -c git-ai-session -n '__git_ai_session_verb review' -l performance -d 'Look at performance above all'
complete -c git-ai-session -n '__git_ai_session_verb review' -l architecture -d 'Look at the architecture above all'
complete -c git-ai-session -n '__git_ai_session_verb review' -l fail-on -x -a 'critical high medium low info' -d 'Exit with 1 where a finding is this severe, or more: critical, high, medium, low, info'
complete -c git-ai-session -n '__git_ai_session_verb review' -l with -x -a '(__git_ai_session_names)' -d 'Read another session into this one'
complete -c git-ai-session -n '__git_ai_session_verb review' -s m -l model -x -a 'opus sonnet haiku' -d 'The model: opus, sonnet (the default), haiku, or a full id'
complete -c git-ai-session -n '__git_ai_session_verb review' -l via -x -a 'claude codex gemini' -d 'Have this agent\'s own program do it, with its tools and its login'
complete -c git-ai-session -n '__git_ai_session_verb review' -l timeout -x -d 'Stop a turn after so many seconds; what had arrived is kept'
complete -c git-ai-session -n '__git_ai_session_verb review' -l agent-args -x -d 'With --via: more options for the agent, in one word'
complete -c git-ai-session -n '__git_ai_session_verb review' -l budget -x -d 'Stop before a request that would pass this many US dollars'
complete -c git-ai-session -n '__git_ai_session_verb review' -l over-budget -d 'Go on where a budget of the feature, the day or the month is spent'
complete -c git-ai-session -n '__git_ai_session_verb review' -l max-tokens -x -d 'The longest answer to one request, in tokens'
complete -c git-ai-session -n '__git_ai_session_verb review' -s q -l quiet -d 'Print the result alone'
complete -c git-ai-session -n '__git_ai_session_verb review' -l json -d 'Print the same values as JSON'
complete -c git-ai-session -n '__git_ai_session_verb review' -s h -l help -d 'Show this help'
complete -c git-ai-session -n '__git_ai_session_at review 0 --diff --fail-on --with -m --model --via --timeout --agent-args --budget --max-tokens' -a '(__git_ai_session_features)' -d 'feature'

complete -c git-ai-session -n __git_ai_session_needs_verb -a verify -d 'Check with fresh eyes: the tests, and each acceptance criterion'
complete -c git-ai-session -n '__git_ai_session_verb verify' -l unit -d 'Run the project\'s tests'
complete -c git-ai-session -n '__git_ai_session_verb verify' -l integration -d 'Run the integration tests: ai-session.integrationTestCommand, or obvious ones'
complete -c git-ai-session -n '__git_ai_session_verb verify' -l acceptance -d 'Have each criterion of the plan judged by a model'
complete -c git-ai-session -n '__git_ai_session_verb verify' -l all -d 'All of these, as far as there are any'
complete -c git-ai-session -n '__git_ai_session_verb verify' -s m -l model -x -a 'opus sonnet haiku' -d 'The model: opus, sonnet (the default), haiku, or a full id'
complete -c git-ai-session -n '__git_ai_session_verb verify' -l via -x -a 'claude codex gemini' -d 'Have this agent\'s own program do it, with its tools and its login'
complete -c git-ai-session -n '__git_ai_session_verb verify' -l timeout -x -d 'Stop a turn after so many seconds; what had arrived is kept'
complete -c git-ai-session -n '__git_ai_session_verb verify' -l agent-args -x -d 'With --via: more options for the agent, in one word'
complete -c git-ai-session -n '__git_ai_session_verb verify' -l budget -x -d 'Stop before a request that would pass this many US dollars'
complete -c git-ai-session -n '__git_ai_session_verb verify' -l over-budget -d 'Go on where a budget of the feature, the day or the month is spent'
complete -c git-ai-session -n '__git_ai_session_verb verify' -l max-tokens -x -d 'The longest answer to one request, in tokens'
complete -c git-ai-session -n '__git_ai_session_verb verify' -s q -l quiet -d 'Print the result alone'
complete -c git-ai-session -n '__git_ai_session_verb verify' -l json -d 'Print the same values as JSON'
complete -c git-ai-session -n '__git_ai_session_verb verify' -s h -l help -d 'Show this help'
complete -c git-ai-session -n '__git_ai_session_at verify 0 -m --model --via --timeout --agent-args --budget --max-tokens' -a '(__git_ai_session_features)' -d 'feature'

complete -c git-ai-session -n __git_ai_session_needs_verb -a escalate -d 'Hand the session at hand on to another model or agent'
complete -c git-ai-session -n '__git_ai_session_verb escalate' -l feature -x -a '(__git_ai_session_features)' -d 'Of this feature, instead of the one in use'
complete -c git-ai-session -n '__git_ai_session_verb escalate' -l session -x -a '(__git_ai_session_names)' -d 'This session, and not the one with the newest turn'
complete -c git-ai-session -n '__git_ai_session_verb escalate' -s m -l model -x -d 'Where MODEL is an agent: the agent\'s own word for the model'
complete -c git-ai-session -n '__git_ai_session_verb escalate' -l agent-args -x -d 'Where MODEL is an agent: more options for it, in one word'
complete -c git-ai-session -n '__git_ai_session_verb escalate' -l timeout -x -d 'Stop a turn after so many seconds; what had arrived is kept'
complete -c git-ai-session -n '__git_ai_session_verb escalate' -l budget -x -d 'Stop before a request that would pass this many US dollars'
complete -c git-ai-session -n '__git_ai_session_verb escalate' -l over-budget -d 'Go on where a budget of the feature, the day or the month is spent'
complete -c git-ai-session -n '__git_ai_session_verb escalate' -l max-tokens -x -d 'The longest answer to one request, in tokens'
complete -c git-ai-session -n '__git_ai_session_verb escalate' -s q -l quiet -d 'Print the result alone'
complete -c git-ai-session -n '__git_ai_session_verb escalate' -l json -d 'Print the same values as JSON'
complete -c git-ai-session -n '__git_ai_session_verb escalate' -s h -l help -d 'Show this help'
complete -c git-ai-session -n '__git_ai_session_at escalate 0 --feature --session -m --model --agent-args --timeout --budget --max-tokens' -a 'opus sonnet haiku' -d 'model'

complete -c git-ai-session -n __git_ai_session_needs_verb -a template -d 'Look at the prompts of the workflow, and check your own'
complete -c git-ai-session -n '__git_ai_session_verb template' -l variables -d 'With show: the variables that it has, and what each stands for'
complete -c git-ai-session -n '__git_ai_session_verb template' -l json -d 'Print the same values as JSON'
complete -c git-ai-session -n '__git_ai_session_verb template' -s h -l help -d 'Show this help'
complete -c git-ai-session -n '__git_ai_session_at template 0' -a 'list show check' -d 'list | show | check'

complete -c git-ai-session -n __git_ai_session_needs_verb -a status -d 'Show how far a feature is, what it took, and what came of it'
complete -c git-ai-session -n '__git_ai_session_verb status' -l all -d 'A line for every feature'
complete -c git-ai-session -n '__git_ai_session_verb status' -l json -d 'Print the same values as JSON'
complete -c git-ai-session -n '__git_ai_session_verb status' -s h -l help -d 'Show this help'
complete -c git-ai-session -n '__git_ai_session_at status 0' -a '(__git_ai_session_features)' -d 'feature'

complete -c git-ai-session -n __git_ai_session_needs_verb -a history -d 'List the turns of a feature, in all of its sessions, the newest first'
complete -c git-ai-session -n '__git_ai_session_verb history' -l limit -x -d 'Only the newest so many'
complete -c git-ai-session -n '__git_ai_session_verb history' -s m -l model -x -a 'opus sonnet haiku' -d 'Only those of this model: an id, a short name, or a family such as sonnet'
complete -c git-ai-session -n '__git_ai_session_verb history' -l command -x -a '(__git_ai_session_commands)' -d 'Only those of the session COMMAND-FEATURE'
complete -c git-ai-session -n '__git_ai_session_verb history' -l task -x -d 'Only those that worked on this task, such as T1.2'
complete -c git-ai-session -n '__git_ai_session_verb history' -l json -d 'Print the same values as JSON'
complete -c git-ai-session -n '__git_ai_session_verb history' -s h -l help -d 'Show this help'
complete -c git-ai-session -n '__git_ai_session_at history 0 --limit -m --model --command --task' -a '(__git_ai_session_features)' -d 'feature'

complete -c git-ai-session -n __git_ai_session_needs_verb -a features -d 'List the features'
complete -c git-ai-session -n '__git_ai_session_verb features' -l json -d 'Print the same values as JSON'
complete -c git-ai-session -n '__git_ai_session_verb features' -s h -l help -d 'Show this help'

complete -c git-ai-session -n __git_ai_session_needs_verb -a todo -d 'Show what is to be done, write it down, and see what it cost'
complete -c git-ai-session -n '__git_ai_session_verb todo' -l feature -x -a '(__git_ai_session_features)' -d 'Only of this feature; for add, the feature that it is of'
complete -c git-ai-session -n '__git_ai_session_verb todo' -l all -d 'With list: what is done as well, and every turn with what it was expected to cost'
complete -c git-ai-session -n '__git_ai_session_verb todo' -l since -x -d 'Only what changed at or after this: a date, \'yesterday\', \'2 weeks ago\''
complete -c git-ai-session -n '__git_ai_session_verb todo' -l estimate -x -d 'With add: what it is expected to cost, in US dollars'
complete -c git-ai-session -n '__git_ai_session_verb todo' -l json -d 'Print the same values as JSON'
complete -c git-ai-session -n '__git_ai_session_verb todo' -s h -l help -d 'Show this help'
complete -c git-ai-session -n '__git_ai_session_at todo 0 --feature --since --estimate' -a 'list add done report' -d 'list | add | done | report'

complete -c git-ai-session -n __git_ai_session_needs_verb -a close -d 'Mark sessions as completed'
complete -c git-ai-session -n '__git_ai_session_verb close' -l json -d 'Print the same values as JSON'
complete -c git-ai-session -n '__git_ai_session_verb close' -s h -l help -d 'Show this help'
complete -c git-ai-session -n '__git_ai_session_at close +' -a '(__git_ai_session_names)' -d 'session'

complete -c git-ai-session -n __git_ai_session_needs_verb -a reopen -d 'Take \'close\' back'
complete -c git-ai-session -n '__git_ai_session_verb reopen' -l json -d 'Print the same values as JSON'
complete -c git-ai-session -n '__git_ai_session_verb reopen' -s h -l help -d 'Show this help'
complete -c git-ai-session -n '__git_ai_session_at reopen +' -a '(__git_ai_session_names)' -d 'session'

complete -c git-ai-session -n __git_ai_session_needs_verb -a record -d 'Append turns given as JSON objects, one a line, on standard input'
complete -c git-ai-session -n '__git_ai_session_verb record' -l json -d 'Print an object for every turn instead of its commit'
complete -c git-ai-session -n '__git_ai_session_verb record' -l show-redactions -d 'Show what would be redacted, and stop: nothing is sent or recorded'
complete -c git-ai-session -n '__git_ai_session_verb record' -s h -l help -d 'Show this help'
complete -c git-ai-session -n '__git_ai_session_at record 0' -a '(__git_ai_session_commands)' -d 'command'
complete -c git-ai-session -n '__git_ai_session_at record 1' -a '(__git_ai_session_features)' -d 'feature'

complete -c git-ai-session -n __git_ai_session_needs_verb -a resume -d 'Hand a captured conversation back to its agent, or on to another one'
complete -c git-ai-session -n '__git_ai_session_verb resume' -l conversation -x -d 'This one, by the beginning of its id, and not that of the newest turn'
complete -c git-ai-session -n '__git_ai_session_verb resume' -l for -x -a 'claude codex gemini opencode' -d 'The agent that is to go on; one that did not have the conversation is given what was said'
complete -c git-ai-session -n '__git_ai_session_verb resume' -l as-prompt -d 'Print what was said, as a prompt to go on from'
complete -c git-ai-session -n '__git_ai_session_verb resume' -l max-tokens -x -d 'How long that prompt may be: 8000 where nothing is said'
complete -c git-ai-session -n '__git_ai_session_verb resume' -l exec -d 'Start the agent, instead of printing how'
complete -c git-ai-session -n '__git_ai_session_verb resume' -l json -d 'Print the same values as JSON'
complete -c git-ai-session -n '__git_ai_session_verb resume' -s h -l help -d 'Show this help'
complete -c git-ai-session -n '__git_ai_session_at resume 0 --conversation --for --max-tokens' -a '(__git_ai_session_names)' -d 'session'

complete -c git-ai-session -n __git_ai_session_needs_verb -a list -d 'List the sessions'
complete -c git-ai-session -n '__git_ai_session_verb list' -l active -d 'Only sessions used in the last 30 days'
complete -c git-ai-session -n '__git_ai_session_verb list' -l sort -x -a 'name date tokens cost' -d 'Order: name, date (newest first), tokens or cost (most first)'
complete -c git-ai-session -n '__git_ai_session_verb list' -l by -x -a 'conversation' -d 'A line for each conversation of an agent, instead of each session'
complete -c git-ai-session -n '__git_ai_session_verb list' -l everywhere -d 'In all of your repositories, and in the folders of ~/.ai-sessions that belong to none'
complete -c git-ai-session -n '__git_ai_session_verb list' -l json -d 'Print the same values as JSON'
complete -c git-ai-session -n '__git_ai_session_verb list' -s h -l help -d 'Show this help'
complete -c git-ai-session -n '__git_ai_session_at list + --sort --by' -a '(__git_ai_session_names)' -d 'session'

complete -c git-ai-session -n __git_ai_session_needs_verb -a show -d 'Show the turns of a session: prompts, answers, tool calls, cost'
complete -c git-ai-session -n '__git_ai_session_verb show' -l turn -x -d 'Only the turn with this number, in full'
complete -c git-ai-session -n '__git_ai_session_verb show' -l last -x -d 'Only the last N turns'
complete -c git-ai-session -n '__git_ai_session_verb show' -l conversation -x -d 'The turns of an agent\'s conversation, in whichever session they are; the beginning of ID will do'
complete -c git-ai-session -n '__git_ai_session_verb show' -l full -d 'Prompts, answers and tool calls in full, instead of a line a turn'
complete -c git-ai-session -n '__git_ai_session_verb show' -l json -d 'Print the same values as JSON'
complete -c git-ai-session -n '__git_ai_session_verb show' -s h -l help -d 'Show this help'
complete -c git-ai-session -n '__git_ai_session_at show + --turn --last --conversation' -a '(__git_ai_session_names)' -d 'session'

complete -c git-ai-session -n __git_ai_session_needs_verb -a log -d 'git log of a session, with git log\'s own options'
complete -c git-ai-session -n '__git_ai_session_verb log' -s h -d 'Show this help'
complete -c git-ai-session -n '__git_ai_session_at log +' -a '(__git_ai_session_names)' -d 'session'

complete -c git-ai-session -n __git_ai_session_needs_verb -a stats -d 'Sum turns, tokens, cost and time'
complete -c git-ai-session -n '__git_ai_session_verb stats' -l by -x -a 'model command feature session day person agent task repository' -d 'Sums by model, command, feature, session, day, person, agent, task, or repository (of --everywhere)'
complete -c git-ai-session -n '__git_ai_session_verb stats' -l since -x -d 'Only turns that ended at or after this: a date, \'yesterday\', \'2 weeks ago\''
complete -c git-ai-session -n '__git_ai_session_verb stats' -l until -x -d 'Only turns that ended before this; a date includes its whole day'
complete -c git-ai-session -n '__git_ai_session_verb stats' -l session -x -a '(__git_ai_session_names)' -d 'Only this session, or those a pattern matches'
complete -c git-ai-session -n '__git_ai_session_verb stats' -l everywhere -d 'In all of your repositories, and in the folders of ~/.ai-sessions that belong to none'
complete -c git-ai-session -n '__git_ai_session_verb stats' -l savings -d 'What resuming and caching saved, and how that is computed'
complete -c git-ai-session -n '__git_ai_session_verb stats' -l json -d 'Print the same values as JSON'
complete -c git-ai-session -n '__git_ai_session_verb stats' -s h -l help -d 'Show this help'

complete -c git-ai-session -n __git_ai_session_needs_verb -a export -d 'Write sessions out: as JSON, JSON lines, Markdown or a git bundle'
complete -c git-ai-session -n '__git_ai_session_verb export' -s o -l output -r -F -d 'Write to this file, which only you may read, instead'
complete -c git-ai-session -n '__git_ai_session_verb export' -l format -x -a 'json jsonl md bundle' -d 'json (a list of sessions), jsonl (a line a commit), md (to read) or bundle'
complete -c git-ai-session -n '__git_ai_session_verb export' -l active -d 'Only sessions used in the last 30 days'
complete -c git-ai-session -n '__git_ai_session_verb export' -s h -l help -d 'Show this help'
complete -c git-ai-session -n '__git_ai_session_at export + -o --output --format' -a '(__git_ai_session_names)' -d 'session'

complete -c git-ai-session -n __git_ai_session_needs_verb -a import -d 'Bring sessions in: exported ones, agents\' history, the shell tool\'s'
complete -c git-ai-session -n '__git_ai_session_verb import' -l from -x -a 'claude codex gemini opencode all session-dir' -d 'claude, codex, gemini, opencode or all: the history that these agents keep on disk'
complete -c git-ai-session -n '__git_ai_session_verb import' -l since -x -d 'Of agents: only turns that ended at or after this; as for stats'
complete -c git-ai-session -n '__git_ai_session_verb import' -l project -r -F -d 'Of agents: only turns of the repository of this folder'
complete -c git-ai-session -n '__git_ai_session_verb import' -s n -l dry-run -d 'Check everything and say what would be done; change nothing'
complete -c git-ai-session -n '__git_ai_session_verb import' -l json -d 'Print the same values as JSON'
complete -c git-ai-session -n '__git_ai_session_verb import' -s h -l help -d 'Show this help'

complete -c git-ai-session -n __git_ai_session_needs_verb -a clean -d 'Remove sessions that have not been used for long'
complete -c git-ai-session -n '__git_ai_session_verb clean' -l older-than -x -d 'Those last used this many days ago, or earlier'
complete -c git-ai-session -n '__git_ai_session_verb clean' -l keep -x -a '(__git_ai_session_names)' -d 'Not this session, or those a pattern matches'
complete -c git-ai-session -n '__git_ai_session_verb clean' -l everywhere -d 'In all of your repositories, and in the folders of ~/.ai-sessions that belong to none'
complete -c git-ai-session -n '__git_ai_session_verb clean' -s n -l dry-run -d 'Say what would be removed; change nothing'
complete -c git-ai-session -n '__git_ai_session_verb clean' -l force -d 'Do not ask'
complete -c git-ai-session -n '__git_ai_session_verb clean' -l json -d 'Print the same values as JSON'
complete -c git-ai-session -n '__git_ai_session_verb clean' -s h -l help -d 'Show this help'
complete -c git-ai-session -n '__git_ai_session_at clean + --older-than --keep' -a '(__git_ai_session_names)' -d 'session'

complete -c git-ai-session -n __git_ai_session_needs_verb -a scripts -d 'Write scripts that answer the calls of older tools'
complete -c git-ai-session -n '__git_ai_session_verb scripts' -l force -d 'With install: replace files that are not of gitsess, or were changed'
complete -c git-ai-session -n '__git_ai_session_verb scripts' -l json -d 'With install: print what was written as JSON'
complete -c git-ai-session -n '__git_ai_session_verb scripts' -s h -l help -d 'Show this help'
complete -c git-ai-session -n '__git_ai_session_at scripts 0' -a 'install run' -d 'install | run'

complete -c git-ai-session -n __git_ai_session_needs_verb -a doctor -d 'Check everything, and mend what can be mended'
complete -c git-ai-session -n '__git_ai_session_verb doctor' -l fix -d 'Mend what can be mended without a doubt; nothing that was recorded is lost by it'
complete -c git-ai-session -n '__git_ai_session_verb doctor' -l accounting -d 'Compare each conversation with what its agent counted itself, and name every difference'
complete -c git-ai-session -n '__git_ai_session_verb doctor' -l json -d 'Print the same values as JSON'
complete -c git-ai-session -n '__git_ai_session_verb doctor' -s h -l help -d 'Show this help'

complete -c git-ai-session -n __git_ai_session_needs_verb -a drain -d 'Append the turns that wait in the spool'
complete -c git-ai-session -n '__git_ai_session_verb drain' -l wait -d 'Wait for another drain and for locks, up to half a minute'
complete -c git-ai-session -n '__git_ai_session_verb drain' -l json -d 'Print the same values as JSON'
complete -c git-ai-session -n '__git_ai_session_verb drain' -s h -l help -d 'Show this help'

complete -c git-ai-session -n __git_ai_session_needs_verb -a demo -d 'The tour: plan, implement and audit, without a key or a network'
complete -c git-ai-session -n '__git_ai_session_verb demo' -l into -r -F -d 'Make the repository here instead of in a temporary folder'
complete -c git-ai-session -n '__git_ai_session_verb demo' -s h -l help -d 'Show this help'

complete -c git-ai-session -n __git_ai_session_needs_verb -a completion -d 'Print the completion script of a shell'
complete -c git-ai-session -n '__git_ai_session_verb completion' -s h -l help -d 'Show this help'
complete -c git-ai-session -n '__git_ai_session_at completion 0' -a 'bash zsh fish' -d 'shell'
