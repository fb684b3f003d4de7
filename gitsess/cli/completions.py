"""Completion scripts for bash, zsh and fish, from the table of verbs.

They are static: at a Tab no Python starts, and sessions come from ``git for-each-ref``. A ref's name may hold
what a shell would run, and refs can come from elsewhere: names are offered only where they are sessions' names,
and are never expanded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gitsess.catalog import ALIASES
from gitsess.cli.helping import GENERAL, HELP
from gitsess.cli.verbs import VERBS, Arg, Opt, Verb

COMMANDS = ("plan", "implement", "review", "verify")
"""Offered before any session exists; any other single word is a command as well."""

_MADE = '# Made from the table of verbs by "make docs": changes are lost here.'
_LIST = "for-each-ref --format='%(refname:lstrip=2)' refs/ai-sessions/"


def script(shell: str) -> str:
    """The script of ``bash``, ``zsh`` or ``fish``."""
    return SHELLS[shell]()


def _kind(item: Arg | Opt) -> str:
    """What is to be offered for a value: a source of names, ``path``, ``text``, or the choices themselves."""
    if item.choices:
        return ",".join(item.choices)
    return item.completes or (item.kind if isinstance(item, Opt) else "text")


def _short(text: str) -> str:
    """The first sentence of a help text, without its full stop."""
    return text.partition(". ")[0].rstrip(".")


def _opts(verb: Verb) -> tuple[Opt, ...]:
    return (*verb.opts, Opt(("-h",), HELP.help) if verb.passes else HELP)


# --- bash ----------------------------------------------------------------------------------------------------

_BASH = """\
# bash completion of git-ai-session, and of 'git ai-session' behind git's own completion.
{made}

# The names of the sessions here, one a line. __git honours the 'git -C' and '--git-dir' that were typed.
__git_ai_session_names ()
{{
	if declare -F __git >/dev/null; then
		__git {list}
	else
		git {list} 2>/dev/null
	fi
}}

# __git_ai_session_offer WORD...: those that begin with what was typed. compgen would expand them.
__git_ai_session_offer ()
{{
	local word
	for word; do
		[[ $word != "$typed"* ]] || COMPREPLY+=("$before$word ")
	done
}}

# __git_ai_session_values KIND: what can stand there; nothing leaves it to the shell, which offers files.
__git_ai_session_values ()
{{
	local name names=()
	case $1 in
	session | command | feature)
		while IFS= read -r name; do
			case $name in
			[!a-z0-9]* | *[!a-z0-9._-]*) continue ;;
			esac
			case $1 in
			command) name=${{name%%-*}} ;;
			feature) [[ $name == *-* ]] || continue; name=${{name#*-}} ;;
			esac
			[[ " ${{names[*]}} " == *" $name "* ]] || names+=("$name")
		done < <([[ $1 != command ]] || printf '%s\\n' {commands}; __git_ai_session_names)
		__git_ai_session_offer "${{names[@]}}"
		;;
	model) __git_ai_session_offer {models} ;;
	path | text | count) ;;
	*)
		IFS=, read -r -a names <<<"$1"
		__git_ai_session_offer "${{names[@]}}"
		;;
	esac
}}

# __git_ai_session_complete TYPED WORD...: TYPED is the word at the cursor, the WORDs stand before it.
__git_ai_session_complete ()
{{
	local typed=$1 before="" verb="" kind="" word count=0 only=""
	local options="{general}" values="" arguments=""
	shift
	COMPREPLY=()
	for word; do
		if [[ -n $kind ]]; then
			# The value of the option before; bash makes a word of the '=' between them.
			[[ $word == "=" ]] || kind=""
		elif [[ -n $only ]]; then
			((count += 1))
		elif [[ $word == "--" ]]; then
			only=1
		elif [[ $word == -* ]]; then
			[[ $values == *" $word:"* ]] && kind=${{values##*" $word:"}} kind=${{kind%% *}}
		elif [[ -z $verb ]]; then
			verb=$word
			case $verb in
{cases}
			*) return ;;
			esac
		else
			((count += 1))
		fi
	done
	if [[ -n $kind ]]; then
		[[ $typed == "=" ]] && typed=""
		__git_ai_session_values "$kind"
	elif [[ -z $only && $typed == --*=* ]]; then
		word=${{typed%%=*}}
		[[ $COMP_WORDBREAKS == *"="* ]] || before="$word="
		typed=${{typed#*=}}
		[[ $values == *" $word:"* ]] && kind=${{values##*" $word:"}} && __git_ai_session_values "${{kind%% *}}"
	elif [[ -z $only && $typed == -* ]]; then
		if [[ $verb == log ]] && declare -F _git_log >/dev/null && [[ -n ${{__git_cmd_idx-}} ]]; then
			_git_log
		else
			__git_ai_session_offer $options
		fi
	elif [[ -z $verb ]]; then
		__git_ai_session_offer {verbs}
	else
		for word in $arguments; do
			kind=${{word%"..."}}
			[[ $word == *"..." || $count -eq 0 ]] && break
			((count -= 1))
			kind=""
		done
		[[ -z $kind ]] || __git_ai_session_values "$kind"
	fi
}}

# Called by git's completion for 'git ai-session', which has set cur, words and cword.
_git_ai_session ()
{{
	local at=${{__git_cmd_idx-}}
	if [[ -z $at ]]; then
		at=1
		while ((at < cword)) && [[ ${{words[at]}} != ai-session ]]; do ((at += 1)); done
	fi
	__git_ai_session_complete "$cur" "${{words[@]:at+1:cword-at-1}}"
}}

__git_ai_session_alone ()
{{
	__git_ai_session_complete "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"
}}

complete -o bashdefault -o default -o nospace -F __git_ai_session_alone git-ai-session
"""


def _bash() -> str:
    return _BASH.format(
        made=_MADE,
        list=_LIST,
        commands=" ".join(COMMANDS),
        models=" ".join(ALIASES),
        general=" ".join(opt.flags[-1] for opt in GENERAL),
        verbs=" ".join(verb.name for verb in VERBS),
        cases="\n".join(line for verb in VERBS for line in _bash_case(verb)),
    )


def _bash_case(verb: Verb) -> Iterator[str]:
    flags = " ".join(opt.flags[-1] for opt in _opts(verb))
    values = "".join(f" {flag}:{_kind(opt)}" for opt in verb.opts if opt.metavar for flag in opt.flags)
    arguments = " ".join(_kind(arg) + ("..." if arg.many else "") for arg in verb.args)
    yield f"\t\t\t{verb.name})"
    yield f'\t\t\t\toptions="{flags}"'
    yield f'\t\t\t\tvalues="{values}"'
    yield f'\t\t\t\targuments="{arguments}"'
    yield "\t\t\t\t;;"


# --- zsh -----------------------------------------------------------------------------------------------------

_ZSH = """\
#compdef git-ai-session
#description keep AI sessions in the repository
{made}
#
# zsh completion of git-ai-session; zsh's own _git finds it for 'git ai-session' by its name.

__git_ai_session_names() {{
  local -a names
  names=(${{(f)"$(git {list} 2>/dev/null)"}})
  # What is no session's name is not offered.
  names=(${{(M)names:#[a-z0-9][a-z0-9._-]#}})
  case $1 in
    command) names=({commands} ${{names%%-*}}) ;;
    feature) names=(${{(M)names:#*-*}}); names=(${{names#*-}}) ;;
  esac
  local expl
  _wanted ai-session-$1s expl $1 compadd -a - names
}}

__git_ai_session_log() {{
  # The options are git log's own.
  if [[ $PREFIX == -* ]] && (( $+functions[_git-log] )); then
    _git-log
  else
    __git_ai_session_names session
  fi
}}

_git-ai-session() {{
  setopt localoptions extendedglob
  local curcontext=$curcontext state line ret=1
  local -A opt_args
  local -a verbs

  _arguments -C \\
{general}
    '(-): :->verb' \\
    '(-)*:: :->rest' && return

  case $state in
    verb)
      verbs=(
{verbs}
      )
      _describe -t verbs verb verbs && ret=0
      ;;
    rest)
      curcontext=${{curcontext%:*:*}}:git-ai-session-$words[1]:
      case $words[1] in
{cases}
      esac
      ;;
  esac
  return ret
}}

if [[ $funcstack[1] == _git-ai-session ]]; then
  _git-ai-session "$@"
else
  # Read by 'source' rather than found in $fpath.
  compdef _git-ai-session git-ai-session
fi
"""


def _zsh() -> str:
    return _ZSH.format(
        made=_MADE,
        list=_LIST,
        commands=" ".join(COMMANDS),
        general="\n".join(f"    {_zsh_option(opt, alone=True)} \\" for opt in GENERAL),
        verbs="\n".join(f"        {_zsh_quoted(f'{verb.name}:{verb.summary}')}" for verb in VERBS),
        cases="\n".join(line for verb in VERBS for line in _zsh_case(verb)),
    )


def _zsh_case(verb: Verb) -> Iterator[str]:
    specs = [_zsh_option(opt, alone=opt is HELP) for opt in _opts(verb)]
    if verb.passes:
        specs = ["'*:: :__git_ai_session_log'"]
    else:
        specs += [_zsh_argument(number, arg) for number, arg in enumerate(verb.args, 1)]
    yield f"        {verb.name})"
    yield "          _arguments -s -S \\"
    yield from (f"            {spec} \\" for spec in specs[:-1])
    yield f"            {specs[-1]} && ret=0"
    yield "          ;;"


def _zsh_option(opt: Opt, *, alone: bool = False) -> str:
    about = _zsh_escaped(_short(opt.help))
    value = f":{opt.metavar}:{_zsh_action(opt)}" if opt.metavar else ""
    flags = [flag + ("=" if flag.startswith("--") else "+") if opt.metavar else flag for flag in opt.flags]
    excluded = "(- : *)" if alone else "*" if opt.many else f"({' '.join(opt.flags)})"
    if len(flags) == 1:
        return _zsh_quoted(f"{excluded}{flags[0]}[{about}]{value}")
    return f"'{excluded}'{{{','.join(flags)}}}{_zsh_quoted(f'[{about}]{value}')}"


def _zsh_argument(number: int, arg: Arg) -> str:
    if arg.many:
        return _zsh_quoted(f"*:{arg.metavar}:{_zsh_action(arg)}")
    return _zsh_quoted(f"{number}:{':' if not arg.required else ''}{arg.metavar}:{_zsh_action(arg)}")


def _zsh_action(item: Arg | Opt) -> str:
    match _kind(item):
        case "session" | "command" | "feature" as names:
            # The space keeps _arguments from putting words of its own before the name.
            return f" __git_ai_session_names {names}"
        case "model":
            return f"({' '.join(ALIASES)})"
        case "path":
            return "_files"
        case "text" | "count":
            return " "
        case choices:
            return f"({choices.replace(',', ' ')})"


def _zsh_escaped(text: str) -> str:
    for char in "\\[]:":
        text = text.replace(char, "\\" + char)
    return text


def _zsh_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# --- fish ----------------------------------------------------------------------------------------------------

_FISH = """\
# fish completion of git-ai-session, and of 'git ai-session'. fish's own completion of git finds this file by its
# name; fish 3.6.0, where that is broken, needs it sourced in config.fish.
{made}

function __git_ai_session_names
    git {list} 2>/dev/null | string match -r '^[a-z0-9][a-z0-9._-]*$'
end

function __git_ai_session_commands
    printf '%s\\n' {commands} (__git_ai_session_names | string replace -r -- '-.*' '')
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
{lines}
"""


def _fish() -> str:
    lines = [_fish_option("__git_ai_session_needs_verb", opt) for opt in GENERAL]
    for verb in VERBS:
        lines += ["", *_fish_verb(verb)]
    return _FISH.format(made=_MADE, list=_LIST, commands=" ".join(COMMANDS), lines="\n".join(lines))


def _fish_verb(verb: Verb) -> Iterator[str]:
    yield f"complete -c git-ai-session -n __git_ai_session_needs_verb -a {verb.name} -d {_fish_quoted(verb.summary)}"
    for opt in _opts(verb):
        yield _fish_option(f"'__git_ai_session_verb {verb.name}'", opt)
    taking = "".join(f" {flag}" for opt in verb.opts if opt.metavar for flag in opt.flags)
    for number, arg in enumerate(verb.args):
        source = _fish_source(arg)
        if source and not (verb.passes and arg is verb.args[-1]):
            at = "+" if arg.many else number
            yield (
                f"complete -c git-ai-session -n '__git_ai_session_at {verb.name} {at}{taking}'"
                f" -a {source} -d {_fish_quoted(arg.metavar.lower())}"
            )


def _fish_option(condition: str, opt: Opt) -> str:
    words = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in opt.flags)
    value = ""
    if opt.metavar:
        source = _fish_source(opt)
        value = " -r -F" if _kind(opt) == "path" else f" -x -a {source}" if source else " -x"
    return f"complete -c git-ai-session -n {condition} {words}{value} -d {_fish_quoted(_short(opt.help))}"


def _fish_source(item: Arg | Opt) -> str:
    match _kind(item):
        case "session":
            return "'(__git_ai_session_names)'"
        case "command" | "feature" as names:
            return f"'(__git_ai_session_{names}s)'"
        case "model":
            return _fish_quoted(" ".join(ALIASES))
        case "path" | "text" | "count":
            return ""
        case choices:
            return _fish_quoted(choices.replace(",", " "))


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS: dict[str, Callable[[], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
