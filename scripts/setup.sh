#!/bin/sh
# Makes or renews .venv; called before every make target, 20 ms when there is nothing to do.
#   sh scripts/setup.sh [EXTRA ...]      PYTHON=... names the interpreter
# An environment without its stamp was interrupted and is made afresh. Extras once added stay until `make clean`.
set -eu
cd "$(dirname "$0")/.."

VENV=.venv
STAMP=$VENV/trainyard.stamp
KEPT=$VENV/trainyard.extras
NEEDED_GB=6

fail() {
    echo "trainyard: $*" >&2
    exit 1
}

wanted_extras() {
    { printf '%s\n' worker dev "$@"; cat $KEPT 2>/dev/null; } | tr ', ' '\n\n' | sed '/^$/d' | sort -u | paste -s -d , -
}

# The checkout's path is part of it: an environment does not survive being moved.
key() {
    { pwd; echo "$1"; cat pyproject.toml requirements.lock; } | cksum
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

can_make_venv() {
    "$1" -c 'import venv, ensurepip' 2>/dev/null
}

find_python() {
    without_venv=
    for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
        is_new_enough "$candidate" || continue
        can_make_venv "$candidate" && echo "$candidate" && return
        without_venv=$candidate
    done
    [ -z "$without_venv" ] || fail "$without_venv has no venv or pip module: install it (Debian: apt install python3-venv)"
    fail "Python 3.11 or newer is needed and ${PYTHON:-python3} is not: install one, or name it with PYTHON=..."
}

# Blocks of 1024 bytes, so that the answer is the same on Linux and macOS.
check_disk() {
    free_kb=$(df -Pk . | awk 'NR == 2 { print $4 }')
    [ "$free_kb" -ge $((NEEDED_GB * 1024 * 1024)) ] ||
        fail "a new environment needs $NEEDED_GB GB, and $(pwd) has $((free_kb / 1024)) MB free"
}

is_current() {
    [ -f $STAMP ] && [ "$(cat $STAMP)" = "$(key "$1")" ] && is_same_python
}

# Only an interpreter that was asked for by name replaces the one in use.
is_same_python() {
    [ -z "${PYTHON:-}" ] || [ "$($VENV/bin/python --version 2>/dev/null)" = "$("$PYTHON" --version 2>/dev/null)" ]
}

install() {
    if [ ! -f $STAMP ] || ! is_same_python || ! $VENV/bin/python -m pip --version >/dev/null 2>&1; then
        python=$(find_python) || exit 1
        check_disk
        rm -rf $VENV
    fi
    rm -f $STAMP
    echo "trainyard: setting up .venv with $1 (about 2 minutes) ..."
    [ -d $VENV ] || "$python" -m venv $VENV || fail "$python could not make a virtual environment"
    $VENV/bin/python -m pip install -qq --disable-pip-version-check -c requirements.lock -e ".[$1]" ||
        fail "pip could not install the packages, see its message above; the same command tries again"
    echo "$1" >$KEPT
    key "$1" >$STAMP
}

# Two makes in one checkout take turns (where the system has flock).
exec 9>.venv.lock
if command -v flock >/dev/null; then flock 9; fi

extras=$(wanted_extras "$@")
is_current "$extras" || install "$extras"
