"""The verb ``prefetch``: get weights and data sets, with progress, before a run needs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from bench.base.errors import BenchError
from bench.cli.app import OK, SOME_FAILED
from bench.fetch.download import Progress
from bench.fetch.prefetch import Watcher, chosen_artifacts, prefetch
from iqa_models.artifacts import Artifact, Shelf
from iqa_models.weights import WeightsError

DATASETS = ("koniq10k", "kadid10k")


def prefetch_files(
    models: Sequence[str] | None, datasets: Sequence[str] | None, *, offline: bool
) -> int:
    """Fetch, say what became of each file, and return the exit code.

    Args:
        models: Names; None means all six, unless only data sets were named.
        datasets: Names; None means the paper's two, unless only models were named.
        offline: Only say what is there and what is missing.

    Raises:
        BenchError: A name is unknown, or BENCH_WEIGHTS is not valid.
    """
    from iqa_models import names

    everything = models is None and datasets is None
    wanted = chosen_artifacts(
        names() if everything else models or (), DATASETS if everything else datasets or ()
    )
    try:
        shelf = Shelf.open()
    except WeightsError as error:
        raise BenchError(str(error)) from error
    console = Console(stderr=True)
    with _bars(console) as watch:
        outcomes = prefetch(wanted, shelf, offline=offline, watch=watch)
    for outcome in outcomes:
        reason = f": {outcome.reason}" if outcome.reason else ""
        console.print(
            f"{outcome.status:8} {outcome.artifact.name}{reason}", highlight=False, soft_wrap=True
        )
    good = sum(outcome.good for outcome in outcomes)
    console.print(f"{good}/{len(outcomes)} artifacts present", highlight=False)
    return OK if good == len(outcomes) else SOME_FAILED


@contextmanager
def _bars(console: Console) -> Iterator[Watcher]:
    """A progress bar for each download while it lasts."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Bars(*columns, TimeRemainingColumn(), console=console, transient=True) as bars:

        def watch(artifact: Artifact) -> Progress:
            task = bars.add_task(artifact.file, total=None)

            def advance(done: int, total: int | None) -> None:
                bars.update(task, completed=done, total=total)

            return advance

        yield watch
