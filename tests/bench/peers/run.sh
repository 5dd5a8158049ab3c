#!/bin/sh
# Measures one peer against a PostgreSQL server and prints one JSON object. See README.md.
#
#   run.sh SCRATCH PEER URL TASKS
#
# SCRATCH is what install.sh filled, URL leads to an empty database. Exit code 1: the object has an `error`.
set -eu

usage() {
    echo "usage: run.sh SCRATCH graphile-worker|pg-boss|procrastinate|dbos URL TASKS" >&2
    exit 64
}
[ $# -eq 4 ] || usage
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(cd "$1" && pwd)
peer=$2
url=$3
tasks=$4
case $tasks in
'' | 0* | *[!0-9]*) usage ;;
esac

# Every measurement has its own bound and says so; this one is for a peer that no longer answers at all.
seconds_max=600

case $peer in
graphile-worker | pg-boss)
    # The installed Node where there is one for this machine, else that of the system.
    runtime=$scratch/node_modules/.bin/node
    [ -x "$runtime" ] || runtime=node
    script=peer-$peer.mjs
    ;;
procrastinate | dbos)
    runtime=$scratch/venv/bin/python
    script=peer-$peer.py
    ;;
*) usage ;;
esac

# The answer comes on descriptor 3. What a peer prints itself, on either stream, is for the eye. --foreground keeps
# all in the process group of the caller, who can end it as one.
code=0
answer=$(
    PEERS_SCRATCH=$scratch PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
        timeout --foreground --kill-after=5 "$seconds_max" \
        "$runtime" "$here/$script" "$url" "$tasks" 3>&1 1>&2 </dev/null
) || code=$?

if [ -n "$answer" ]; then
    printf '%s\n' "$answer"
elif [ "$code" -eq 124 ] || [ "$code" -eq 137 ]; then
    printf '{"peer": "%s", "error": "no answer within %s s"}\n' "$peer" "$seconds_max"
else
    printf '{"peer": "%s", "error": "ended with code %s and no answer, see standard error"}\n' "$peer" "$code"
fi
[ "$code" -eq 0 ] || exit 1
