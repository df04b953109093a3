#!/bin/sh
# A virtual environment with Pyrsia, its dashboard, its test tools and the compiled extension.
set -eu
PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}
[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
echo "pyrsia: installing dependencies and building the extension (about a minute)"
"$VENV/bin/python" -m pip install -q --disable-pip-version-check --upgrade "pip>=25.1"
# setuptools warns of every editable install; nothing here follows from it.
PYTHONWARNINGS=ignore "$VENV/bin/python" -m pip install -q --disable-pip-version-check --group dev -e ".[tui]"
: > "$VENV/.ready"
