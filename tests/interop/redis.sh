#!/usr/bin/env bash
# The store in Redis with real servers: redis-server and, where the distribution has it, valkey-server. Each test starts
# servers of its own on loopback, on free ports, and ends them by their process ids. Three servers make a cluster.
set -euo pipefail
cd "$(dirname "$0")/../.."

has_package() { command -v apt-cache > /dev/null && apt-cache show "$1" > /dev/null 2>&1; }

install_package() {
    local as_root=''
    [ "$(id -u)" = 0 ] || as_root=sudo
    # RUNLEVEL keeps the package from starting a server of the system.
    $as_root env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" > /dev/null
}

if ! command -v redis-server > /dev/null || ! command -v redis-cli > /dev/null; then
    if ! command -v apt-get > /dev/null; then
        echo "tests/interop needs redis-server and redis-cli: install Redis" >&2
        exit 1
    fi
    if [ "$(id -u)" = 0 ]; then apt-get update -qq; else sudo apt-get update -qq; fi
    install_package redis-server redis-tools openssl
fi
if ! command -v valkey-server > /dev/null && has_package valkey-server; then
    install_package valkey-server
fi

cargo test --locked --features redis --test redis -- --ignored
if command -v valkey-server > /dev/null; then
    REDIS_SERVER=valkey-server cargo test --locked --features redis --test redis -- --ignored
else
    echo "skipped: Valkey, which this distribution does not have"
fi

# A cluster, TLS and a connection manager need more features of the crate `redis`.
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target} cargo test --locked --manifest-path tests/interop/redis/Cargo.toml
