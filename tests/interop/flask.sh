#!/usr/bin/env bash
# Cookie sessions with a server in another language: Flask-JWT-Extended, in a virtual environment below target/.
set -euo pipefail
cd "$(dirname "$0")/../.."

FLASK_PYTHON=$(tests/interop/support/venv.sh flask tests/interop/flask/requirements.txt)
export FLASK_PYTHON
cargo test --locked --features cookies --test cookies_interop -- --ignored
