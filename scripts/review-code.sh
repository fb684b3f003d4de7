#!/bin/sh
# gitsess script 1: review-code.sh, code reviewed, by "git ai-session review".
# Written by "git ai-session scripts install", which also brings it up to date; not meant to be changed by hand.

case ${1-} in -h | --help)
	echo "usage: review-code.sh FEATURE [FILE]... [--diff RANGE] [--security] [--performance] [OPTION]...
Options and exit codes are those of 'git ai-session review': -h after it lists them.
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
exec git-ai-session review "$@"
