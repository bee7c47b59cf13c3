"""`make setup` on machines with and without a GPU, told by stand-ins for nvidia-smi, Python and pip."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CPU_BUILDS = "https://builds.example/cpu"

# Makes virtual environments that hold itself, and notes what pip was asked to install. "$CPU_BUILDS_ANSWER" is the exit
# status of installing from the index of CPU builds; what lies in "$INSTALLED" is the version that is then there.
PYTHON = """#!/bin/sh
case "$*" in
    *"-m venv"*)
        for folder; do :; done
        mkdir -p "$folder/bin" && cp "$0" "$folder/bin/python" && echo "$PWD/.venv" >"$folder/bin/activate" ;;
    *"--index-url"*) echo "$*" >>"$ASKED"; [ "$CPU_BUILDS_ANSWER" = 0 ] || exit 1; echo 2.13.0+cpu >"$INSTALLED" ;;
    *"pip"*install*torch==*) echo "$*" >>"$ASKED"; echo 2.13.0 >"$INSTALLED" ;;
    *importlib.metadata*) cat "$INSTALLED" ;;
    *channelfm.tracing.llvm*) echo "$0 (LLVM 19)" ;;
esac
"""


@pytest.fixture
def set_up(tmp_path):
    """Runs bootstrap.sh in a checkout of its own; gives what it said, and what pip was asked for torch."""

    def run(gpus: str | None, reachable: bool) -> tuple[str, list[str]]:
        checkout, programs = tmp_path / "checkout", tmp_path / "bin"
        (checkout / "scripts").mkdir(parents=True)
        programs.mkdir()
        for file in ("requirements.lock", "pyproject.toml", "scripts/bootstrap.sh"):
            shutil.copy(ROOT / file, checkout / file)
        _program(programs / "python-stand-in", PYTHON)
        _program(programs / "nvidia-smi", f"#!/bin/sh\necho '{gpus}'\n" if gpus else "#!/bin/sh\nexit 9\n")
        environment = os.environ | {
            "PATH": f"{programs}:/usr/bin:/bin",
            "PYTHON": str(programs / "python-stand-in"),
            "TORCH_CPU_BUILDS": CPU_BUILDS,
            "CPU_BUILDS_ANSWER": "0" if reachable else "1",
            "ASKED": str(tmp_path / "asked"),
            "INSTALLED": str(tmp_path / "installed"),
        }
        command = ["bash", str(checkout / "scripts" / "bootstrap.sh")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout, (tmp_path / "asked").read_text(encoding="utf-8").splitlines()

    return run


def test_without_a_gpu_the_cpu_build_is_installed_and_no_other(set_up) -> None:
    said, (asked,) = set_up(gpus=None, reachable=True)
    assert f"--index-url {CPU_BUILDS}" in asked
    assert "torch==" in asked
    assert "CPU build" in said
    assert "no NVIDIA GPU" in said
    assert "torch 2.13.0+cpu" in said


def test_where_no_cpu_build_is_reachable_the_registry_serves_and_the_cost_is_said(set_up) -> None:
    said, (_, asked) = set_up(gpus=None, reachable=False)
    assert "--index-url" not in asked
    assert CPU_BUILDS in said
    assert "6 GB" in said
    assert "torch 2.13.0\n" in said


def test_with_a_gpu_the_registry_serves_and_the_cpu_builds_are_not_asked(set_up) -> None:
    said, (asked,) = set_up(gpus="GPU 0: NVIDIA H100 (UUID: GPU-0)", reachable=True)
    assert "--index-url" not in asked
    assert "this machine has an NVIDIA GPU" in said


def _program(path: Path, content: str) -> None:
    path.write_text(content, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
