#!/usr/bin/env bash
# Installs the npm packages of a folder below target/, unless the same ones are there, and prints the path. The folder's
# scripts are copied beside them, because Node resolves modules relative to the script. Usage: npm.sh <folder>
set -euo pipefail
cd "$(dirname "$0")/../../.."
folder=$1

if ! command -v node > /dev/null || ! command -v npm > /dev/null; then
    echo "tests/interop needs Node.js 18 or newer, and npm: install nodejs and npm" >&2
    exit 1
fi

installed=${CARGO_TARGET_DIR:-$PWD/target}/interop-${folder##*/}
mkdir -p "$installed"
if ! cmp -s "$folder/package-lock.json" "$installed/package-lock.json.done"; then
    cp "$folder/package.json" "$folder/package-lock.json" "$installed/"
    npm ci --prefix "$installed" --no-audit --no-fund --loglevel=error >&2
    cp "$folder/package-lock.json" "$installed/package-lock.json.done"
fi
cp "$folder"/*.mjs "$installed/"
echo "$installed"
