# bash completion of git-ai-session, and of 'git ai-session' behind git's own completion.
# Made from the table of verbs by "make docs": changes are lost here.

# The names of the sessions here, one a line. __git honours the 'git -C' and '--git-dir' that were typed.
__git_ai_session_names ()
{
	if declare -F __git >/dev/null; then
		__git for-each-ref --format='%(refname:lstrip=2)' refs/ai-sessions/
	else
		git for-each-ref --format='%(refname:lstrip=2)' refs/ai-sessions/ 2>/dev/null
	fi
}

# __git_ai_session_offer WORD...: those that begin with what was typed. compgen would expand them.
__git_ai_session_offer ()
{
	local word
	for word; do
		[[ $word != "$typed"* ]] || COMPREPLY+=("$before$word ")
	done
}

# __git_ai_session_values KIND: what can stand there; nothing leaves it to the shell, which offers files.
__git_ai_session_values ()
{
	local name names=()
	case $1 in
	session | command | feature)
		while IFS= read -r name; do
			case $name in
			[!a-z0-9]* | *[!a-z0-9._-]*) continue ;;
			esac
			case $1 in
			command) name=${name%%-*} ;;
			feature) [[ $name == *-* ]] || continue; name=${name#*-} ;;
			esac
			[[ " ${names[*]} " == *" $name "* ]] || names+=("$name")
		done < <([[ $1 != command ]] || printf '%s\n' plan implement review verify; __git_ai_session_names)
		__git_ai_session_offer "${names[@]}"
		;;
	model) __git_ai_session_offer opus sonnet haiku ;;
	path | text | count) ;;
	*)
		IFS=, read -r -a names <<<"$1"
		__git_ai_session_offer "${names[@]}"
		;;
	esac
}

# __git_ai_session_complete TYPED WORD...: TYPED is the word at the cursor, the WORDs stand before it.
__git_ai_session_complete ()
{
	local typed=$1 before="" verb="" kind="" word count=0 only=""
	local options="--version --help" values="" arguments=""
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
			[[ $values == *" $word:"* ]] && kind=${values##*" $word:"} kind=${kind%% *}
		elif [[ -z $verb ]]; then
			verb=$word
			case $verb in
			init)
				options="--agent --shared --user --yes --undo --json --help"
				values=" --agent:claude,codex,gemini,opencode"
				arguments=""
				;;
			run)
				options="--model --system --file --with --via --timeout --agent-args --budget --over-budget --max-tokens --task --dry-run --show-redactions --quiet --json --help"
				values=" -m:model --model:model --system:text -f:path --file:path --with:session --via:claude,codex,gemini --timeout:count --agent-args:text --budget:text --max-tokens:count --task:text"
				arguments="command feature text"
				;;
			use)
				options="--none --json --help"
				values=""
				arguments="session feature"
				;;
			start)
				options="--json --help"
				values=""
				arguments="text text"
				;;
			switch)
				options="--json --help"
				values=""
				arguments="feature"
				;;
			plan)
				options="--full-context --file --with --show --edit --import --model --via --timeout --agent-args --budget --over-budget --max-tokens --quiet --json --help"
				values=" -f:path --file:path --with:session --import:path -m:model --model:model --via:claude,codex,gemini --timeout:count --agent-args:text --budget:text --max-tokens:count"
				arguments="feature text"
				;;
			implement)
				options="--task --all --tdd --no-tests --attempts --commit --again --force --model --via --timeout --agent-args --budget --over-budget --max-tokens --quiet --json --help"
				values=" --task:text --attempts:count -m:model --model:model --via:claude,codex,gemini --timeout:count --agent-args:text --budget:text --max-tokens:count"
				arguments="feature"
				;;
			review)
				options="--diff --security --performance --architecture --fail-on --with --model --via --timeout --agent-args --budget --over-budget --max-tokens --quiet --json --help"
				values=" --diff:text --fail-on:critical,high,medium,low,info --with:session -m:model --model:model --via:claude,codex,gemini --timeout:count --agent-args:text --budget:text --max-tokens:count"
				arguments="feature path..."
				;;
			verify)
				options="--unit --integration --acceptance --all --model --via --timeout --agent-args --budget --over-budget --max-tokens --quiet --json --help"
				values=" -m:model --model:model --via:claude,codex,gemini --timeout:count --agent-args:text --budget:text --max-tokens:count"
				arguments="feature"
				;;
			escalate)
				options="--feature --session --model --agent-args --timeout --budget --over-budget --max-tokens --quiet --json --help"
				values=" --feature:feature --session:session -m:text --model:text --agent-args:text --timeout:count --budget:text --max-tokens:count"
				arguments="model text"
				;;
			template)
				options="--variables --json --help"
				values=""
				arguments="list,show,check text"
				;;
			status)
				options="--all --json --help"
				values=""
				arguments="feature"
				;;
			history)
				options="--limit --model --command --task --json --help"
				values=" --limit:count -m:model --model:model --command:command --task:text"
				arguments="feature"
				;;
			features)
				options="--json --help"
				values=""
				arguments=""
				;;
			todo)
				options="--feature --all --since --estimate --json --help"
				values=" --feature:feature --since:text --estimate:text"
				arguments="list,add,done,report text"
				;;
			close)
				options="--json --help"
				values=""
				arguments="session..."
				;;
			reopen)
				options="--json --help"
				values=""
				arguments="session..."
				;;
			record)
				options="--json --show-redactions --help"
				values=""
				arguments="command feature"
				;;
			resume)
				options="--conversation --for --as-prompt --max-tokens --exec --json --help"
				values=" --conversation:text --for:claude,codex,gemini,opencode --max-tokens:count"
				arguments="session"
				;;
			list)
				options="--active --sort --by --everywhere --json --help"
				values=" --sort:name,date,tokens,cost --by:conversation"
				arguments="session..."
				;;
			show)
				options="--turn --last --conversation --full --json --help"
				values=" --turn:count --last:count --conversation:text"
				arguments="session..."
				;;
			log)
				options="-h"
				values=""
				arguments="session... text..."
				;;
			stats)
				options="--by --since --until --session --everywhere --savings --json --help"
				values=" --by:model,command,feature,session,day,person,agent,task,repository --since:text --until:text --session:session"
				arguments=""
				;;
			export)
				options="--output --format --active --help"
				values=" -o:path --output:path --format:json,jsonl,md,bundle"
				arguments="session..."
				;;
			import)
				options="--from --since --project --dry-run --json --help"
				values=" --from:claude,codex,gemini,opencode,all,session-dir --since:text --project:path"
				arguments="text"
				;;
			clean)
				options="--older-than --keep --everywhere --dry-run --force --json --help"
				values=" --older-than:text --keep:session"
				arguments="session..."
				;;
			scripts)
				options="--force --json --help"
				values=""
				arguments="install,run text..."
				;;
			doctor)
				options="--fix --accounting --json --help"
				values=""
				arguments=""
				;;
			drain)
				options="--wait --json --help"
				values=""
				arguments=""
				;;
			demo)
				options="--into --help"
				values=" --into:path"
				arguments=""
				;;
			completion)
				options="--help"
				values=""
				arguments="bash,zsh,fish"
				;;
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
		word=${typed%%=*}
		[[ $COMP_WORDBREAKS == *"="* ]] || before="$word="
		typed=${typed#*=}
		[[ $values == *" $word:"* ]] && kind=${values##*" $word:"} && __git_ai_session_values "${kind%% *}"
	elif [[ -z $only && $typed == -* ]]; then
		if [[ $verb == log ]] && declare -F _git_log >/dev/null && [[ -n ${__git_cmd_idx-} ]]; then
			_git_log
		else
			__git_ai_session_offer $options
		fi
	elif [[ -z $verb ]]; then
		__git_ai_session_offer init run use start switch plan implement review verify escalate template status history features todo close reopen record resume list show log stats export import clean scripts doctor drain demo completion
	else
		for word in $arguments; do
			kind=${word%"..."}
			[[ $word == *"..." || $count -eq 0 ]] && break
			((count -= 1))
			kind=""
		done
		[[ -z $kind ]] || __git_ai_session_values "$kind"
	fi
}

# Called by git's completion for 'git ai-session', which has set cur, words and cword.
_git_ai_session ()
{
	local at=${__git_cmd_idx-}
	if [[ -z $at ]]; then
		at=1
		while ((at < cword)) && [[ ${words[at]} != ai-session ]]; do ((at += 1)); done
	fi
	__git_ai_session_complete "$cur" "${words[@]:at+1:cword-at-1}"
}

__git_ai_session_alone ()
{
	__git_ai_session_complete "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[@]:1:COMP_CWORD-1}"
}

complete -o bashdefault -o default -o nospace -F __git_ai_session_alone git-ai-session
