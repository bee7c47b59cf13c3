"""The prepared run for a GPU, tried on the processor."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_dry_run_does_a_little_of_everything(tmp_path):
    done = subprocess.run(
        ["bash", "scripts/accelerator.sh", "--dry"],
        cwd=ROOT,
        env=os.environ | {"OUT": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == json.loads((tmp_path / "accelerator.json").read_text())
    assert "skipped" in found["tests"]  # they were found, and there is no device
    assert found["throughput"][0]["samples_per_s"] > 0
    assert found["trained"]["steps"] == 3
    assert (tmp_path / "trained" / "checkpoint" / "model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_it_says_so(tmp_path):
    done = subprocess.run(
        ["bash", "scripts/accelerator.sh"],
        cwd=ROOT,
        env=os.environ | {"OUT": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "no CUDA device" in done.stderr
