"""The verb ``fit``: the first two stages of a run, so that training can be done elsewhere.

It must not know how anything is trained.
"""

from __future__ import annotations

from pathlib import Path

import typer

from bench.cli import options as opt


def fit(
    profile: opt.Profile = "embedded",
    models: opt.Models = None,
    defenses: opt.Defenses = None,
    sigmas: opt.Sigmas = None,
    limit: opt.Limit = None,
    samples: opt.Samples = None,
    no_extras: opt.NoExtras = False,
    retrain: opt.Retrain = False,
    dataset: opt.Dataset = None,
    train_on: opt.TrainOn = None,
    data_root: opt.DataRoot = None,
    device: opt.Device = "auto",
    jobs: opt.Jobs = None,
    plugin: opt.Plugin = None,
    results: opt.Results = Path("results"),
    strict: opt.Strict = False,
    debug: opt.Debug = False,
) -> None:
    """Train all parts that a run with the same options needs, and nothing else; resumes."""
    from bench.base.devices import resolve_device
    from bench.cli.run import Consent, run_benchmark
    from bench.cli.selection import Selection
    from bench.execution.options import Execution

    changes = opt.overrides(
        models,
        defenses,
        sigmas,
        limit,
        samples,
        no_extras=no_extras,
        retrain=retrain,
        train=train_on,
    )
    selection = Selection(profile, changes, dataset)
    how = Execution(
        stages=("prepare", "fit"),
        device=resolve_device(device),
        jobs=jobs,
        plugins=opt.plugin_paths(plugin),
        data_root=data_root,
        debug=debug,
    )
    consent = Consent(strict=strict, yes=True)
    raise typer.Exit(run_benchmark(selection, how, results, None, consent=consent))
