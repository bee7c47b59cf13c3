"""What the command line shows of data sets, checkpoints and this machine; libraries load as they are needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from channelfm.errors import DependencyError, InputError
from channelfm.processes import cores

if TYPE_CHECKING:
    from channelfm.datasets.dataset import Dataset


def print_counts(dataset: Dataset) -> None:
    """The table of snapshots per split and scene."""
    from rich.console import Console
    from rich.table import Table

    table = Table("split", "scene", "snapshots", "near field", "line of sight", "without path")
    for split, by_scene in dataset.manifest.counts().items():
        for name, row in by_scene.items():
            table.add_row(split, name, *map(str, row.values()))
    Console().print(table)
    for scene_entry in dataset.manifest.scenes:
        if scene_entry.attribution:
            print(f"{scene_entry.name}: {scene_entry.attribution}")


def print_card(dataset: Dataset) -> None:
    """The card as it lies in the folder; without one (an imported set, say), the counts."""
    from rich.console import Console
    from rich.markdown import Markdown

    from channelfm.datasets.card import CARD

    card = dataset.folder / CARD
    if card.is_file():
        Console().print(Markdown(card.read_text(encoding="utf-8")))
    else:
        print_counts(dataset)


def print_checkpoint(model: Path) -> None:
    """What a checkpoint is; its weights are loaded, hence checked."""
    from channelfm.checkpoints import checkpoint_folder, load_checkpoint, packaged_models

    if not model.exists() and str(model) not in packaged_models():
        raise InputError(f"{model}: no such data set, checkpoint or packaged model")
    network, config = load_checkpoint(checkpoint_folder(model))
    size = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    print(f"{model}: checkpoint '{config.predictor.name}', {config.predictor.model}, {size:.2f} million parameters")
    print(f"method {config.predictor.method}, {config.predictor.sees}")
    for name, value in config.provenance.items():
        print(f"{name}: {value}")


def print_environment() -> None:
    """Versions, the compiler that the ray tracer found, cores, threads and devices."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import channelfm

    print(f"channelfm {channelfm.__version__}, Python {platform.python_version()}, {platform.platform()}")
    for name in ("numpy", "torch", "lightning-fabric", "diffusers", "sionna-rt", "mitsuba", "drjit"):
        try:
            print(f"{name} {version(name)}")
        except PackageNotFoundError:
            print(f"{name} not installed")
    from channelfm.tracing.llvm import find_llvm

    try:
        llvm = find_llvm()
        print(f"LLVM {llvm.version}: {llvm.path}")
    except DependencyError as error:
        print(f"LLVM: {error}")
    import torch

    print(f"CPU: {cores()} cores, {torch.get_num_threads()} torch threads")
    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    print("GPU: " + (", ".join(devices) or "none"))
