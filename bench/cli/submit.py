"""The verb ``submit``: a finished run as a folder that may be sent to a board.

It must not know what such a folder holds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.base.errors import OK, SOME_FAILED
from bench.cli import options as opt


def submit(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    name: Annotated[str, typer.Option("--name", help="Whose or what it is, as shown.")],
    url: Annotated[str, typer.Option("--url", help="Where more can be read.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of submissions.")] = Path(
        "submissions"
    ),
    licence: Annotated[
        str, typer.Option("--licence", help="What the records may be used for.")
    ] = "CC0-1.0",
    plugin: opt.Plugin = None,
) -> None:
    """Verify a run and copy what a board needs of it: records, no pictures, no machine data."""
    from bench.board.submission import write_submission
    from bench.records.folder import RunFolder
    from bench.review.verify import verify

    folder = RunFolder.open(run)
    found = verify(folder, plugins=opt.plugin_paths(plugin))
    print(found)  # noqa: T201
    if not found.ok:
        raise typer.Exit(SOME_FAILED)
    print(f"submission: {write_submission(folder, out, name=name, url=url, licence=licence)}")  # noqa: T201
    raise typer.Exit(OK)
