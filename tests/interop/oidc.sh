#!/usr/bin/env bash
# The OAuth 2 refreshers with a provider in another language: oidc-provider from npm, installed below target/.
# Arguments choose tests.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! command -v node > /dev/null || ! command -v npm > /dev/null; then
    echo "tests/interop needs Node.js 18 or newer, and npm: install nodejs and npm" >&2
    exit 1
fi

target=${CARGO_TARGET_DIR:-$PWD/target}
installed=$target/interop-oidc
mkdir -p "$installed"
if ! cmp -s tests/interop/oidc/package-lock.json "$installed/package-lock.json.done"; then
    cp tests/interop/oidc/package.json tests/interop/oidc/package-lock.json "$installed/"
    npm ci --prefix "$installed" --no-audit --no-fund --loglevel=error
    cp tests/interop/oidc/package-lock.json "$installed/package-lock.json.done"
fi
# Node resolves modules relative to the script, so the script is copied beside them.
cp tests/interop/oidc/provider.mjs "$installed/provider.mjs"

OIDC_PROVIDER=$installed/provider.mjs cargo test --locked --features oauth2 --test oauth2_interop -- --ignored --nocapture "$@"
