#!/usr/bin/env bash
# Cookie sessions against an application that isn't Rust: Flask-JWT-Extended, in a virtual environment below target/.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${PYTHON:-python3}
if ! "$python" -c 'import ensurepip, venv' 2> /dev/null; then
    echo "tests/interop needs Python 3 with venv, and $python has none of it: install python3 and python3-venv" >&2
    exit 1
fi

target=${CARGO_TARGET_DIR:-$PWD/target}
venv=$target/interop-flask
wanted=tests/interop/flask/requirements.txt
installed=$venv/installed.txt
if ! cmp -s "$wanted" "$installed"; then
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$wanted"
    cp "$wanted" "$installed"
fi

FLASK_PYTHON=$venv/bin/python cargo test --locked --features cookies --test cookies_interop -- --ignored
