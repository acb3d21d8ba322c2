"""Options that several verbs share, and how their words are read.

This module knows words on the command line; it must not know what is done with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.base.errors import BenchError

if TYPE_CHECKING:
    from bench.plan.loading import Overrides


def _existing_folder(folder: Path | None) -> Path | None:
    """The folder of data sets.

    Raises:
        BenchError: There is no such folder.
    """
    if folder is not None and not folder.is_dir():
        raise BenchError(f"--data-root: expected a folder, found none at {folder}.")
    return folder


Profile = Annotated[
    str, typer.Option("--profile", "-p", help="Shipped profile or path of a TOML file.")
]
Models = Annotated[str | None, typer.Option("--models", "-m", help="Models, separated by commas.")]
Defenses = Annotated[
    str | None, typer.Option("--defenses", "-d", help="Defences, separated by commas.")
]
Sigmas = Annotated[str | None, typer.Option("--sigmas", help="Noise levels, separated by commas.")]
Limit = Annotated[int | None, typer.Option("--limit", help="Test images per data set.")]
Samples = Annotated[int | None, typer.Option("--samples", help="Draws per certificate.")]
NoExtras = Annotated[
    bool, typer.Option("--no-extras", help="Only the tables' cells, no rows beside them.")
]
Retrain = Annotated[
    bool, typer.Option("--retrain", help="Train what would be taken from the package.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1.")]
Dataset = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        help="Your data set: a dataset.toml, or a name; replaces the profile's wherever it fits.",
    ),
]
TrainOn = Annotated[
    str | None,
    typer.Option("--train-on", help="Another data set to train on, e.g. where yours is small."),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root", help="Folder of data sets; default: BENCH_DATA.", callback=_existing_folder
    ),
]
Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, help="Worker processes; default: cores.")
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse where a model's files are missing; else skip it.")
]
Debug = Annotated[
    bool, typer.Option("--debug", help="One worker in this process; exceptions come through.")
]
Plugin = Annotated[
    list[Path] | None, typer.Option("--plugin", help="Python file with own parts; repeatable.")
]
Results = Annotated[Path, typer.Option("--results", help="Folder of all runs.")]
Reports = Annotated[Path, typer.Option("--reports", help="Folder of all reports.")]
Run = Annotated[
    Path | None, typer.Argument(help="Folder of a run; default: the latest.", metavar="[RUN]")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def plugin_paths(given: Sequence[Path] | None) -> tuple[str, ...]:
    """Plugin files: those that the working directory declares, then those of ``--plugin``."""
    from bench.plugins.local import plugin_files

    return plugin_files(given or ())


def overrides(
    models: str | None,
    defenses: str | None,
    sigmas: str | None,
    limit: int | None,
    samples: int | None,
    *,
    no_extras: bool = False,
    retrain: bool = False,
    train: str | None = None,
) -> Overrides:
    """What the options of these names change in a profile."""
    from bench.plan.loading import Overrides

    chosen = split(models), split(defenses), numbers(sigmas)
    return Overrides(*chosen, limit, samples, no_extras, retrain, train)


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
