#!/usr/bin/env bash
# The gRPC layers with a server in another language: grpcio, in a virtual environment below target/.
set -euo pipefail
cd "$(dirname "$0")/../.."

GRPCIO_PYTHON=$(tests/interop/support/venv.sh grpcio tests/interop/requirements.txt)
export GRPCIO_PYTHON
cargo test --locked --features grpc --test interop -- --ignored
