#!/bin/sh
# gitsess script 1: list-sessions.sh, the sessions of the repository, by "git ai-session list".
# Written by "git ai-session scripts install", which also brings it up to date; not meant to be changed by hand.

case ${1-} in -h | --help)
	echo "usage: list-sessions.sh [SESSION]... [--active] [--sort name|date|tokens|cost] [OPTION]...
Options and exit codes are those of 'git ai-session list': -h after it lists them."
	exit
	;;
esac
if ! command -v git-ai-session >/dev/null 2>&1; then
	echo "error: git-ai-session is not on PATH: install gitsess, with pipx for example, or add its folder to PATH" >&2
	exit 127
fi
exec git-ai-session list "$@"
