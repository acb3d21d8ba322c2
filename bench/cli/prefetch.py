"""The verb ``prefetch``: get weights and data sets, with progress, before a run needs them.

It shows downloads; it must not know where files come from.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from bench.base.errors import OK, SOME_FAILED, weights_asked_for
from bench.cli import options as opt

if TYPE_CHECKING:
    from rich.console import Console

    from bench.fetch.download import Meter
    from bench.fetch.prefetch import Watcher
    from iqa_models.artifacts import Artifact

DATASETS = ("koniq10k", "kadid10k")


def prefetch(
    models: opt.Models = None,
    datasets: Annotated[
        str | None, typer.Option("--datasets", help="Data sets, separated by commas.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Only say what is there; no network.")
    ] = False,
) -> None:
    """Get the published models' weights and the paper's data sets, with checksums."""
    from rich.console import Console

    from bench.fetch.prefetch import chosen_artifacts
    from bench.fetch.prefetch import prefetch as fetch
    from iqa_models import names
    from iqa_models.artifacts import Shelf

    everything = models is None and datasets is None
    wanted = chosen_artifacts(
        names() if everything else opt.split(models) or (),
        DATASETS if everything else opt.split(datasets) or (),
    )
    with weights_asked_for():
        shelf = Shelf.open()
    console = Console(stderr=True)
    with _bars(console) as watch:
        outcomes = fetch(wanted, shelf, offline=offline, watch=watch)
    for outcome in outcomes:
        reason = f": {outcome.reason}" if outcome.reason else ""
        console.print(
            f"{outcome.status:8} {outcome.artifact.name}{reason}", highlight=False, soft_wrap=True
        )
    good = sum(outcome.good for outcome in outcomes)
    console.print(f"{good}/{len(outcomes)} artifacts present", highlight=False)
    raise typer.Exit(OK if good == len(outcomes) else SOME_FAILED)


@contextmanager
def _bars(console: Console) -> Iterator[Watcher]:
    """A progress bar for each download while it lasts."""
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Bars(*columns, TimeRemainingColumn(), console=console, transient=True) as bars:

        def watch(artifact: Artifact) -> Meter:
            task = bars.add_task(artifact.file, total=None)

            def advance(done: int, total: int | None) -> None:
                bars.update(task, completed=done, total=total)

            return advance

        yield watch
