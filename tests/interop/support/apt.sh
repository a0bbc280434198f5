#!/usr/bin/env bash
# Installs packages of Debian or Ubuntu. Usage: apt.sh <package>...
set -euo pipefail

if ! command -v apt-get > /dev/null; then
    echo "tests/interop needs $*, and there is no apt-get: install them" >&2
    exit 1
fi
as_root=''
[ "$(id -u)" = 0 ] || as_root=sudo
$as_root apt-get update -qq
# RUNLEVEL keeps a package from starting a server of the system.
$as_root env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" > /dev/null
