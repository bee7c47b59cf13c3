"""One prepared run for a GPU that is at hand for a few minutes: tests, throughput, and as much training as fits.

    python -m benchmarks.accelerator [--recipe NAME] [--data DATASET ...] [--minutes M] [--out DIR] [--dry]

1. The tests marked ``cuda``: kernels against their reference, bfloat16, compiled networks.
2. Training throughput of the tiny, small and base network, channels synthesised from compact paths on the device:
   samples per second, memory, and utilisation, the share of one large matrix product's rate in the same precision.
3. The recipe, for as many steps as the rest of the time pays for at the rate that it has: a finished checkpoint.

What is measured lies in DIR/accelerator.json after each part, the checkpoint in DIR/trained/checkpoint. ``--dry`` does
all of that on the processor with very little work, for tests. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from channelfm.files import write_atomically

ROOT = Path(__file__).resolve().parent.parent
# Network -> batch size and steps that are timed; sizes as the recipes train them, 32 x 32 antennas.
SIZES = {"cddim-tiny": (512, 60), "cddim-small": (256, 60), "cddim-base": (128, 40)}
DRY_SIZES = {"cddim-tiny": (2, 4)}
_TESTS_S = 120.0  # at most
_TRAINED_SHARE = 0.8  # of the time that is left; the rest is for starting, validating and writing
_PROBE_STEPS = 20


@dataclass
class Run:
    """What is measured so far, and how much time is left."""

    out: Path
    data: list[str]
    seconds: float
    dry: bool
    begin: float = field(default_factory=time.monotonic)
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def left_s(self) -> float:
        """Seconds that are left."""
        return self.seconds - (time.monotonic() - self.begin)

    def keep(self, **values: Any) -> None:
        """Note values, at once on disk."""
        self.found |= values
        write_atomically(self.out / "accelerator.json", json.dumps(self.found, indent=1).encode())

    def pretrain(self, recipe: str, name: str, **settings: Any) -> dict[str, Any]:
        """Train a recipe by the command line into a folder of that name; the last rows of its history, as one."""
        device = {"accelerator": "cpu"} if self.dry else {"accelerator": "gpu", "precision": "bf16-mixed"}
        settings = {"workers": 0, "validate_every": 0, "validation_links": 8} | device | settings
        command = [sys.executable, "-m", "channelfm.cli", "pretrain", recipe, "--out", str(self.out / name)]
        for folder in self.data:
            command += ["--data", folder]
        for key, value in settings.items():
            command += ["-s", f"{key}={json.dumps(value)}"]
        subprocess.run(command, check=True, cwd=ROOT, timeout=max(self.left_s, 60))
        rows = json.loads((self.out / name / "history.json").read_text())
        return {key: value for row in rows for key, value in row.items()}


def main() -> None:
    """Read the arguments and do one part after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="pretrain-cddim-small", help="what is trained (default: %(default)s)")
    parser.add_argument("--data", action="append", metavar="DATASET", help="default: laetwin-dev and laetwin-hard")
    parser.add_argument("--minutes", type=float, default=8.0, help="in all (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/accelerator"), help="default: %(default)s")
    parser.add_argument("--dry", action="store_true", help="a little of everything, on the processor")
    options = parser.parse_args()
    if not options.dry and not torch.cuda.is_available():
        parser.error("no CUDA device here; --dry tries the run on the processor")
    data = options.data or ["laetwin-dev", "laetwin-hard"]
    run = Run(options.out.resolve(), data, 60 * options.minutes, options.dry)
    run.keep(device=_device(options.dry), torch=torch.__version__, dry=options.dry)
    run.keep(tests=_tested(run))
    run.keep(throughput=[_throughput(run, network, *work) for network, work in _sizes(run.dry).items()])
    run.keep(trained=_trained(run, options.recipe))
    for row in run.found["throughput"]:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    print(json.dumps(run.found))


def _device(dry: bool) -> str:
    return "cpu" if dry else torch.cuda.get_device_name()


def _sizes(dry: bool) -> dict[str, tuple[int, int]]:
    return DRY_SIZES if dry else SIZES


def _tested(run: Run) -> str:
    """The closing line of the tests that are marked ``cuda``; the run goes on where some fail, and says so."""
    command = [sys.executable, "-m", "pytest", "-v", "-m", "cuda", "-p", "no:cacheprovider"]
    command += ["tests/ops", "tests/learned"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_TESTS_S)
    except subprocess.TimeoutExpired:
        return f"not done within {_TESTS_S:.0f} s"
    (run.out / "tests.txt").write_text(done.stdout + done.stderr)
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else f"pytest ended with {done.returncode}"


def _throughput(run: Run, network: str, batch: int, steps: int) -> dict[str, Any]:
    """Training rates of a network at 32 x 32 antennas after a warm-up of as many steps."""
    compiled = not run.dry
    row = run.pretrain(
        "pretrain-cddim-small",
        f"speed-{network}",
        **{
            "predictor.name": network,
            "predictor.model": network,
            "predictor.frame.kind": "canonical",
            "source.arrays": [[8, 8]] if run.dry else [[32, 32]],
            "source.array_weights": [1.0],
            "batch_size": batch,
            "steps": 2 * steps,
            "log_every": steps,
            "save_every": 2 * steps,
            "compile": compiled,
        },
    )
    rates = {name: row[name] for name in ("samples_per_s", "tokens_per_s", "utilisation") if name in row}
    return {"network": network, "batch": batch, "compiled": compiled} | rates


def _trained(run: Run, recipe: str) -> dict[str, Any]:
    """Train the recipe for the rest of the time: its own rate tells how many steps that is."""
    small = {"batch_size": 2, "source.arrays": [[8, 8]], "source.array_weights": [1.0]} if run.dry else {}
    probe = 2 if run.dry else _PROBE_STEPS
    begin = time.monotonic()
    run.pretrain(recipe, "probe", steps=probe, log_every=probe, save_every=probe, **small)
    started = time.monotonic() - begin
    begin = time.monotonic()
    run.pretrain(recipe, "probe-again", steps=2 * probe, log_every=probe, save_every=2 * probe, **small)
    step_s = max((time.monotonic() - begin - started) / probe, 1e-3)
    steps = 3 if run.dry else int(_TRAINED_SHARE * (run.left_s - started) / step_s)
    if steps < 1:
        return {"recipe": recipe, "steps": 0, "why": "no time was left"}
    last = run.pretrain(recipe, "trained", steps=steps, log_every=max(1, steps // 20), save_every=steps, **small)
    return {
        "recipe": recipe,
        "steps": steps,
        "step_ms": round(1e3 * step_s, 2),
        "checkpoint": "trained/checkpoint",
        "validation_nmse_db": last.get("validation_nmse_db", {}),
    }


if __name__ == "__main__":
    main()
