#!/bin/sh
# gitsess script 1: escalate.sh, a session handed on to another model or agent, by "git ai-session escalate".
# Written by "git ai-session scripts install", which also brings it up to date; not meant to be changed by hand.

case ${1-} in -h | --help)
	echo "usage: escalate.sh [FEATURE] MODEL [PROMPT] [OPTION]...
MODEL is opus, sonnet, haiku, a full id, or an agent: claude, codex, gemini. Without FEATURE: the one in use.
After FEATURE, MODEL is one of these words or begins with claude-.
Options and exit codes are those of 'git ai-session escalate': -h after it lists them.
Sessions are used with USE_SESSIONS=true alone; else it begins fresh, and records nothing."
	exit
	;;
esac
if ! command -v git-ai-session >/dev/null 2>&1; then
	echo "error: git-ai-session is not on PATH: install gitsess, with pipx for example, or add its folder to PATH" >&2
	exit 127
fi
[ "${USE_SESSIONS-}" = true ] || USE_SESSIONS=false
export USE_SESSIONS
case ${2-} in
*[!A-Za-z0-9._:@/-]*) ;;
claude | codex | gemini | opus | sonnet | haiku | claude-*)
	case $1 in
	-*) ;;
	*)
		feature=$1
		shift
		set -- --feature "$feature" "$@"
		;;
	esac
	;;
esac
exec git-ai-session escalate "$@"
