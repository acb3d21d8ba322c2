"""The command line: verbs, help, and every error as one sentence.  Knows no torch.

A verb declares its options here and calls a function elsewhere; what it needs is imported when it
is called, so ``--help`` answers at once.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.commands.selection import Selection

OK, SOME_FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
PATIENCE = 1.0
"""Seconds from an interruption's message to the end, at most."""

app = typer.Typer(
    name="python -m bench",
    help="Which certified defence for an image-quality model? Accuracy, guarantee, cost, truth.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ProfileOption = Annotated[
    str, typer.Option("--profile", "-p", help="Shipped profile or path of a TOML file.")
]
ModelsOption = Annotated[
    str | None, typer.Option("--models", "-m", help="Models, separated by commas.")
]
DefensesOption = Annotated[
    str | None, typer.Option("--defenses", "-d", help="Defences, separated by commas.")
]
SigmasOption = Annotated[
    str | None, typer.Option("--sigmas", help="Noise levels, separated by commas.")
]
LimitOption = Annotated[int | None, typer.Option("--limit", help="Test images per data set.")]
SamplesOption = Annotated[int | None, typer.Option("--samples", help="Draws per certificate.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1.")]
PluginOption = Annotated[
    list[Path] | None, typer.Option("--plugin", help="Python file with own parts; repeatable.")
]
ResultsOption = Annotated[Path, typer.Option("--results", help="Folder of all runs.")]
ReportsOption = Annotated[Path, typer.Option("--reports", help="Folder of all reports.")]
StagesOption = Annotated[
    str | None, typer.Option("--stages", help="Stages to run, separated by commas.")
]


@app.command()
def run(
    everything: Annotated[
        bool, typer.Option("--all", help="Yes, all models x defences x noise levels.")
    ] = False,
    profile: ProfileOption = "embedded",
    models: ModelsOption = None,
    defenses: DefensesOption = None,
    sigmas: SigmasOption = None,
    limit: LimitOption = None,
    samples: SamplesOption = None,
    device: DeviceOption = "auto",
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Worker processes; default: cores.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Continue, or forget earlier results.")
    ] = True,
    plugin: PluginOption = None,
    results: ResultsOption = Path("results"),
    reports: ReportsOption = Path("reports"),
    stages: StagesOption = None,
    backend: Annotated[
        str, typer.Option("--backend", help="loky (this machine), dask or ray.")
    ] = "loky",
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="Address of a dask scheduler or ray head.")
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="One worker in this process; exceptions come through.")
    ] = False,
) -> None:
    """Run the benchmark, or what is left of it, and write the report."""
    from bench.backends import Cluster
    from bench.commands.run import RunRequest, run_benchmark

    selection = _selection(profile, models, defenses, sigmas, limit, samples, device, plugin)
    request = RunRequest(
        selection=selection,
        everything=everything,
        jobs=jobs,
        resume=resume,
        results=results,
        reports=reports,
        stages=_split(stages),
        debug=debug,
        cluster=Cluster.named(backend, scheduler),
    )
    raise typer.Exit(run_benchmark(request))


@app.command()
def plan(
    profile: ProfileOption = "embedded",
    models: ModelsOption = None,
    defenses: DefensesOption = None,
    sigmas: SigmasOption = None,
    limit: LimitOption = None,
    samples: SamplesOption = None,
    device: DeviceOption = "auto",
    plugin: PluginOption = None,
    results: ResultsOption = Path("results"),
) -> None:
    """Show cells, forward passes and estimated time before anything starts."""
    from bench.commands.look import show_plan

    selection = _selection(profile, models, defenses, sigmas, limit, samples, device, plugin)
    show_plan(selection, results)


@app.command()
def prefetch(
    models: ModelsOption = None,
    datasets: Annotated[
        str | None, typer.Option("--datasets", help="Data sets, separated by commas.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Only say what is there; no network.")
    ] = False,
) -> None:
    """Get the published models' weights and the paper's data sets, with checksums."""
    from bench.commands.fetch import prefetch_files

    raise typer.Exit(prefetch_files(_split(models), _split(datasets), offline=offline))


@app.command("list")
def list_parts(plugin: PluginOption = None) -> None:
    """Show defences, models, data sets, attacks and profiles, and what could not be loaded."""
    from bench.commands.look import show_parts

    show_parts(_plugins(plugin))


@app.command()
def report(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of a run; default: the latest.")
    ] = None,
    results: ResultsOption = Path("results"),
    reports: ReportsOption = Path("reports"),
) -> None:
    """Write the report of a run again, from its records."""
    from bench.commands.look import write_report

    write_report(folder, results, reports)


@app.command()
def verify(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of a run; default: the latest.")
    ] = None,
    results: ResultsOption = Path("results"),
) -> None:
    """Recompute every bound and aggregate of a run from its records, without a model."""
    from bench.commands.trust import verify_run

    raise typer.Exit(verify_run(folder, results))


@app.command("check-defense")
def check_defense(
    name: Annotated[str, typer.Argument(help="Defence, ours or a plugin's.")],
    plugin: PluginOption = None,
    seed: Annotated[int, typer.Option("--seed", help="Fixes every random number.")] = 0,
) -> None:
    """Run the conformance kit on a defence: does it keep what it promises?"""
    from bench.commands.trust import check_defense as run_kit

    raise typer.Exit(run_kit(name, _plugins(plugin), seed=seed))


@app.command("new-defense")
def new_defense(
    name: Annotated[str, typer.Argument(help="Name, e.g. mine or my-defense.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the two files.")] = Path(),
) -> None:
    """Write a defence of your own, and its test, from a template that already conforms."""
    from bench.commands.new import write_defense

    write_defense(name, out)


@app.command()
def certify(
    image: Annotated[Path, typer.Argument(help="Image file.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Model.")],
    defense: Annotated[str, typer.Option("--defense", "-d", help="Defence.")],
    sigma: Annotated[float, typer.Option("--sigma", "-s", help="Noise level.")],
    reference: Annotated[
        Path | None, typer.Option("--reference", "-r", help="Pristine original, for FR models.")
    ] = None,
    radius: Annotated[
        float | None, typer.Option("--radius", help="l2 radius; default: the defence's own.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    profile: ProfileOption = "embedded",
    samples: SamplesOption = None,
    device: DeviceOption = "auto",
    plugin: PluginOption = None,
) -> None:
    """Certify one image: score, bounds, radius, and what exactly is claimed."""
    from bench.commands.trust import Question, certify_one

    selection = _selection(profile, None, None, None, None, samples, device, plugin)
    question = Question(image, reference, model, defense, sigma, radius)
    raise typer.Exit(certify_one(question, selection, as_json=as_json))


@app.command()
def time(
    models: ModelsOption = None,
    defenses: DefensesOption = None,
    edition: Annotated[
        str, typer.Option("--edition", help="published or compact networks, random weights.")
    ] = "compact",
    size: Annotated[str, typer.Option("--size", help="Height x width in pixels.")] = "384x512",
    samples: Annotated[int, typer.Option("--samples", min=1, help="Draws per score.")] = 2000,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Kept runs of each kind.")] = 3,
    device: DeviceOption = "auto",
    precision: Annotated[
        str, typer.Option("--precision", help="float32, tf32 or bf16; Jacobians stay float32.")
    ] = "float32",
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="Measure two passes of draws and scale up.")
    ] = False,
    scaling: Annotated[
        bool, typer.Option("--scaling", help="Also cost against draws, pixels and batch.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", help="Folder of the records.")] = Path(
        "results/timing"
    ),
    plugin: PluginOption = None,
) -> None:
    """Time every model x defence on random weights; resumes what is in its folder."""
    from bench.commands.time import TimeRequest, run_timing

    request = TimeRequest(
        models=_split(models),
        defenses=_split(defenses),
        edition=edition,
        size=size,
        samples=samples,
        repeats=repeats,
        device=device,
        precision=precision,
        extrapolate=extrapolate,
        scaling=scaling,
        out=out,
        plugins=_plugins(plugin),
    )
    raise typer.Exit(run_timing(request))


def _selection(
    profile: str,
    models: str | None,
    defenses: str | None,
    sigmas: str | None,
    limit: int | None,
    samples: int | None,
    device: str,
    plugin: Sequence[Path] | None,
) -> Selection:
    """The options that ``run`` and ``plan`` share."""
    from bench.commands.selection import Selection
    from bench.profile_loading import Overrides

    changes = Overrides(_split(models), _split(defenses), _numbers(sigmas), limit, samples)
    return Selection(profile, changes, device, _plugins(plugin))


def _plugins(given: Sequence[Path] | None) -> tuple[str, ...]:
    """Plugin files: those that the working directory declares, then those of ``--plugin``."""
    from bench.local_plugins import plugin_files

    return plugin_files(given or ())


def _split(text: str | None) -> tuple[str, ...] | None:
    """Names between commas; None if the option was not given."""
    if text is None:
        return None
    return tuple(name for part in text.split(",") if (name := part.strip()))


def _numbers(text: str | None) -> tuple[float, ...] | None:
    """Numbers between commas; None if the option was not given."""
    try:
        return None if text is None else tuple(map(float, _split(text) or ()))
    except ValueError:
        raise BenchError(
            f"--sigmas: expected numbers separated by commas, found {text!r}."
        ) from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb and return the exit code: 0 ok, 1 some units failed, 2 bad input."""
    try:
        app(args=list(arguments) if arguments is not None else None)
    except BenchError as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201
        return BAD_INPUT
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else BAD_INPUT
    return OK


def entry() -> NoReturn:
    """``python -m bench``; leaves at once when interrupted."""
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    if code == INTERRUPTED:
        leave_within(PATIENCE, code)
    sys.exit(code)


def leave_within(seconds: float, code: int) -> None:
    """Give threads and pools a moment to say goodbye, but no more than that."""
    watch = threading.Timer(seconds, os._exit, (code,))
    watch.daemon = True
    watch.start()
