#!/usr/bin/env bash
# Creates a virtual environment below target/, unless one with the same requirements exists, and prints the path of
# its interpreter. Usage: venv.sh <name> <requirements>
set -euo pipefail
cd "$(dirname "$0")/../../.."
name=$1 requirements=$2

python=${PYTHON:-python3}
if ! "$python" -c 'import ensurepip, venv' 2> /dev/null; then
    echo "tests/interop needs Python 3 with the modules ensurepip and venv, which $python lacks: install python3 and python3-venv" >&2
    exit 1
fi

venv=${CARGO_TARGET_DIR:-$PWD/target}/interop-$name
installed=$venv/installed.txt
if ! cmp -s "$requirements" "$installed"; then
    rm -rf "$venv"
    "$python" -m venv "$venv" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements" >&2
    cp "$requirements" "$installed"
fi
echo "$venv/bin/python"
