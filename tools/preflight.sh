#!/bin/sh
# Say in one line what this machine lacks and the one command that installs it; as root with apt-get, run it.
set -eu
PYTHON=${PYTHON:-python3}
lacks= packages=
need() { lacks="$lacks${lacks:+, }$1"; packages="$packages $2"; }

if ! command -v "$PYTHON" >/dev/null 2>&1; then
    need "python3 (3.11 or newer)" "python3 python3-venv python3-dev"
else
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "pyrsia: $PYTHON is $("$PYTHON" -V 2>&1), 3.11 or newer is needed; name another with: make PYTHON=/path/to/python3.11" >&2
        exit 1
    }
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || need "python3-venv" "python3-venv"
    "$PYTHON" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
        need "python3-dev (Python.h)" "python3-dev"
fi
command -v cc >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1 || need "a C compiler" "build-essential"

if [ -n "$lacks" ]; then
    command="apt-get install -y$packages"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "pyrsia: this machine lacks $lacks; running: apt-get update && $command"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive $command >/dev/null
    else
        echo "pyrsia: this machine lacks $lacks; install with: sudo $command" >&2
        exit 1
    fi
fi

# Advised, not needed: without it builds use unshare where they may make namespaces, and else run confined.
if ! command -v bwrap >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 && [ -z "${PYRSIA_NO_BWRAP:-}" ]; then
        echo "pyrsia: installing bubblewrap, which makes the namespaces that builds run in: apt-get install -y bubblewrap"
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y bubblewrap >/dev/null; } ||
            echo "pyrsia: bubblewrap could not be installed; builds will use unshare where they may, and else run confined"
    else
        echo "pyrsia: bubblewrap is advised (builds use unshare without it, where they may make namespaces); install with: sudo apt-get install -y bubblewrap"
    fi
fi
