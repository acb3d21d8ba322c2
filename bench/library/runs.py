"""The whole matrix, or a part of it, from Python: carry it out, read its tables.

It knows selections and run folders; it must not know how units are carried out or printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console

from bench.base.devices import resolve_device
from bench.execution.options import Execution
from bench.execution.planning import guarantee_cards
from bench.execution.progress import Progress, progress_for
from bench.execution.runner import execute
from bench.library.selection import Selection, absent_models, chosen_stages, open_registry
from bench.plan.loading import Overrides
from bench.records.folder import RunFolder
from bench.review.earlier import take_first_draws, take_over

if TYPE_CHECKING:
    import pandas as pd

    from bench.review.verify import Verification

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Run:
    """A finished or interrupted run on disk.

    Attributes:
        path: Its folder.
    """

    path: Path

    @property
    def folder(self) -> RunFolder:
        """Its records as files.

        Raises:
            BenchError: There is no run.
        """
        return RunFolder.open(self.path)

    def table(self, name: str) -> pd.DataFrame:
        """A table of records, sorted by its key: ``evaluate``, ``draws``, ``time``, ``attack`` ...

        One row a unit; ``status`` says ``ok``, ``abstained`` or ``failed``, ``reason`` why.

        Raises:
            BenchError: There is no such table.
        """
        return self.folder.table(name)

    @property
    def complete(self) -> bool:
        """Whether all that was asked for is recorded and nothing failed."""
        run = self.folder
        return run.completeness(run.asked()).complete

    @property
    def verdict(self) -> str:
        """How many cells are done, and every remark, in words."""
        run = self.folder
        return str(run.completeness(run.asked()))

    def verify(self, *, plugins: Sequence[str | Path] = ()) -> Verification:
        """Recompute every bound and aggregate from the records, without any model.

        Args:
            plugins: Plugin files of the run that you trust.
        """
        from bench.review.verify import verify

        return verify(self.folder, plugins=[str(file) for file in plugins])

    def report(self, folder: str | Path) -> Path:
        """Write the report below ``folder``; returns the Markdown file."""
        from bench.report.upkeep import report

        run = self.folder
        return report(run, Path(folder) / run.path.name)


def run(
    *,
    profile: str = "embedded",
    models: Sequence[str] | None = None,
    defenses: Sequence[str] | None = None,
    sigmas: Sequence[float] | None = None,
    limit: int | None = None,
    samples: int | None = None,
    no_extras: bool = False,
    dataset: str | None = None,
    stages: Sequence[str] | None = None,
    device: str = "auto",
    jobs: int | None = None,
    results: str | Path = "results",
    plugins: Sequence[str | Path] = (),
    data_root: Path | None = None,
    progress: Progress | None = None,
) -> Run:
    """Run the benchmark, or what is left of it: calling it again goes on where it was.

    Units that an earlier run of ``results`` has done are taken over, and first draws of one with
    fewer; a published model whose files are missing is skipped, and its records say so.

    Args:
        profile: A shipped profile's name or a file; None of the following changes it.
        models: Names; None takes the profile's.
        defenses: Likewise.
        sigmas: Noise levels, likewise.
        limit: Test images per data set.
        samples: Draws per certificate.
        no_extras: Only the tables' cells, no rows beside them.
        dataset: A ``dataset.toml`` or a name, in place of the profile's wherever it fits.
        stages: Some of ``prepare``, ``fit``, ``evaluate``, ``time``, ``attack``, ``audit``; None
            takes all.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        jobs: Worker processes; None takes one a core. 1 stays in this process.
        results: Folder of all runs.
        plugins: Python files with parts of your own.
        data_root: Folder of data sets; None takes ``BENCH_DATA``.
        progress: Told how far it is; None writes to stderr.

    Raises:
        BenchError: One sentence naming what was expected and what was found.
        KeyboardInterrupt: Asked to stop; everything finished is safe.
    """
    changes = Overrides(_tuple(models), _tuple(defenses), _tuple(sigmas), limit, samples, no_extras)
    how = Execution(
        stages=chosen_stages(_tuple(stages)),
        device=resolve_device(device),
        jobs=jobs,
        plugins=tuple(str(file) for file in plugins),
        data_root=data_root,
    )
    registry = open_registry(how.plugins, data_root=data_root)
    plan = Selection(profile, changes, dataset).make_plan(registry, how)
    how = replace(how, absent=absent_models(plan, registry, strict=False))
    folder = RunFolder.create(Path(results), plan)
    take_over(folder, Path(results))
    take_first_draws(folder, Path(results))
    execute(
        folder,
        how,
        progress or progress_for(Console(stderr=True, force_jupyter=False)),
        cards=guarantee_cards(plan, registry),
    )
    return Run(folder.path)


def _tuple(values: Sequence[Value] | None) -> tuple[Value, ...] | None:
    return None if values is None else tuple(values)
