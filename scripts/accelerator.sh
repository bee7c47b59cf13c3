#!/usr/bin/env bash
# One prepared run of at most eight minutes on a machine with a CUDA device: see benchmarks/accelerator.py.
# Results and checkpoints are left in the folder that OUT names (default: runs/accelerator).
#   OUT=results bash scripts/accelerator.sh [--recipe NAME] [--data DATASET] [--minutes M]
#   bash scripts/accelerator.sh --dry         a little of everything, on the processor
# PYTHON names an interpreter (default: that of .venv, else python3). What it lacks is installed beside it, into
# build/accelerator: from wheels in the folder that WHEELS names, where the machine reaches no package index.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out=${OUT:-runs/accelerator}
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
site=build/accelerator
export PYTHONPATH="$PWD:$PWD/$site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1

# Training and its tests, without the ray tracer: packaged sets hold paths.
needed() { "$python" -c 'import pytest, hypothesis, channelfm.pretraining.loop, channelfm.pretraining.data' 2>/dev/null; }

if ! needed; then
    packages=(numpy scipy safetensors pydantic pyyaml rich typer lightning-fabric diffusers tensorboard pytest hypothesis)
    if [ -n "${WHEELS:-}" ]; then
        "$python" -m pip install -q --no-index --no-deps --target "$site" "$WHEELS"/*.whl
    else
        "$python" -c 'import torch' 2>/dev/null || packages+=(torch==2.13.0)
        "$python" -m pip install -q --target "$site" "${packages[@]}"
    fi
    needed || { echo "error: training still lacks a module; see the traceback" >&2; "$python" -c 'import channelfm.pretraining.loop' ; exit 2; }
fi
mkdir -p "$out"
exec "$python" -m benchmarks.accelerator --out "$out" "$@"
