"""Options that several verbs share, and how their words are read.

This module knows words on the command line; it must not know what is done with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from bench.base.errors import BenchError


def _existing_folder(folder: Path | None) -> Path | None:
    """The folder of data sets.

    Raises:
        BenchError: There is no such folder.
    """
    if folder is not None and not folder.is_dir():
        raise BenchError(f"--data-root: expected a folder, found none at {folder}.")
    return folder


ProfileOption = Annotated[
    str, typer.Option("--profile", "-p", help="Shipped profile or path of a TOML file.")
]
ModelsOption = Annotated[
    str | None, typer.Option("--models", "-m", help="Models, separated by commas.")
]
DefensesOption = Annotated[
    str | None, typer.Option("--defenses", "-d", help="Defences, separated by commas.")
]
SigmasOption = Annotated[
    str | None, typer.Option("--sigmas", help="Noise levels, separated by commas.")
]
LimitOption = Annotated[int | None, typer.Option("--limit", help="Test images per data set.")]
SamplesOption = Annotated[int | None, typer.Option("--samples", help="Draws per certificate.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1.")]
DatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        help="Your data set: a dataset.toml, or a name; replaces the profile's wherever it fits.",
    ),
]
DataRootOption = Annotated[
    Path | None,
    typer.Option(
        "--data-root", help="Folder of data sets; default: BENCH_DATA.", callback=_existing_folder
    ),
]
JobsOption = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, help="Worker processes; default: cores.")
]
DebugOption = Annotated[
    bool, typer.Option("--debug", help="One worker in this process; exceptions come through.")
]
PluginOption = Annotated[
    list[Path] | None, typer.Option("--plugin", help="Python file with own parts; repeatable.")
]
ResultsOption = Annotated[Path, typer.Option("--results", help="Folder of all runs.")]
ReportsOption = Annotated[Path, typer.Option("--reports", help="Folder of all reports.")]
RunArgument = Annotated[
    Path | None, typer.Argument(help="Folder of a run; default: the latest.", metavar="[RUN]")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def plugin_paths(given: Sequence[Path] | None) -> tuple[str, ...]:
    """Plugin files: those that the working directory declares, then those of ``--plugin``."""
    from bench.plugins.local import plugin_files

    return plugin_files(given or ())


def split(text: str | None) -> tuple[str, ...] | None:
    """Names between commas; None if the option was not given."""
    if text is None:
        return None
    return tuple(name for part in text.split(",") if (name := part.strip()))


def numbers(text: str | None) -> tuple[float, ...] | None:
    """Numbers between commas; None if the option was not given."""
    try:
        return None if text is None else tuple(map(float, split(text) or ()))
    except ValueError:
        raise BenchError(
            f"--sigmas: expected numbers separated by commas, found {text!r}."
        ) from None
