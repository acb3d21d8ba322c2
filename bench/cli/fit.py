"""The verb ``fit``: the first two stages of a run, so that training can be done elsewhere."""

from __future__ import annotations

from pathlib import Path

import typer

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
    ResultsOption,
    SamplesOption,
    SigmasOption,
    plugin_paths,
)


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
    from bench.base.devices import resolve_device
    from bench.cli.run import run_benchmark
    from bench.cli.selection import Selection
    from bench.execution.options import Execution

    selection = Selection.of(
        profile,
        models=models,
        defenses=defenses,
        sigmas=sigmas,
        limit=limit,
        samples=samples,
        dataset=dataset,
    )
    how = Execution(
        stages=("prepare", "fit"),
        device=resolve_device(device),
        jobs=jobs,
        plugins=plugin_paths(plugin),
        data_root=data_root,
        debug=debug,
    )
    raise typer.Exit(run_benchmark(selection, how, results, None, resume=True))
