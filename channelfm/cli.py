"""The command line: thin verbs over the package.

What a user can mend ends with one line on stderr and exit code 2; ``channelfm --debug VERB`` shows the traceback.
Modules load inside the verbs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from channelfm import cli_maps
from channelfm.cli_maps import MapFolder, download_place, parse_box
from channelfm.console import print_card, print_checkpoint, print_counts, print_environment
from channelfm.errors import ChannelfmError, InputError
from channelfm.processes import share_cores

INTERRUPTED, PIPE_CLOSED = 130, 141  # the shell's 128 + SIGINT, 128 + SIGPIPE


class _Verbs(TyperGroup):
    """The group of verbs; turns what users can mend into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # what was shown goes to a program that has read enough, such as head
            raise
        except (ChannelfmError, OSError, MemoryError) as error:
            if ctx.params.get("debug"):
                traceback.print_exc()
            else:
                print(f"error: {_one_line(error)}", file=sys.stderr)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            if ctx.params.get("debug"):
                traceback.print_exc()
            print("interrupted; run the same command again to resume", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from error


def _one_line(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "out of memory; use a smaller array, fewer snapshots or a smaller batch (-s KEY=VALUE)"
    if isinstance(error, OSError) and error.errno is not None:
        place = f"{error.filename}: " if error.filename else ""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return f"{place}{error.strerror}" + ("; free some space and run again to resume" if full else "")
    return " ".join(str(error).split())


app = typer.Typer(
    cls=_Verbs,
    name="channelfm",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(cli_maps.app)

Setting = Annotated[
    list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE", help="Override a recipe's value: a.b=value.")
]
RecipeFile = Annotated[str | None, typer.Argument(metavar="RECIPE", help="A YAML recipe, or a shipped one's name.")]
Config = Annotated[str | None, typer.Option("--config", metavar="FILE", help="The recipe, as an option.")]


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks instead of one-line errors.")] = False,
) -> None:
    """From a street map to a wireless channel data set, a pretrained model, and one honest table."""


@app.command(epilog="Example: channelfm demo --osm monaco.osm.pbf --out runs/monaco")
def demo(
    osm: Annotated[
        str | None, typer.Option(metavar="FILE|CITY", help="A map, or a kept one's name, for Munich.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where everything goes.")] = Path("runs/demo"),
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of flights, training and masks.")] = None,
    config: Annotated[str, typer.Option("--config", metavar="FILE", help="Another demo recipe.")] = "demo",
    maps: MapFolder = None,
    settings: Setting = None,
) -> None:
    """Map to report in six steps: scene, flight, channels, training, evaluation, report."""
    from channelfm.benchmarking.console import print_results
    from channelfm.demo import run_demo
    from channelfm.maps.source import located

    results = run_demo(None if osm is None else located(osm), out, seed, settings or (), config)
    print_results(results)


@app.command(epilog="Example: channelfm scene monaco.osm.pbf --out scenes/monaco")
def scene(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the scene goes.")],
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE|CITY", help="A map (.osm, .gz, .bz2, .pbf), or a kept one's name.")
    ] = None,
    place: Annotated[
        str | None, typer.Option(metavar="NAME|W,S,E,N", help="Download this place or box instead (OpenStreetMap).")
    ] = None,
    bbox: Annotated[str | None, typer.Option(metavar="W,S,E,N", help="Cut the map to this box, in degrees.")] = None,
    terrain: Annotated[Path | None, typer.Option(metavar="FILE", help="Ground heights: GeoTIFF or ASC.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of heights that the map does not tell.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print scene.json instead of a summary.")] = False,
    maps: MapFolder = None,
) -> None:
    """Turn a map into meshes, a Sionna scene file, scene.json and a picture."""
    from channelfm import scenes
    from channelfm.maps.source import located
    from channelfm.scenes.export import write_scene
    from channelfm.scenes.pictures import draw_scene

    if (file is None) == (place is None):
        raise InputError("give one map: a file, or --place to download")
    source = download_place(str(place), out) if file is None else located(file)
    built = scenes.from_osm(source, None if bbox is None else parse_box(bbox), seed, terrain)
    write_scene(built, out)
    draw_scene(built, out / "scene.png")
    if as_json:
        print((out / "scene.json").read_text(encoding="utf-8"))
        return
    sources: dict[str, int] = {}
    for building in built.buildings:
        sources[building.height_source] = sources.get(building.height_source, 0) + 1
    print(f"{out}: {len(built.buildings)} buildings, {len(built.roads)} roads, {len(built.faces)} triangles")
    print("heights from: " + ", ".join(f"{name} {count}" for name, count in sorted(sources.items())))
    if built.skipped:
        print("left out: " + ", ".join(f"{reason} {count}" for reason, count in sorted(built.skipped.items())))


@app.command(epilog="Example: channelfm generate laetwin-mini --out data/mini -s array.rows=16")
def generate(
    out: Annotated[Path, typer.Option(metavar="DIR", help="The data set's folder; an unfinished one is finished.")],
    recipe: RecipeFile = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes here; one per core by default.")] = None,
    dask: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Work on this Dask cluster instead.")] = None,
    dask_local: Annotated[int | None, typer.Option(min=1, metavar="N", help="Start N Dask workers here.")] = None,
    shard: Annotated[str | None, typer.Option(metavar="I/N", help="Make part I of N only (plain clusters).")] = None,
    maps: MapFolder = None,
    config: Config = None,
    settings: Setting = None,
) -> None:
    """Make a channel data set from a recipe; interrupted runs resume, and any number of workers make the same bytes."""
    from channelfm.datasets.generate import Workforce, generate_part
    from channelfm.datasets.generate import generate as make

    chosen, force = _the_recipe(recipe, config), Workforce(workers, dask, dask_local)
    common: dict[str, Any] = {"announce": lambda stage, text: print(f"{stage}: {text}"), "workforce": force}
    if shard is None:
        print_counts(make(chosen, out, settings or (), **common))
        return
    part, parts = _parse_shard(shard)
    dataset = generate_part(chosen, out, part, parts, settings or (), **common)
    if dataset is None:
        print(f"part {part} of {parts} is done; the data set is complete when the last part is")
    else:
        print_counts(dataset)


@app.command("import", epilog="Example: channelfm import arrays h.npz --out data/h -s axes=snapshot,antenna,frequency")
def import_(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="arrays (.npz, .npy, .mat), deepmimo or sionna.")],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The file or folder.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The data set's folder, new or empty.")],
    settings: Setting = None,
) -> None:
    """Take other people's channels into a data set; -s gives axes, array and the phase convention."""
    from channelfm.datasets.exchange import import_dataset

    print_counts(import_dataset(kind, path, out, settings or ()))


@app.command(epilog="Example: channelfm export data/mini --to npz --out export/mini")
def export(
    path: Annotated[Path, typer.Argument(metavar="DATASET", help="A data set's folder, or a packaged one.")],
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="npz or mat.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the files go.")],
) -> None:
    """Write a data set's channels as plain arrays, one file for each split of each scene."""
    from channelfm.datasets.exchange import export_dataset

    for file in export_dataset(path, to, out):
        print(file)


@app.command(epilog="Example: channelfm pretrain pretrain-cddim-demo --data data/mini --out runs/mini -s steps=500")
def pretrain(
    data: Annotated[
        list[Path], typer.Option(metavar="DATASET", help="A data set's folder, or a packaged one; repeat for several.")
    ],
    recipe: RecipeFile = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where checkpoint and logs go.")] = Path("runs/pretrain"),
    max_seconds: Annotated[float | None, typer.Option(min=0, help="Stop after that time; run again to go on.")] = None,
    config: Config = None,
    settings: Setting = None,
) -> None:
    """Train a model on the split "train" of data sets; interrupted runs resume."""
    from channelfm.config import load_recipe
    from channelfm.datasets.dataset import open_dataset
    from channelfm.pretraining.data import training_data
    from channelfm.pretraining.loop import StoppedError, pretrain_from
    from channelfm.pretraining.recipe import PretrainRecipe

    choice = load_recipe(PretrainRecipe, _the_recipe(recipe, config), settings or ())
    datasets = [open_dataset(folder) for folder in data]
    source, validation = training_data(choice, datasets)
    try:
        checkpoint = pretrain_from(choice, source, validation, out, max_seconds)
    except StoppedError as stop:
        print(f"{out}: {stop}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from stop
    print_checkpoint(checkpoint)


@app.command(epilog="Example: channelfm benchmark bench-extrapolation --quick --out runs/bench")
def benchmark(
    recipe: RecipeFile = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where results.json and report.html go.")] = (
        Path("runs/benchmark")
    ),
    quick: Annotated[bool, typer.Option("--quick", help="Measure little, as the recipe says under 'quick'.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the rows here too.")] = None,
    maps: MapFolder = None,
    config: Config = None,
    settings: Setting = None,
) -> None:
    """Measure estimators, networks and classical ones alike: table, figures, report; interrupted runs resume."""
    from channelfm.benchmarking.console import print_results
    from channelfm.benchmarking.suite import benchmark as measure
    from channelfm.benchmarking.suite import write_results

    results = measure(_the_recipe(recipe, config), out, quick, settings or ())
    print_results(results)
    for name, data in results["data"].items():
        print(f"data of set '{name}': {data}")
    for note in results["notes"]:
        print(f"note: {note}")
    if json_file is not None:
        write_results(json_file, results)
    print(f"{out / 'report.html'} and {out / 'results.json'}")


@app.command(epilog="Example: channelfm models")
def models() -> None:
    """Packaged checkpoints, the networks that can be trained, and the classical predictors."""
    from channelfm.baselines import BASELINES
    from channelfm.checkpoints import packaged_models
    from channelfm.models.zoo import BUILDERS, build

    print("packaged checkpoints: " + (", ".join(packaged_models()) or "none in this version"))
    print("networks to train:")
    for name in BUILDERS:
        size = sum(parameter.numel() for parameter in build(name).parameters()) / 1e6
        print(f"  {name}: {size:.2f} million parameters")
    print("classical estimators: " + ", ".join(BASELINES))


@app.command(epilog="Example: channelfm info data/mini")
def info(
    path: Annotated[Path | None, typer.Argument(metavar="DATASET|RUN|MODEL", help="What to look at.")] = None,
) -> None:
    """Versions, LLVM and devices; or what a data set (hashes verified), a trained model's folder or a model holds."""
    from channelfm.datasets.manifest import MANIFEST, RECIPE
    from channelfm.datasets.packaged import dataset_folder

    if path is None:
        print_environment()
        return
    path = dataset_folder(path)
    if (path / MANIFEST).is_file() or (path / RECIPE).is_file():
        from channelfm.datasets.dataset import open_dataset

        dataset = open_dataset(path, verify=True)
        print(f"{path}: data set '{dataset.name}', {len(dataset)} snapshots, every hash verified")
        print_card(dataset)
    else:
        print_checkpoint(path)


def _the_recipe(recipe: str | None, config: str | None) -> str:
    """The recipe from the argument or the option; exactly one of them."""
    if (recipe is None) == (config is None):
        raise InputError("give one recipe, as argument or with --config FILE")
    return str(recipe if config is None else config)


def _parse_shard(text: str) -> tuple[int, int]:
    try:
        part, parts = (int(number) for number in text.split("/"))
    except ValueError as error:
        raise InputError(f"--shard {text}: write it as I/N, e.g. 1/4") from error
    return part, parts


def main() -> None:
    """Entry point of the ``channelfm`` command; SIGTERM ends it as Ctrl-C does, its worker processes with it, and a
    closed pipe behind it as it ends other programs."""
    share_cores()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains as it ends
        sys.exit(PIPE_CLOSED)


if __name__ == "__main__":
    main()
