#!/bin/sh
# gitsess script 1: init-session.sh, a feature begun or gone on with, by "git ai-session start" or "switch".
# Written by "git ai-session scripts install", which also brings it up to date; not meant to be changed by hand.

case ${1-} in -h | --help)
	echo "usage: init-session.sh FEATURE [DESCRIPTION] [--json]
Begins FEATURE and puts it in use here, as 'git ai-session start' does; one that has begun, as 'switch' does."
	exit
	;;
esac
if ! command -v git-ai-session >/dev/null 2>&1; then
	echo "error: git-ai-session is not on PATH: install gitsess, with pipx for example, or add its folder to PATH" >&2
	exit 127
fi
[ "${USE_SESSIONS-}" = true ] || USE_SESSIONS=false
export USE_SESSIONS
json='' feature=''
for word do
	case $word in
	--json) json=$word ;;
	-*) ;;
	*) feature=${feature:-$word} ;;
	esac
done
# What is in use now goes to standard output at once; what else is said waits for how it ends.
{ said=$(git-ai-session switch $json -- "$feature" 2>&1 >&3); } 3>&1
code=$?
case $code in 1 | 2) exec git-ai-session start "$@" ;; esac
[ -z "$said" ] || printf '%s\n' "$said" >&2
exit $code
