"""The verb ``verify``: recompute a run from its records.

It must not know what is recomputed.
"""

from __future__ import annotations

from pathlib import Path

import typer

from bench.base.errors import OK, SOME_FAILED
from bench.cli import options as opt


def verify(
    folder: opt.Run = None,
    results: opt.Results = Path("results"),
    plugin: opt.Plugin = None,
) -> None:
    """Recompute every bound and aggregate of a run from its records, without a model.

    Plugins that the run was made with are executed only where you name them with --plugin.
    """
    from bench.library.selection import chosen_run
    from bench.review.verify import verify as verify_run

    found = verify_run(chosen_run(folder, results), plugins=opt.plugin_paths(plugin))
    print(found)  # noqa: T201
    raise typer.Exit(OK if found.ok else SOME_FAILED)
