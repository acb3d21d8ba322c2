"""The verb ``run``: plan, walk the stages, verdict, report."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from bench.base.errors import BenchError, unknown
from bench.cli.app import INTERRUPTED, OK, SOME_FAILED
from bench.cli.selection import Selection, resolve_device
from bench.execution.backends import THIS_MACHINE, Cluster
from bench.plan.units import STAGES, Plan, StageName

if TYPE_CHECKING:
    from bench.plugins.registry import Registry
    from bench.records.folder import RunFolder


@dataclass(frozen=True, slots=True)
class RunRequest:
    """The verb's options; see ``bench.cli.run``."""

    selection: Selection
    everything: bool = False
    jobs: int | None = None
    resume: bool = True
    results: Path = Path("results")
    reports: Path | None = Path("reports")
    """None: no report is written."""
    stages: tuple[str, ...] | None = None
    debug: bool = False
    cluster: Cluster = THIS_MACHINE


def fit_parts(request: RunRequest) -> int:
    """Prepare and fit what a run of the same selection needs, without a report."""
    return run_benchmark(replace(request, everything=True, stages=("prepare", "fit"), reports=None))


def run_benchmark(request: RunRequest) -> int:
    """Run what is left, print the verdict and the report's path; returns the exit code."""
    from bench.execution.planning import guarantee_cards
    from bench.execution.progress import progress_for
    from bench.execution.runner import Execution, execute
    from bench.records.folder import RunFolder

    stages = chosen_stages(request.stages)
    check_intent(request)
    device = resolve_device(request.selection.device)
    registry = request.selection.open_registry()
    plan = request.selection.make_plan(device, registry)
    check_weights(plan, registry)
    console = Console(stderr=True)
    run = RunFolder.create(request.results, plan)
    console.print(summary(plan, run), highlight=False)
    how = Execution(
        device=device,
        jobs=request.jobs,
        stages=stages,
        plugins=request.selection.plugins,
        debug=request.debug,
        cluster=request.cluster,
    )
    try:
        if not request.resume:
            with run.locked():
                run.clear()
        cards = guarantee_cards(plan, registry)
        verdict = execute(run, how, progress_for(console), cards=cards)
        path = None
        if request.reports is not None:
            path = report_of(run, request.reports / plan.name, console)
    except KeyboardInterrupt:
        console.print(interrupted(run, plan), highlight=False, soft_wrap=True)
        return INTERRUPTED
    if path is None:
        print(f"all parts trained: {run.path}" if verdict.complete else verdict)  # noqa: T201
    else:
        print(verdict)  # noqa: T201
        if stages != STAGES:
            print(f"stages not asked for: {', '.join(s for s in STAGES if s not in stages)}")  # noqa: T201
        print(f"report: {path}")  # noqa: T201
    return OK if verdict.complete else SOME_FAILED


def chosen_stages(names: tuple[str, ...] | None) -> tuple[StageName, ...]:
    """Stages in their order.

    Raises:
        BenchError: A stage is unknown.
    """
    for name in names or ():
        if name not in STAGES:
            raise unknown("stage", name, STAGES)
    return STAGES if names is None else tuple(stage for stage in STAGES if stage in names)


def check_intent(request: RunRequest) -> None:
    """The whole matrix must be asked for.

    Raises:
        BenchError: Neither ``--all`` nor a selection was given, or both contradict each other.
    """
    profile = request.selection.load_profile()
    if not request.everything and not request.selection.selects:
        cells = len(profile.models) * len(profile.defenses) * len(profile.sigmas)
        raise BenchError(
            f"nothing chosen: say --all for the {cells} cells of profile {profile.name!r}, or "
            "choose with --models, --defenses, --sigmas or --limit."
        )


def check_weights(plan: Plan, registry: Registry) -> None:
    """A published model whose files are missing is an error now, not in every later record.

    Raises:
        BenchError: Naming the files and how to get them.
    """
    if plan.profile.edition != "published":
        return
    from iqa_models.artifacts import Shelf
    from iqa_models.assembly import chosen_recipe
    from iqa_models.weights import WeightsError

    try:
        shelf = Shelf.open()
        for model in plan.profile.models:
            if recipes := getattr(registry.model(model), "recipes", ()):
                chosen_recipe(model, recipes, shelf)
    except WeightsError as error:
        raise BenchError(str(error)) from error


def summary(plan: Plan, run: RunFolder) -> str:
    """What is about to happen."""
    return (
        f"{len(plan.cells)} cells, {len(plan.units)} units, profile {plan.profile.name!r} "
        f"({plan.profile.edition} edition) -> {run.path}"
    )


def interrupted(run: RunFolder, plan: Plan) -> str:
    """Where things stand and how to go on."""
    done = sum(unit.key in outcomes for outcomes in [run.units_done()] for unit in plan.units)
    words = [word for word in sys.argv[1:] if word != "--fresh"]
    return (
        f"Interrupted: {done} of {len(plan.units)} units are safe. "
        f"Resume with: python -m bench {shlex.join(words)}"
    )


def report_of(run: RunFolder, out: Path, console: Console) -> Path:
    """The run's report, written unless it is there already for the same records."""
    from bench.report.build import report

    return report(run, out, say=lambda text: console.print(text, highlight=False))
