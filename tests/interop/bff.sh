#!/usr/bin/env bash
# The page of examples/bff in Chromium, which is installed by apt-get where it is missing. playwright-core from npm drives
# it, and is installed below target/. Arguments go to `node --test`; SCREENSHOT=FILE takes a picture of the dashboard.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! command -v node > /dev/null || ! command -v npm > /dev/null; then
    echo "tests/interop needs Node.js 18 or newer, and npm: install nodejs and npm" >&2
    exit 1
fi

# Ubuntu permits the sandbox of google-chrome, which its runners have, and not that of another Chromium.
browser() { command -v google-chrome || command -v chromium || command -v chromium-browser; }
if ! browser > /dev/null; then
    if ! command -v apt-get > /dev/null; then
        echo "tests/interop needs chromium: install Chromium" >&2
        exit 1
    fi
    as_root=''
    [ "$(id -u)" = 0 ] || as_root=sudo
    $as_root apt-get update -qq
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium > /dev/null
fi

target=${CARGO_TARGET_DIR:-$PWD/target}
installed=$target/interop-bff
mkdir -p "$installed"
if ! cmp -s tests/interop/bff/package-lock.json "$installed/package-lock.json.done"; then
    cp tests/interop/bff/package.json tests/interop/bff/package-lock.json "$installed/"
    npm ci --prefix "$installed" --no-audit --no-fund --loglevel=error
    cp tests/interop/bff/package-lock.json "$installed/package-lock.json.done"
fi
# Node resolves modules relative to the script, so the script is copied beside them.
cp tests/interop/bff/page.mjs "$installed/page.mjs"

CARGO_TARGET_DIR=$target cargo build --quiet --locked --manifest-path examples/bff/Cargo.toml
BFF=$target/debug/bff CHROMIUM=$(browser) node --test "$@" "$installed/page.mjs"
