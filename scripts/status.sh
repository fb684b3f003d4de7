#!/bin/sh
# gitsess script 1: status.sh, how far a feature is, by "git ai-session status".
# Written by "git ai-session scripts install", which also brings it up to date; not meant to be changed by hand.

case ${1-} in -h | --help)
	echo "usage: status.sh [FEATURE] [--all] [--json]
Options and exit codes are those of 'git ai-session status': -h after it lists them."
	exit
	;;
esac
if ! command -v git-ai-session >/dev/null 2>&1; then
	echo "error: git-ai-session is not on PATH: install gitsess, with pipx for example, or add its folder to PATH" >&2
	exit 127
fi
exec git-ai-session status "$@"
