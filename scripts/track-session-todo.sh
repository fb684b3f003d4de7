#!/bin/sh
# gitsess script 1: track-session-todo.sh, what is worked on kept in TODO_FILE, by git-ai-session.
# Written by "git ai-session scripts install", which also brings it up to date; not meant to be changed by hand.

if ! command -v git-ai-session >/dev/null 2>&1; then
	echo "error: git-ai-session is not on PATH: install gitsess, with pipx for example, or add its folder to PATH" >&2
	exit 127
fi
exec git-ai-session scripts run track-session-todo -- "$@"
