#!/usr/bin/env bash
# The OAuth 2 refreshers with a provider in another language: oidc-provider from npm, installed below target/.
# Arguments choose tests.
set -euo pipefail
cd "$(dirname "$0")/../.."

installed=$(tests/interop/support/npm.sh tests/interop/oidc)
OIDC_PROVIDER=$installed/provider.mjs cargo test --locked --features oauth2 --test oauth2_interop -- --ignored --nocapture "$@"
