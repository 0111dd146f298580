#!/bin/sh
# Makes .venv-peers: what the benchmarks compare with, apart from what the service needs.
#   sh scripts/peers.sh [api] [augment] [start]      the peers of these benchmarks; of all when none is named
set -eu
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-.venv/bin/python}
[ -x "$PYTHON" ] || PYTHON=python3
[ -d .venv-peers ] || "$PYTHON" -m venv .venv-peers

# As requirements.lock has it: the comparison is then of the programs, not of the libraries below them.
pinned() {
    sed -n "s/^\($1==[^ ;]*\).*/\1/p" requirements.lock | head -n 1
}

install() {
    .venv-peers/bin/python -m pip install -q --disable-pip-version-check "$@"
}

for benchmark in ${*:-api augment start}; do
    case $benchmark in
        api) install "mlflow==3.17.2" ;;
        start) install "ray[default]==2.60.0" ;;  # it starts a script with the python of .venv
        augment | data)
            install "albumentations==2.0.8" "kornia==0.8.2" "$(pinned opencv-python-headless)" \
                "$(pinned torch)" "$(pinned pillow)"
            # Without what it asks for: beside a CPU torch its wheel, which is built for CUDA, would replace it.
            install --no-deps "$(pinned torchvision)"
            ;;
        *) echo "trainyard: no benchmark $benchmark has peers" >&2 && exit 1 ;;
    esac
done
echo "trainyard: .venv-peers is ready"
