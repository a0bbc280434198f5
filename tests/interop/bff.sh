#!/usr/bin/env bash
# The page of examples/bff in Chromium, which is installed by apt-get where it is missing. playwright-core from npm drives
# it, and is installed below target/. Arguments go to `node --test`; SCREENSHOT=FILE takes a picture of the dashboard.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Ubuntu permits the sandbox of google-chrome, which its runners have, and not that of another Chromium.
browser() { command -v google-chrome || command -v chromium || command -v chromium-browser; }
if ! browser > /dev/null; then
    tests/interop/support/apt.sh chromium
fi
installed=$(tests/interop/support/npm.sh tests/interop/bff)

target=${CARGO_TARGET_DIR:-$PWD/target}
CARGO_TARGET_DIR=$target cargo build --quiet --locked --manifest-path examples/bff/Cargo.toml
BFF=$target/debug/bff CHROMIUM=$(browser) node --test "$@" "$installed/page.mjs"
