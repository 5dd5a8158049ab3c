#!/bin/sh
# Installs the pinned peers into SCRATCH: node_modules and a Python venv. See README.md.
#
#   install.sh SCRATCH
#
# Running it again does nothing, unless a pin has changed. Exit code 69: a tool is missing.
set -eu

if [ $# -ne 1 ]; then
    echo "usage: install.sh SCRATCH" >&2
    exit 64
fi
here=$(cd "$(dirname "$0")" && pwd)
scratch=$1

missing() {
    echo "The peers cannot be installed: $1." >&2
    exit 69
}

command -v node >/dev/null 2>&1 || missing "node is not in PATH (Debian: apt-get install nodejs npm)"
command -v npm >/dev/null 2>&1 || missing "npm is not in PATH (Debian: apt-get install npm)"
command -v python3 >/dev/null 2>&1 || missing "python3 is not in PATH (Debian: apt-get install python3 python3-venv)"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    missing "$(python3 --version) is too old, DBOS and Procrastinate need Python 3.10"
python3 -c 'import ensurepip, venv' 2>/dev/null ||
    missing "python3 has no venv module (Debian: apt-get install python3-venv)"

# The stamp holds the pins that are installed. It is written last, so a broken install is repeated.
pins=$(cat "$here/package-lock.json" "$here/requirements.txt" | cksum)
stamp=$scratch/installed-pins
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$pins" ]; then
    exit 0
fi
mkdir -p "$scratch"
rm -f "$stamp"

# No peer needs an install script, so none runs. The Node that shall run the peers is a package too, so
# complaints about the age of the one that runs npm are only noise: --loglevel=error hides them.
cp "$here/package.json" "$here/package-lock.json" "$scratch/"
(cd "$scratch" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >&2

rm -rf "$scratch/venv"
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --only-binary :all: --requirement "$here/requirements.txt" >&2

echo "$pins" >"$stamp"
