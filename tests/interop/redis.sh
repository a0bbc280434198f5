#!/usr/bin/env bash
# The store in Redis with real servers: redis-server and, where the distribution has it, valkey-server. Each test starts
# servers of its own on loopback, on free ports, and ends them by their process ids. Three servers make a cluster.
set -euo pipefail
cd "$(dirname "$0")/../.."

has_package() { command -v apt-cache > /dev/null && apt-cache show "$1" > /dev/null 2>&1; }

if ! command -v redis-server > /dev/null || ! command -v redis-cli > /dev/null; then
    tests/interop/support/apt.sh redis-server redis-tools openssl
fi
if ! command -v valkey-server > /dev/null && has_package valkey-server; then
    tests/interop/support/apt.sh valkey-server
fi

cargo test --locked --features redis --test redis -- --ignored
if command -v valkey-server > /dev/null; then
    REDIS_SERVER=valkey-server cargo test --locked --features redis --test redis -- --ignored
else
    echo "skipped: Valkey, which this distribution does not have"
fi

# A cluster, TLS and a connection manager need more features of the crate `redis`.
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target} cargo test --locked --manifest-path tests/interop/redis/Cargo.toml
