"""Options that several verbs of the command line share, and what they select.  Knows no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.base.errors import BenchError

if TYPE_CHECKING:
    from bench.cli.selection import Selection


def _use_data_root(folder: Path | None) -> Path | None:
    """Let this process and its workers look for data sets here.

    Raises:
        BenchError: There is no such folder.
    """
    if folder is not None:
        if not folder.is_dir():
            raise BenchError(f"--data-root: expected a folder, found none at {folder}.")
        os.environ["BENCH_DATA"] = str(folder)
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
        "--data-root", help="Folder of data sets; default: BENCH_DATA.", callback=_use_data_root
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
StagesOption = Annotated[
    str | None, typer.Option("--stages", help="Stages to run, separated by commas.")
]


def selected(
    profile: str,
    models: str | None,
    defenses: str | None,
    sigmas: str | None,
    limit: int | None,
    samples: int | None,
    device: str,
    plugin: Sequence[Path] | None,
    dataset: str | None = None,
) -> Selection:
    """The options that ``run``, ``fit`` and ``plan`` share."""
    from bench.cli.selection import Selection
    from bench.plan.loading import Overrides

    changes = Overrides(split(models), split(defenses), numbers(sigmas), limit, samples)
    return Selection(profile, changes, device, plugin_paths(plugin), dataset)


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
