#!/usr/bin/env bash
# The store in Redis with real servers: redis-server from the package of the distribution. Each test starts servers of its
# own on loopback, on free ports, and ends them by their process ids.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! command -v redis-server > /dev/null; then
    if ! command -v apt-get > /dev/null; then
        echo "tests/interop needs redis-server and redis-cli: install Redis" >&2
        exit 1
    fi
    as_root=$([ "$(id -u)" = 0 ] || echo sudo)
    $as_root apt-get update -qq
    # No server of the system is to start.
    $as_root env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server > /dev/null
fi

cargo test --locked --features redis --test redis -- --ignored
