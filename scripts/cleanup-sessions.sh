#!/bin/sh
# gitsess script 1: cleanup-sessions.sh, old sessions removed, by "git ai-session clean".
# Written by "git ai-session scripts install", which also brings it up to date; not meant to be changed by hand.

case ${1-} in -h | --help)
	echo "usage: cleanup-sessions.sh [DAYS | --older-than DAYS] [SESSION]... [--dry-run] [--force] [OPTION]...
Those that were not used for DAYS, 30 where nothing is said.
Options and exit codes are those of 'git ai-session clean': -h after it lists them."
	exit
	;;
esac
if ! command -v git-ai-session >/dev/null 2>&1; then
	echo "error: git-ai-session is not on PATH: install gitsess, with pipx for example, or add its folder to PATH" >&2
	exit 127
fi
days=30 before=''
count=$#
while [ "$count" -gt 0 ]; do
	word=$1 count=$((count - 1))
	shift
	# A number is DAYS, unless it belongs to the option before it.
	case $word in
	--older-than | --older-than=*) days='' ;;
	'' | *[!0-9]*) ;;
	*)
		case $before in
		--older-than | --keep) ;;
		*)
			days=$word before=$word
			continue
			;;
		esac
		;;
	esac
	before=$word
	set -- "$@" "$word"
done
[ -z "$days" ] || set -- --older-than "$days" "$@"
exec git-ai-session clean "$@"
