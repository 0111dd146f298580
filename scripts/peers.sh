#!/bin/sh
# Makes .venv-peers: what the benchmarks compare with, apart from what the service needs.
set -eu
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-.venv/bin/python}
[ -x "$PYTHON" ] || PYTHON=python3
[ -d .venv-peers ] || "$PYTHON" -m venv .venv-peers
.venv-peers/bin/python -m pip install -q --disable-pip-version-check "mlflow==3.17.2"
echo "trainyard: .venv-peers is ready"
