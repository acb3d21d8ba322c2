"""The verb ``run``: plan, walk the stages, verdict, report.

It knows options and the last lines; it must not know how units are carried out.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.base.errors import INTERRUPTED, OK, SOME_FAILED, BenchError
from bench.cli import options as opt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from bench.execution.options import Execution
    from bench.library.selection import Selection
    from bench.plan.units import Plan, StageName, Unit
    from bench.plugins.registry import Registry
    from bench.records.completeness import Completeness
    from bench.records.folder import RunFolder

DAY = 86400.0
"""Seconds beyond which a run is only started by somebody who knows."""
FEW = {"compact": 2e6, "published": 2e3}
"""Forward passes, by edition, that take no day anywhere."""
ESTIMATE: tuple[StageName, ...] = ("prepare", "fit", "evaluate")
"""Stages without which there is no accuracy."""
STAGES_HELP = "Some of prepare, fit, evaluate, time, attack, audit, separated by commas."
EXAMPLES = """\b
Examples:
  python -m bench run --all
  python -m bench run --models lpips,dbcnn --defenses ms,fs-iqa --sigmas 0.1,0.25
  python -m bench run --limit 4 --samples 200
  python -m bench run --dataset mine/dataset.toml --models koncept --limit 20
  python -m bench run --all --profile paper --data-root /data --device cuda
"""


@opt.spelt_out
def run(
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Yes, all models x defences x noise levels.")
    ] = False,
    asked: opt.Asked,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Continue, or forget earlier results.")
    ] = True,
    reports: opt.Reports = Path("reports"),
    stages: Annotated[str | None, typer.Option("--stages", help=STAGES_HELP)] = None,
    estimate_only: Annotated[
        bool,
        typer.Option(
            "--estimate-only", help="Accuracy only: no timing, attack or audit, no extra rows."
        ),
    ] = False,
    backend: Annotated[
        str, typer.Option("--backend", help="loky (this machine), dask or ray.")
    ] = "loky",
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="Address of a dask scheduler or ray head.")
    ] = None,
    strict: opt.Strict = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask, however long it takes.")
    ] = False,
    debug: opt.Debug = False,
) -> None:
    """Run the benchmark, or what is left of it, and write the report."""
    from bench.execution.backends import Cluster
    from bench.library.selection import chosen_stages

    asked = replace(asked, no_extras=asked.no_extras or estimate_only)
    selection = asked.selection()
    if not everything:
        selection.check_intent()
    how = asked.execution(
        stages=ESTIMATE if estimate_only else chosen_stages(opt.split(stages)),
        cluster=Cluster.named(backend, scheduler),
        debug=debug,
    )
    consent = Consent(strict=strict, yes=yes)
    code = run_benchmark(selection, how, asked.results, reports, consent=consent, resume=resume)
    raise typer.Exit(code)


@dataclass(frozen=True, slots=True)
class Consent:
    """What the user agreed to beforehand.

    Attributes:
        strict: Refuse to run where a model's files are missing, instead of skipping it.
        yes: Start whatever takes longer than a day.
    """

    strict: bool = False
    yes: bool = False


NOTHING = Consent()
"""Nobody has agreed to anything."""


def run_benchmark(
    selection: Selection,
    how: Execution,
    results: Path,
    reports: Path | None,
    *,
    consent: Consent = NOTHING,
    resume: bool = True,
) -> int:
    """Run what is left, print the verdict and the report's path; returns the exit code.

    Args:
        selection: What is to be run.
        how: How.
        results: Folder of all runs.
        reports: Folder of all reports; None writes none.
        consent: What is agreed to already.
        resume: Go on with earlier results instead of forgetting them.
    """
    from rich.console import Console

    from bench.execution.planning import guarantee_cards
    from bench.execution.progress import progress_for
    from bench.execution.runner import execute
    from bench.library.selection import absent_models, open_registry
    from bench.records.folder import RunFolder
    from bench.review.earlier import take_first_draws, take_over

    console = Console(stderr=True, highlight=False)
    registry = open_registry(how.plugins, data_root=how.data_root)
    with console.status(opt.PLANNING):
        plan = selection.make_plan(registry, how)
    how = replace(how, absent=absent_models(plan, registry, strict=consent.strict))
    for model, sentence in how.absent:
        console.print(f"{model} is skipped: {sentence}", soft_wrap=True)
    folder = RunFolder.create(results, plan)
    console.print(summary(plan, folder, how.stages))
    report = None
    try:
        if resume:
            for name, units in take_over(folder, results).items():
                console.print(f"taken over from {name}: {units} units")
            for name, draws in take_first_draws(folder, results).items():
                console.print(f"taken over from {name}: {draws:,} first draws")
        weigh = priced(folder if resume else None, plan, registry, how, consent, console)
        cards = guarantee_cards(plan, registry)
        if not resume:
            forget(folder, how)
        verdict = execute(folder, how, progress_for(console), cards=cards, weigh=weigh)
        if reports is not None:
            from bench.report.upkeep import report as write_report

            report = write_report(folder, reports / plan.name, say=console.print)
    except KeyboardInterrupt:
        console.print(interrupted(folder, plan, how.stages), soft_wrap=True)
        return INTERRUPTED
    say_verdict(verdict, folder, how, report)
    return OK if verdict.complete else SOME_FAILED


def forget(folder: RunFolder, how: Execution) -> None:
    """Forget what was measured, once nothing else is in the way of measuring it again."""
    from bench.execution.backends import open_workers

    if how.remote:
        with open_workers(how.cluster, jobs=how.workers):
            pass
    with folder.locked():
        folder.clear()


def priced(
    folder: RunFolder | None,
    plan: Plan,
    registry: Registry,
    how: Execution,
    consent: Consent,
    console: Console,
) -> Callable[[Unit], float]:
    """What a unit costs; says how long all that is left takes, and asks if that is over a day.

    Work that is soon done anywhere is not probed: its passes are counted alike.

    Raises:
        BenchError: It takes longer than a day and nobody agreed.
    """
    from bench.execution import pricing
    from bench.execution.progress import duration
    from bench.execution.runner import passes
    from bench.plan.price import cost, total

    done, absent = folder.units_done() if folder else {}, dict(how.absent)
    left = [
        unit
        for stage in how.stages
        for unit in plan.of_stage(stage)
        if unit.model not in absent and not (unit.key in done and done[unit.key].final)
    ]
    if sum(map(passes, left)) <= FEW[plan.profile.edition]:
        return passes
    with console.status("probing") as status:
        probed = pricing.seconds(plan, registry, device=how.device, say=status.update)

    def weigh(unit: Unit) -> float:
        return cost(unit, probed, plan.profile)

    seconds = total(left, weigh) / how.workers
    console.print(f"about {duration(seconds)} on {how.workers} workers")
    if seconds > DAY and not consent.yes:
        ask(duration(seconds))
    return weigh


def ask(long: str) -> None:
    """Whether to start something that takes this long.

    Raises:
        BenchError: No, or nobody is there to answer.
    """
    if not sys.stdin.isatty():
        raise BenchError(
            f"this takes about {long} here: say --yes, or less with --limit or --models; "
            "python -m bench plan shows what costs how much."
        )
    if not typer.confirm(f"This takes about {long} here. Start?"):
        raise BenchError("not started.")


def summary(plan: Plan, folder: RunFolder, stages: Sequence[StageName]) -> str:
    """What is about to happen."""
    count = sum(len(plan.of_stage(stage)) for stage in stages)
    beside = f" and {len(plan.extras)} extra cells" if plan.extras else ""
    return (
        f"{len(plan.cells)} cells{beside}, {count} units, profile {plan.profile.name!r} "
        f"({plan.profile.edition} edition) -> {folder.path}"
    )


def interrupted(folder: RunFolder, plan: Plan, stages: Sequence[StageName]) -> str:
    """Where things stand and how to go on."""
    outcomes = folder.units_done()
    asked = [unit for stage in stages for unit in plan.of_stage(stage)]
    done = sum(unit.key in outcomes for unit in asked)
    words = [word for word in sys.argv[1:] if word != "--fresh"]
    return (
        f"Interrupted: {done} of {len(asked)} units are safe. "
        f"Resume with: python -m bench {shlex.join(words)}"
    )


def say_verdict(
    verdict: Completeness, folder: RunFolder, how: Execution, report: Path | None
) -> None:
    """How complete the run is, what its audit found, and where to read on."""
    if report is None:
        print(f"all parts trained: {folder.path}" if verdict.complete else verdict)  # noqa: T201
        return
    from bench.analysis.audits import verdict as audited
    from bench.plan.units import STAGES

    counted, *remarks = str(verdict).splitlines()
    found = audited(folder.table("audit"))
    print("; ".join([counted, *([f"{found}, see the report"] if found else [])]))  # noqa: T201
    for remark in remarks:
        print(remark)  # noqa: T201
    if left := [stage for stage in STAGES if stage not in how.stages]:
        print(f"stages not asked for: {', '.join(left)}")  # noqa: T201
    if "evaluate" in how.stages and (beside := agreement_line(folder)):
        print(beside)  # noqa: T201
    print(f"report: {report}")  # noqa: T201


def agreement_line(folder: RunFolder) -> str:
    """How the accuracy compares with the recorded run's; nothing where no cell is common.

    Seconds of resampling: kept for the next time that nothing was left to do.
    """
    from bench.base.cache import Cache, content_key
    from bench.base.provenance import code_sha256
    from bench.review.agreement import COLUMNS, agreement, recorded_evaluations
    from iqa_models.folders import cache_folder

    if folder.plan().profile.edition != "compact":
        return ""
    ours = folder.table("evaluate", COLUMNS)
    # The recorded run's evaluations lie among the code.
    code = code_sha256(parts=("bench/review", "bench/analysis"))
    key = content_key(ours=ours.to_csv(), code=code)
    return Cache(cache_folder()).text(
        key, lambda: str(agreement(ours, recorded_evaluations()) or "")
    )
