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
from typing import Annotated, NoReturn

import typer

from bench.base.errors import BenchError
from bench.cli.options import (
    DataRootOption,
    DatasetOption,
    DebugOption,
    DefensesOption,
    DeviceOption,
    JobsOption,
    LimitOption,
    ModelsOption,
    PluginOption,
    ProfileOption,
    ReportsOption,
    ResultsOption,
    SamplesOption,
    SigmasOption,
    StagesOption,
    plugin_paths,
    selected,
    split,
)

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
    dataset: DatasetOption = None,
    data_root: DataRootOption = None,
    device: DeviceOption = "auto",
    jobs: JobsOption = None,
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
    debug: DebugOption = False,
) -> None:
    """Run the benchmark, or what is left of it, and write the report."""
    from bench.cli.run import RunRequest, run_benchmark
    from bench.execution.backends import Cluster

    selection = selected(profile, models, defenses, sigmas, limit, samples, device, plugin, dataset)
    request = RunRequest(
        selection=selection,
        everything=everything,
        jobs=jobs,
        resume=resume,
        results=results,
        reports=reports,
        stages=split(stages),
        debug=debug,
        cluster=Cluster.named(backend, scheduler),
    )
    raise typer.Exit(run_benchmark(request))


@app.command()
def fit(
    profile: ProfileOption = "embedded",
    models: ModelsOption = None,
    defenses: DefensesOption = None,
    sigmas: SigmasOption = None,
    limit: LimitOption = None,
    samples: SamplesOption = None,
    dataset: DatasetOption = None,
    data_root: DataRootOption = None,
    device: DeviceOption = "auto",
    jobs: JobsOption = None,
    plugin: PluginOption = None,
    results: ResultsOption = Path("results"),
    debug: DebugOption = False,
) -> None:
    """Train all parts that a run with the same options needs, and nothing else; resumes."""
    from bench.cli.run import RunRequest, fit_parts

    selection = selected(profile, models, defenses, sigmas, limit, samples, device, plugin, dataset)
    raise typer.Exit(fit_parts(RunRequest(selection, jobs=jobs, results=results, debug=debug)))


@app.command()
def plan(
    profile: ProfileOption = "embedded",
    models: ModelsOption = None,
    defenses: DefensesOption = None,
    sigmas: SigmasOption = None,
    limit: LimitOption = None,
    samples: SamplesOption = None,
    dataset: DatasetOption = None,
    data_root: DataRootOption = None,
    device: DeviceOption = "auto",
    plugin: PluginOption = None,
    results: ResultsOption = Path("results"),
) -> None:
    """Show cells, forward passes and estimated time before anything starts."""
    from bench.cli.plan import show_plan

    selection = selected(profile, models, defenses, sigmas, limit, samples, device, plugin, dataset)
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
    from bench.cli.prefetch import prefetch_files

    raise typer.Exit(prefetch_files(split(models), split(datasets), offline=offline))


@app.command("list")
def list_parts(plugin: PluginOption = None) -> None:
    """Show defences, models, data sets, attacks and profiles, and what could not be loaded."""
    from bench.cli.plan import show_parts

    show_parts(plugin_paths(plugin))


@app.command()
def report(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of a run; default: the latest.")
    ] = None,
    results: ResultsOption = Path("results"),
    reports: ReportsOption = Path("reports"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if the report there differs.")
    ] = False,
) -> None:
    """Write the report of a run again, from its records, or check the one that is there."""
    from bench.cli.report import check_report, write_report

    if check:
        raise typer.Exit(check_report(folder, results, reports))
    write_report(folder, results, reports)


@app.command()
def verify(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of a run; default: the latest.")
    ] = None,
    results: ResultsOption = Path("results"),
) -> None:
    """Recompute every bound and aggregate of a run from its records, without a model."""
    from bench.cli.verify import verify_run

    raise typer.Exit(verify_run(folder, results))


@app.command()
def compare(
    run_a: Annotated[Path, typer.Argument(help="Folder of a run.")],
    run_b: Annotated[Path, typer.Argument(help="Folder of another run.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which cells changed, by how much and why; exit code 1 if by more than chance."""
    from bench.cli.compare import compare_runs

    raise typer.Exit(compare_runs(run_a, run_b, as_json=as_json))


@app.command()
def merge(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs with the same inputs.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the merged run.")],
) -> None:
    """Join runs of several machines; refuses results that contradict each other."""
    from bench.cli.compare import merge_runs

    raise typer.Exit(merge_runs(runs, out))


@app.command("check-defense")
def check_defense(
    name: Annotated[str, typer.Argument(help="Defence, ours or a plugin's.")],
    plugin: PluginOption = None,
    seed: Annotated[int, typer.Option("--seed", help="Fixes every random number.")] = 0,
) -> None:
    """Run the conformance kit on a defence: does it keep what it promises?"""
    from bench.cli.verify import check_defense as run_kit

    raise typer.Exit(run_kit(name, plugin_paths(plugin), seed=seed))


@app.command("new-defense")
def new_defense(
    name: Annotated[str, typer.Argument(help="Name, e.g. mine or my-defense.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the two files.")] = Path(),
) -> None:
    """Write a defence of your own, and its test, from a template that already conforms."""
    from bench.cli.new_defense import write_defense

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
    from bench.cli.verify import certify_one
    from bench.measure.single import Question

    selection = selected(profile, None, None, None, None, samples, device, plugin)
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
    exact: Annotated[
        bool, typer.Option("--exact", help="Also the exact Jacobian norm, beside Lanczos.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", help="Folder of the records.")] = Path(
        "results/timing"
    ),
    reports: ReportsOption = Path("reports"),
    plugin: PluginOption = None,
) -> None:
    """Time every model x defence on random weights; resumes what is in its folder."""
    from bench.cli.time import TimeRequest, run_timing

    request = TimeRequest(
        models=split(models),
        defenses=split(defenses),
        edition=edition,
        size=size,
        samples=samples,
        repeats=repeats,
        device=device,
        precision=precision,
        extrapolate=extrapolate,
        scaling=scaling,
        exact=exact,
        out=out,
        reports=reports,
        plugins=plugin_paths(plugin),
    )
    raise typer.Exit(run_timing(request))


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
