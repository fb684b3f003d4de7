#!/bin/sh
# gitsess script 1: switch-feature.sh, a feature put in use, by "git ai-session switch".
# Written by "git ai-session scripts install", which also brings it up to date; not meant to be changed by hand.

case ${1-} in -h | --help)
	echo "usage: switch-feature.sh FEATURE [--json]
Options and exit codes are those of 'git ai-session switch': -h after it lists them."
	exit
	;;
esac
if ! command -v git-ai-session >/dev/null 2>&1; then
	echo "error: git-ai-session is not on PATH: install gitsess, with pipx for example, or add its folder to PATH" >&2
	exit 127
fi
[ "${USE_SESSIONS-}" = true ] || USE_SESSIONS=false
export USE_SESSIONS
exec git-ai-session switch "$@"
